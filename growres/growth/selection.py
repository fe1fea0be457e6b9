"""What a candidate trains: everything, the new block alone, or the new block first."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from growres.config.experiment import GrowthConfig
from growres.growth.network import blocks_of, growing_network
from growres.growth.placement import Proposal
from growres.training.arm import TrainSelection, train_everything


@dataclass(frozen=True, slots=True)
class TrainNewBlock:
    """Only the new block learns in the first epochs; the rest is frozen and in evaluation mode.

    Evaluation mode keeps the batch statistics of the frozen part as they were, as layer-wise training does
    (Belilovsky et al. 2019); in training mode they would drift although no weight moves.
    """

    proposal: Proposal
    epochs_alone: int
    """After these, everything learns."""

    def __call__(self, network: nn.Module, epoch: int) -> None:
        """Sets modes and gradients before an epoch, counted from 1."""
        if epoch > self.epochs_alone:
            train_everything(network, epoch)
            return
        network.eval().requires_grad_(False)
        block = blocks_of(growing_network(network), self.proposal.stage)[self.proposal.block]
        block.train().requires_grad_(True)


def make_selection(config: GrowthConfig, proposal: Proposal) -> TrainSelection:
    """What `growth.train` asks for."""
    match config.train:
        case "all":
            return train_everything
        case "new_block":
            return TrainNewBlock(proposal, epochs_alone=config.epochs_per_step)
        case "new_block_then_all":
            return TrainNewBlock(proposal, epochs_alone=config.epochs_per_step // 2)
