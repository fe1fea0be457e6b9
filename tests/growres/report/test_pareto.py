from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from PIL import Image

from growres.analysis.comparison import TrialResult, compare_variants
from growres.report.pareto import draw_pareto


def trials(num_variants: int = 4) -> list[TrialResult]:
    return [
        TrialResult(
            variant=f"variant{i}",
            seed=seed,
            test_error=0.1 / (i + 1) + 0.004 * seed,
            num_params=1000 * 3**i,
            train_flops=1e9 * 4.0**i,
            wall_s=20.0 + 30 * i + seed,
        )
        for i in range(num_variants)
        for seed in range(3)
    ]


def draw(path: Path, trials: list[TrialResult], *, title: str = "") -> None:
    baseline = trials[0].variant
    draw_pareto(path, compare_variants(trials, baseline=baseline), trials, baseline=baseline, title=title)


def test_the_picture_names_every_variant_with_its_n_and_every_cost_with_its_unit(tmp_path: Path) -> None:
    draw(tmp_path / "pareto.svg", trials(), title="digits")
    text = (tmp_path / "pareto.svg").read_text()
    for words in (
        "variant0 (n = 3, baseline)",
        *(f"variant{i} (n = 3)" for i in range(1, 4)),
        "parameters",
        "FLOPs of training",
        "seconds of training",
    ):
        assert words in text
    assert "test error (%)" in text and "Pareto front of the means" in text and "digits" in text


def test_many_variants_and_a_cost_of_nothing_are_drawn(tmp_path: Path) -> None:
    free = TrialResult(variant="free", seed=0, test_error=0.9, num_params=0, train_flops=0.0, wall_s=0.0)
    draw(tmp_path / "pareto.png", [*trials(14), free])
    with Image.open(tmp_path / "pareto.png") as picture:
        assert picture.width > 1500 and picture.height > 700


def test_equal_pictures_are_equal_files(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        draw(tmp_path / name, trials())
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_costs_that_are_close_have_few_ticks(tmp_path: Path) -> None:
    close = [replace(trial, num_params=42_000 + 6000 * int(trial.variant[-1])) for trial in trials()]
    draw(tmp_path / "pareto.svg", close)
    labels = re.findall(r">(\d+(?:\.\d+)? k)<", (tmp_path / "pareto.svg").read_text())
    assert "48 k" in labels and 2 <= len(labels) <= 6


def test_an_axis_says_whether_it_is_logarithmic(tmp_path: Path) -> None:
    close = [replace(trial, num_params=42_000 + 6000 * int(trial.variant[-1])) for trial in trials()]
    draw(tmp_path / "pareto.svg", close)
    text = (tmp_path / "pareto.svg").read_text()
    assert ">parameters<" in text and ">FLOPs of training, logarithmic<" in text
