"""What an arm takes along from its parent, beside the weights: the optimiser's state, or weights that were shaken."""

from __future__ import annotations

from typing import Protocol

import torch

from growres.config.experiment import (
    CarryConfig,
    OptimizerAtGrowthConfig,
    ResetConfig,
    ShrinkAndPerturbConfig,
)
from growres.seeding import stream_seed
from growres.training.arm import ArmTraining


class Carrying(Protocol):
    """Prepares an arm for its first epoch."""

    def begin(self, arm: ArmTraining, parent: ArmTraining, *, seed: int) -> None:
        """Changes the arm's weights or its optimiser; the parent stays as it is."""
        ...


class Carry:
    """The optimiser goes on where the parent's stood; for the new block it starts fresh, as in AutoGrow."""

    def begin(self, arm: ArmTraining, parent: ArmTraining, *, seed: int) -> None:
        """Copies the parent's optimiser state."""
        arm.take_optimizer_state(parent)


class Reset:
    """The optimiser starts fresh, as in LipGrow."""

    def begin(self, arm: ArmTraining, parent: ArmTraining, *, seed: int) -> None:
        """Leaves the arm's new optimiser as it is."""


class ShrinkAndPerturb:
    """The parent's weights times `shrink`, plus noise, and a fresh optimiser (Ash and Adams 2020, arXiv:1910.08475).

    Convolutions and the classifier's weights are shaken; batch norms and biases stay, for shrinking a gamma would
    shrink the signal a second time. The paper's noise has one standard deviation for all weights; ours is `perturb`
    times that of each layer's own, so that one number suits all widths. The new block, which was not trained before, is
    left as it was made.
    """

    def __init__(self, shrink: float, perturb: float) -> None:
        self._shrink = shrink
        self._perturb = perturb

    @torch.no_grad()
    def begin(self, arm: ArmTraining, parent: ArmTraining, *, seed: int) -> None:
        """Shakes the weights that the arm shares with its parent, by noise of this seed."""
        old = dict(parent.network.named_parameters())
        generator = torch.Generator().manual_seed(stream_seed("perturb", seed))
        for name, parameter in arm.network.named_parameters():
            if name in old and old[name].shape == parameter.shape and parameter.dim() > 1:
                noise = torch.randn(parameter.shape, generator=generator).to(parameter)
                noise *= self._perturb * parameter.std()
                parameter.mul_(self._shrink).add_(noise)


def make_carrying(config: OptimizerAtGrowthConfig) -> Carrying:
    """What `growth.optimizer_at_growth` asks for."""
    match config:
        case CarryConfig():
            return Carry()
        case ResetConfig():
            return Reset()
        case ShrinkAndPerturbConfig(shrink=shrink, perturb=perturb):
            return ShrinkAndPerturb(shrink, perturb)
