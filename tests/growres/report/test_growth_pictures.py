from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from growres.report import growth_pictures
from growres.report.growth import GrownNetwork
from growres.report.growth_pictures import draw_error_against_flops, draw_proposals

SHALLOW = GrownNetwork(
    step=0,
    kind="append",
    verdict="start",
    stage=None,
    num_blocks=2,
    val_error=0.2,
    val_error_before=None,
    val_error_control=None,
    val_loss=1.0,
    train_flops_total=10**9,
    is_screened_out=False,
)


def step(number: int, val_error: float | None, before: float, **more: Any) -> GrownNetwork:
    settings = {"verdict": "accepted", "stage": 0, "num_blocks": 2 + number, "train_flops_total": (1 + number) * 10**9}
    return replace(
        SHALLOW,
        step=number,
        val_error=val_error,
        val_error_before=before,
        **{"val_error_control": 0.18} | settings | more,
    )


GROWTH = [
    SHALLOW,
    step(1, 0.12, 0.2),
    step(2, 0.08, 0.12),
    step(3, 0.09, 0.08, verdict="rejected", num_blocks=5),
    step(4, 0.1, 0.08, kind="remove", num_blocks=3, val_error_control=None),
]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved, in order."""
    figures: list[Figure] = []
    save = growth_pictures.save_picture

    def keep(figure: Figure, path: Path) -> None:
        save(figure, path)
        figures.append(figure)

    monkeypatch.setattr(growth_pictures, "save_picture", keep)
    return figures


def bars(axes: Axes, label: str) -> list[tuple[float, float]]:
    """The lowest and the highest point of each error bar of a series."""
    [series] = [one for one in axes.containers if isinstance(one, ErrorbarContainer) and one.get_label() == label]
    return [(line[0][1], line[1][1]) for line in series.lines[2][0].get_segments()]


def test_the_stair_goes_on_with_what_pruning_left(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_error_against_flops(tmp_path / "flops.png", GROWTH, num_images=500, title="t")
    [axes] = drawn[0].axes
    [stair] = [line for line in axes.lines if line.get_label() == "network as accepted so far"]
    assert list(stair.get_ydata()) == pytest.approx([20, 12, 8, 10, 10])
    assert [text.get_text() for text in axes.texts] == ["2", "3", "4", "3 (10.00%)"]


def test_the_last_accepted_proposal_has_its_error_in_figures(tmp_path: Path, drawn: list[Figure]) -> None:
    draw_proposals(tmp_path / "proposals.svg", GROWTH[:4], num_images=500, title="t")
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["8.00%"]


def test_only_control_arms_make_the_proposals_step_aside(tmp_path: Path, drawn: list[Figure]) -> None:
    without = [replace(one, val_error_control=None) for one in GROWTH]
    for growth, aside in ((GROWTH, True), (without, False)):
        draw_proposals(tmp_path / "proposals.svg", growth, num_images=500, title="t")
        [dots] = [one for one in drawn[-1].axes[0].containers if one.get_label() == "accepted proposal"]
        places = dots.lines[0].get_xdata()
        assert (places[0] < 1) == aside and abs(places[0] - 1) < 0.5


@pytest.mark.parametrize("draw", [draw_error_against_flops, draw_proposals])
def test_every_error_has_its_standard_error_and_the_caption_its_n(tmp_path: Path, drawn: list[Figure], draw) -> None:
    draw(tmp_path / "a.svg", GROWTH, num_images=500, title="t")
    [axes] = drawn[0].axes
    low, high = bars(axes, "accepted proposal")[0]
    assert (low + high) / 2 == pytest.approx(12) and (high - low) / 2 == pytest.approx(
        100 * (0.12 * 0.88 / 500) ** 0.5, rel=0.05
    )
    assert "one standard error, n = 500 validation images" in (tmp_path / "a.svg").read_text()
    if draw is draw_proposals:
        assert len(bars(axes, "control arm: the same epochs without the block")) == 3


@pytest.mark.parametrize("draw", [draw_error_against_flops, draw_proposals])
def test_errors_of_nothing_and_networks_that_diverged_are_drawn(tmp_path: Path, draw) -> None:
    growth = [SHALLOW, step(1, 0.0, 0.2), step(2, None, 0.0, verdict="rejected"), step(3, 1.0, 0.0, verdict="rejected")]
    draw(tmp_path / "a.svg", growth, num_images=50, title="t")
    assert "0 is drawn as half an image" in (tmp_path / "a.svg").read_text()
