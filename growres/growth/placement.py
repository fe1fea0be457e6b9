"""Where the next block goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from growres.config.experiment import LastStageConfig, PlacementConfig, RoundRobinConfig
from growres.events import GrowthStepDecided


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block to append: the stage (0 nearest the stem) and the block's index within it."""

    stage: int
    block: int


class Placement(Protocol):
    """Chooses the stage of the next block from what is there and what was tried."""

    def propose(self, blocks: Sequence[int], history: Sequence[GrowthStepDecided]) -> Proposal:
        """The next proposal, given the number of blocks in each stage and the decided steps, oldest first."""
        ...


@dataclass(frozen=True, slots=True)
class RoundRobin:
    """The stages in turn, whatever the verdicts: a rejection in one stage says nothing about the next."""

    stages: tuple[int, ...] | None

    def propose(self, blocks: Sequence[int], history: Sequence[GrowthStepDecided]) -> Proposal:
        """The stage after the one of the last step."""
        stages = self.stages or tuple(range(len(blocks)))
        stage = stages[len(history) % len(stages)]
        return Proposal(stage=stage, block=blocks[stage])


class LastStage:
    """Always the stage nearest the head, as layer-wise training and BoostResNet add their layers on top."""

    def propose(self, blocks: Sequence[int], history: Sequence[GrowthStepDecided]) -> Proposal:
        """The end of the last stage."""
        return Proposal(stage=len(blocks) - 1, block=blocks[-1])


def make_placement(config: PlacementConfig) -> Placement:
    """The placement that the configuration names."""
    match config:
        case RoundRobinConfig(stages=stages):
            return RoundRobin(stages)
        case LastStageConfig():
            return LastStage()
