"""Rounds of proposals on tiny real networks: replicates, several proposals, screening, and what all of it costs."""

from __future__ import annotations

import dataclasses
import gc
import math
import re
import weakref
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import pytest
import torch

from growres.config.experiment import TrialConfig
from growres.data.batches import DeviceData
from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent, TrialFinished
from growres.growth.arms import Place
from growres.growth.features import FeatureData
from growres.growth.placement import Proposal
from growres.growth.procedure import Growth
from growres.training.context import TrainingContext
from tests.growres.growth.beginnings import begin
from tests.replaying import science, through_a_file

ContextMaker = Callable[[TrialConfig], TrainingContext]


@pytest.fixture
def short(make_trial):
    """A growth of small networks and single epochs; keyword arguments are those of the section growth."""

    def make(*, training: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **growth: Any):
        defaults = {"seed_epochs": 1, "epochs_per_step": 1, "control": False, "stop": {"patience": 2}}
        return make_trial(
            procedure="growth",
            model={"name": "preact_resnet", "blocks": [1, 1], "widths": [2, 4]} | (model or {}),
            training={"batch_size": 48} | (training or {}),
            growth=defaults | growth,
        )

    return make


def told(trial: TrialConfig, make_context: ContextMaker) -> list[ProcedureEvent]:
    return list(Growth(trial, make_context(trial)).run())


def epochs_of(events: list[ProcedureEvent], **fields: Any) -> list[EpochFinished]:
    """The epochs with these fields."""
    return [
        event
        for event in events
        if isinstance(event, EpochFinished) and all(getattr(event, key) == value for key, value in fields.items())
    ]


def steps_of(events: list[ProcedureEvent]) -> list[GrowthStepDecided]:
    return [event for event in events if isinstance(event, GrowthStepDecided)]


def finished_of(events: list[ProcedureEvent]) -> TrialFinished:
    assert isinstance(events[-1], TrialFinished)
    return events[-1]


def accounts_balance(events: list[ProcedureEvent]) -> None:
    """Every epoch is in the account of its step, and every account in that of the trial."""
    finished, steps = finished_of(events), steps_of(events)
    before = epochs_of(events, growth_step=0)
    last = [epoch for epoch in epochs_of(events, arm="network") if epoch.growth_step > 0]
    outside = [*before, *last]
    assert finished.epochs == len(outside) + sum(step.epochs for step in steps)
    assert finished.train_flops == sum(epoch.train_flops for epoch in outside) + sum(step.train_flops for step in steps)
    for round in {step.round for step in steps if step.kind == "append"}:
        of_round = [step for step in steps if step.round == round]
        trained = [epoch for step in of_round for epoch in epochs_of(events, growth_step=step.step)]
        trained = [epoch for epoch in trained if epoch.arm != "network"]
        assert sum(step.epochs for step in of_round) == len(trained)
        assert sum(step.train_flops for step in of_round) == sum(epoch.train_flops for epoch in trained)


def resumes_everywhere(trial: TrialConfig, make_context: ContextMaker) -> list[dict[str, Any]]:
    """Asserts that a growth left and taken up at each of its events is the uninterrupted one; returns its events."""
    uninterrupted = [science(event) for event in told(trial, make_context)]
    resumed: list[dict[str, Any]] = []
    state = None
    while len(resumed) < len(uninterrupted):
        growth = Growth(trial, make_context(trial))
        if state is not None:
            growth.load_state_dict(state)
        resumed.append(science(next(growth.run())))
        state = through_a_file(growth.state_dict())
    assert resumed == uninterrupted
    return uninterrupted


# ---------------------------------------------------------------------------------------------------------- replicates


