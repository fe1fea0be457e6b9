"""The picture of a growth's decay: error against blocks, every proposal, and the laws that the data leave standing."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from growres.analysis.decay import DecayAnalysis, DecayFit
from growres.report.drawing import BLUE, GREEN, GREY, ORANGE, VERMILION, new_figure, plain_log_ticks, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Verdict = Literal["start", "accepted", "rejected"]
Scale = Literal["linear", "semi-log", "log-log"]

_MARKERS: dict[Verdict, tuple[str, str, str]] = {  # told apart by their shapes, in grey too
    "start": ("s", "black", "start of the growth"),
    "accepted": ("o", "black", "accepted proposal"),
    "rejected": ("x", VERMILION, "rejected proposal (set off to the right)"),
}
_SET_OFF = 0.13
_OTHERS = ((ORANGE, "--"), (GREEN, "-."), (VERMILION, ":"), (GREY, (0, (8, 3))), ("black", (0, (1, 3))))


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredNetwork:
    """One point of the picture: the network that a growth began with, or a proposal."""

    num_blocks: int
    value: float
    """Error as a fraction, or loss."""
    variance: float
    verdict: Verdict


def draw_decay(
    path: Path,
    analysis: DecayAnalysis,
    networks: Sequence[MeasuredNetwork],
    *,
    title: str,
    scale: Scale = "linear",
) -> None:
    """Draws the proposals with one standard error each, the plausible laws, and the best one's bootstrap band.

    The curves go one block beyond the last point: what is left there is the forecast. An exponential law is straight
    on the semi-log scale, a power law on the log-log one.

    Args:
        networks: all of them, also those that the analysis was not fitted to.
    Raises:
        ConfigError: if matplotlib is not installed or the file cannot be written.
    """
    figure = new_figure(7.6, 5.4)
    axes = figure.subplots()
    factor = 100.0 if analysis.points.quantity == "error" else 1.0
    _draw_laws(axes, analysis, factor)
    _draw_networks(axes, networks, factor)
    _label_axes(axes, analysis, scale, factor)
    figure.suptitle(title, fontsize=12)
    figure.supxlabel(textwrap.fill(analysis.sentence, 118), fontsize=8, x=0.02, ha="left")
    save_picture(figure, path)


def _draw_laws(axes: Axes, analysis: DecayAnalysis, factor: float) -> None:
    first, last = analysis.points.num_blocks[[0, -1]]
    blocks = np.linspace(first, last + 1, 200)
    lower, upper = analysis.best.band(blocks, analysis.level)
    axes.fill_between(
        blocks, factor * lower, factor * upper, color=BLUE, alpha=0.18, linewidth=0,
        label=f"{analysis.level:.0%} interval of the best law",
    )  # fmt: skip
    others = [fit for fit in analysis.plausible if fit is not analysis.best]
    axes.plot(blocks, factor * analysis.best.curve(blocks), color=BLUE, label=_law_label(analysis.best, "best"))
    for fit, (color, style) in zip(others, _OTHERS, strict=False):
        axes.plot(blocks, factor * fit.curve(blocks), color=color, linestyle=style, label=_law_label(fit, "plausible"))
    axes.axvspan(last, last + 1, color=GREY, alpha=0.10, linewidth=0)


def _law_label(fit: DecayFit, standing: str) -> str:
    return f"{fit.law.label} ({standing}, weight {fit.weight:.2f})"


def _draw_networks(axes: Axes, networks: Sequence[MeasuredNetwork], factor: float) -> None:
    for verdict, (marker, color, label) in _MARKERS.items():
        these = [network for network in networks if network.verdict == verdict]
        if these:
            axes.errorbar(
                _places(these) if verdict == "rejected" else [network.num_blocks for network in these],
                [factor * network.value for network in these],
                yerr=[factor * network.variance**0.5 for network in these],
                linestyle="none", marker=marker, color=color, markersize=6, markeredgewidth=1.6, elinewidth=1,
                capsize=2, zorder=3, label=label,
            )  # fmt: skip


def _places(rejected: Sequence[MeasuredNetwork]) -> list[float]:
    """Beside the accepted network of as many blocks, and beside each other, however many, before the next number."""
    count = Counter(network.num_blocks for network in rejected)
    seen: Counter[int] = Counter()
    places = []
    for network in rejected:
        seen[network.num_blocks] += 1
        step = min(_SET_OFF, 0.8 / count[network.num_blocks])
        places.append(network.num_blocks + step * seen[network.num_blocks])
    return places


def _label_axes(axes: Axes, analysis: DecayAnalysis, scale: Scale, factor: float) -> None:
    from matplotlib.ticker import MaxNLocator

    unit = "%" if factor == 100 else "nats"
    axes.set_xlabel("residual blocks in the network (shaded: forecast of the next one)")
    axes.set_ylabel(f"validation {analysis.points.quantity} ({unit}), with one standard error")
    if scale == "linear":
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log", nonpositive="clip")
        plain_log_ticks(axes.yaxis)
        positive = analysis.points.values[analysis.points.values > 0]
        if len(positive):  # what a law says far below every point would take most of the picture
            axes.set_ylim(bottom=factor * positive.min() / 4)
    if scale == "log-log":
        axes.set_xscale("log")
        plain_log_ticks(axes.xaxis)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    axes.legend(frameon=False, fontsize=8.5)
