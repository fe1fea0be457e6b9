from __future__ import annotations

import dataclasses
import functools
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

from growres.data.splits import with_label_noise
from growres.errors import GrowthError
from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent, TrialFinished
from growres.growth.procedure import Growth
from growres.training.context import TrainingContext
from tests.replaying import science, through_a_file

KINDS = [
    ("resnet", "basic"),
    ("preact_resnet", "bottleneck"),
    pytest.param("resnet", "bottleneck", marks=pytest.mark.slow),
    pytest.param("preact_resnet", "basic", marks=pytest.mark.slow),
]


def steps_of(events: list[ProcedureEvent]) -> list[GrowthStepDecided]:
    return [event for event in events if isinstance(event, GrowthStepDecided)]


def snapshot(growth: Growth) -> dict[str, torch.Tensor]:
    """Weights, buffers and optimiser of the accepted network, copied."""
    state = growth.state_dict()["current"]
    tensors = {f"weights.{name}": value.clone() for name, value in state["weights"].items()}
    for name, optimizer in state["optimizer"].items():
        tensors |= {f"optimizer.{name}.{key}": value.clone() for key, value in optimizer.items()}
    return tensors


SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9}
ADAMW = {"name": "adamw", "lr": 0.01}


@pytest.fixture
def growth_trial(make_trial):
    return lambda **sections: make_trial(procedure="growth", **sections)


def test_the_network_that_a_person_would_use_is_never_a_candidate_under_trial(growth_trial, make_context) -> None:
    trial = growth_trial()
    growth = Growth(trial, make_context(trial))
    for event in growth.run():
        state = growth.network_state()
        if isinstance(event, EpochFinished) and event.arm == "candidate":
            assert state["architecture"] == growth.network.architecture
            assert state["weights"].keys() == growth.network.state_dict().keys()
        elif isinstance(event, TrialFinished):
            assert state["architecture"] == event.architecture


@pytest.mark.parametrize(("name", "block"), KINDS)
def test_the_events_tell_the_simons_procedure(growth_trial, make_context, name: str, block: str) -> None:
    trial = growth_trial(model={"name": name, "blocks": [1, 1, 1], "widths": [3, 4, 5], "block": block})
    *events, finished = Growth(trial, make_context(trial)).run()
    order = [
        (event.growth_step, event.arm, event.epoch) if isinstance(event, EpochFinished) else event.step
        for event in events
    ]
    expected: list[object] = [(0, "network", 1), (0, "network", 2)]
    for step in (1, 2, 3):
        expected += [(step, arm, epoch) for arm in ("candidate", "control") for epoch in (1, 2)] + [step]
    assert order == expected
    assert isinstance(finished, TrialFinished)
    steps = steps_of(events)
    assert [step.stage for step in steps] == [0, 1, 2]
    accepted = sum(step.verdict == "accepted" for step in steps)
    assert finished.num_blocks == 3 + accepted == sum(finished.architecture["blocks"])
    assert finished.epochs == 2 + 3 * 4 and finished.reason.startswith("max_epochs")
    assert finished.train_flops == sum(event.train_flops for event in events if isinstance(event, EpochFinished))
    assert all(step.max_logit_change == 0.0 for step in steps)
    assert all(step.num_params_after > step.num_params_before for step in steps)


def test_each_step_is_judged_against_the_network_that_it_grew_from(growth_trial, make_context) -> None:
    trial = growth_trial(growth={"stop": {"max_epochs": 26}, "epochs_per_step": 1})
    *events, finished = Growth(trial, make_context(trial)).run()
    steps = steps_of(events)
    assert len(steps) > 5
    val_error = next(
        event.val_error for event in reversed(events) if isinstance(event, EpochFinished) and event.growth_step == 0
    )
    for step in steps:
        assert step.val_error_before == val_error
        assert step.verdict == ("accepted" if step.val_error_candidate < val_error else "rejected")
        val_error = step.val_error_candidate if step.verdict == "accepted" else val_error
    for before, after in pairwise(steps):
        unchanged = before.verdict != "accepted"
        assert after.train_error_before == (before.train_error_before if unchanged else before.train_error_candidate)
        assert after.num_params_before == (before.num_params_before if unchanged else before.num_params_after)
    assert finished.val_error == val_error


