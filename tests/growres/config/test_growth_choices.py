"""What the section growth may say, and what of it does not go together."""

from __future__ import annotations

import json
from typing import Any

import pytest

ACCEPT = "accept: {name: error_drop, min_drop: 0.0}"
CONTROL = "control: false"
INITIALISER = "initialiser: {name: zero_branch}"
PLACEMENT = "placement: {name: round_robin}"
MODEL = "model: {name: preact_resnet, blocks: [1, 1], widths: [16, 32]}"
POST_ACTIVATION = "model: {name: resnet, blocks: [1, 1], widths: [16, 32]}"
TRAIN = "train: all"
STOP = "stop: {max_blocks: 12, patience: 3, target_error: 0.01}"


def holds(configured: Any, written: Any) -> bool:
    """Whether a section's values are those that were written, with the defaults beside them."""
    if isinstance(written, dict):
        return isinstance(configured, dict) and all(holds(configured.get(key), value) for key, value in written.items())
    return bool(configured == written)


@pytest.mark.parametrize(
    ("key", "written"),
    [
        (PLACEMENT, {"placement": {"name": "widest_gap", "stages": [1], "images": 64}}),
        (PLACEMENT, {"placement": {"name": "best_of", "screen": "cached_features", "screen_epochs": 3}}),
        (PLACEMENT, {"placement": {"name": "new_stage", "max_stages": 3}}),
        (PLACEMENT, {"when": {"name": "plateau", "patience": 2}}),
        (INITIALISER, {"initialiser": {"name": "gradmax", "images": 64}}),
        (INITIALISER, {"initialiser": {"name": "copy_previous"}}),
        (
            ACCEPT,
            {
                "accept": {
                    "name": "mcnemar", "alpha": 0.1, "spend": "alpha_spending", "replicates": 2, "max_replicates": 4,
                    "reject_above": 0.4,
                }
            },
        ),
        (ACCEPT, {"accept": {"name": "mcnemar", "spend": "holm"}}),
        (ACCEPT, {"accept": {"name": "paired_loss", "max_error_rise": 0.01}}),
        (CONTROL, {"control": True, "optimizer_at_growth": {"name": "shrink_and_perturb", "shrink": 0.5}}),
        (CONTROL, {"schedule_at_growth": "whole_run", "old_lr_factor": 0.1, "prune": True, "tail_epochs": 2}),
        (TRAIN, {"train": "new_block_then_all", "cache_features": 2, "keep_outputs": False}),
        (STOP, {"stop": {"noise_floor": {}, "max_flops": 1e12}}),
        (STOP, {"stop": {"noise_floor": {"min_points": 9, "label_noise": 0.1}, "max_seconds": 60.5, "patience": 5}}),
    ],
)  # fmt: skip
def test_every_choice_can_be_written_and_is_held(digits: str, load, key: str, written: dict[str, Any]) -> None:
    lines = "\n      ".join(f"{name}: {json.dumps(value)}" for name, value in written.items())
    assert digits.count(key) == 1
    before, after = (
        load(text).experiment.trials[0].growth.model_dump(mode="json") for text in (digits, digits.replace(key, lines))
    )
    assert holds(after, written)
    assert not any(holds(before, {name: value}) for name, value in written.items()), "none is what it would be anyway"


@pytest.mark.parametrize("initialiser", ["zero_gamma", "gaussian_gamma", "uniform_gamma", "adam_gamma"])
def test_what_is_set_in_the_last_batch_norm_needs_a_branch_that_ends_in_one(
    digits: str, load, refuse, initialiser: str
) -> None:
    asking = digits.replace(INITIALISER, f"initialiser: {{name: {initialiser}}}")
    (problem,) = refuse(asking)
    assert f"the initialiser {initialiser}" in problem and "a convolution ends it" in problem
    assert load(asking.replace(MODEL, POST_ACTIVATION)).experiment.trials[0].growth.initialiser.name == initialiser


def test_gradmax_needs_a_branch_that_ends_in_a_convolution(digits: str, load, refuse) -> None:
    asking = digits.replace(INITIALISER, "initialiser: {name: gradmax}")
    (problem,) = refuse(asking.replace(MODEL, POST_ACTIVATION))
    assert "a batch norm follows" in problem and "take preact_resnet" in problem


def test_skip_init_needs_blocks_that_have_the_number(digits: str, load, refuse) -> None:
    asking = digits.replace(INITIALISER, "initialiser: {name: skip_init}")
    (problem,) = refuse(asking)
    assert "add skip_init: true" in problem
    load(asking.replace("widths: [16, 32]}", "widths: [16, 32], skip_init: true}"))


