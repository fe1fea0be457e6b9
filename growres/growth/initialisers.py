"""How a new block begins.

A choice that does not say otherwise gives every parameter a gradient at the first step. A block in which none receives
one can never learn, however long it trains.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from growres.config.experiment import (
    AdamGammaConfig,
    CopyPreviousConfig,
    GaussianGammaConfig,
    GradMaxConfig,
    InitialiserConfig,
    KaimingConfig,
    SkipInitConfig,
    UniformGammaConfig,
    ZeroBranchConfig,
    ZeroGammaConfig,
)
from zoo.resnet import Block


class Initialiser(Protocol):
    """Sets the weights of a new block, which come as the zoo makes them: convolutions by He et al. 2015."""

    name: ClassVar[str]
    function_preserving: ClassVar[bool]
    """Whether the network's logits must be what they were before the block."""

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Changes the block's weights in place.

        Args:
            previous: the block before it in its stage; None for a block that opens a stage.
        """
        ...


@runtime_checkable
class LooksAtGradients(Protocol):
    """An initialiser that also wants to know what the block's branch sees, and what would help after it."""

    num_images: int

    def use_gradients(self, block: Block, correlation_PD: Tensor) -> None:
        """Changes the block's weights in place.

        Args:
            correlation_PD: the sum over images and places of patch times gradient: P numbers of a patch as the branch's
                last but one convolution sees it, D channels of minus the loss's gradient at the branch's end.
        """
        ...


@runtime_checkable
class TrainsFirst(Protocol):
    """An initialiser that trains some of the block's parameters before the growth step begins."""

    lr: float
    max_epochs: int
    tolerance: float

    def trainable(self, block: Block) -> list[nn.Parameter]:
        """The parameters that it trains."""
        ...


class ZeroBranch:
    """The branch's output is zero, so that the block is its shortcut, and every parameter can still learn.

    In a pre-activation block the last convolution is zeroed, not the last batch norm's gamma: with gamma at zero the
    convolution would see ReLU(0), and no parameter of the block would ever receive a gradient. A post-activation block
    ends in a batch norm, whose gamma is zeroed (Goyal et al., arXiv:1706.02677, section 5.1); zeroing the convolution
    before it would instead divide its gradient by the square root of the norm's epsilon.

    At the first step only that convolution, or that gamma and its beta, receive a gradient; from the second on the
    whole branch does.
    """

    name: ClassVar[str] = "zero_branch"
    function_preserving: ClassVar[bool] = True

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Zeroes the last layer of the branch."""
        nn.init.zeros_((block.last_norm or block.last_conv).weight)


class ZeroGamma:
    """The last batch norm's gamma is zero (Goyal et al., arXiv:1706.02677, section 5.1): post-activation blocks.

    At the first step only that gamma and its beta receive a gradient; from the second on the whole branch does.
    """

    name: ClassVar[str] = "zero_gamma"
    function_preserving: ClassVar[bool] = True

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Zeroes the norm that ends the branch."""
        nn.init.zeros_(_last_norm(block).weight)


class Kaiming:
    """The zoo's own initialisation (He et al. 2015), as in AutoGrow's ordinary convolutions: the logits change."""

    name: ClassVar[str] = "kaiming"
    function_preserving: ClassVar[bool] = False

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Leaves the block as the zoo made it."""


@dataclass(frozen=True, slots=True)
class GaussianGamma:
    """Gamma and beta of the last batch norm from a normal distribution: AutoGrow's GauInit, its best by its own table.

    Source: Wen et al., arXiv:1906.02909; that beta is drawn too stands in the released code only.
    """

    std: float
    name: ClassVar[str] = "gaussian_gamma"
    function_preserving: ClassVar[bool] = False

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Draws both from torch's global CPU stream."""
        for parameter in _last_norm(block).parameters():
            parameter.data.copy_(torch.randn(parameter.shape) * self.std)


@dataclass(frozen=True, slots=True)
class UniformGamma:
    """Gamma and beta of the last batch norm drawn evenly between 0 and `high`: AutoGrow's UniInit, as in its code."""

    high: float
    name: ClassVar[str] = "uniform_gamma"
    function_preserving: ClassVar[bool] = False

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Draws both from torch's global CPU stream."""
        for parameter in _last_norm(block).parameters():
            parameter.data.copy_(torch.rand(parameter.shape) * self.high)