def test_the_first_replicate_is_the_run_without_replicates(short, make_context) -> None:
    # With `always` the verdicts are the same, so that the runs can be held against each other to the end.
    stop = {"max_blocks": 4}
    single, paired = (
        told(short(stop=stop, control=True, accept={"name": "always", "replicates": replicates}), make_context)
        for replicates in (1, 3)
    )
    assert [science(epoch) for epoch in epochs_of(paired, replicate=0)] == [
        science(epoch) for epoch in epochs_of(single)
    ]
    assert dataclasses.replace(finished_of(paired), epochs=0, train_flops=0, wall_s=0.0) == dataclasses.replace(
        finished_of(single), epochs=0, train_flops=0, wall_s=0.0
    )
    assert [step.num_replicates for step in steps_of(paired)] == [3, 3]
    for step in steps_of(paired):
        assert step.epochs == 6  # three pairs of arms
    accounts_balance(paired)
    assert finished_of(paired).epochs == 1 + 2 * 6


def test_each_replicate_has_a_block_and_batches_of_its_own_and_shares_them_with_its_control(
    short, make_context, monkeypatch
) -> None:
    accept, stop = {"name": "always", "replicates": 3}, {"max_blocks": 3}
    trial = short(control=True, initialiser={"name": "kaiming"}, accept=accept, stop=stop)
    context = make_context(trial)
    asked: list[tuple[int, int]] = []
    batches = type(context.data).train_batches

    def listening(data: Any, seed: int, epoch: int) -> Any:
        asked.append((seed, epoch))
        return batches(data, seed, epoch)

    monkeypatch.setattr(type(context.data), "train_batches", listening)
    growth = Growth(trial, context)
    weights: list[torch.Tensor] = []
    for event in growth.run():
        if isinstance(event, EpochFinished) and event.arm == "candidate":
            (proposal,) = growth.state_dict()["round"]["proposals"]
            newest = proposal["candidates"][event.replicate]["weights"]
            weights.append(newest["stages.0.1.branch.conv1.weight"].clone())
        elif isinstance(event, GrowthStepDecided):
            kept = growth.network.state_dict()["stages.0.1.branch.conv1.weight"]
            assert torch.equal(kept, weights[0])
    assert len(weights) == 3 and not any(torch.equal(weights[0], other) for other in weights[1:])
    seeds = [seed for seed, epoch in asked if epoch == 1]
    assert seeds[0::2] == seeds[1::2] and len(set(seeds)) == 3 and seeds[0] == trial.seed


def test_an_undecided_proposal_gets_one_seed_more_up_to_the_most(short, make_context) -> None:
    # A level that nothing passes, and no p-value that is too high.
    accept = {"name": "mcnemar", "alpha": 1e-9, "max_replicates": 3, "reject_above": 1.0}
    events = told(short(control=True, accept=accept, stop={"patience": 1}), make_context)
    (step,) = steps_of(events)
    assert step.verdict == "rejected" and step.num_replicates == 3
    order = [(epoch.arm, epoch.replicate) for epoch in epochs_of(events, growth_step=1)]
    assert order == [(arm, replicate) for replicate in range(3) for arm in ("candidate", "control")]
    accounts_balance(events)


def test_a_hopeless_proposal_gets_no_further_seed_even_where_another_of_its_round_does(short, make_context) -> None:
    def told_with(**accept: Any) -> list[ProcedureEvent]:
        rule = {"name": "paired_loss", "alpha": 1e-9, "max_error_rise": 1.0, **accept}
        model = {"blocks": [1, 1, 1], "widths": [2, 3, 4]}
        initialiser = {"name": "kaiming"}
        stop = {"patience": 1}
        trial = short(accept=rule, placement={"name": "best_of"}, model=model, initialiser=initialiser, stop=stop)
        return told(trial, make_context)

    p_values = {step.step: step.p_value for step in steps_of(told_with())}
    best, middle, worst = sorted(p_values, key=lambda step: p_values[step])
    events = told_with(max_replicates=2, reject_above=p_values[middle])
    assert {step.step: step.num_replicates for step in steps_of(events)} == {best: 2, middle: 2, worst: 1}
    hopeless = steps_of(events)[worst - 1]
    assert "no sign of a gain" in hopeless.reason and hopeless.p_value == p_values[worst]
    accounts_balance(events)


