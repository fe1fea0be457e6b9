"""The last epochs, of the grown network itself; and schedules that span a whole growth."""

from __future__ import annotations

from typing import Any

import pytest

from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent, TrialFinished
from growres.growth.procedure import Growth
from tests.replaying import science


@pytest.fixture
def grown(make_trial, make_context):
    """The events of a small growth that keeps every block; keyword arguments are those of the section growth."""

    def grow(**growth: Any) -> list[ProcedureEvent]:
        defaults: dict[str, Any] = {
            "seed_epochs": 1,
            "epochs_per_step": 1,
            "control": False,
            "accept": {"name": "always"},
            "stop": {"max_blocks": 4},
        }
        trial = make_trial(
            procedure="growth",
            model={"name": "preact_resnet", "blocks": [1, 1], "widths": [2, 4]},
            training={"batch_size": 48, "schedule": {"name": "cosine"}},
            growth=defaults | growth,
        )
        return list(Growth(trial, make_context(trial)).run())

    return grow


def epochs_of(events: list[ProcedureEvent]) -> list[EpochFinished]:
    return [event for event in events if isinstance(event, EpochFinished)]


def test_the_last_epochs_are_the_networks_own_after_the_last_step(grown) -> None:
    with_tail, without = grown(tail_epochs=3), grown()
    *same, tail_1, tail_2, tail_3, finished = with_tail
    assert [science(event) for event in same] == [science(event) for event in without[:-1]]
    tail = [tail_1, tail_2, tail_3]
    assert [(epoch.growth_step, epoch.arm, epoch.epoch) for epoch in tail] == [
        (2, "network", 1),
        (2, "network", 2),
        (2, "network", 3),
    ]
    assert finished.val_error == tail_3.val_error
    assert finished.epochs == without[-1].epochs + 3 == len(epochs_of(with_tail))
    assert finished.train_flops == without[-1].train_flops + sum(epoch.train_flops for epoch in tail)
    assert finished.architecture == without[-1].architecture


def test_without_any_step_they_follow_the_shallow_networks_epochs(grown) -> None:
    events = grown(tail_epochs=2, seed_epochs=2, stop={"max_blocks": 2})
    assert [(epoch.growth_step, epoch.arm, epoch.epoch) for epoch in epochs_of(events)] == [
        (0, "network", number) for number in (1, 2, 3, 4)
    ]


def test_the_schedule_runs_over_the_last_epochs_whatever_it_did_in_the_growth(grown) -> None:
    events = grown(tail_epochs=4, schedule_at_growth="constant")
    rates = [epoch.lr for epoch in epochs_of(events)]
    assert rates[:3] == [0.1] * 3
    tail = rates[3:]
    assert tail == sorted(tail, reverse=True) and len(set(tail)) == 4 and tail[-1] < 0.01 < tail[0]


def test_the_optimiser_goes_on_in_the_last_epochs_where_it_stood(make_trial, make_context) -> None:
    trial = make_trial(
        procedure="growth",
        training={"batch_size": 48},
        growth={"seed_epochs": 1, "tail_epochs": 1, "stop": {"max_blocks": 2}, "control": False},
    )
    growth = Growth(trial, make_context(trial))
    kept: dict[str, Any] = {}
    begun: dict[str, Any] = {}
    take = growth._arms.tail

    def listening(network: Any, **named: Any) -> Any:
        arm = take(network, **named)
        taken = arm.take_optimizer_state

        def take_optimizer_state(parent: Any) -> None:
            taken(parent)
            kept.update(parent.state_dict()["optimizer"])
            begun.update(
                {name: {key: value.clone() for key, value in tensors.items()}
                 for name, tensors in arm.state_dict()["optimizer"].items()}
            )  # fmt: skip

        arm.take_optimizer_state = take_optimizer_state
        return arm

    growth._arms.tail = listening  # type: ignore[method-assign]
    list(growth.run())
    assert begun and begun.keys() == kept.keys()
    for name, tensors in begun.items():
        assert tensors["momentum_buffer"].equal(kept[name]["momentum_buffer"])


def whole_run(grown, **growth: Any) -> tuple[list[float], list[GrowthStepDecided], TrialFinished]:
    events = grown(schedule_at_growth="whole_run", **growth)
    steps = [event for event in events if isinstance(event, GrowthStepDecided)]
    return [epoch.lr for epoch in epochs_of(events)], steps, events[-1]


def test_a_schedule_over_the_whole_run_falls_to_the_end_of_the_longest_growth(grown) -> None:
    rates, _, _ = whole_run(grown, stop={"max_epochs": 8})
    assert len(rates) == 8 and rates == sorted(rates, reverse=True) and len(set(rates)) == 8
    assert rates[-1] < 0.005


def test_rounds_that_are_shorter_than_they_might_be_do_not_outrun_the_schedule(grown) -> None:
    # A plateau ends most arms after two of their six epochs, so that more rounds fit into the budget.
    rates, steps, _ = whole_run(
        grown, when={"name": "plateau", "patience": 1}, epochs_per_step=6, stop={"max_epochs": 30}
    )
    assert len(steps) > (30 - 1) // 6, "more rounds than the longest ones would have left room for"
    assert rates == sorted(rates, reverse=True) and rates[-1] > 0, "it is neither risen again nor used up"
