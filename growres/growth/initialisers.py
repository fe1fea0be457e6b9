"""How a new block begins."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from growres.config.experiment import InitialiserConfig, KaimingConfig, ZeroBranchConfig
from zoo.resnet import Block


class Initialiser(Protocol):
    """Sets the weights of a new block, which come as the zoo makes them: convolutions by He et al. 2015."""

    name: str
    function_preserving: bool
    """Whether the network's logits must be what they were before the block."""

    def initialise(self, block: Block) -> None:
        """Changes the block's weights in place."""
        ...


class ZeroBranch:
    """The branch's output is zero, so that the block is its shortcut, and every parameter can still learn.

    In a pre-activation block the last convolution is zeroed, not the last batch norm's gamma: with gamma at zero the
    convolution would see ReLU(0), and no parameter of the block would ever receive a gradient. A post-activation block
    ends in a batch norm, whose gamma is zeroed (Goyal et al., arXiv:1706.02677, section 5.1); zeroing the convolution
    before it would instead divide its gradient by the square root of the norm's epsilon.
    """

    name = "zero_branch"
    function_preserving = True

    def initialise(self, block: Block) -> None:
        """Zeroes the last layer of the branch."""
        nn.init.zeros_((block.last_norm or block.last_conv).weight)


class Kaiming:
    """The zoo's own initialisation (He et al. 2015), as in AutoGrow's ordinary convolutions: the logits change."""

    name = "kaiming"
    function_preserving = False

    def initialise(self, block: Block) -> None:
        """Leaves the block as the zoo made it."""


def make_initialiser(config: InitialiserConfig) -> Initialiser:
    """The initialiser that the configuration names."""
    match config:
        case ZeroBranchConfig():
            return ZeroBranch()
        case KaimingConfig():
            return Kaiming()