# ------------------------------------------------------------------------------------------------- several proposals


def test_best_of_keeps_the_best_that_passes_and_trains_one_control_for_all(short, make_context) -> None:
    model = {"blocks": [1, 1, 1], "widths": [2, 3, 4]}
    events = told(
        short(placement={"name": "best_of"}, model=model, control=True, stop={"max_epochs": 21}), make_context
    )
    steps = steps_of(events)
    assert [step.step for step in steps] == list(range(1, 16))
    assert [step.round for step in steps] == [round for round in range(1, 6) for _ in range(3)]
    kept_in_round = []
    for first in range(0, 15, 3):
        three = steps[first : first + 3]
        assert [step.stage for step in three] == [0, 1, 2]
        assert len({(step.val_error_before, step.num_params_before, step.val_error_control) for step in three}) == 1
        kept = [step for step in three if step.verdict == "accepted"]
        errors = [step.val_error_candidate for step in three]
        passes = min(errors) < three[0].val_error_before
        assert len(kept) == passes
        if kept:
            assert kept[0].val_error_candidate == min(errors)
        assert len([step for step in three for _ in epochs_of(events, growth_step=step.step, arm="control")]) == 1
        kept_in_round.append(len(kept))
    assert set(kept_in_round) == {0, 1}, "rounds that keep a block, and one that keeps none"
    accounts_balance(events)
    assert finished_of(events).num_blocks == 3 + sum(kept_in_round)


def test_of_two_that_pass_the_one_that_is_passed_over_says_so(short, make_context) -> None:
    events = told(short(placement={"name": "best_of"}, accept={"name": "always"}, stop={"max_blocks": 5}), make_context)
    steps = steps_of(events)
    assert len(steps) == 6 and sum(step.verdict == "accepted" for step in steps) == 3
    for step in steps:
        assert (step.verdict == "accepted") == ("but the one in stage" not in step.reason)


def test_a_new_stage_is_opened_when_every_stage_refused_and_the_growth_goes_on_from_it(short, make_context) -> None:
    # Nothing passes but the new stage: its error falls by more than blocks of a trained network do.
    events = told(short(placement={"name": "new_stage", "max_stages": 3}, stop={"max_epochs": 12}), make_context)
    opened = [step for step in steps_of(events) if step.stage == 2 and step.block == 0]
    for step in opened:
        before = [earlier for earlier in steps_of(events) if earlier.step < step.step][-2:]
        assert all(earlier.verdict == "rejected" for earlier in before)
    assert opened, "this growth opens a stage"
    accounts_balance(events)


def test_an_accepted_new_stage_has_the_width_and_the_optimiser_of_a_longer_network(short, make_context) -> None:
    trial = short(
        placement={"name": "new_stage", "max_stages": 3},
        accept={"name": "error_drop", "min_drop": 0.9},
        stop={"max_epochs": 6},
    )
    easier = trial.growth.model_copy(update={"accept": short(accept={"name": "always"}).growth.accept})
    growth = Growth(trial, make_context(trial))
    events = growth.run()
    while not (isinstance(event := next(events), GrowthStepDecided) and event.step == 2):
        pass
    state = through_a_file(growth.state_dict())
    growth = Growth(trial.model_copy(update={"growth": easier}), make_context(trial))
    growth.load_state_dict(state)
    rest = list(growth.run())
    opened, *others = steps_of(rest)
    assert (opened.stage, opened.block, opened.verdict) == (2, 0, "accepted")
    assert [(step.stage, step.verdict) for step in others] == [(0, "accepted"), (1, "accepted")]
    assert finished_of(rest).architecture["blocks"] == [2, 2, 1]
    assert finished_of(rest).architecture["widths"] == [2, 4, 8]


# --------------------------------------------------------------------------------------------- the level of each round


