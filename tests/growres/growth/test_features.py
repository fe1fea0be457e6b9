"""Cached features of a frozen trunk: the same training, for less."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent, TrialFinished
from growres.growth.features import CachedTrunk, Prefix, Suffix
from growres.growth.network import growing_network
from growres.growth.placement import Proposal
from growres.growth.procedure import Growth
from growres.growth.selection import TrainNewBlock
from tests.growres.growth.beginnings import begin, copied
from tests.replaying import science, through_a_file

KINDS = [
    ("resnet", "basic"),
    ("preact_resnet", "bottleneck"),
    pytest.param("resnet", "bottleneck", marks=pytest.mark.slow),
    pytest.param("preact_resnet", "basic", marks=pytest.mark.slow),
]


@pytest.fixture
def make(make_trial):
    def trial(*, augment: list[str], cache_features: Any, model: dict[str, Any] | None = None, **growth: Any):
        return make_trial(
            procedure="growth",
            model={"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 8]} | (model or {}),
            training={"augment": augment},
            growth={"train": "new_block", "epochs_per_step": 3, "cache_features": cache_features, "control": False}
            | growth,
        )

    return trial


def run(trial, make_context) -> list[ProcedureEvent]:
    return list(Growth(trial, make_context(trial)).run())


def candidates(events: list[ProcedureEvent]) -> list[EpochFinished]:
    return [event for event in events if isinstance(event, EpochFinished) and event.arm == "candidate"]


def steps(events: list[ProcedureEvent]) -> list[GrowthStepDecided]:
    return [event for event in events if isinstance(event, GrowthStepDecided)]


def assert_the_same_training(cached: list[ProcedureEvent], plain: list[ProcedureEvent]) -> None:
    """To what rounding, of batches of other sizes, makes of it."""
    assert len(candidates(cached)) == len(candidates(plain)) > 0
    for one, other in zip(candidates(cached), candidates(plain), strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert one.val_loss == pytest.approx(other.val_loss, rel=1e-4)
        assert (one.train_error, one.val_error, one.lr) == (other.train_error, other.val_error, other.lr)
    assert [step.verdict for step in steps(cached)] == [step.verdict for step in steps(plain)]
    ended, expected = cached[-1], plain[-1]
    assert isinstance(ended, TrialFinished) and isinstance(expected, TrialFinished)
    assert (ended.val_error, ended.test_error, ended.architecture) == (
        expected.val_error,
        expected.test_error,
        expected.architecture,
    )


def assert_cheaper(cached: list[ProcedureEvent], plain: list[ProcedureEvent]) -> None:
    for one, other in zip(steps(cached), steps(plain), strict=True):
        assert one.train_flops < other.train_flops
        assert one.train_flops == sum(
            event.train_flops for event in candidates(cached) if event.growth_step == one.step
        )
    assert cached[-1].train_flops < plain[-1].train_flops  # type: ignore[union-attr]


@pytest.mark.parametrize("train", ["new_block", "new_block_then_all"])
@pytest.mark.parametrize(("name", "block"), KINDS)
def test_without_augmentation_cached_training_is_the_uncached_one_and_cheaper(
    make, make_context, name: str, block: str, train: str
) -> None:
    growth = {"train": train, "epochs_per_step": 4, "stop": {"max_epochs": 10}}
    model = {"name": name, "block": block}
    runs = [
        run(make(augment=[], cache_features=choice, model=model, **growth), make_context)
        for choice in ("auto", "never")
    ]
    assert_the_same_training(*runs)
    assert_cheaper(*runs)


def test_with_as_many_copies_as_epochs_augmented_training_is_the_uncached_one_too(make, make_context) -> None:
    augment = ["crop", "flip", "cutout", "lighting"]
    runs = [run(make(augment=augment, cache_features=choice), make_context) for choice in (3, 7, "never")]
    assert_the_same_training(runs[0], runs[2])
    assert [science(event) for event in runs[1]] == [science(event) for event in runs[0]], "no more copies than epochs"


def test_with_fewer_copies_they_are_used_in_turn(make, make_context) -> None:
    once, every = (run(make(augment=["crop"], cache_features=choice), make_context) for choice in (1, 3))
    first = [events for events in zip(candidates(once), candidates(every), strict=True) if events[0].growth_step == 1]
    assert science(first[0][0]) | {"train_flops": 0} == science(first[0][1]) | {"train_flops": 0}
    assert first[1][0].train_loss != first[1][1].train_loss
    assert first[0][0].train_flops < first[0][1].train_flops, "a copy is paid for"
    assert first[1][0].train_flops == first[1][1].train_flops


def test_auto_does_not_cache_what_augmentation_changes(make, make_context) -> None:
    auto, never = (run(make(augment=["flip"], cache_features=choice), make_context) for choice in ("auto", "never"))
    assert [science(event) for event in auto] == [science(event) for event in never]


def test_a_new_stage_is_tried_on_cached_features_as_without(make, make_context) -> None:
    growth = {
        "placement": {"name": "new_stage", "max_stages": 3}, "accept": {"name": "error_drop", "min_drop": 0.9},
        "stop": {"max_epochs": 40},
    }  # fmt: skip
    cached, plain = (
        run(make(augment=[], cache_features=choice, **growth), make_context) for choice in ("auto", "never")
    )
    assert [step.stage for step in steps(cached)] == [0, 1, 2]
    assert_the_same_training(cached, plain)
    assert_cheaper(cached, plain)


def test_replicates_are_cached_each_with_its_own_augmentation(make, make_context) -> None:
    accept = {"name": "error_drop", "replicates": 2}
    growth = {"accept": accept, "control": True, "stop": {"max_epochs": 14}}
    cached, plain = (
        run(make(augment=["crop"], cache_features=choice, **growth), make_context) for choice in (3, "never")
    )
    assert {event.replicate for event in candidates(cached)} == {0, 1}
    assert_the_same_training(cached, plain)


@pytest.mark.parametrize("augment", [[], ["crop"]], ids=["plain", "augmented"])
@pytest.mark.parametrize("train", ["new_block", "new_block_then_all"])
def test_resumed_at_every_event_it_is_the_uninterrupted_growth_bit_for_bit(
    make, make_context, augment: list[str], train: str
) -> None:
    trial = make(augment=augment, cache_features=2, epochs_per_step=4, train=train, stop={"max_epochs": 10})
    uninterrupted = [science(event) for event in run(trial, make_context)]
    resumed: list[dict[str, Any]] = []
    state = None
    while len(resumed) < len(uninterrupted):
        growth = Growth(trial, make_context(trial))
        if state is not None:
            growth.load_state_dict(state)
        resumed.append(science(next(growth.run())))
        state = through_a_file(growth.state_dict())
    assert resumed == uninterrupted


@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize(("name", "block"), KINDS)
def test_the_trunk_and_what_follows_it_are_the_network(make, make_context, name: str, block: str, stage: int) -> None:
    trial = make(augment=[], cache_features="auto", model={"name": name, "block": block})
    context = make_context(trial)
    network = growing_network(begin(trial, context).candidate(stage).arm.network).eval()
    proposal = Proposal(stage, network.architecture["blocks"][stage] - 1, opens_stage=stage == 2)
    images, _ = next(context.data.eval_batches("validation"))
    features = Prefix(network, proposal)(images)
    assert torch.equal(Suffix(network, proposal)(features), network(images))
    new = set(map(id, network.parameters())) - set(map(id, Prefix(network, proposal).parameters()))
    assert new == set(map(id, Suffix(network, proposal).parameters()))


def test_the_frozen_trunk_keeps_weights_and_statistics_while_the_new_block_moves(make, make_context) -> None:
    trial = make(augment=["crop"], cache_features=3)
    beginning = begin(trial, make_context(trial))
    arm = beginning.candidate(stage=0).arm
    before = copied(arm.network)
    list(arm.run())
    changed = {name for name, value in arm.network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("stages.0.1.") for name in changed)


def test_the_maps_are_those_of_the_trunk_as_it_is_and_are_let_go_when_all_learns(make, make_context) -> None:
    trial = make(augment=[], cache_features="auto", train="new_block_then_all", epochs_per_step=4)
    context = make_context(trial)
    network = growing_network(begin(trial, context).candidate(stage=1).arm.network)
    proposal = Proposal(1, 1)
    trunk = CachedTrunk(context, proposal, epochs=2, num_copies=1, first_data_epoch=2)
    TrainNewBlock(proposal, epochs_alone=2)(network, 1)
    first, second = trunk.of(network, 1), trunk.of(network, 2)
    assert first is not None and second is not None and first.context is second.context
    assert first.extra_flops > 0 and second.extra_flops == 0
    maps, labels = (torch.cat(part) for part in zip(*first.context.data.train_batches(context.seed, 2), strict=True))
    images, own = (torch.cat(part) for part in zip(*context.data.train_batches(context.seed, 2), strict=True))
    assert torch.equal(labels, own)
    torch.testing.assert_close(maps, Prefix(network, proposal)(images))
    assert trunk.of(network, 3) is None


def test_maps_that_do_not_fit_are_not_kept(make, make_context, monkeypatch) -> None:
    monkeypatch.setattr("growres.growth.features._MOST_BYTES_ON_CPU", 1000)
    too_large, never = (run(make(augment=[], cache_features=choice), make_context) for choice in ("auto", "never"))
    assert [science(event) for event in too_large] == [science(event) for event in never]


def test_a_screening_whose_maps_do_not_fit_is_the_same_and_dearer(make, make_context, monkeypatch) -> None:
    placement = {"name": "best_of", "screen": "cached_features", "screen_epochs": 2}
    trial = make(augment=[], cache_features="never", placement=placement, stop={"max_epochs": 9})
    cached = run(trial, make_context)
    monkeypatch.setattr("growres.growth.features._MOST_BYTES_ON_CPU", 1000)
    plain = run(trial, make_context)
    screenings = [
        [event for event in events if isinstance(event, EpochFinished) and event.arm == "screen"]
        for events in (cached, plain)
    ]
    assert len(screenings[0]) == 4
    for one, other in zip(*screenings, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        assert (one.growth_step, one.epoch, one.val_error) == (other.growth_step, other.epoch, other.val_error)
    assert sum(one.train_flops for one in screenings[0]) < sum(other.train_flops for other in screenings[1])