@pytest.mark.parametrize("initialiser", ["zero_branch", "kaiming", "gradmax"])
def test_blocks_that_have_the_number_hide_what_another_initialiser_does(
    digits: str, load, refuse, initialiser: str
) -> None:
    skipping = digits.replace("widths: [16, 32]}", "widths: [16, 32], skip_init: true}")
    (problem,) = refuse(skipping.replace(INITIALISER, f"initialiser: {{name: {initialiser}}}"))
    assert f"hides what the initialiser {initialiser} does" in problem
    load(skipping.replace(INITIALISER, "initialiser: {name: copy_previous}"))


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        (PLACEMENT, "when: {name: periodic}", "give accept: {name: always}"),
        (PLACEMENT, "placement: {name: round_robin, freeze: {window_epochs: 10}}", "give accept: {name: always}"),
        (ACCEPT, "accept: {name: versus_control}", "give control: true"),
        (ACCEPT, "accept: {name: mcnemar, replicates: 3, max_replicates: 2}", "must not be less than replicates"),
        (PLACEMENT, "placement: {name: new_stage, max_stages: 2}", "must be more than the 2 stages"),
        (PLACEMENT, "placement: {name: best_of, stages: [0, 5]}", "there is no stage 5"),
        (PLACEMENT, "placement: {name: widest_gap, stages: [7]}", "there is no stage 7"),
        (ACCEPT, "accept: {name: mcnemar, alpha: 0.7}", "less than 0.5"),
        (PLACEMENT, "placement: {name: best_of}\n      control: true\n      when: {name: plateau}", "differ in length"),
        (
            ACCEPT,
            "accept: {name: versus_control, test: error_drop, alpha: 0.1}\n      control: true",
            "error_drop has no p-value, and takes no alpha",
        ),
        (STOP, "stop: {max_blocks: 1}", "must not be less than the 2 blocks that the model begins with"),
        (STOP, "stop: {noise_floor: {min_points: 2}}", "4 or more|at least 4|greater than or equal to 4"),
    ],
)
def test_what_does_not_go_together_is_refused(digits: str, refuse, key: str, value: str, wrong: str) -> None:
    problems = "\n".join(refuse(digits.replace(key, value)))
    assert any(words in problems for words in wrong.split("|")), problems


def test_a_new_stage_needs_blocks_that_can_be_refused(digits: str, refuse) -> None:
    opening = digits.replace(PLACEMENT, "placement: {name: new_stage, max_stages: 3}")
    (problem,) = refuse(opening.replace(ACCEPT, "accept: {name: always}"))
    assert "accept: always refuses none" in problem


@pytest.mark.parametrize(("stop", "patience"), [("{patience: 3}", 3), ("{max_blocks: 9}", 3), ("{patience: 1}", 1)])
def test_a_patience_that_ends_before_a_stage_is_opened_is_refused(
    digits: str, load, refuse, stop: str, patience: int
) -> None:
    opening = digits.replace(PLACEMENT, "placement: {name: new_stage, max_stages: 4}")
    (problem,) = refuse(opening.replace(STOP, f"stop: {stop}"))
    assert f"patience ({patience}) would end the growth before: give at least max_stages (4)" in problem
    load(opening.replace(STOP, "stop: {patience: 4}"))
    load(opening.replace(STOP, "stop: {max_epochs: 60}"))


@pytest.mark.parametrize(
    ("key", "value"), [(ACCEPT, "accept: {name: mcnemar, spend: holm}"), (ACCEPT, "schedule_at_growth: whole_run")]
)
def test_what_is_shared_out_over_the_rounds_needs_a_most_of_them(
    digits: str, load, refuse, key: str, value: str
) -> None:
    unbounded = digits.replace(key, value).replace(STOP, "stop: {patience: 3}")
    assert any("the most rounds" in problem for problem in refuse(unbounded))
    load(unbounded.replace("stop: {patience: 3}", "stop: {max_epochs: 60}"))


def test_epochs_that_nothing_trains_for_are_noted(digits: str, load) -> None:
    assert load(digits).notes == ()
    alone = digits[: digits.index("  lenet5:")]
    assert load(alone).notes == (
        "training.epochs has no effect: no variant has procedure: end_to_end. These train by growth.seed_epochs, "
        "growth.epochs_per_step",
    )
    assert load(alone.replace("  epochs: 20\n", "")).notes == ()


@pytest.mark.parametrize("budget", ["max_epochs: 100", "max_flops: 1e9", "max_seconds: 60"])
def test_a_budget_ends_a_growth_without_a_patience(digits: str, load, budget: str) -> None:
    stop = load(digits.replace(STOP, f"stop: {{{budget}}}")).experiment.trials[0].growth.stop
    assert stop.patience is None


def test_the_noise_floor_alone_has_a_patience_beside_it(digits: str, load) -> None:
    stop = load(digits.replace(STOP, "stop: {noise_floor: {}}")).experiment.trials[0].growth.stop
    assert stop.patience == 3


def test_a_variant_may_have_a_label_noise_of_its_own_and_sweep_it(digits: str, load, refuse) -> None:
    sweep = "sweep: {dataset.label_noise: {grid: [0.0, 0.1]}}"
    trials = load(digits.replace(MODEL, f"{MODEL}\n    {sweep}")).experiment.trials
    assert [trial.dataset.label_noise for trial in trials if trial.variant == "simons"] == [0.0, 0.0, 0.1, 0.1]
    assert {trial.dataset.label_noise for trial in trials if trial.variant == "lenet5"} == {0.0}
    (problem,) = refuse(digits.replace(MODEL, f"{MODEL}\n    {sweep.replace('0.1', '1.5')}"))
    assert "label_noise" in problem and "1.5" in problem
    assert any("noise" in line for line in refuse(digits.replace(MODEL, f"{MODEL}\n    dataset: {{noise: 0.1}}")))
