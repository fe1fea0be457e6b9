"""The growing network: a residual network of the zoo, and its copy with one block more."""

from __future__ import annotations

import copy
from typing import cast

import torch
from torch import Tensor, nn

from growres.errors import GrowthError
from growres.growth.initialisers import Initialiser
from zoo.resnet import Block, Head, ResNet


def growing_network(network: nn.Module) -> ResNet:
    """The network itself, known to be one that blocks can be appended to.

    Raises:
        GrowthError: if it has no residual stages.
    """
    if not isinstance(network, ResNet):
        raise GrowthError(
            f"Cannot grow a {type(network).__name__}: it has no residual stages. "
            f"Growth starts from the models resnet and preact_resnet."
        )
    return network


def append_block(network: ResNet, stage: int, initialiser: Initialiser) -> ResNet:
    """A copy of the network with one residual block more at the end of a stage; the network itself stays as it is.

    The block's random weights come from torch's global CPU stream (see growres.seeding.seeded).

    Args:
        stage: 0 is nearest the stem; the block keeps the stage's (N, C, H, W).
        initialiser: a function-preserving one leaves the logits as they were, to the last bit on the CPU.
    Raises:
        GrowthError: if the network has no such stage.
    Source: step 2 of the Simons procedure. AutoGrow (arXiv:1906.02909) never takes a block back; the caller, who keeps
        the parent, can.
    """
    last = len(network.stages) - 1
    if not 0 <= stage <= last:
        raise GrowthError(
            f"Cannot append a block to stage {stage}: the network has stages 0 to {last}. "
            f"Name some of them in growth.placement.stages."
        )
    grown = copy.deepcopy(network)
    blocks = blocks_of(grown, stage)
    block = grown.make_block(stage, len(blocks))
    initialiser.initialise(block, cast(Block, blocks[-1]))
    blocks.append(block)
    return grown


def open_stage(network: ResNet, initialiser: Initialiser) -> ResNet:
    """A copy of the network with a new last stage of one block, of half the map and twice the width.

    The head takes the old channels as it did and begins with nothing of the new ones; with a zero branch and option A
    the logits change only in that the average is over a quarter of the places.
    """
    wider = copy.deepcopy(network)
    wider.add_stage(2 * network.widths[-1])
    initialiser.initialise(block_at(wider, len(network.stages), 0), None)
    _begin_as(wider.head, network.head)
    return wider


@torch.no_grad()
def _begin_as(head: Head, old: Head) -> None:
    """Gives the head of more channels the function of the old one, as far as the old channels go."""
    weight = old.classifier.weight
    head.classifier.weight.zero_()
    head.classifier.weight[:, : weight.shape[1]] = weight
    head.classifier.bias.copy_(old.classifier.bias)
    before = old.activation.state_dict()
    for name, value in head.activation.state_dict().items():
        if value.dim():
            value[: len(before[name])] = before[name]


def remove_block(network: ResNet, stage: int, block: int) -> ResNet:
    """A copy of the network without one of its blocks; the network itself stays as it is.

    Args:
        block: its index within the stage; the first one, which may change the shape, cannot go.
    """
    assert 0 < block < len(blocks_of(network, stage)), "a stage's first block makes its shape"
    smaller = copy.deepcopy(network)
    del blocks_of(smaller, stage)[block]
    return smaller


def blocks_of(network: ResNet, stage: int) -> nn.Sequential:
    """The blocks of a stage, in order; appending to them makes the network deeper."""
    return cast(nn.Sequential, network.stages[stage])


def block_at(network: ResNet, stage: int, block: int) -> Block:
    """A block by its stage and its index within it."""
    return cast(Block, blocks_of(network, stage)[block])


def first_blocks(blocks: list[int], number: int) -> list[int]:
    """How the first so many of a network's blocks lie in its stages: of [2, 2, 2] the first three are [2, 1]."""
    cut: list[int] = []
    for in_stage in blocks:
        left = number - sum(cut)
        if left > 0:
            cut.append(min(in_stage, left))
    return cut


@torch.inference_mode()
def largest_logit_change(before: nn.Module, after: nn.Module, images_NCHW: Tensor) -> float:
    """Largest absolute difference of the two networks' logits on these images, in evaluation mode and full precision.

    Both networks are left in evaluation mode. Compiled blocks run eagerly here: fused, a sum may round otherwise.
    """
    with torch.compiler.set_stance("force_eager"):
        return float((after.eval()(images_NCHW) - before.eval()(images_NCHW)).abs().max())
