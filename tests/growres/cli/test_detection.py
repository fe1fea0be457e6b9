"""What one step can detect, in the plan of a dry run."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from growres.analysis.power import detectable_drop, usual_discordant
from tests.growres.cli.conftest import Answer

DATASET: dict[str, Any] = {"source": "digits"}
VALIDATION_IMAGES = 288  # of 1,797: a fifth of what the test split leaves

Plan = Callable[..., Answer]


@pytest.fixture
def plan(growres: Callable[..., Answer], tmp_path: Path) -> Plan:
    """A dry run of a growth with this `accept` and whatever else its section is given."""

    def run(accept: dict[str, Any], *arguments: str, dataset: dict[str, Any] = DATASET, **growth: Any) -> Answer:
        grown = {
            "procedure": "growth",
            "model": {"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 4]},
            "growth": {
                "seed_epochs": 1,
                "epochs_per_step": 1,
                "stop": {"max_blocks": 4, "patience": 2},
                "accept": accept,
                **growth,
            },
        }
        fixed = {"procedure": "end_to_end", "model": {"name": "lenet5"}, "training": {"epochs": 1}}
        spec = {
            "name": "tiny",
            "dataset": dataset,
            "training": {"optimizer": {"name": "sgd", "lr": 0.1}},
            "variants": {"simons": grown, "lenet5": fixed},
        }
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        return growres("submit", str(tmp_path / "spec.yaml"), "--dry-run", *arguments)

    return run


def detects(plan: Plan, accept: dict[str, Any], **more: Any) -> dict[str, Any]:
    rows = {row["variant"]: row["step_detects"] for row in plan(accept, "--json", **more).json}
    assert rows["lenet5"] is None
    found: dict[str, Any] = rows["simons"]
    return found


def test_the_drops_are_those_of_the_test_on_the_validation_images(plan: Plan) -> None:
    found = detects(plan, {"name": "mcnemar"})
    assert (found["validation_images"], found["alpha"], found["power"]) == (VALIDATION_IMAGES, 0.05, 0.8)
    assert found["drops"] == [
        {"error": error, "drop": detectable_drop(VALIDATION_IMAGES, error)} for error in (0.05, 0.2)
    ]
    points = f"{100 * detectable_drop(VALIDATION_IMAGES, 0.05):.2f} pp"
    [line] = [line for line in plan({"name": "mcnemar"}).err.splitlines() if line.startswith("simons: ")]
    assert line.startswith(f"simons: one step (McNemar, alpha 0.05) on {VALIDATION_IMAGES} validation images finds ")
    assert f"drops of {points} or more at an error of 5%" in line and "80% power" in line


def test_a_target_error_is_the_error_that_drops_are_looked_for_at(plan: Plan) -> None:
    stop = {"max_blocks": 4, "patience": 2, "target_error": 0.1}
    assert [drop["error"] for drop in detects(plan, {"name": "mcnemar"}, stop=stop)["drops"]] == [0.1]
    assert len(detects(plan, {"name": "mcnemar"}, stop=stop | {"target_error": 0.0})["drops"]) == 2


def test_a_drop_that_no_luck_could_be_told_from_is_said_to_be_none(plan: Plan) -> None:
    stop = {"max_blocks": 4, "patience": 2, "target_error": 0.01}
    assert detects(plan, {"name": "mcnemar"}, stop=stop)["drops"] == [{"error": 0.01, "drop": None}]
    assert "finds not even a drop to 0 from an error of 1%" in plan({"name": "mcnemar"}, stop=stop).err


@pytest.mark.parametrize(
    ("accept", "growth", "alpha"),
    [
        ({"alpha": 0.1}, {}, 0.1),
        ({"spend": "alpha_spending"}, {}, 0.05 * 6 / math.pi**2),
        ({"spend": "holm"}, {}, 0.05 / 4),  # room for two blocks, with a patience of two
        ({"max_replicates": 3}, {}, 0.05 / 3),
        ({}, {"placement": {"name": "best_of"}}, 0.05 / 2),
    ],
    ids=["alpha", "alpha_spending", "holm", "three looks", "two proposals"],
)
def test_alpha_is_the_share_of_one_proposal_in_the_first_round(
    plan: Plan, accept: dict[str, Any], growth: dict[str, Any], alpha: float
) -> None:
    assert detects(plan, {"name": "mcnemar", **accept}, **growth)["alpha"] == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("accept", "growth", "tests", "said"),
    [
        ({"name": "error_drop"}, {}, None, "accept error_drop tests nothing, a drop by luck passes like any other"),
        ({"name": "always"}, {}, None, "accept always tests nothing, every block is kept"),
        ({"name": "versus_control", "test": "error_drop"}, {"control": True}, None, "accept versus_control tests no"),
        ({"name": "paired_loss"}, {}, "loss", "simons: a step tests the loss, which can detect smaller gains. For"),
    ],
    ids=["error_drop", "always", "error_drop against the control", "paired_loss"],
)
def test_a_rule_that_tests_nothing_or_something_else_says_so_and_has_the_figure_all_the_same(
    plan: Plan, accept: dict[str, Any], growth: dict[str, Any], tests: str | None, said: str
) -> None:
    err = plan(accept, **growth).err
    assert said in err and "For orientation: a test of the error in one step (McNemar" in err
    found = detects(plan, accept, **growth)
    assert found["tests"] == tests and found["alpha"] == 0.05
    against = {"name": "versus_control"} if growth else {"name": "mcnemar"}
    assert found["drops"] == detects(plan, against, **growth)["drops"]


def test_candidate_and_control_are_a_quarter_as_discordant_as_candidate_and_parent(plan: Plan) -> None:
    found = detects(plan, {"name": "versus_control"}, control=True)
    assert (found["tests"], found["against"]) == ("error", "control")
    assert found["drops"] == [
        {"error": error, "drop": detectable_drop(VALIDATION_IMAGES, error, discordant=usual_discordant(error) / 4)}
        for error in (0.05, 0.2)
    ]
    assert detects(plan, {"name": "mcnemar"})["against"] == "parent"
    err = plan({"name": "versus_control"}, control=True).err
    assert "simons: one step (McNemar against the control, alpha 0.05)" in err
    assert "candidate and control 0.25 times as often" in err


def test_where_alpha_is_spent_the_last_step_is_told_beside_the_first(plan: Plan) -> None:
    spending = {"name": "mcnemar", "spend": "alpha_spending"}
    found = detects(plan, spending)  # room for two blocks, with a patience of two: four rounds
    last = found["last_step"]
    assert last["step"] == 4 and last["alpha"] == pytest.approx(found["alpha"] / 16)
    assert [one["drop"] for one in last["drops"]] == [
        detectable_drop(VALIDATION_IMAGES, error, alpha=last["alpha"]) for error in (0.05, 0.2)
    ]
    drops = [f"{100 * step['drops'][1]['drop']:.2f} pp or more at an error of 20%" for step in (found, last)]
    err = plan(spending).err
    assert f"simons: the first step (McNemar, alpha {found['alpha']:.3g})" in err and drops[0] in err
    assert f"step 4 (the last that there can be, alpha {last['alpha']:.3g})" in err and drops[1] in err


def test_where_nothing_bounds_the_steps_the_tenth_stands_for_the_later_ones(plan: Plan) -> None:
    spending, unbounded = {"name": "mcnemar", "spend": "alpha_spending"}, {"max_seconds": 5}
    assert detects(plan, spending, stop=unbounded)["last_step"]["step"] == 10
    assert "step 10 (no rule bounds them, alpha" in plan(spending, stop=unbounded).err


@pytest.mark.parametrize("spend", ["none", "holm"])
def test_where_no_later_step_has_a_lower_level_one_figure_is_enough(plan: Plan, spend: str) -> None:
    assert detects(plan, {"name": "mcnemar", "spend": spend})["last_step"] is None


def test_images_that_are_not_here_yet_are_known_where_the_file_gives_their_number(plan: Plan) -> None:
    absent = {"source": "hub", "path": "nobody/has-this"}
    unknown = detects(plan, {"name": "mcnemar"}, dataset=absent)
    assert unknown["validation_images"] is None and unknown["drops"] == []
    assert "are not here yet" in plan({"name": "mcnemar"}, dataset=absent).err
    promised = {**absent, "validation": 5000, "limit": {"validation": 2000}}
    assert detects(plan, {"name": "mcnemar"}, dataset=promised)["validation_images"] == 2000


def test_csv_has_it_in_one_field(plan: Plan) -> None:
    rows = list(csv.DictReader(io.StringIO(plan({"name": "mcnemar"}, "--format", "csv").out)))
    assert json.loads(rows[0]["step_detects"])["validation_images"] == VALIDATION_IMAGES
    assert rows[1]["step_detects"] == ""
