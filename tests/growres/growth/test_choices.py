"""Placement, acceptance and stopping: rules over plain numbers."""

from __future__ import annotations

from typing import Any

import pytest

from growres.config.experiment import StopConfig
from growres.events import GrowthStepDecided, Verdict
from growres.growth.acceptance import Comparison, ErrorDrop
from growres.growth.placement import GrowthView, LastStage, Proposal, RoundRobin
from growres.growth.stopping import GrowthProgress, make_stop_rules, reason_to_stop
from tests.growres.growth.constructed import decided, outputs


def test_round_robin_visits_the_stages_in_turn_whatever_the_verdicts() -> None:
    blocks, history, visited = [1, 1, 1], [], []
    for verdict in ("accepted", "rejected", "rejected", "accepted", "accepted", "rejected", "accepted"):
        (proposal,) = RoundRobin(None).propose(GrowthView(blocks=blocks, history=history))
        assert proposal.block == blocks[proposal.stage]
        visited.append(proposal.stage)
        blocks[proposal.stage] += verdict == "accepted"
        history.append(decided(verdict, round=len(history) + 1))
    assert visited == [0, 1, 2, 0, 1, 2, 0]


def test_round_robin_keeps_to_the_stages_that_it_was_given() -> None:
    history: list[GrowthStepDecided] = []
    stages = []
    for _ in range(4):
        (proposal,) = RoundRobin((2, 1)).propose(GrowthView(blocks=[1, 1, 1], history=history))
        stages.append(proposal.stage)
        history.append(decided("rejected", round=len(history) + 1))
    assert stages == [2, 1, 2, 1]


def test_last_stage_appends_at_the_end() -> None:
    assert LastStage().propose(GrowthView(blocks=[1, 2, 4], history=[])) == (Proposal(2, 4),)


@pytest.mark.parametrize(
    ("before", "candidate", "min_drop", "verdict"),
    [
        (0.10, 0.09, 0.0, "accepted"),
        (0.10, 0.10, 0.0, "rejected"),
        (0.10, 0.11, 0.0, "rejected"),
        (0.10, 0.09, 0.02, "rejected"),
        (0.10, 0.07, 0.02, "accepted"),
    ],
)
def test_a_block_is_kept_only_if_the_whole_network_got_better(before, candidate, min_drop, verdict) -> None:
    comparison = Comparison(befores=[outputs(before)], candidates=[outputs(candidate)])
    judgement = ErrorDrop(min_drop).judge(comparison)
    assert judgement.verdict == verdict
    assert f"{before:.4f} -> {candidate:.4f}" in judgement.reason


def stop_reason(config: dict[str, Any], verdicts: list[Verdict], **progress: Any) -> str | None:
    defaults: dict[str, Any] = {"val_error": 0.1, "num_blocks": 4, "epochs_trained": 20, "epochs_of_next_round": 5}
    history = [decided(verdict, round=number) for number, verdict in enumerate(verdicts, start=1)]
    rules = make_stop_rules(StopConfig.model_validate(config))
    return reason_to_stop(rules, GrowthProgress(history=history, **(defaults | progress)))


def test_growth_stops_at_the_error_that_the_user_wants() -> None:
    assert stop_reason({"target_error": 0.1}, []) == "target_error: val_error 0.1000 is at most 0.1"
    assert stop_reason({"target_error": 0.09}, []) is None


def test_patience_counts_proposals_that_were_not_accepted_in_a_row() -> None:
    config = {"patience": 2}
    assert stop_reason(config, ["rejected"]) is None
    assert stop_reason(config, ["rejected", "accepted", "rejected"]) is None
    assert "last 2 proposals" in str(stop_reason(config, ["accepted", "rejected", "undecided"]))


def test_a_step_that_would_pass_the_budget_is_not_begun() -> None:
    assert stop_reason({"max_epochs": 25}, []) is None
    assert "4 of 24 epochs are left, and a step takes 5" in str(stop_reason({"max_epochs": 24}, []))


def test_a_growth_that_nothing_else_is_sure_to_end_has_a_patience_of_3() -> None:
    assert StopConfig.model_validate({"max_blocks": 4}).patience == 3
    assert StopConfig.model_validate({"target_error": 0.1, "patience": None}).patience == 3
    assert StopConfig.model_validate({"max_epochs": 40}).patience is None
    assert StopConfig.model_validate({"max_blocks": 4, "patience": 7}).patience == 7


def test_max_blocks_counts_the_first_ones_too() -> None:
    assert stop_reason({"max_blocks": 5}, []) is None
    assert "has 4 blocks" in str(stop_reason({"max_blocks": 4}, []))