def levels_of(steps: list[GrowthStepDecided]) -> list[float]:
    """The significance level that each verdict tells."""
    return [float(re.findall(r"level ([\d.e-]+)", step.reason)[0]) for step in steps]


def accepted_before(steps: list[GrowthStepDecided]) -> list[int]:
    """For each step, how many blocks were accepted in the rounds before its own."""
    return [sum(one.verdict == "accepted" for one in steps if one.round < step.round) for step in steps]


@pytest.fixture
def tested(short):
    """A growth that keeps its first blocks and, as there is no more to be learnt, none of the later ones."""

    def make(spend: str, *, stop: dict[str, Any], placement: dict[str, Any] | None = None) -> TrialConfig:
        return short(
            model={"widths": [4, 8]},
            training={
                "optimizer": {"name": "sgd", "lr": 0.3, "momentum": 0.9},
                "schedule": {"name": "constant"},
                "augment": [],
            },
            placement=placement or {"name": "round_robin"},
            accept={"name": "paired_loss", "alpha": 0.45, "spend": spend, "max_error_rise": 1.0},
            stop=stop,
        )

    return make


def test_alpha_spending_tests_each_round_at_its_share_whatever_the_verdicts(tested, make_context) -> None:
    steps = steps_of(told(tested("alpha_spending", stop={"max_epochs": 6}), make_context))
    assert [step.round for step in steps] == [1, 2, 3, 4, 5]
    assert levels_of(steps) == pytest.approx([0.45 * 6 / (math.pi * round) ** 2 for round in range(1, 6)], rel=0.005)
    assert 0 < accepted_before(steps)[-1] < 4, "a growth that keeps some blocks and refuses others"


def test_holm_tests_each_round_at_alpha_over_the_rounds_less_the_accepted_blocks(tested, make_context) -> None:
    steps = steps_of(told(tested("holm", stop={"max_epochs": 6}), make_context))
    assert [step.round for step in steps] == [1, 2, 3, 4, 5]
    before = accepted_before(steps)
    assert levels_of(steps) == pytest.approx([0.45 / (5 - accepted) for accepted in before], rel=0.005)
    assert 0 < before[-1] < 4, "a growth that keeps some blocks and refuses others"


@pytest.mark.parametrize("screen", ["none", "cached_features"])
@pytest.mark.parametrize("spend", ["alpha_spending", "holm"])
def test_all_proposals_of_a_round_have_a_part_in_its_level_those_that_were_screened_out_too(
    tested, make_context, spend: str, screen: str
) -> None:
    placement = {"name": "best_of", "screen": screen, "screen_epochs": 1}
    a_round = 3 if screen == "cached_features" else 2  # epochs: two screenings and a candidate, or two candidates
    steps = steps_of(told(tested(spend, placement=placement, stop={"max_epochs": 1 + 3 * a_round}), make_context))
    assert [step.round for step in steps] == [1, 1, 2, 2, 3, 3]
    judged = [step for step in steps if not step.reason.startswith("screened out")]
    assert len(judged) == (3 if screen == "cached_features" else 6)
    before = dict(zip((step.step for step in steps), accepted_before(steps), strict=True))
    expected = {
        "alpha_spending": [0.45 * 6 / (math.pi * step.round) ** 2 / 2 for step in judged],
        "holm": [0.45 / (3 * 2 - before[step.step]) for step in judged],
    }
    assert before[6] > 0, "a growth that keeps a block"
    assert levels_of(judged) == pytest.approx(expected[spend], rel=0.005)


# ------------------------------------------------------------------------------------------------------------ screening

SCREENED = {"name": "best_of", "screen": "cached_features", "screen_epochs": 1}


