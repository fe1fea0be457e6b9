"""For tests of what an arm begins with: a shallow network that was trained, and the arms that grow from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from growres.config.budget import most_rounds
from growres.config.experiment import TrialConfig
from growres.growth.arms import Arms, Begun, Place
from growres.growth.measured import Measured
from growres.growth.network import growing_network
from growres.growth.placement import Proposal
from growres.training.arm import ArmTraining
from growres.training.context import TrainingContext

FIRST = Place(step=1, round=1)


@dataclass(frozen=True)
class Beginning:
    """The parent of a growth's first round, and what makes its arms."""

    arms: Arms
    parent: Measured

    def candidate(self, stage: int = 0, place: Place = FIRST) -> Begun:
        """The arm with one block more at the end of the stage, before its first epoch."""
        blocks = self.parent.network.architecture["blocks"]
        opens_stage = stage == len(blocks)
        proposal = Proposal(stage, 0 if opens_stage else blocks[stage], opens_stage=opens_stage)
        return self.arms.begin_candidate(self.parent, proposal, place)

    def control(self, place: Place = FIRST, epochs: int = 2) -> ArmTraining:
        """The parent's own arm, before its first epoch."""
        return self.arms.begin_control(self.parent.arm, place, epochs=epochs).arm


def begin(trial: TrialConfig, context: TrainingContext) -> Beginning:
    """Trains the shallow network of a growth trial."""
    assert trial.growth is not None
    shallow = growing_network(context.build({"name": trial.model.name, **trial.model.kwargs}))
    rounds = most_rounds(trial.growth, shallow.architecture["blocks"])
    arms = Arms(trial, context, most_rounds=rounds)
    seed = arms.seed(shallow)
    list(seed.run())
    return Beginning(arms, Measured(seed))


def copied(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Parameters and buffers as they are now."""
    state: dict[str, Any] = network.state_dict()
    return {name: value.clone() for name, value in state.items()}
