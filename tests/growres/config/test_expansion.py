"""What --dry-run promises: no growth trains more epochs than its plan says, and some can train as many."""

from __future__ import annotations

import itertools

import pytest

from growres.config.budget import epochs_of_a_round, most_rounds
from growres.config.expansion import describe_plan
from growres.config.experiment import GrowthConfig, StopConfig

STOP = "stop: {max_blocks: 12, patience: 3, target_error: 0.01}"


def test_the_plan_of_the_documented_file(digits, load):
    plan = describe_plan(load(digits).experiment, num_train=1000)
    simons, lenet5 = plan.trials[0], plan.trials[2]
    assert (simons.epochs_min, simons.epochs_max) == (5, 5 + 10 * 3 * 5)
    assert (lenet5.epochs_min, lenet5.epochs_max, lenet5.images_max) == (20, 20, 20_000)
    assert (lenet5.variant, lenet5.model, lenet5.procedure, lenet5.seed) == ("lenet5", "lenet5", "end_to_end", 0)
    assert plan.trials[-1].sweep_point == {"training.optimizer.lr": 0.1}
    assert (plan.epochs_min, plan.epochs_max) == (2 * 5 + 6 * 20, 2 * 155 + 6 * 20)
    assert (plan.images_min, plan.images_max) == (130_000, 430_000)


def test_without_a_bound_there_is_no_most(digits, load):
    plan = describe_plan(load(digits.replace(STOP, "stop: {target_error: 0.01}")).experiment, num_train=10)
    assert plan.trials[0].epochs_max is plan.epochs_max is plan.images_max is None
    assert plan.images_min == 10 * plan.epochs_min


def test_images_are_unknown_where_the_training_split_is(digits, load):
    plan = describe_plan(load(digits).experiment)
    assert plan.images_min is plan.images_max is plan.trials[0].images_min is None


def test_a_fixed_residual_network_knows_its_blocks(digits, load):
    model = "{name: preact_resnet, blocks: [1, 1], widths: [16, 32]}"
    plan = describe_plan(load(digits.replace(model, "{name: resnet14}")).experiment)
    assert plan.trials[0].epochs_max == 5 + (12 - 6) * 3 * 5


def test_asha_bounds_a_trial(digits, load):
    asha = "scheduler: {name: asha, grace_epochs: 2, max_epochs: 30}\n"
    plan = describe_plan(load(asha + digits).experiment)
    assert (plan.trials[0].epochs_min, plan.trials[0].epochs_max) == (2, 30)
    assert (plan.trials[2].epochs_min, plan.trials[2].epochs_max) == (2, 20)


def _longest_run(growth: GrowthConfig, num_blocks: int, horizon: int) -> int:
    """Steps of the longest run over every sequence of verdicts, by trying them all."""
    stop, longest = growth.stop, 0
    for verdicts in itertools.product([True, False], repeat=horizon):
        blocks, rejected, epochs, steps = num_blocks, 0, growth.seed_epochs, 0
        for accepted in verdicts:
            if stop.max_blocks is not None and blocks >= stop.max_blocks:
                break
            if stop.patience is not None and rejected >= stop.patience:
                break
            if stop.max_epochs is not None and epochs + epochs_of_a_round(growth, 1) > stop.max_epochs:
                break
            steps += 1
            epochs += epochs_of_a_round(growth, 1)
            blocks, rejected = (blocks + 1, 0) if accepted else (blocks, rejected + 1)
        longest = max(longest, steps)
    return longest


@pytest.mark.parametrize("control", [False, True])
@pytest.mark.parametrize("max_blocks", [None, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("patience", [None, 1, 2, 3])
@pytest.mark.parametrize("max_epochs", [None, 1, 5, 12, 21])
def test_the_most_steps_are_those_of_the_longest_run_of_verdicts(control, max_blocks, patience, max_epochs):
    if max_blocks is patience is max_epochs is None:
        return
    stop = StopConfig(max_blocks=max_blocks, patience=patience, max_epochs=max_epochs)
    growth = GrowthConfig(seed_epochs=3, epochs_per_step=2, control=control, stop=stop)
    most, horizon = most_rounds(growth, [2]), 10
    longest = _longest_run(growth, num_blocks=2, horizon=horizon)
    assert longest == (horizon if most is None else min(most, horizon))


@pytest.mark.parametrize("max_epochs", [4, 9, 21, 22, 23, 40, 63])
@pytest.mark.parametrize(
    ("choices", "shortest_seed", "shortest_round"),
    [
        ({"when": {"name": "plateau", "patience": 1}}, 2, 4),  # two arms of two epochs
        ({"accept": {"name": "mcnemar", "replicates": 2, "max_replicates": 3}}, 4, 24),
        ({"initialiser": {"name": "adam_gamma"}}, 4, 12),
    ],
)
def test_rounds_that_may_be_short_leave_room_for_more_of_them(choices, shortest_seed, shortest_round, max_epochs):
    growth = GrowthConfig.model_validate(
        {"seed_epochs": 4, "epochs_per_step": 6, "control": True, "stop": {"max_epochs": max_epochs}, **choices}
    )
    spent, rounds = shortest_seed, 0
    while spent + epochs_of_a_round(growth, 1) <= max_epochs:
        spent, rounds = spent + shortest_round, rounds + 1
    assert most_rounds(growth, [1]) == rounds


def test_no_plan_is_larger_than_the_budget_of_epochs(digits, load):
    text = digits.replace(STOP, "stop: {max_epochs: 47}").replace(
        "control: false", "control: false\n      tail_epochs: 3"
    )
    (steady, *_), (early, *_) = (
        describe_plan(load(file).experiment).trials
        for file in (text, text.replace("seed_epochs: 5 ", "when: {name: plateau, patience: 1}\n      seed_epochs: 5 "))
    )
    assert (steady.epochs_min, steady.epochs_max) == (5 + 3, 5 + 8 * 5 + 3)
    assert (early.epochs_min, early.epochs_max) == (2 + 3, 47 + 3)