@dataclass(frozen=True, slots=True)
class AdamGamma:
    """Gamma and beta of the last batch norm, from one and zero, trained alone until the function is nearly kept.

    AutoGrow's AdamInit: Adam on those two, until the training error is at most `tolerance` above the parent's, or for
    `max_epochs`. As in its code, the statistics of all batch norms move meanwhile.
    """

    lr: float
    max_epochs: int
    tolerance: float
    name: ClassVar[str] = "adam_gamma"
    function_preserving: ClassVar[bool] = False

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Leaves the block as the zoo made it; what is trained is trained by the growth."""
        _last_norm(block)

    def trainable(self, block: Block) -> list[nn.Parameter]:
        """Gamma and beta."""
        return list(_last_norm(block).parameters())


class CopyPrevious:
    """The weights and statistics of the block before it, where its convolutions have the same shapes; otherwise as the
    zoo made it, as after a block that opens a stage.

    The first block of a pre-activation network leaves its first norm to the stem, and is copied but for that.

    Source: FRAGrow (AAAI 2024) and LipGrow clone the neighbour; LipGrow also scales the two branches down, we do not.
    """

    name: ClassVar[str] = "copy_previous"
    function_preserving: ClassVar[bool] = False

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Copies the parameters and buffers that both have."""
        if previous is not None and _convolutions(previous) == _convolutions(block):
            block.load_state_dict(block.state_dict() | previous.state_dict())


class SkipInit:
    """The branch times a learned number that starts at zero (De and Smith 2020, arXiv:2002.10444).

    At the first step only that number receives a gradient; from the second on the whole branch does.
    """

    name: ClassVar[str] = "skip_init"
    function_preserving: ClassVar[bool] = True

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Zeroes the number, which model: {skip_init: true} gives every block."""
        assert block.gain is not None, "the configuration requires skip_init of the model"
        nn.init.zeros_(block.gain)


@dataclass(frozen=True, slots=True)
class GradMax:
    """The last convolution is zero, and the one before it such that the last will receive a large gradient.

    GradMax (Evci et al. 2022, arXiv:2201.05125) adds neurons to a layer: it zeroes their incoming weights and solves
    for outgoing weights that maximise the gradient of the incoming ones, by a singular value decomposition. Here it is
    turned round for a branch that ends in a convolution: the outgoing weights are zero, and the filters before them are
    the patches that go with what the loss wants at the branch's end, the left singular vectors of the correlation of
    the two, each with both signs, because a ReLU follows. The norm and the ReLU between, and the neighbours that a last
    convolution of 3x3 also reads, are left out of the account, so that the gradient is large, not the largest. The
    filters keep the norms that the zoo's initialisation gave them.

    At the first step only the last convolution receives a gradient; from the second on the whole branch does.
    """

    num_images: int
    name: ClassVar[str] = "gradmax"
    function_preserving: ClassVar[bool] = True

    def initialise(self, block: Block, previous: Block | None) -> None:
        """Zeroes the last convolution."""
        nn.init.zeros_(block.last_conv.weight)

    def use_gradients(self, block: Block, correlation_PD: Tensor) -> None:
        """Turns the filters before the last convolution into the leading patches; those left over stay random."""
        patches_RP = torch.linalg.svd(correlation_PD.double().cpu(), full_matrices=False).U.T
        filters_RP = torch.stack([patches_RP, -patches_RP], dim=1).flatten(end_dim=1)
        weight = block.conv_before_last.weight
        number = min(len(filters_RP), len(weight))
        norms = weight.detach().flatten(start_dim=1).norm(dim=1)[:number]
        filters = filters_RP[:number].to(weight) * norms[:, None]
        weight.data[:number] = filters.reshape(number, *weight.shape[1:])


def _last_norm(block: Block) -> nn.BatchNorm2d:
    assert block.last_norm is not None, "the configuration requires a branch that ends in a batch norm"
    return block.last_norm


def _convolutions(block: Block) -> dict[str, torch.Size]:
    """The shapes of their weights, by name."""
    return {name: layer.weight.shape for name, layer in block.named_modules() if isinstance(layer, nn.Conv2d)}


def make_initialiser(config: InitialiserConfig) -> Initialiser:
    """The initialiser that the configuration names."""
    match config:
        case ZeroBranchConfig():
            return ZeroBranch()
        case ZeroGammaConfig():
            return ZeroGamma()
        case KaimingConfig():
            return Kaiming()
        case GaussianGammaConfig(std=std):
            return GaussianGamma(std)
        case UniformGammaConfig(high=high):
            return UniformGamma(high)
        case AdamGammaConfig(lr=lr, max_epochs=max_epochs, tolerance=tolerance):
            return AdamGamma(lr, max_epochs, tolerance)
        case CopyPreviousConfig():
            return CopyPrevious()
        case SkipInitConfig():
            return SkipInit()
        case GradMaxConfig(images=images):
            return GradMax(images)
