"""Residual networks for small images, post- and pre-activation, and their plain twins.

He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition, 2015 (arXiv:1512.03385), section 4.2, and
Identity Mappings in Deep Residual Networks, 2016 (arXiv:1603.05027).

    stem (3x3 convolution) > stages of blocks > head (global average, linear)

Every stage but the first halves the map in its first block. The three forms differ in how a block ends and begins:

    resnet          y = relu(F(x) + h(x))     F: conv, norm, relu, conv, norm
    preact_resnet   y = F(x) + h(x)           F: norm, relu, conv, norm, relu, conv
    plain           y = relu(F(x))            F as in resnet

h is the identity wherever the shape stays. Where it changes, `option_a` keeps every second pixel and adds channels
of zeros (no weights), and `option_b` is a 1x1 convolution.

Dimension key: N batch, C channels of the block's input, D channels of its output, H and W height and width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Form = Literal["resnet", "preact_resnet", "plain"]
BlockKind = Literal["basic", "bottleneck"]
ShortcutOption = Literal["option_a", "option_b"]

BOTTLENECK_EXPANSION = 4

# --------------------------------------------------------------------------------------------------------- branch


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)


def branch_convolutions(kind: BlockKind, in_channels: int, width: int, stride: int) -> list[nn.Conv2d]:
    """The convolutions of a residual branch, in order. A bottleneck strides in its 3x3, as later releases do."""
    if kind == "basic":
        return [conv3x3(in_channels, width, stride), conv3x3(width, width)]
    return [
        conv1x1(in_channels, width),
        conv3x3(width, width, stride),
        conv1x1(width, BOTTLENECK_EXPANSION * width),
    ]


def postactivation_branch(convolutions: Sequence[nn.Conv2d]) -> nn.Sequential:
    """conv, norm, relu, ..., conv, norm: the last relu waits until after the addition."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, conv in enumerate(convolutions, start=1):
        layers[f"conv{number}"] = conv
        layers[f"norm{number}"] = nn.BatchNorm2d(conv.out_channels)
        if number < len(convolutions):
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def preactivation_branch(convolutions: Sequence[nn.Conv2d], *, activated: bool) -> nn.Sequential:
    """norm, relu, conv, norm, relu, conv, ...; without the first norm and relu where the input had its own already."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, conv in enumerate(convolutions, start=1):
        if number > 1 or not activated:
            layers[f"norm{number}"] = nn.BatchNorm2d(conv.in_channels)
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
        layers[f"conv{number}"] = conv
    return nn.Sequential(layers)


# ------------------------------------------------------------------------------------------------------- shortcut


class PaddedShortcut(nn.Module):
    """Option A: every `stride`-th pixel, and zeros for the channels that the input lacks. It has no weights.

    The zeros follow the input's channels, as in fb.resnet.torch; other code puts them on both sides, which is
    the same count and another function.
    """

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = extra_channels

    def forward(self, x_NCHW: Tensor) -> Tensor:
        subsampled = x_NCHW[:, :, :: self.stride, :: self.stride]
        return F.pad(subsampled, (0, 0, 0, 0, 0, self.extra_channels))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, extra_channels={self.extra_channels}"


def identity_or_padding(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """The shortcut without weights: the identity where the shape stays, option A where it changes."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    return PaddedShortcut(stride, out_channels - in_channels)


# ---------------------------------------------------------------------------------------------------------- block


class Block(nn.Module, ABC):
    """What every block has: a branch, and names for the layers that growth sets to zero."""

    preactivation: ClassVar[bool]
    """Whether norm and relu come before each convolution, so that the block's output is a bare sum."""
    branch: nn.Sequential

    @property
    def last_conv(self) -> nn.Conv2d:
        """The convolution that ends the branch (before its norm, where one follows)."""
        return [layer for layer in self.branch if isinstance(layer, nn.Conv2d)][-1]

    @property
    @abstractmethod
    def last_norm(self) -> nn.BatchNorm2d | None:
        """The batch norm that ends the branch; None where a convolution does."""


class PostactivationBlock(Block):
    """y = relu(F(x) + h(x)): He et al. 2015, equations 1 and 2."""

    preactivation = False

    def __init__(self, branch: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = shortcut

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return cast(nn.BatchNorm2d, self.branch[-1])

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.relu(self.branch(x_NCHW) + self.shortcut(x_NCHW))


class PreactivationBlock(Block):
    """y = F(x) + h(x): He et al. 2016, with nothing on the path from sum to sum.

    `before_split` is the identity but for blocks with a projection: those activate their input once, for branch and
    shortcut alike (the paper's appendix).
    """

    preactivation = True

    def __init__(self, before_split: nn.Module, branch: nn.Sequential, shortcut: nn.Module) -> None:
        super().__init__()
        self.before_split = before_split
        self.branch = branch
        self.shortcut = shortcut

    @property
    def last_norm(self) -> None:
        return None

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.before_split(x_NCHW)
        return cast(Tensor, self.branch(x_NCHW) + self.shortcut(x_NCHW))


class PlainBlock(Block):
    """y = relu(F(x)): the residual block without its shortcut."""

    preactivation = False

    def __init__(self, branch: nn.Sequential) -> None:
        super().__init__()
        self.branch = branch

    @property
    def last_norm(self) -> nn.BatchNorm2d:
        return cast(nn.BatchNorm2d, self.branch[-1])

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return F.relu(self.branch(x_NCHW))


# -------------------------------------------------------------------------------------------------------- network


class Head(nn.Module):
    """Logits from the global average of the last map, which a pre-activation network activates first."""

    def __init__(self, activation: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.activation = activation
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.activation(x_NCHW).mean(dim=(2, 3))))


def norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True)))


class ResNet(nn.Module):
    """A residual network, or its plain twin, of any number of stages.

    Attributes:
        stem: 3x3 convolution, norm, relu. In the pre-activation form these are the first block's own norm and relu,
            which the paper puts before that block's split.
        stages: one nn.Sequential of blocks a stage; blocks may be appended.
        head: global average and linear classifier; it begins with norm and relu in the pre-activation form.
    """

    def __init__(
        self,
        form: Form,
        *,
        blocks: Sequence[int],
        widths: Sequence[int],
        block: BlockKind = "basic",
        shortcut: ShortcutOption = "option_a",
        num_classes: int,
        in_channels: int,
    ) -> None:
        """A freshly initialised network.

        Args:
            blocks: blocks in each stage.
            widths: channels of each stage's convolutions; a bottleneck's output has four times as many.
            shortcut: what stands on the shortcut where the shape changes; a plain network ignores it.
        """
        super().__init__()
        self.form = form
        self.widths = tuple(widths)
        self.block_kind = block
        self.shortcut_option = shortcut
        stem_width = self.widths[0]
        self.stem = nn.Sequential(
            OrderedDict(
                conv=conv3x3(in_channels, stem_width),
                norm=nn.BatchNorm2d(stem_width),
                relu=nn.ReLU(inplace=True),
            )
        )
        self.stages = nn.ModuleList(
            nn.Sequential(*(self._new_block(stage, number) for number in range(count)))
            for stage, count in enumerate(blocks)
        )
        last_width = self._out_channels(len(self.widths) - 1)
        activation = norm_relu(last_width) if form == "preact_resnet" else nn.Identity()
        self.head = Head(activation, last_width, num_classes)
        initialise(self)

    @property
    def architecture(self) -> dict[str, Any]:
        """Plain data that makes this network again: zoo.create_model(**architecture, num_classes=..., ...)."""
        described: dict[str, Any] = {
            "name": self.form,
            "blocks": [len(cast(nn.Sequential, stage)) for stage in self.stages],
            "widths": list(self.widths),
            "block": self.block_kind,
        }
        return described if self.form == "plain" else {**described, "shortcut": self.shortcut_option}

    @property
    def num_blocks(self) -> int:
        return sum(self.architecture["blocks"])

    def make_block(self, stage: int, block: int) -> Block:
        """A block such as would stand at this place, freshly initialised; the network is left as it is.

        It has the network's device, dtype, memory format and mode. Its weights are drawn on the CPU from torch's
        global generator, so that they are the same whatever device the network is on.

        Args:
            stage: 0 is nearest the stem.
            block: 0 is the stage's first block, which may change the shape; every other keeps it.
        Raises:
            IndexError: if the network has no such stage.
        """
        if not 0 <= stage < len(self.stages):
            raise IndexError(f"no stage {stage}: the network has stages 0 to {len(self.stages) - 1}")
        made = self._new_block(stage, block)
        initialise(made)
        weight = next(self.parameters())
        made.to(device=weight.device, dtype=weight.dtype).train(self.training)
        if any(weight.dim() == 4 and not weight.is_contiguous() for weight in self.parameters()):
            made.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return made

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        x_NCHW = self.stem(images_NCHW)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        return cast(Tensor, self.head(x_NCHW))

    def _out_channels(self, stage: int) -> int:
        return self.widths[stage] * (BOTTLENECK_EXPANSION if self.block_kind == "bottleneck" else 1)

    def _in_channels(self, stage: int, block: int) -> int:
        if block > 0:
            return self._out_channels(stage)
        return self._out_channels(stage - 1) if stage > 0 else self.widths[0]

    def _new_block(self, stage: int, block: int) -> Block:
        in_channels, out_channels = self._in_channels(stage, block), self._out_channels(stage)
        stride = 2 if stage > 0 and block == 0 else 1
        convolutions = branch_convolutions(self.block_kind, in_channels, self.widths[stage], stride)
        if self.form == "plain":
            return PlainBlock(postactivation_branch(convolutions))

        projects = self.shortcut_option == "option_b" and not (stride == 1 and in_channels == out_channels)
        make_shortcut = self._projection if projects else identity_or_padding
        shortcut = make_shortcut(in_channels, out_channels, stride)
        if self.form == "resnet":
            return PostactivationBlock(postactivation_branch(convolutions), shortcut)
        after_stem = stage == 0 and block == 0
        before_split = norm_relu(in_channels) if projects and not after_stem else nn.Identity()
        branch = preactivation_branch(convolutions, activated=projects or after_stem)
        return PreactivationBlock(before_split, branch, shortcut)

    def _projection(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        conv = conv1x1(in_channels, out_channels, stride)
        if self.form == "preact_resnet":
            return conv
        return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_channels)))


def initialise(module: nn.Module) -> None:
    """He initialisation: convolutions normal with variance 2 / (outputs of a weight), the classifier's bias zero.

    Batch norms keep PyTorch's: scale one, shift zero.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)


# ------------------------------------------------------------------------------------------------------ factories


def resnet(*, image_size: int, **settings: Any) -> ResNet:
    """The post-activation form. The image size was checked before and shapes nothing."""
    return ResNet("resnet", **settings)


def preact_resnet(*, image_size: int, **settings: Any) -> ResNet:
    """The pre-activation form."""
    return ResNet("preact_resnet", **settings)


def plain(*, image_size: int, **settings: Any) -> ResNet:
    """The post-activation form without shortcuts."""
    return ResNet("plain", **settings)
