"""Where the next block goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from growres.config.experiment import (
    BestOfConfig,
    LastStageConfig,
    NewStageConfig,
    PlacementConfig,
    RoundRobinConfig,
    WidestGapConfig,
)
from growres.events import GrowthStepDecided
from growres.growth.acceptance import ROUNDING


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block to append: the stage (0 nearest the stem) and the block's index within it."""

    stage: int
    block: int
    opens_stage: bool = False
    """The stage is new: its first block halves the map and doubles the width."""


@dataclass(frozen=True, slots=True)
class NothingLeft:
    """No stage is left to try: the growth ends, and this is why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthView:
    """What a placement may look at: the network as accepted so far, and how it came there."""

    blocks: Sequence[int]
    """In each stage."""
    history: Sequence[GrowthStepDecided]
    """The decided steps, oldest first."""
    val_errors: Sequence[float] = ()
    """After each epoch that the accepted network was trained, oldest first."""
    epochs_before_round: Sequence[int] = ()
    """How many of those had been trained when each round began, the one that is to be proposed included."""
    gradient_norms: Callable[[int], Sequence[float]] | None = None
    """The norm of each stage's mean gradient over so many training images."""
    can_open_stage: bool = False
    """The last map is large enough to be halved once more."""


class Placement(Protocol):
    """Chooses the stages of a round's proposals from what is there and what was tried."""

    def propose(self, view: GrowthView) -> tuple[Proposal, ...] | NothingLeft:
        """The proposals of the next round, one or more, which share their parent; or why there are no more."""
        ...


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """The stages in turn, whatever the verdicts: a rejection in one stage says nothing about the next."""

    stages: tuple[int, ...] | None

    def propose(self, view: GrowthView) -> tuple[Proposal, ...]:
        """The stage after the one of the last step."""
        stages = self.stages or tuple(range(len(view.blocks)))
        return (_at_end(view, stages[num_rounds(view.history) % len(stages)]),)


@dataclass(frozen=True, slots=True)
class FreezingRoundRobin:
    """The stages in turn, less those that growing has stopped to pay for: AutoGrow's stop rule.

    Before each round after the first, the best validation error so far is held against what it was `window_epochs` ago;
    where it has not fallen by `min_drop`, the stage that grew last is frozen, its block kept. Nothing is frozen before
    the network has trained that long (Wen et al., arXiv:1906.02909, and its released code, which looks at the test
    split where we look at the validation split).
    """

    stages: tuple[int, ...] | None
    window_epochs: int
    min_drop: float

    def propose(self, view: GrowthView) -> tuple[Proposal, ...] | NothingLeft:
        """The next stage in the circle that is not frozen; none when all are."""
        circle = list(self.stages or range(len(view.blocks)))
        next_one = 0
        for step, epochs in zip(view.history, view.epochs_before_round[1:], strict=True):
            place = circle.index(step.stage)
            if self._has_stopped_paying(view.val_errors[:epochs]):
                del circle[place]
                next_one = place
            else:
                next_one = place + 1
            if not circle:
                return NothingLeft(
                    f"every stage is frozen: the best validation error fell by less than {self.min_drop} "
                    f"in {self.window_epochs} epochs after a block in each"
                )
        return (_at_end(view, circle[next_one % len(circle)]),)

    def _has_stopped_paying(self, val_errors: Sequence[float]) -> bool:
        if len(val_errors) <= self.window_epochs:
            return False
        return min(val_errors[: -self.window_epochs]) - min(val_errors) < self.min_drop - ROUNDING


class LastStage:
    """Always the stage nearest the head, as layer-wise training and BoostResNet add their layers on top."""

    def propose(self, view: GrowthView) -> tuple[Proposal, ...]:
        """The end of the last stage."""
        return (_at_end(view, len(view.blocks) - 1),)


@dataclass(frozen=True, slots=True)
class WidestGap:
    """The stage whose parameters' mean gradient is largest: where the loss would fall fastest.

    A stage in which a block was refused is left out until another is accepted: nothing has changed there meanwhile.
    """

    stages: tuple[int, ...] | None
    num_images: int

    def propose(self, view: GrowthView) -> tuple[Proposal, ...] | NothingLeft:
        """The end of that stage; none when every stage refused a block since the last one was kept."""
        refused = {step.stage for step in _since_last_acceptance(view.history)}
        open_stages = [stage for stage in self.stages or range(len(view.blocks)) if stage not in refused]
        if not open_stages:
            return NothingLeft("every stage that may grow has refused a block since the last one was accepted")
        assert view.gradient_norms is not None
        norms = view.gradient_norms(self.num_images)
        return (_at_end(view, max(open_stages, key=lambda stage: norms[stage])),)


@dataclass(frozen=True, slots=True)
class BestOf:
    """One proposal for each stage, from the same parent; keeping none is a candidate too.

    A round in which nothing passed would be repeated with other seeds: `patience` says how often.
    """

    stages: tuple[int, ...] | None

    def propose(self, view: GrowthView) -> tuple[Proposal, ...]:
        """The end of each stage."""
        return tuple(_at_end(view, stage) for stage in self.stages or range(len(view.blocks)))


@dataclass(frozen=True, slots=True)
class NewStage:
    """The stages in turn, and, when each has refused a block since the last was kept, a new stage after the last one.

    A refused new stage ends the growth: there is nothing left to try.
    """

    max_stages: int

    def propose(self, view: GrowthView) -> tuple[Proposal, ...] | NothingLeft:
        """The next stage in turn that has not refused a block, else a new stage, else none."""
        num_stages = len(view.blocks)
        refused = {step.stage for step in _since_last_acceptance(view.history)}
        last = view.history[-1].stage if view.history else num_stages - 1
        in_turn = [(last + distance) % num_stages for distance in range(1, num_stages + 1)]
        for stage in in_turn:
            if stage not in refused:
                return (_at_end(view, stage),)
        if num_stages in refused:
            return NothingLeft("every stage and a new one have refused a block since the last one was accepted")
        if num_stages >= self.max_stages or not view.can_open_stage:
            at_limit = num_stages >= self.max_stages
            limit = f"max_stages is {self.max_stages}" if at_limit else "the last map is too small to be halved"
            return NothingLeft(f"every stage has refused a block, and no new one can be opened: {limit}")
        return (Proposal(stage=num_stages, block=0, opens_stage=True),)


def num_rounds(history: Sequence[GrowthStepDecided]) -> int:
    """Rounds of proposals that were decided."""
    return len({step.round for step in history})


def _at_end(view: GrowthView, stage: int) -> Proposal:
    # A stage that is not there is the network's to refuse, with the stages that there are.
    return Proposal(stage=stage, block=view.blocks[stage] if stage < len(view.blocks) else 0)


def _since_last_acceptance(history: Sequence[GrowthStepDecided]) -> Iterator[GrowthStepDecided]:
    for step in reversed(history):
        if step.verdict == "accepted":
            return
        yield step


def make_placement(config: PlacementConfig) -> Placement:
    """The placement that the configuration names."""
    match config:
        case RoundRobinConfig(stages=stages, freeze=None):
            return RoundRobin(stages)
        case RoundRobinConfig(stages=stages, freeze=freeze):
            assert freeze is not None
            return FreezingRoundRobin(stages, freeze.window_epochs, freeze.min_drop)
        case LastStageConfig():
            return LastStage()
        case WidestGapConfig(stages=stages, images=images):
            return WidestGap(stages, images)
        case BestOfConfig(stages=stages):
            return BestOf(stages)
        case NewStageConfig(max_stages=max_stages):
            return NewStage(max_stages)
