"""Where the next block goes, replayed on histories that are made by hand."""

from __future__ import annotations

import pytest

from growres.events import GrowthStepDecided, Verdict
from growres.growth.placement import (
    BestOf,
    FreezingRoundRobin,
    GrowthView,
    NewStage,
    NothingLeft,
    Placement,
    Proposal,
    WidestGap,
)
from tests.growres.growth.constructed import decided


def autogrow(*, rises_until: int, every: int, num_stages: int = 3, window_epochs: int = 100) -> list[int]:
    """The blocks that AutoGrow's rule ends with, where the accuracy rises in each epoch up to one, and then no more."""
    placement = FreezingRoundRobin(None, window_epochs, min_drop=0.0005)
    blocks = [1] * num_stages
    history: list[GrowthStepDecided] = []
    epochs_before_round: list[int] = []
    while True:
        num_epochs = every * (len(history) + 1)
        val_errors = [0.9 - 0.003 * min(epoch, rises_until) for epoch in range(1, num_epochs + 1)]
        epochs_before_round.append(num_epochs)
        view = GrowthView(
            blocks=blocks, history=history, val_errors=val_errors, epochs_before_round=epochs_before_round
        )
        proposals = placement.propose(view)
        if isinstance(proposals, NothingLeft):
            return blocks
        (proposal,) = proposals
        assert proposal.block == blocks[proposal.stage]
        blocks[proposal.stage] += 1
        history.append(decided("accepted", round=len(history) + 1, stage=proposal.stage))


@pytest.mark.parametrize(
    ("rises_until", "blocks"),
    [(30, [16, 16, 16]), (60, [20, 19, 19]), (120, [26, 26, 26]), (180, [33, 33, 32]), (240, [40, 39, 39])],
)
def test_freezing_ends_at_the_depths_of_autogrows_released_rule(rises_until: int, blocks: list[int]) -> None:
    assert autogrow(rises_until=rises_until, every=3) == blocks


@pytest.mark.parametrize(
    ("every", "blocks"), [(1, [35, 35, 35]), (5, [9, 8, 8]), (10, [5, 5, 5]), (20, [4, 3, 3]), (50, [3, 2, 2])]
)
def test_the_least_depth_of_autogrow_is_set_by_its_clock(every: int, blocks: list[int]) -> None:
    assert autogrow(rises_until=0, every=every) == blocks


def test_the_window_of_100_epochs_gives_the_published_least_depth_of_four_stages() -> None:
    assert autogrow(rises_until=0, every=3, num_stages=4) == [10, 10, 10, 10]
    assert autogrow(rises_until=0, every=3, num_stages=4, window_epochs=200) == [19, 18, 18, 18]


@pytest.mark.parametrize("error", [0.0605, 0.1005, 0.1805, 0.3005])
def test_a_fall_of_just_the_least_that_counts_keeps_a_stage_growing(error: float) -> None:
    placement = FreezingRoundRobin(None, window_epochs=2, min_drop=0.0005)
    history = [decided("accepted", round=1, stage=0), decided("accepted", round=2, stage=1)]

    def proposed(drop: float) -> tuple[Proposal, ...] | NothingLeft:
        """With a fall before the second round, which is about stage 0, and none before the third, about stage 1."""
        errors = [error, error, error - drop, error - drop, error - drop]
        view = GrowthView(blocks=[2, 2], history=history, val_errors=errors, epochs_before_round=[1, 3, 5])
        return placement.propose(view)

    assert proposed(0.0005) == (Proposal(0, 2),)  # five of 10,000 images
    assert proposed(0.0004) == NothingLeft(
        "every stage is frozen: the best validation error fell by less than 0.0005 in 2 epochs after a block in each"
    )


def test_widest_gap_takes_the_stage_of_the_largest_gradient_that_has_not_refused_since() -> None:
    norms, asked = [0.1, 0.9, 0.5], []

    def gradient_norms(num_images: int) -> list[float]:
        asked.append(num_images)
        return norms

    def stages(history: list[GrowthStepDecided], placement: Placement) -> list[int]:
        view = GrowthView(blocks=[1, 2, 3], history=history, gradient_norms=gradient_norms)
        proposals = placement.propose(view)
        return [] if isinstance(proposals, NothingLeft) else [proposal.stage for proposal in proposals]

    every, given = WidestGap(None, num_images=7), WidestGap((0, 2), num_images=7)
    history: list[GrowthStepDecided] = []
    assert stages(history, every) == [1] and stages(history, given) == [2]
    history.append(decided("rejected", round=1, stage=1))
    assert stages(history, every) == [2]
    history.append(decided("rejected", round=2, stage=2))
    assert stages(history, every) == [0] and stages(history, given) == [0]
    history.append(decided("rejected", round=3, stage=0))
    num_asked = len(asked)
    assert stages(history, every) == [] and stages(history, given) == []
    assert len(asked) == num_asked  # no gradient is computed for nothing
    history.append(decided("accepted", round=4, stage=0))
    assert stages(history, every) == [1]
    assert set(asked) == {7}


def grown(placement: Placement, verdicts: list[Verdict], *, can_open_stage: bool = True) -> list[Proposal]:
    """The proposals that come of such verdicts, up to the first round without one."""
    blocks, history, made = [1, 1], list[GrowthStepDecided](), list[Proposal]()
    for verdict in verdicts:
        proposals = placement.propose(GrowthView(blocks=blocks, history=history, can_open_stage=can_open_stage))
        if isinstance(proposals, NothingLeft):
            break
        made += proposals
        history.append(decided(verdict, round=len(history) + 1, stage=proposals[0].stage))
        if verdict == "accepted" and proposals[0].opens_stage:
            blocks.append(1)
        elif verdict == "accepted":
            blocks[proposals[0].stage] += 1
    return made


def test_a_new_stage_is_opened_only_when_every_stage_has_refused() -> None:
    verdicts: list[Verdict] = ["rejected", "accepted", "rejected", "rejected", "accepted", "rejected", "accepted"]
    assert grown(NewStage(max_stages=3), verdicts) == [
        Proposal(0, 1),
        Proposal(1, 1),
        Proposal(0, 1),
        Proposal(1, 2),
        Proposal(2, 0, opens_stage=True),
        Proposal(0, 1),
        Proposal(1, 2),
    ]


@pytest.mark.parametrize("verdict", ["rejected", "undecided"])
def test_a_refused_new_stage_ends_the_growth(verdict: Verdict) -> None:
    stages = [proposal.stage for proposal in grown(NewStage(max_stages=4), [verdict] * 9)]
    assert stages == [0, 1, 2]


def test_no_stage_is_opened_beyond_the_limit_or_on_a_map_that_cannot_be_halved() -> None:
    refusals: list[Verdict] = ["rejected"] * 9
    assert [proposal.stage for proposal in grown(NewStage(max_stages=2), refusals)] == [0, 1]
    assert [proposal.stage for proposal in grown(NewStage(max_stages=4), refusals, can_open_stage=False)] == [0, 1]


def test_best_of_proposes_a_block_for_each_stage_that_may_grow() -> None:
    view = GrowthView(blocks=[1, 2, 3], history=[decided("rejected")])
    assert BestOf(None).propose(view) == (Proposal(0, 1), Proposal(1, 2), Proposal(2, 3))
    assert BestOf((2, 0)).propose(view) == (Proposal(2, 3), Proposal(0, 1))
