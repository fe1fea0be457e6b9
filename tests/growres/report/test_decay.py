from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from growres.analysis.decay import DecayAnalysis, fit_decay_laws
from growres.analysis.points import Quantity
from growres.report.decay import MeasuredNetwork, draw_decay

VERDICTS = ["start", *["accepted"] * 9]


def grown(quantity: Quantity = "error") -> tuple[DecayAnalysis, list[MeasuredNetwork]]:
    blocks = np.arange(1, 11)
    values = 0.4 * np.exp(-0.3 * blocks) + 0.05
    networks = [
        MeasuredNetwork(num_blocks=int(number), value=float(value), variance=1e-4, verdict=verdict)  # type: ignore[arg-type]
        for number, value, verdict in zip(blocks, values, VERDICTS, strict=True)
    ]
    networks += [MeasuredNetwork(num_blocks=10, value=0.08, variance=1e-4, verdict="rejected") for _ in range(12)]
    columns = [(one.num_blocks, one.value, one.variance) for one in networks]
    return fit_decay_laws(*zip(*columns, strict=True), series="all proposals", quantity=quantity), networks


def test_the_picture_names_every_law_that_is_left_and_says_what_the_data_can_tell(tmp_path: Path) -> None:
    analysis, networks = grown()
    draw_decay(tmp_path / "decay.svg", analysis, networks, title="A growth of 10 blocks")
    text = (tmp_path / "decay.svg").read_text()
    assert len(analysis.plausible) > 1
    assert all(f"{fit.law.label} (" in text for fit in analysis.plausible)
    for words in (
        "A growth of 10 blocks",
        "validation error (%), with one standard error",
        "accepted proposal",
        "rejected proposal",
        "90% interval",
        "22 points at 10 numbers of blocks",
    ):
        assert words in text


@pytest.mark.parametrize("scale", ["linear", "semi-log", "log-log"])
def test_equal_pictures_are_equal_files_on_every_scale(tmp_path: Path, scale: str) -> None:
    analysis, networks = grown()
    for name in ("a.svg", "b.svg"):
        draw_decay(tmp_path / name, analysis, networks, title="A growth", scale=scale)  # type: ignore[arg-type]
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_a_loss_is_not_drawn_as_a_percentage(tmp_path: Path) -> None:
    analysis, networks = grown("loss")
    draw_decay(tmp_path / "loss.svg", analysis, networks, title="Loss")
    text = (tmp_path / "loss.svg").read_text()
    assert "validation loss (nats)" in text and "%)" not in text


def test_a_png_is_large_enough_to_print(tmp_path: Path) -> None:
    analysis, networks = grown()
    draw_decay(tmp_path / "decay.png", analysis, networks, title="A growth")
    with Image.open(tmp_path / "decay.png") as picture:
        assert picture.width > 1000 and picture.height > 700
