"""What a candidate trains: everything, the new block alone, or it first; and how fast the old part learns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from growres.config.budget import epochs_alone
from growres.config.experiment import GrowthConfig
from growres.growth.network import block_at, growing_network
from growres.growth.placement import Proposal
from growres.training.arm import TrainSelection, train_everything, train_only
from growres.training.optimizers import OldParameters
from zoo.resnet import ResNet


@dataclass(frozen=True, slots=True)
class TrainNewBlock:
    """Only the new block learns in the first epochs; the rest is frozen and in evaluation mode.

    Evaluation mode keeps the batch statistics of the frozen part as they were, as layer-wise training does
    (Belilovsky et al. 2019); in training mode they would drift although no weight moves. A block that opens a stage
    learns with the head, which is new too.
    """

    proposal: Proposal
    epochs_alone: int
    """After these, everything learns."""

    def __call__(self, network: nn.Module, epoch: int) -> None:
        """Sets modes and gradients before an epoch, counted from 1."""
        if epoch > self.epochs_alone:
            train_everything(network, epoch)
            return
        grown = growing_network(network)
        new_block = block_at(grown, self.proposal.stage, self.proposal.block)
        train_only(grown, [new_block, grown.head] if self.proposal.opens_stage else [new_block])


def make_selection(config: GrowthConfig, proposal: Proposal) -> TrainSelection:
    """What `growth.train` asks for."""
    alone = epochs_alone(config)
    return TrainNewBlock(proposal, epochs_alone=alone) if alone else train_everything


def old_parameters(config: GrowthConfig, parent: ResNet) -> OldParameters | None:
    """Those that the candidate has from its parent, where they are to learn more slowly."""
    if config.old_lr_factor == 1.0:
        return None
    names = frozenset(name for name, _ in parent.named_parameters())
    return OldParameters(names=names, lr_factor=config.old_lr_factor)