def test_only_the_best_screened_proposal_gets_a_candidate_and_the_others_say_why(short, make_context) -> None:
    model = {"blocks": [1, 1, 1], "widths": [2, 3, 4]}
    events = told(short(placement=SCREENED, model=model, control=True, stop={"max_epochs": 16}), make_context)
    steps = steps_of(events)
    assert len(steps) == 9
    for first in range(0, 9, 3):
        three = steps[first : first + 3]
        screened = {step.step: epochs_of(events, growth_step=step.step, arm="screen") for step in three}
        assert all(len(epochs) == 1 for epochs in screened.values())
        errors = {number: (epochs[-1].val_error, epochs[-1].val_loss) for number, epochs in screened.items()}
        winner = min(errors, key=lambda number: errors[number])
        for step in three:
            trained = epochs_of(events, growth_step=step.step, arm="candidate")
            assert len(trained) == (step.step == winner)
            if step.step != winner:
                assert step.verdict == "rejected" and step.train_error_candidate is None
                assert step.reason.startswith("screened out") and f"{errors[step.step][0]:.4f}" in step.reason
    accounts_balance(events)


def test_the_screened_winner_is_the_candidate_that_would_have_been_trained_anyway(short, make_context) -> None:
    growth: dict[str, Any] = {"initialiser": {"name": "kaiming"}, "epochs_per_step": 2, "stop": {"patience": 1}}
    unscreened = told(short(placement={"name": "best_of"}, **growth), make_context)
    screened = told(short(placement=SCREENED, **growth), make_context)
    winners = [epoch for epoch in epochs_of(screened, arm="candidate") if epoch.growth_step <= 2]  # of round 1
    assert len(winners) == 2
    same = epochs_of(unscreened, arm="candidate", growth_step=winners[0].growth_step)
    assert [science(epoch) for epoch in winners] == [science(epoch) for epoch in same]


# ------------------------------------------------------------------------------------------------------ their batches

# With the arms that are trained in the first and in the second epoch of each round by the trial's own seed.
SAME_BATCHES: dict[str, tuple[dict[str, Any], list[str], list[str]]] = {
    "best_of": ({"control": True}, ["candidate", "candidate", "control"], ["candidate", "candidate", "control"]),
    "screening": (
        {"control": True, "placement": SCREENED, "accept": {"name": "always", "replicates": 2}},
        ["screen", "screen", "candidate", "control"],
        ["candidate", "control"],
    ),
    "new_block": ({"train": "new_block"}, ["candidate", "candidate"], ["candidate", "candidate"]),
    "new_block_then_all": (
        {"control": True, "train": "new_block_then_all"},
        ["candidate", "candidate"],
        ["candidate", "candidate", "control"],
    ),
}


@pytest.mark.parametrize("augment", [["crop"], []], ids=["augmented", "as they are"])
@pytest.mark.parametrize("choice", SAME_BATCHES)
def test_all_arms_of_a_replicate_see_the_same_batches_in_the_same_order_and_each_epoch_others(
    choice: str, augment: list[str], short, make_context, monkeypatch
) -> None:
    passes: list[tuple[type, torch.Tensor, torch.Tensor]] = []

    def listen_to(source: type) -> None:
        batches = source.train_batches

        def listening(data: Any, seed: int, epoch: int) -> Iterator[Any]:
            all_batches = list(batches(data, seed, epoch))
            inputs, labels = (torch.cat(parts) for parts in zip(*all_batches, strict=True))
            passes.append((source, inputs, labels))
            return iter(all_batches)

        monkeypatch.setattr(source, "train_batches", listening)

    listen_to(DeviceData)
    listen_to(FeatureData)
    growth, *arms_of_epoch = SAME_BATCHES[choice]
    of_two_rounds = {"placement": {"name": "best_of"}, "accept": {"name": "always"}, "stop": {"max_blocks": 4}}
    trial = short(training={"augment": augment}, epochs_per_step=2, **(of_two_rounds | growth))
    events = told(trial, make_context)

    round_of = {step.step: step.round for step in steps_of(events)} | {0: 0}
    assert set(round_of.values()) == {0, 1, 2}
    alike: dict[tuple[int, int, int], list[tuple[type, torch.Tensor, torch.Tensor]]] = {}
    for epoch, seen in zip(epochs_of(events), passes, strict=True):
        alike.setdefault((round_of[epoch.growth_step], epoch.replicate, epoch.epoch), []).append(seen)
    for number, arms in enumerate(arms_of_epoch, start=1):
        of_first_round = [step for step, round in round_of.items() if round == 1]
        own = [epoch for epoch in epochs_of(events, replicate=0, epoch=number) if epoch.growth_step in of_first_round]
        assert [epoch.arm for epoch in own] == arms and len(alike[1, 0, number]) == len(arms)
    for of_one_epoch in alike.values():
        assert all(torch.equal(labels, of_one_epoch[0][2]) for _, _, labels in of_one_epoch)
        images = [inputs for source, inputs, _ in of_one_epoch if source is DeviceData]
        assert all(torch.equal(one, images[0]) for one in images)
    for one, other in combinations([of_one_epoch[0][2] for of_one_epoch in alike.values()], 2):
        assert not torch.equal(one, other)
    caches = choice == "screening" or (choice.startswith("new_block") and not augment)
    assert (FeatureData in {source for source, _, _ in passes}) == caches