@pytest.mark.parametrize("train", ["all", "new_block", "new_block_then_all"])
def test_a_rejected_proposal_leaves_weights_buffers_and_optimiser_exactly(
    growth_trial, make_context, train: str
) -> None:
    trial = growth_trial(growth={"accept": {"name": "error_drop", "min_drop": 1.0}, "train": train})
    growth = Growth(trial, make_context(trial))
    before: dict[str, torch.Tensor] = {}
    verdicts = []
    for event in growth.run():
        if isinstance(event, EpochFinished) and event.growth_step == 0:
            before = snapshot(growth)
        if isinstance(event, GrowthStepDecided):
            verdicts.append(event.verdict)
            after = snapshot(growth)
            assert after.keys() == before.keys()
            assert all(torch.equal(after[key], before[key]) for key in before)
    # Of 14 epochs two are the shallow network's; a round takes two, and its control those in which the trunk learns.
    assert verdicts == ["rejected"] * {"all": 3, "new_block": 6, "new_block_then_all": 4}[train]


def test_an_accepted_block_keeps_what_its_candidate_learnt(growth_trial, make_context) -> None:
    trial = growth_trial(growth={"control": False, "seed_epochs": 1})
    growth = Growth(trial, make_context(trial))
    candidate: dict[str, Any] = {}
    accepted = 0
    for event in growth.run():
        if isinstance(event, EpochFinished) and event.arm == "candidate":
            (proposal,) = through_a_file(growth.state_dict())["round"]["proposals"]
            (candidate,) = proposal["candidates"]
        if isinstance(event, GrowthStepDecided) and event.verdict == "accepted":
            accepted += 1
            current = growth.state_dict()["current"]
            assert all(torch.equal(value, candidate["weights"][name]) for name, value in current["weights"].items())
            assert current["optimizer"].keys() == candidate["optimizer"].keys()
    assert accepted > 0


@pytest.mark.parametrize(
    ("optimizer", "train"),
    [
        (SGD, "all"),
        (ADAMW, "new_block_then_all"),
        pytest.param(SGD, "new_block_then_all", marks=pytest.mark.slow),
        pytest.param(ADAMW, "all", marks=pytest.mark.slow),
    ],
)
def test_resumed_at_every_event_it_is_the_uninterrupted_growth_bit_for_bit(
    growth_trial, make_context, train: str, optimizer: dict[str, Any]
) -> None:
    trial = growth_trial(training={"optimizer": optimizer}, growth={"train": train})
    uninterrupted = [science(event) for event in Growth(trial, make_context(trial)).run()]
    resumed: list[dict[str, Any]] = []
    state = None
    while len(resumed) < len(uninterrupted):
        growth = Growth(trial, make_context(trial))
        if state is not None:
            growth.load_state_dict(state)
        resumed.append(science(next(growth.run())))
        state = through_a_file(growth.state_dict())
    assert resumed == uninterrupted


def test_both_arms_see_the_same_batches_and_each_step_others(growth_trial, make_context, monkeypatch) -> None:
    trial = growth_trial()
    context = make_context(trial)
    asked: list[int] = []
    batches = type(context.data).train_batches

    def listening(data: Any, seed: int, epoch: int) -> Any:
        asked.append(epoch)
        return batches(data, seed, epoch)

    monkeypatch.setattr(type(context.data), "train_batches", listening)
    list(Growth(trial, context).run())
    assert asked == [0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7]


def test_a_candidate_that_diverges_is_rejected_and_growth_goes_on(growth_trial, make_context) -> None:
    # The seed network trains in its warm-up; from there on the learning rate is beyond anything.
    trial = growth_trial(
        training={
            "optimizer": {"name": "sgd", "lr": 1e38},
            "schedule": {"name": "constant"},
        },
        growth={"seed_epochs": 1, "epochs_per_step": 2, "stop": {"patience": 2}},
    )
    context = make_context(trial)
    calm = context.config.model_copy(update={"optimizer": context.config.optimizer.model_copy(update={"lr": 0.01})})
    growth = Growth(trial, dataclasses.replace(context, config=calm))
    run = growth.run()
    events: list[ProcedureEvent] = [next(run)]
    before = snapshot(growth)
    wild = Growth(trial, context)
    wild.load_state_dict(through_a_file(growth.state_dict()))
    events += list(wild.run())
    steps = steps_of(events)
    assert [step.verdict for step in steps] == ["rejected", "rejected"]
    assert all("diverged" in step.reason and "learning rate" in step.reason for step in steps)
    assert all(step.val_error_candidate is None for step in steps)
    after = snapshot(wild)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert isinstance(events[-1], TrialFinished) and events[-1].val_error == events[0].val_error


