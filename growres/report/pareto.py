"""The picture of what a lower error costs: test error against parameters, FLOPs and seconds, with the Pareto fronts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from growres.analysis.comparison import TrialResult, VariantComparison, VariantSummary
from growres.analysis.pareto import Cost, Front
from growres.report.drawing import BLUE, GREEN, GREY, ORANGE, VERMILION, new_figure, save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PURPLE, _SKY, _BLACK = "#CC79A7", "#56B4E9", "#000000"  # the rest of Okabe and Ito's palette
_COLORS = (BLUE, VERMILION, GREEN, ORANGE, _PURPLE, _SKY, _BLACK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_LEGEND_COLUMNS = 5
_WIDE = 100  # a range of costs in which ticks at 1, 2 and 5 would crowd each other
_NARROW = 3  # one in which there might be no such tick at all
_AXES: dict[Cost, str] = {
    "num_params": "parameters",
    "train_flops": "FLOPs of training",
    "wall_s": "seconds of training",
}


def draw_pareto(
    path: Path, comparison: VariantComparison, trials: Sequence[TrialResult], *, baseline: str, title: str = ""
) -> None:
    """Draws error against each cost to an .svg or .png file: variants as means over their seeds, seeds as small points.

    Colour and shape both tell a variant, so that a print in grey and any colour vision can.

    Args:
        trials: those that were compared.
        baseline: the variant that is marked as the one that the others were compared with.
    Raises:
        ConfigError: if matplotlib is not installed or the file cannot be written.
    """
    figure = new_figure(11, 4.6 + 0.25 * (len(comparison.variants) // _LEGEND_COLUMNS))
    panels = figure.subplots(1, len(comparison.fronts), sharey=True)
    for axes, front in zip(panels, comparison.fronts, strict=True):
        _draw_panel(axes, front, comparison, trials, baseline)
    panels[0].set_ylabel("test error (%)")
    panels[1].set_title("means over the seeds with their standard deviation; small: the seeds", fontsize=9)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False, fontsize=9)
    figure.suptitle(title or "Test error against what it costs", fontsize=12)
    save_picture(figure, path)


def _draw_panel(
    axes: Axes, front: Front, comparison: VariantComparison, trials: Sequence[TrialResult], baseline: str
) -> None:
    _draw_front(axes, front, comparison)
    for index, summary in enumerate(comparison.variants):
        color, marker = _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)]
        own = [trial for trial in trials if trial.variant == summary.variant]
        axes.scatter(
            [getattr(trial, front.cost) for trial in own],
            [100 * trial.test_error for trial in own],
            s=14, color=color, marker=marker, alpha=0.45, linewidths=0, zorder=3,
        )  # fmt: skip
        axes.errorbar(
            [getattr(summary, front.cost)],
            [100 * summary.mean_test_error],
            yerr=[100 * (summary.std_test_error or 0.0)],
            color=color, marker=marker, markersize=8, markeredgecolor="white", elinewidth=1.2, linestyle="none",
            zorder=4, label=_label(summary, baseline),
        )  # fmt: skip
    _scale(axes, [getattr(trial, front.cost) for trial in trials])
    axes.set_xlabel(f"{_AXES[front.cost]}{', logarithmic' if axes.get_xscale() == 'log' else ''}")
    axes.grid(axis="y", color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    """A logarithmic axis with ticks such as 20 k and 50 k; a linear one where costs are close, or one is nothing."""
    from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator, NullFormatter

    if max(costs) <= _NARROW * min(costs) or min(costs) <= 0:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    else:
        axes.set_xscale("log")
        is_wide = max(costs) / min(costs) > _WIDE
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0,) if is_wide else (1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(EngFormatter())


def _draw_front(axes: Axes, front: Front, comparison: VariantComparison) -> None:
    """A stair through the means of the front: the error to be had for at most so much."""
    by_name = {summary.variant: summary for summary in comparison.variants}
    corners = [by_name[name] for name in front.variants]
    costs = [getattr(corner, front.cost) for corner in corners]
    errors = [100 * corner.mean_test_error for corner in corners]
    dearest = max(getattr(summary, front.cost) for summary in comparison.variants)
    axes.step(
        [*costs, dearest], [*errors, errors[-1]], where="post", color=GREY, linewidth=1.2, linestyle="--", zorder=2,
        label="Pareto front of the means",
    )  # fmt: skip


def _label(summary: VariantSummary, baseline: str) -> str:
    return f"{summary.variant} (n = {summary.num_trials}{', baseline' if summary.variant == baseline else ''})"