# ------------------------------------------------------------------------------------------------- left and taken up

CHOICES: dict[str, dict[str, Any]] = {
    "screening with a control": {"placement": SCREENED, "control": True, "stop": {"max_epochs": 8}},
    "best_of with more seeds": {
        "placement": {"name": "best_of"},
        "accept": {"name": "paired_loss", "max_replicates": 2, "reject_above": 0.99, "spend": "holm"},
        "control": True,
        "stop": {"max_epochs": 13},
    },
    "plateau": {"when": {"name": "plateau", "patience": 1}, "epochs_per_step": 3, "control": True},
    "new stages": {"placement": {"name": "new_stage", "max_stages": 3}, "stop": {"max_epochs": 10}},
    "the widest gap": {"placement": {"name": "widest_gap", "images": 50}, "stop": {"max_blocks": 4, "patience": 2}},
    "freezing and a tail": {
        "placement": {"name": "round_robin", "freeze": {"window_epochs": 2}},
        "accept": {"name": "always"},
        "when": {"name": "periodic"},
        "schedule_at_growth": "constant",
        "tail_epochs": 2,
        "stop": {"max_blocks": 7},
    },
    "pruning and a tail": {
        "accept": {"name": "always"},
        "prune": True,
        "tail_epochs": 2,
        "optimizer_at_growth": {"name": "shrink_and_perturb"},
        "stop": {"max_blocks": 4},
    },
    "adam_gamma with more seeds": {
        "initialiser": {"name": "adam_gamma", "max_epochs": 2, "tolerance": 0.0},
        "accept": {"name": "always", "replicates": 2},
        "stop": {"max_blocks": 3},
    },
    "gradmax with a slow old part": {
        "initialiser": {"name": "gradmax", "images": 50},
        "old_lr_factor": 0.1,
        "train": "new_block_then_all",
        "epochs_per_step": 2,
        "accept": {"name": "versus_control", "test": "paired_loss", "replicates": 2},
        "control": True,
        "stop": {"patience": 1},
    },
}

MODELS = {"adam_gamma with more seeds": {"name": "resnet"}}
"""Where the choice wants another than the usual one."""


@pytest.mark.parametrize("choice", CHOICES)
def test_any_choice_resumed_at_every_event_is_the_uninterrupted_growth(choice: str, short, make_context) -> None:
    resumes_everywhere(short(**CHOICES[choice], model=MODELS.get(choice)), make_context)


# ----------------------------------------------------------------------------------------------------- what it costs