def test_compiled_blocks_grow_as_eager_ones_do(growth_trial, make_context, monkeypatch) -> None:
    # Dynamo's capture without the code generator, whose kernels round otherwise and take a minute to build.
    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(nn.Module.compile, backend="eager"))
    eager, compiled = (growth_trial(training={"compile": compile}) for compile in ("never", "block"))
    expected = [science(event) for event in Growth(eager, make_context(eager)).run()]
    assert [science(event) for event in Growth(compiled, make_context(compiled)).run()] == expected


def test_epochs_that_diverged_are_paid_for_and_exhaust_the_budget(growth_trial, make_context) -> None:
    trial = growth_trial(
        training={"optimizer": {"name": "sgd", "lr": 1e38}, "schedule": {"name": "constant"}},
        growth={"seed_epochs": 1, "epochs_per_step": 2, "control": False, "stop": {"max_epochs": 5}},
    )
    context = make_context(trial)
    calm = context.config.model_copy(update={"optimizer": context.config.optimizer.model_copy(update={"lr": 0.01})})
    seed = Growth(trial, dataclasses.replace(context, config=calm))
    next(seed.run())
    wild = Growth(trial, context)
    wild.load_state_dict(through_a_file(seed.state_dict()))
    *steps, finished = wild.run()
    assert all(step.epochs == 1 and step.train_flops > 0 and step.wall_s > 0 for step in steps_of(steps))
    assert isinstance(finished, TrialFinished) and finished.epochs == 1 + len(steps) == 4


def test_an_initialiser_that_breaks_its_promise_is_found_out(growth_trial, make_context, monkeypatch) -> None:
    from growres.growth.initialisers import ZeroBranch

    monkeypatch.setattr(ZeroBranch, "initialise", lambda self, block, previous: None)
    trial = growth_trial()
    with pytest.raises(GrowthError, match="zero_branch changed the logits"):
        list(Growth(trial, make_context(trial)).run())


def test_only_the_new_block_moves_when_only_it_is_trained(growth_trial, make_context) -> None:
    trial = growth_trial(growth={"train": "new_block", "control": False, "stop": {"max_epochs": 4}})
    growth = Growth(trial, make_context(trial))
    for event in growth.run():
        if isinstance(event, EpochFinished) and event.growth_step == 1:
            state = growth.state_dict()
            weights, parent = state["round"]["proposals"][0]["candidates"][0]["weights"], state["current"]["weights"]
            assert all(torch.equal(weights[name], value) for name, value in parent.items())
            new = {name for name in weights if name not in parent}
            assert new and all(name.startswith("stages.0.1.") for name in new)


def test_a_growth_ends_where_its_data_sets_label_noise_explains_the_error(growth_trial, images) -> None:
    # Learnt from right labels, so that a tiny network's error is soon that of the wrong ones alone.
    labels = torch.from_numpy(with_label_noise(images.validation.labels.numpy(), 0.3, 3, seed=0, purpose="validation"))
    noisy = dataclasses.replace(images, validation=dataclasses.replace(images.validation, labels=labels))

    def finished(label_noise: float) -> TrialFinished:
        """Of the same growth on the same images, whose configuration says that so many labels are wrong."""
        trial = growth_trial(
            dataset={"source": "digits", "label_noise": label_noise},
            training={"batch_size": 48, "schedule": {"name": "constant"}, "augment": []},
            growth={"seed_epochs": 5, "control": False, "stop": {"noise_floor": {}, "max_epochs": 13}},
        )
        *_, last = Growth(trial, TrainingContext.of(trial, noisy, torch.device("cpu"))).run()
        assert isinstance(last, TrialFinished)
        return last

    told, untold = finished(0.3), finished(0.0)
    assert told.reason.startswith("noise_floor") and "cannot be told from the 30 % that wrong labels" in told.reason
    assert untold.reason.startswith("max_epochs") and told.epochs < untold.epochs == 13
