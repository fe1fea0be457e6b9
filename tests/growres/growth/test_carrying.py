"""What an arm takes along from its parent, how fast what is old learns, by which schedule, and for how long."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from growres.config.experiment import CosineSchedule
from growres.events import EpochFinished, GrowthStepDecided, TrialFinished
from growres.growth.arms import Place
from growres.growth.procedure import Growth
from growres.growth.timing import Plateau
from growres.training.arm import ArmTraining
from growres.training.optimizers import OptimizerState
from growres.training.schedules import Schedule
from tests.growres.growth.beginnings import FIRST, Beginning, begin, copied

SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
ADAMW = {"name": "adamw", "lr": 0.01}
OPTIMIZERS = pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])


@pytest.fixture
def beginning(make_trial, make_context):
    def make(*, optimizer: dict[str, Any] = SGD, training: dict[str, Any] | None = None, **growth: Any) -> Beginning:
        trial = make_trial(procedure="growth", training={"optimizer": optimizer, **(training or {})}, growth=growth)
        return begin(trial, make_context(trial))

    return make


def optimizer_state(arm: ArmTraining) -> OptimizerState:
    state: OptimizerState = arm.state_dict()["optimizer"]
    return state


def is_fresh(tensors: dict[str, torch.Tensor]) -> bool:
    """As absent: no tensors, or a momentum of zero."""
    return all(not value.any() for value in tensors.values())


# -------------------------------------------------------------------------------------------------------- the optimiser


@OPTIMIZERS
@pytest.mark.parametrize("arm", ["candidate", "control"])
def test_carry_goes_on_with_the_parents_state_and_begins_the_new_blocks_fresh(beginning, optimizer, arm: str) -> None:
    begun = beginning(optimizer=optimizer, optimizer_at_growth={"name": "carry"})
    parent, state = optimizer_state(begun.parent.arm), optimizer_state(begun.candidate().arm)
    if arm == "control":
        state = optimizer_state(begun.control())
    for name, tensors in parent.items():
        assert not is_fresh(tensors)
        assert tensors.keys() == state[name].keys()
        assert all(torch.equal(value, state[name][key]) for key, value in tensors.items())
        assert all(value.data_ptr() != state[name][key].data_ptr() for key, value in tensors.items())
    assert all(is_fresh(tensors) for name, tensors in state.items() if name not in parent)


@OPTIMIZERS
@pytest.mark.parametrize("choice", ["reset", "shrink_and_perturb"])
def test_reset_and_shaking_begin_with_an_empty_state(beginning, optimizer, choice: str) -> None:
    begun = beginning(optimizer=optimizer, optimizer_at_growth={"name": choice})
    for arm in (begun.candidate().arm, begun.control()):
        assert all(is_fresh(tensors) for tensors in optimizer_state(arm).values())


@pytest.mark.parametrize("choice", ["carry", "reset"])
def test_carry_and_reset_leave_the_weights_of_both_arms_as_the_parents(beginning, choice: str) -> None:
    begun = beginning(optimizer_at_growth={"name": choice})
    parent = copied(begun.parent.network)
    for arm in (begun.candidate().arm, begun.control()):
        assert all(torch.equal(arm.network.state_dict()[name], value) for name, value in parent.items())


@OPTIMIZERS
@pytest.mark.parametrize("choice", ["carry", "reset", "shrink_and_perturb"])
@pytest.mark.parametrize("train", ["all", "new_block_then_all"])
def test_an_arm_of_a_new_stage_trains_on_whatever_it_took_along(beginning, optimizer, choice: str, train: str) -> None:
    begun = beginning(optimizer=optimizer, optimizer_at_growth={"name": choice}, train=train)
    arm = begun.candidate(stage=2).arm
    assert len(list(arm.run())) == 2
    assert all(torch.isfinite(value).all() for value in arm.network.state_dict().values())


# ------------------------------------------------------------------------------------------------- shrink and perturb


SHAKE = {"name": "shrink_and_perturb", "shrink": 0.5, "perturb": 0.1}


def is_shaken(module: nn.Module, name: str) -> bool:
    owner, _, kind = name.rpartition(".")
    return isinstance(module.get_submodule(owner), (nn.Conv2d, nn.Linear)) and kind == "weight"


def test_candidate_and_control_begin_from_the_same_shaken_weights(beginning) -> None:
    begun = beginning(optimizer_at_growth=SHAKE)
    parent = copied(begun.parent.network)
    candidate, control = begun.candidate().arm.network.state_dict(), begun.control().network.state_dict()
    for name, value in parent.items():
        assert torch.equal(candidate[name], control[name])
        assert torch.equal(candidate[name], value) != is_shaken(begun.parent.network, name)
    assert all(torch.equal(value, parent[name]) for name, value in begun.parent.network.state_dict().items())


def test_the_noise_is_that_of_the_seed_the_round_and_the_replicate(beginning) -> None:
    begun = beginning(optimizer_at_growth=SHAKE)
    places = [FIRST, FIRST, Place(step=2, round=1), Place(step=2, round=2), Place(step=1, round=1, replicate=1)]
    first, again, beside, *others = (begun.control(place).network.stem[0].weight for place in places)
    assert torch.equal(first, again) and torch.equal(first, beside)
    assert all(not torch.equal(first, other) for other in others) and not torch.equal(*others)


def test_the_new_block_is_as_without_shaking(beginning) -> None:
    still, shaken = (
        beginning(optimizer_at_growth=choice).candidate(stage=1).arm.network.state_dict()
        for choice in ({"name": "carry"}, SHAKE)
    )
    new = [name for name in still if name.startswith("stages.1.1.")]
    assert len(new) > 0
    assert all(torch.equal(still[name], shaken[name]) for name in new)


def test_the_weights_are_shrunk_and_the_noise_is_in_standard_deviations_of_the_layers_own(beginning) -> None:
    shrink, perturb = 0.5, 0.1
    begun = beginning(optimizer_at_growth={"name": "shrink_and_perturb", "shrink": shrink, "perturb": perturb})
    old, new = dict(begun.parent.network.named_parameters()), dict(begun.control().network.named_parameters())
    name = "stages.1.0.branch.conv2.weight"
    noise = ((new[name] - shrink * old[name]) / old[name].std()).detach()
    assert noise.numel() == 576
    assert float(noise.std()) == pytest.approx(perturb, rel=0.15)
    assert abs(float(noise.mean())) < 4 * perturb / 576**0.5


# ------------------------------------------------------------------------------------------------- the old parameters


def after_one_step(begun: Beginning, monkeypatch: pytest.MonkeyPatch, arm: str) -> dict[str, torch.Tensor]:
    """How far each parameter of the arm moved in its first step."""
    context = begun.parent.arm.context
    only = next(context.data.train_batches(context.seed, 2))
    monkeypatch.setattr(type(context.data), "train_batches", lambda *of: iter([only]))
    training = begun.candidate(stage=1).arm if arm == "candidate" else begun.control()
    before = copied(training.network)
    next(training.run())
    return {name: parameter.detach() - before[name] for name, parameter in training.network.named_parameters()}


@pytest.mark.parametrize("arm", ["candidate", "control"])
@pytest.mark.parametrize("factor", [0.25, 0.01])
def test_old_parameters_move_by_their_factor_and_new_ones_as_ever(beginning, monkeypatch, arm: str, factor) -> None:
    plain = {"optimizer": {"name": "sgd", "lr": 0.1}, "training": {"schedule": {"name": "constant"}}}
    usual = after_one_step(beginning(**plain), monkeypatch, arm)
    monkeypatch.undo()
    slow = after_one_step(beginning(**plain, old_lr_factor=factor), monkeypatch, arm)
    assert any(name.startswith("stages.1.1.") for name in slow) == (arm == "candidate")
    for name, moved in usual.items():
        expected = moved if name.startswith("stages.1.1.") else factor * moved
        torch.testing.assert_close(slow[name], expected, rtol=1e-3, atol=2e-7)
    assert max(float(moved.abs().max()) for moved in usual.values()) > 1e-3


def test_a_slow_old_part_goes_on_from_a_checkpoint_as_without_one(beginning) -> None:
    begun = beginning(old_lr_factor=0.25)
    through, resumed = begun.candidate().arm, begun.candidate().arm
    run = through.run()
    next(run)
    resumed.load_state_dict(through.state_dict())
    (expected,), (event,) = list(run), list(resumed.run())
    assert (event.train_loss, event.val_loss) == (expected.train_loss, expected.val_loss)


# ------------------------------------------------------------------------------------------------------- the schedule


def run_growth(make_trial, make_context, **growth: Any) -> tuple[list[EpochFinished], TrialFinished]:
    """A growth of two rounds with the events of its epochs."""
    training = {"schedule": {"name": "cosine"}, "optimizer": {"name": "sgd", "lr": 0.2}}
    sections = {"seed_epochs": 2, "epochs_per_step": 3, "stop": {"max_epochs": 14}, **growth}
    trial = make_trial(procedure="growth", training=training, growth=sections)
    *events, finished = Growth(trial, make_context(trial)).run()
    return [event for event in events if isinstance(event, EpochFinished)], finished


def last_lrs(epochs: int) -> list[float]:
    """The learning rate of each epoch's last step, of a cosine over so many epochs of the 192 images in twelves."""
    schedule = Schedule(config=CosineSchedule(name="cosine"), base_lr=0.2, epochs=epochs, steps_per_epoch=12)
    return [schedule.lr(12 * epoch - 1) for epoch in range(1, epochs + 1)]