def test_what_looking_at_gradients_takes_is_paid_for(short, make_context) -> None:
    def paid(**growth: Any) -> int:
        """FLOPs of the first step beyond those of its epochs."""
        events = told(short(stop={"patience": 1}, **growth), make_context)
        step = steps_of(events)[0]
        finished = finished_of(events)
        outside = sum(epoch.train_flops for epoch in epochs_of(events, growth_step=0))
        assert finished.train_flops == outside + sum(step.train_flops for step in steps_of(events))
        return step.train_flops - sum(epoch.train_flops for epoch in epochs_of(events, growth_step=step.step))

    assert paid() == 0
    widest = paid(placement={"name": "widest_gap", "images": 50})
    assert widest > 0 and paid(placement={"name": "widest_gap", "images": 100}) == 2 * widest
    assert paid(placement={"name": "widest_gap", "images": 10_000}) == widest * 192 // 50  # all that there are
    gradmax = paid(initialiser={"name": "gradmax", "images": 50})
    assert gradmax > widest  # it looks at the grown network


def test_epochs_that_an_initialiser_trains_first_are_in_the_account_of_their_step(short, make_context) -> None:
    initialiser = {"name": "adam_gamma", "max_epochs": 3, "tolerance": 0.0}
    model = {"name": "resnet", "widths": [4, 8]}
    trial = short(model=model, training={"batch_size": 16}, initialiser=initialiser, seed_epochs=3)
    events = told(trial, make_context)
    finished, steps = finished_of(events), steps_of(events)
    first = [
        (step.epochs - len(own), step.train_flops - sum(epoch.train_flops for epoch in own))
        for step in steps
        for own in [epochs_of(events, growth_step=step.step)]
    ]
    assert any(epochs > 0 for epochs, _ in first), "an initialiser that trains something"
    assert all(0 <= epochs <= 3 and (flops > 0) == (epochs > 0) for epochs, flops in first)
    assert finished.epochs == len(epochs_of(events)) + sum(epochs for epochs, _ in first)
    assert finished.train_flops == sum(epoch.train_flops for epoch in epochs_of(events)) + sum(
        flops for _, flops in first
    )


@pytest.mark.parametrize("optimizer_at_growth", ["carry", "reset"])
def test_a_control_trains_in_the_epochs_in_which_its_candidates_trunk_learns(
    short, make_context, optimizer_at_growth: str
) -> None:
    growth = {
        "train": "new_block_then_all", "epochs_per_step": 4, "control": True, "stop": {"max_epochs": 8},
        "optimizer_at_growth": {"name": optimizer_at_growth},
    }  # fmt: skip
    trial = short(training={"schedule": {"name": "cosine"}}, **growth)
    events = told(trial, make_context)
    candidate, control = (epochs_of(events, growth_step=1, arm=arm) for arm in ("candidate", "control"))
    assert [epoch.epoch for epoch in candidate] == [1, 2, 3, 4]
    assert [epoch.epoch for epoch in control] == [3, 4]
    assert [epoch.lr for epoch in control] == [epoch.lr for epoch in candidate[2:]]
    accounts_balance(events)

    beginning = begin(trial, make_context(trial))
    alone = beginning.arms.control(beginning.parent.network, Place(step=1, round=1), epochs=2)
    whole = short(training={"schedule": {"name": "cosine"}}, **growth | {"train": "all"})
    of_all = begin(whole, make_context(whole)).control(epochs=4)
    batches = [
        [labels for _, labels in arm.context.data.train_batches(arm.context.seed, arm._first_data_epoch + epoch)]
        for arm, epoch in ((alone, 0), (of_all, 2))
    ]
    assert all(torch.equal(one, other) for one, other in zip(*batches, strict=True))


def test_where_the_trunk_never_learns_the_control_is_the_parent_as_it_was(short, make_context) -> None:
    trial = short(train="new_block", control=True, accept={"name": "versus_control", "test": "error_drop"})
    events = told(trial, make_context)
    assert not epochs_of(events, arm="control")
    for step in steps_of(events):
        assert step.val_error_control == step.val_error_before
        assert step.val_loss_control == pytest.approx(step.val_loss_before, rel=1e-6)
        assert f"the parent's was {step.val_error_before:.4f}" in step.reason
    accounts_balance(events)


