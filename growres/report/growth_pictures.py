"""The pictures of one growth: its error against FLOPs, its proposals one by one, and its boosting figures.

What is told apart is told by shape and line as well as by colour, so that a print in grey and any colour vision can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from growres.analysis.boosting import BoostingAnalysis
from growres.analysis.points import error_variance
from growres.report.drawing import BLUE, GREY, ORANGE, VERMILION, new_figure, plain_log_ticks, save_picture
from growres.report.growth import GrownNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELLED_STEPS = 24
_SET_OFF = 0.17
_WIDE = 8.0  # a range of errors in which the small ones would lie on the axis


@dataclass(frozen=True, slots=True, kw_only=True)
class _Errors:
    """How errors are drawn: in percent, and on a logarithmic axis where they span much, an error of 0 too."""

    is_log: bool
    num_images: int
    has_zero: bool

    @classmethod
    def of(cls, errors: Iterable[float | None], num_images: int) -> _Errors:
        percent = [100 * error for error in errors if error is not None]
        is_wide = max(percent) > _WIDE * max(min(percent), 50 / num_images)
        return cls(is_log=is_wide, num_images=num_images, has_zero=min(percent) == 0)

    @property
    def least(self) -> float:
        """Percent: half an image of the validation split."""
        return 50 / self.num_images

    @property
    def caption(self) -> str:
        """What the bars are."""
        return (
            f"Bars: one standard error, n = {self.num_images:,} validation images; the luck of a seed is not in them."
        )

    def __call__(self, error: float | None) -> float:
        percent = 100 * (error or 0.0)
        return max(percent, self.least) if self.is_log else percent

    def bars(self, errors: Sequence[float | None]) -> list[list[float]]:
        """One standard error below and above each height, not beyond what an error can be."""
        spreads = [100 * error_variance(error or 0.0, self.num_images) ** 0.5 for error in errors]
        heights = [self(error) for error in errors]
        lowest = self.least if self.is_log else 0.0
        below = [min(spread, height - lowest) for spread, height in zip(spreads, heights, strict=True)]
        above = [min(spread, 100 - height) for spread, height in zip(spreads, heights, strict=True)]
        return [below, above]

    def label(self, axes: Axes) -> None:
        """The axis, once all is drawn."""
        if self.is_log:
            axes.set_yscale("log")
            plain_log_ticks(axes.yaxis)
            note = "\n0 is drawn as half an image" if self.has_zero else ""
            axes.set_ylabel(f"validation error (%), logarithmic{note}")
        else:
            axes.set_ylim(bottom=0)
            axes.set_ylabel("validation error (%)")


def draw_error_against_flops(path: Path, networks: Sequence[GrownNetwork], *, num_images: int, title: str) -> None:
    """Draws the validation error of the network as it was, a stair over the FLOPs spent, and what was not accepted.

    Where the grown network was pruned, the stair goes on with what pruning left.

    Args:
        networks: of one growth, the shallow one first.
        num_images: of the validation split.
    Raises:
        ConfigError: if matplotlib is not installed or the file cannot be written.
    """
    from matplotlib.ticker import EngFormatter

    figure = new_figure(7.6, 5.0)
    axes = figure.subplots()
    measured = [
        one
        for one in networks
        if one.val_error is not None and not one.is_screened_out and one.train_flops_total is not None
    ]
    kept = [one for one in measured if one.verdict in ("start", "accepted")]
    errors = _Errors.of([one.val_error for one in measured], num_images)
    _draw_stair(axes, errors, kept, end=max(one.train_flops_total or 0 for one in networks))
    _scatter(axes, _flops, errors, kept, [one for one in measured if one not in kept])
    axes.set_xlabel("FLOPs of training spent so far, rejected proposals and control arms included")
    axes.xaxis.set_major_formatter(EngFormatter())
    errors.label(axes)
    _finish(axes)
    _say_below(figure, f"The numbers are residual blocks, the last with its error.\n{errors.caption}")
    figure.suptitle(title, fontsize=12)
    save_picture(figure, path)


def draw_proposals(path: Path, networks: Sequence[GrownNetwork], *, num_images: int, title: str) -> None:
    """Draws each growth step: the error of the parent, of the candidate with its verdict, and of the control arm.

    Args:
        networks: of one growth, of which those of step 1 and on are drawn: one at least.
        num_images: of the validation split.
    Raises:
        ConfigError: if matplotlib is not installed or the file cannot be written.
    """
    proposals = [one for one in networks if one.step > 0]
    figure = new_figure(max(7.6, min(14.0, 2.6 + 0.42 * len(proposals))), 5.0)
    axes = figure.subplots()
    arms = [(one.val_error_before, one.val_error, one.val_error_control) for one in proposals]
    errors = _Errors.of([error for errors_of_step in arms for error in errors_of_step], num_images)
    _draw_parents(axes, errors, proposals)
    trained = [one for one in proposals if one.val_error is not None]
    accepted = [one for one in trained if one.verdict == "accepted"]
    controls = [one for one in proposals if one.val_error_control is not None]
    set_off = _SET_OFF if controls else 0.0
    _scatter(axes, lambda one: one.step - set_off, errors, accepted, [one for one in trained if one not in accepted])
    if accepted:
        _say_error(axes, (accepted[-1].step - set_off, errors(accepted[-1].val_error)), accepted[-1])
    _draw_controls(axes, errors, controls)
    _mark_diverged(axes, [one for one in proposals if one.val_error is None])
    _label_steps(axes, proposals)
    errors.label(axes)
    _finish(axes)
    _say_below(figure, f"{errors.caption}\nA step's networks see the same images: their differences are known better.")
    figure.suptitle(title, fontsize=12)
    save_picture(figure, path)


def draw_boosting(path: Path, analysis: BoostingAnalysis, *, title: str) -> None:
    """Draws edge and gamma by step, marking where the condition failed; below, the error and what bounds it.

    Raises:
        ConfigError: if matplotlib is not installed or the file cannot be written.
    """
    figure = new_figure(7.6, 7.0)
    upper, lower = figure.subplots(2, 1, sharex=True)
    _draw_edges(upper, analysis)
    _draw_bounds(lower, analysis)
    standing = "" if analysis.why_diagnostic is None else f"\nA diagnostic: {analysis.why_diagnostic}."
    floor = " Below, less than half an image is drawn as that."
    _say_below(figure, f"Step 0 is the shallow network, each further one an accepted block.{floor}{standing}")
    figure.suptitle(title, fontsize=12)
    save_picture(figure, path)


# ------------------------------------------------------------------------------------------------------------ parts


def _flops(network: GrownNetwork) -> float:
    return float(network.train_flops_total or 0)


def _scatter(
    axes: Axes,
    place: Callable[[GrownNetwork], float],
    errors: _Errors,
    accepted: Sequence[GrownNetwork],
    declined: Sequence[GrownNetwork],
) -> None:
    """Accepted networks as filled circles, the shallow one as a square, the others as open circles."""
    start = [one for one in accepted if one.verdict == "start"]
    grown = [one for one in accepted if one.verdict != "start"]
    for networks, marker, color, fill, label in (
        (start, "s", "black", "black", "shallow network"),
        (grown, "o", BLUE, BLUE, "accepted proposal"),
        (declined, "o", VERMILION, "white", "proposal not accepted"),
    ):
        if networks:
            measured = [one.val_error for one in networks]
            axes.errorbar(
                [place(one) for one in networks], [errors(error) for error in measured], yerr=errors.bars(measured),
                linestyle="none", marker=marker, markersize=7, color=color, markerfacecolor=fill, markeredgewidth=1.5,
                elinewidth=0.9, capsize=2.5, zorder=3, label=label,
            )  # fmt: skip


def _draw_stair(axes: Axes, errors: _Errors, kept: Sequence[GrownNetwork], *, end: float) -> None:
    """The error of the network as it was at each moment, numbered by its blocks; the last one also in figures."""
    heights = [errors(one.val_error) for one in kept]
    axes.step(
        [*map(_flops, kept), end], [*heights, heights[-1]], where="post", color=BLUE, linewidth=1.6,
        label="network as accepted so far",
    )  # fmt: skip
    for network, height in zip(kept, heights, strict=True):
        is_last = network is kept[-1]
        said = f"{network.num_blocks} ({_percent(network.val_error)})" if is_last else f"{network.num_blocks}"
        # The last point often lies at the right edge, and what is below the stair on its left is free.
        place: dict[str, Any] = (
            {"xytext": (-7, -4), "ha": "right", "va": "top"} if is_last and len(kept) > 1 else {"xytext": (5, 5)}
        )
        axes.annotate(said, (_flops(network), height), textcoords="offset points", fontsize=8.5, **place)


def _say_error(axes: Axes, place: tuple[float, float], network: GrownNetwork) -> None:
    axes.annotate(
        _percent(network.val_error), place, xytext=(6, -4), textcoords="offset points", va="top", fontsize=8.5,
    )  # fmt: skip


def _percent(error: float | None) -> str:
    return f"{100 * (error or 0.0):.2f}%"


def _draw_parents(axes: Axes, errors: _Errors, proposals: Sequence[GrownNetwork]) -> None:
    steps, measured = [one.step for one in proposals], [one.val_error_before for one in proposals]
    heights = [errors(error) for error in measured]
    axes.hlines(
        heights, [step - 0.36 for step in steps], [step + 0.36 for step in steps], color="black", linewidth=1.6,
        label="its parent",
    )  # fmt: skip
    axes.errorbar(
        steps, heights, yerr=errors.bars(measured), linestyle="none", color="black", elinewidth=0.9, capsize=2.5
    )


def _draw_controls(axes: Axes, errors: _Errors, controls: Sequence[GrownNetwork]) -> None:
    if controls:
        measured = [one.val_error_control for one in controls]
        axes.errorbar(
            [one.step + _SET_OFF for one in controls], [errors(error) for error in measured],
            yerr=errors.bars(measured), linestyle="none", marker="^", markersize=6.5, color=ORANGE,
            markeredgecolor="black", markeredgewidth=0.7, elinewidth=0.9, capsize=2.5,
            label="control arm: the same epochs without the block",
        )  # fmt: skip


def _mark_diverged(axes: Axes, diverged: Sequence[GrownNetwork]) -> None:
    if diverged:
        axes.plot(
            [one.step for one in diverged], [0.97] * len(diverged), transform=axes.get_xaxis_transform(),
            linestyle="none", marker="x", color=VERMILION, label="candidate diverged",
        )  # fmt: skip


def _label_steps(axes: Axes, proposals: Sequence[GrownNetwork]) -> None:
    """The number of each step, and below it the stage; of many steps only a few numbers."""
    from matplotlib.ticker import MaxNLocator

    if len(proposals) > _MOST_LABELLED_STEPS:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("growth step")
        return
    axes.set_xticks(
        [one.step for one in proposals],
        labels=[f"{one.step}\n{'' if one.kind == 'append' else '-'}s{one.stage}" for one in proposals],
    )
    pruned = any(one.kind == "remove" for one in proposals)
    removed = "; -s0: a block of stage 0 was taken away" if pruned else ""
    axes.set_xlabel(f"growth step (s0: a block was appended to stage 0{removed})")


def _draw_edges(axes: Axes, analysis: BoostingAnalysis) -> None:
    steps = [one.step for one in analysis.steps]
    axes.plot(steps, [one.edge for one in analysis.steps], color=BLUE, marker="o", label="edge")
    axes.plot(
        steps, [one.gamma for one in analysis.steps], color=ORANGE, marker="D", linestyle="--", label="gamma"
    )  # fmt: skip
    failed = [one for one in analysis.steps if not one.weak_learning]
    if failed:
        axes.plot(
            [one.step for one in failed], [one.gamma for one in failed], linestyle="none", marker="x", markersize=13,
            markeredgewidth=2, color=VERMILION, label="the weak-learning condition failed", zorder=4,
        )  # fmt: skip
    axes.axhline(analysis.gamma_threshold, color=GREY, linewidth=1, linestyle=":", label="gamma must exceed this")
    axes.set_ylabel("edge and gamma (no unit)")
    _finish(axes)


def _draw_bounds(axes: Axes, analysis: BoostingAnalysis) -> None:
    """On a logarithmic axis, where all that is less than half an image is drawn as that."""
    from matplotlib.ticker import MaxNLocator

    steps = [one.step for one in analysis.steps]
    half_an_image = 50 / analysis.num_images
    for values, color, marker, size, style, label in (
        ([one.bound for one in analysis.steps], "black", "v", 6, "--", "the theory's bound"),
        ([one.best_z for one in analysis.steps], ORANGE, "D", 9, "-.", "least Z/m, which always bounds the error"),
        ([one.train_error for one in analysis.steps], BLUE, "o", 5, "-", "training error"),
    ):
        heights = [max(100 * value, half_an_image) for value in values]
        axes.plot(steps, heights, color=color, marker=marker, markersize=size, linestyle=style, label=label)
    axes.axhline(100, color=GREY, linewidth=1, linestyle=":", label="a bound above this says nothing")
    axes.set_yscale("log")
    axes.set_ylim(bottom=0.7 * half_an_image)
    plain_log_ticks(axes.yaxis, (1,))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("boosting step")
    axes.set_ylabel("training error and its bounds (%)")
    _finish(axes)


def _say_below(figure: Figure, words: str) -> None:
    figure.supxlabel(words, fontsize=8, x=0.02, ha="left")


def _finish(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8.5)