def lrs(epochs: list[EpochFinished], step: int, arm: str) -> list[float]:
    return [event.lr for event in epochs if event.growth_step == step and event.arm == arm]


@pytest.mark.parametrize(("train", "epochs_alone"), [("all", 0), ("new_block_then_all", 1), ("new_block", 3)])
def test_restart_runs_the_schedule_anew_in_every_arm(make_trial, make_context, train: str, epochs_alone: int) -> None:
    epochs, _ = run_growth(make_trial, make_context, schedule_at_growth="restart", train=train)
    assert lrs(epochs, 0, "network") == last_lrs(2)
    for step in (1, 2):
        assert lrs(epochs, step, "candidate") == last_lrs(3)
        assert lrs(epochs, step, "control") == last_lrs(3)[epochs_alone:]  # those in which the trunk learns


def test_constant_keeps_the_learning_rate_and_leaves_the_schedule_to_the_tail(make_trial, make_context) -> None:
    epochs, finished = run_growth(make_trial, make_context, schedule_at_growth="constant", tail_epochs=4)
    tail = [event.lr for event in epochs if event.growth_step > 0 and event.arm == "network"]
    assert tail == last_lrs(4)
    assert {event.lr for event in epochs[: -len(tail)]} == {0.2}
    assert finished.epochs == 14 + 4