@pytest.mark.parametrize("arm", ["candidate", "screening"])
def test_the_trunks_maps_are_let_go_with_the_last_epoch_that_uses_them(short, make_context, arm: str) -> None:
    trial = short(train="new_block", placement=SCREENED, training={"augment": []})
    beginning = begin(trial, make_context(trial))
    place = Place(step=1, round=1)
    training = (
        beginning.candidate().arm
        if arm == "candidate"
        else beginning.arms.begin_screening(beginning.parent.arm, Proposal(0, 1), place).arm
    )
    maps: list[weakref.ref[torch.Tensor]] = []
    of = training._stand_in.of

    def watched(*arguments: Any) -> Any:
        view = of(*arguments)
        maps.append(weakref.ref(view.context.data.train_copies[0]))
        return view

    training._stand_in.of = watched
    list(training.run())
    gc.collect()
    assert maps and all(reference() is None for reference in maps)


def test_a_control_of_another_seed_that_diverges_leaves_the_first_ones_error(short, make_context, monkeypatch) -> None:
    trial = short(accept={"name": "always", "replicates": 2}, control=True, stop={"patience": 1, "max_blocks": 3})
    growth = Growth(trial, make_context(trial))
    begin_control = growth._arms.begin_control

    def spoiling(parent: Any, place: Any, *, epochs: int) -> Any:
        begun = begin_control(parent, place, epochs=epochs)
        if place.replicate == 1:
            with torch.no_grad():
                begun.arm.network.head.classifier.bias.fill_(float("nan"))
        return begun

    monkeypatch.setattr(growth._arms, "begin_control", spoiling)
    events = list(growth.run())
    (step,) = steps_of(events)
    (first,) = epochs_of(events, arm="control")
    assert step.val_error_control == first.val_error and "the control arm diverged" in step.reason


def test_a_replicate_that_diverges_rejects_its_proposal_and_is_paid_for(short, make_context, monkeypatch) -> None:
    trial = short(accept={"name": "always", "replicates": 3}, control=True, stop={"patience": 1})
    growth = Growth(trial, make_context(trial))
    begin = growth._arms.begin_candidate

    def spoiling(parent: Any, proposal: Any, place: Any) -> Any:
        begun = begin(parent, proposal, place)
        if place.replicate == 1:
            with torch.no_grad():
                begun.arm.network.head.classifier.bias.fill_(float("nan"))
        return begun

    monkeypatch.setattr(growth._arms, "begin_candidate", spoiling)
    *events, finished = growth.run()
    (step,) = steps_of(events)
    assert step.verdict == "rejected" and "diverged" in step.reason and step.num_replicates == 2
    assert step.train_error_candidate is step.val_error_candidate is step.val_loss_candidate is None
    assert [(epoch.arm, epoch.replicate) for epoch in epochs_of(events, growth_step=1)] == [
        ("candidate", 0),
        ("control", 0),
    ]
    assert step.epochs == 3 and finished.epochs == 1 + 3  # the epoch that diverged too
    assert finished.num_blocks == 2


class _Sealed:
    """Data whose test split cannot be seen until growth is over."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def eval_batches(self, split: str, *rest: Any, **named: Any) -> Iterator[Any]:
        if split == "test":
            raise AssertionError("the test split was looked at")
        return self._data.eval_batches(split, *rest, **named)


@pytest.mark.parametrize("choice", CHOICES)
def test_no_decision_looks_at_the_test_split(choice: str, short, make_context) -> None:
    trial = short(**CHOICES[choice], model=MODELS.get(choice))
    context = make_context(trial)
    growth = Growth(trial, dataclasses.replace(context, data=_Sealed(context.data)))
    with pytest.raises(AssertionError, match="the test split was looked at"):
        for event in growth.run():
            assert not isinstance(event, TrialFinished)
    state = through_a_file(growth.state_dict())
    growth = Growth(trial, context)
    growth.load_state_dict(state)
    (finished,) = growth.run()  # all that was left was to look at it
    assert isinstance(finished, TrialFinished)
