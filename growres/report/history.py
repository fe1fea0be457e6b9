"""The picture of `growres zoo history`: the error of the winners by year, and the depth that came with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from growres.report.drawing import BLUE, GREY, VERMILION, new_figure, save_picture
from zoo.history import HUMAN_TOP5_ERROR, WINNERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FIRST_NETWORK = 2012
_LABEL_PT = 8.5


def draw_history(path: Path) -> None:
    """Draws the winners' top-5 errors and depths to an .svg or .png file.

    Raises:
        ConfigError: if matplotlib is not installed or the file cannot be written.
    """
    figure = new_figure(8.2, 6.2)
    errors, depths = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1])
    _draw_errors(errors)
    _draw_depths(depths)
    figure.suptitle("The best entry of each year in ImageNet's classification challenge", fontsize=12)
    save_picture(figure, path)


def _draw_errors(axes: Axes) -> None:
    from matplotlib.patches import Patch

    years = [winner.year for winner in WINNERS]
    percent = [100 * winner.top5_error for winner in WINNERS]
    colors = [GREY if winner.year < _FIRST_NETWORK else BLUE for winner in WINNERS]
    axes.bar(years, percent, width=0.66, color=colors)
    human = 100 * HUMAN_TOP5_ERROR
    for year, value, winner in zip(years, percent, WINNERS, strict=True):
        axes.annotate(
            f"{value:.2f}%\n{winner.label}",
            (year, max(value, human)),  # above the line of the trained person, which would cross it
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=_LABEL_PT,
        )
    axes.axhline(human, color=VERMILION, linewidth=1.2, linestyle="--")
    axes.annotate(
        f"one trained\nperson, {human:.2f}%",
        (WINNERS[-1].year + 0.5, human),
        xytext=(0, 4),
        textcoords="offset points",
        fontsize=_LABEL_PT,
        color=VERMILION,
    )
    axes.set_xlim(WINNERS[0].year - 0.6, WINNERS[-1].year + 1.4)
    axes.set_ylabel("top-5 error on test (%)")
    axes.set_ylim(0, 33)
    axes.spines[["top", "right"]].set_visible(False)
    kinds = {"hand-made features": GREY, "convolutional networks, several together": BLUE}
    axes.legend(handles=[Patch(color=color, label=kind) for kind, color in kinds.items()], frameon=False, fontsize=9)


def _draw_depths(axes: Axes) -> None:
    known = [winner for winner in WINNERS if winner.depth is not None]
    axes.plot(
        [winner.year for winner in known],
        [winner.depth or 0 for winner in known],
        color=BLUE,
        marker="o",
        linewidth=1.2,
    )
    for winner in known:
        axes.annotate(
            f"{winner.depth}", (winner.year, winner.depth or 0), xytext=(0, 6), textcoords="offset points", ha="center",
            fontsize=_LABEL_PT,
        )  # fmt: skip
    for winner in WINNERS:
        if winner.depth is None and winner.year > _FIRST_NETWORK:
            axes.annotate(
                "several kinds\nof networks:\nno one depth", (winner.year, 30), ha="center", va="center",
                fontsize=_LABEL_PT, color=GREY,
            )  # fmt: skip
    axes.set_yscale("log", base=10)
    axes.set_ylim(5, 400)
    axes.set_yticks([10, 100], labels=["10", "100"])
    axes.set_ylabel("layers of the\ndeepest network")
    axes.set_xlabel("year of the challenge")
    axes.set_xticks([winner.year for winner in WINNERS])
    axes.spines[["top", "right"]].set_visible(False)