def test_whole_run_is_one_schedule_that_ends_with_the_last_round(make_trial, make_context) -> None:
    epochs, _ = run_growth(make_trial, make_context, schedule_at_growth="whole_run")
    whole = last_lrs(2 + 2 * 3)  # of 14 epochs in all, six are the controls'
    assert lrs(epochs, 0, "network") == whole[:2]
    assert lrs(epochs, 1, "candidate") == lrs(epochs, 1, "control") == whole[2:5]
    assert lrs(epochs, 2, "candidate") == lrs(epochs, 2, "control") == whole[5:]
    assert whole[-1] < 0.001 < whole[-4]


# ----------------------------------------------------------------------------------------------------------- how long


@pytest.mark.parametrize(
    ("val_errors", "over"),
    [
        ([], False),
        ([0.5], False),
        ([0.5, 0.5], False),  # two epochs, and patience counts those after the best one
        ([0.5, 0.5, 0.5], True),
        ([0.5, 0.6, 0.4], False),
        ([0.5, 0.4, 0.4, 0.3], False),
        ([0.5, 0.4, 0.4, 0.45], True),
        ([0.5, 0.3, 0.4, 0.35], True),  # lower than the last one is no improvement
    ],
)
def test_a_plateau_is_so_many_epochs_without_a_new_best(val_errors: list[float], over: bool) -> None:
    assert Plateau(patience=2)(val_errors) is over


def without_improvement(val_errors: list[float]) -> int:
    """Epochs since the first that had the lowest error."""
    return len(val_errors) - 1 - val_errors.index(min(val_errors))


def test_arms_train_until_the_plateau_and_a_control_as_long_as_its_candidate(make_trial, make_context) -> None:
    patience, most = 2, 8
    trial = make_trial(
        procedure="growth",
        training={"schedule": {"name": "constant"}, "optimizer": {"name": "sgd", "lr": 0.1}},
        growth={
            "when": {"name": "plateau", "patience": patience}, "seed_epochs": most, "epochs_per_step": most,
            "stop": {"max_epochs": 70},
        },
    )  # fmt: skip
    *events, finished = Growth(trial, make_context(trial)).run()
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    steps = [event for event in events if isinstance(event, GrowthStepDecided)]
    lengths = set()
    for step in range(len(steps) + 1):
        errors = {
            arm: [event.val_error for event in epochs if event.growth_step == step and event.arm == arm]
            for arm in ("network", "candidate", "control")
        }
        judged = errors["network"] if step == 0 else errors["candidate"]
        assert len(judged) == most or without_improvement(judged) == patience
        assert all(without_improvement(judged[:epoch]) < patience for epoch in range(1, len(judged)))
        lengths.add(len(judged))
        assert len(errors["control"]) == (0 if step == 0 else len(judged))
        if step > 0:
            assert steps[step - 1].val_error_candidate == judged[-1]
    assert len(lengths) > 1 and min(lengths) < most
    assert finished.epochs == len(epochs)
