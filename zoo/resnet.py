"""Residual networks, post- and pre-activation, for ImageNet and for small images, and their plain twins.

He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition, 2015 (arXiv:1512.03385), and
Identity Mappings in Deep Residual Networks, 2016 (arXiv:1603.05027), whose names h and f are used here.

    stem > stages of blocks > head (global average, linear)

The stem of small images is a 3x3 convolution; ImageNet's is a 7x7 convolution and a max pooling, both of stride 2.
Every stage but the first halves the map in its first block. A block is

    y = f(F(x) + h(x))

    h   the shortcut: the identity, in the networks that were published to be used. Where the shape changes,
        `option_a` keeps every second pixel and adds channels of zeros (no weights), `option_b` is a 1x1 convolution,
        and `option_c` has such convolutions everywhere. The second paper's variants scale, gate or drop it.
    f   what follows the addition: relu in the first paper, nothing in the second (there norm and relu come
        before each convolution of the branch F, the full pre-activation), and three orders in between.

A plain network has no shortcut: y = f(F(x)).

Dimension key: N batch, C channels of the block's input, D channels of its output, H and W height and width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Form = Literal["resnet", "preact_resnet", "plain"]
BlockKind = Literal["basic", "bottleneck"]
ShortcutOption = Literal["option_a", "option_b", "option_c"]
ShortcutVariant = Literal[
    "identity", "constant_scaling", "exclusive_gating", "shortcut_only_gating", "conv1x1", "dropout"
]
ActivationOrder = Literal["original", "bn_after", "relu_before", "relu_only_pre", "full_pre"]

BOTTLENECK_EXPANSION = 4

# --------------------------------------------------------------------------------------------------------- branch


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=bias)


def branch_convolutions(
    kind: BlockKind, in_channels: int, width: int, stride: int, *, stride_in_1x1: bool = False
) -> list[nn.Conv2d]:
    """The convolutions of a residual branch, in order.

    A bottleneck strides in its 3x3, as later releases do, or in its first 1x1, as in the paper (up to a twentieth fewer
    multiplications, and three quarters of the map are never looked at).
    """
    if kind == "basic":
        return [conv3x3(in_channels, width, stride), conv3x3(width, width)]
    first, second = (stride, 1) if stride_in_1x1 else (1, stride)
    return [
        conv1x1(in_channels, width, first),
        conv3x3(width, width, second),
        conv1x1(width, BOTTLENECK_EXPANSION * width),
    ]


def branch_of(convolutions: Sequence[nn.Conv2d], f: ActivationOrder, *, activated: bool) -> nn.Sequential:
    """The branch F around these convolutions, in the order of layers that f asks for.

        original        conv norm relu  conv norm
        bn_after        conv norm relu  conv
        relu_before     conv norm relu  conv norm relu
        relu_only_pre   relu conv norm  relu conv norm
        full_pre        norm relu conv  norm relu conv

    Args:
        activated: the input has been activated already: a branch that begins with an activation leaves it out.
    """
    last = len(convolutions)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, conv in enumerate(convolutions, start=1):
        activates_first = f in ("relu_only_pre", "full_pre") and not (number == 1 and activated)
        if activates_first and f == "full_pre":
            layers[f"norm{number}"] = nn.BatchNorm2d(conv.in_channels)
        if activates_first:
            on_the_input = f == "relu_only_pre" and number == 1  # which the shortcut reads too
            layers[f"relu{number}"] = nn.ReLU(inplace=not on_the_input)
        layers[f"conv{number}"] = conv
        if f != "full_pre" and not (f == "bn_after" and number == last):
            layers[f"norm{number}"] = nn.BatchNorm2d(conv.out_channels)
        if f == "relu_before" or (f in ("original", "bn_after") and number < last):
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def after_addition(f: ActivationOrder, channels: int) -> nn.Module:
    """What f itself is: the layers between the sum and the block's output."""
    match f:
        case "original":
            return nn.ReLU(inplace=True)
        case "bn_after":
            return norm_relu(channels)
        case _:
            return nn.Identity()


def norm_relu(channels: int) -> nn.Sequential:
    return nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True)))


def activation_of(f: ActivationOrder, channels: int) -> nn.Module:
    """What the pre-activation orders put before a convolution, and after the last block; nothing in the others."""
    match f:
        case "full_pre":
            return norm_relu(channels)
        case "relu_only_pre":
            return nn.ReLU()
        case _:
            return nn.Identity()


# ------------------------------------------------------------------------------------------------------- shortcut


class PaddedPath(nn.Module):
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


def projection(in_channels: int, out_channels: int, stride: int, f: ActivationOrder) -> nn.Module:
    """A 1x1 convolution, with a norm unless one precedes it or follows the addition."""
    conv = conv1x1(in_channels, out_channels, stride)
    if f in ("full_pre", "bn_after"):
        return conv
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_channels)))


class Gate(nn.Module):
    """g(x) = sigmoid(W x + b) for each pixel of each channel, W a 1x1 convolution that starts from the given b."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, bias: float) -> None:
        super().__init__()
        self.conv = conv1x1(in_channels, out_channels, stride, bias=True)
        nn.init.constant_(cast(Tensor, self.conv.bias), bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.sigmoid(self.conv(x_NCHW))


class Shortcut(nn.Module, ABC):
    """Joins what the branch made of the input with the input itself."""

    @abstractmethod
    def forward(self, x_NCHW: Tensor, branch_NDHW: Tensor) -> Tensor:
        """The sum, (N, D, H', W')."""


class NoShortcut(Shortcut):
    """F(x): what a plain network has."""

    def forward(self, x_NCHW: Tensor, branch_NDHW: Tensor) -> Tensor:
        return branch_NDHW


class Addition(Shortcut):
    """F(x) + x, the input on a path that gives it the branch's shape: He et al. 2015, equations 1 and 2."""

    def __init__(self, path: nn.Module) -> None:
        super().__init__()
        self.path = path

    def forward(self, x_NCHW: Tensor, branch_NDHW: Tensor) -> Tensor:
        return cast(Tensor, branch_NDHW + self.path(x_NCHW))


class ConstantScaling(Shortcut):
    """b F(x) + a x. The paper has a = b = 0.5 (12.35 % for ResNet-110 on CIFAR-10); a = b = 1 is the addition."""

    def __init__(self, path: nn.Module, *, shortcut_scale: float, branch_scale: float) -> None:
        super().__init__()
        self.path = path
        self.shortcut_scale = shortcut_scale
        self.branch_scale = branch_scale

    def forward(self, x_NCHW: Tensor, branch_NDHW: Tensor) -> Tensor:
        return cast(Tensor, self.branch_scale * branch_NDHW + self.shortcut_scale * self.path(x_NCHW))


class ExclusiveGating(Shortcut):
    """g(x) F(x) + (1 - g(x)) x, as in Highway Networks: the more of one, the less of the other."""

    def __init__(self, path: nn.Module, gate: Gate) -> None:
        super().__init__()
        self.path = path
        self.gate = gate

    def forward(self, x_NCHW: Tensor, branch_NDHW: Tensor) -> Tensor:
        g_NDHW = self.gate(x_NCHW)
        return cast(Tensor, g_NDHW * branch_NDHW + (1 - g_NDHW) * self.path(x_NCHW))


class ShortcutOnlyGating(Shortcut):
    """F(x) + (1 - g(x)) x."""

    def __init__(self, path: nn.Module, gate: Gate) -> None:
        super().__init__()
        self.path = path
        self.gate = gate

    def forward(self, x_NCHW: Tensor, branch_NDHW: Tensor) -> Tensor:
        return cast(Tensor, branch_NDHW + (1 - self.gate(x_NCHW)) * self.path(x_NCHW))


# ---------------------------------------------------------------------------------------------------------- block


class Block(nn.Module):
    """y = f(F(x) + h(x)).

    `before_split` is the identity but for pre-activation blocks with a projection: those activate their input once, for
    branch and shortcut alike (the second paper's appendix). `after` is f. With `skip_init` the branch is multiplied by
    `gain`, a learned number that starts at zero (De and Smith 2020, arXiv:2002.10444, who leave out the norms, too).
    """

    def __init__(
        self,
        before_split: nn.Module,
        branch: nn.Sequential,
        shortcut: Shortcut,
        after: nn.Module,
        *,
        skip_init: bool = False,
    ) -> None:
        super().__init__()
        self.before_split = before_split
        self.branch = branch
        self.shortcut = shortcut
        self.after = after
        self.gain = nn.Parameter(torch.zeros(())) if skip_init else None

    @property
    def last_conv(self) -> nn.Conv2d:
        """The convolution that ends the branch (before its norm, where one follows)."""
        return self._convolutions[-1]

    @property
    def conv_before_last(self) -> nn.Conv2d:
        """The 3x3 convolution whose channels the last one reads, when they are activated (and normalised)."""
        return self._convolutions[-2]

    @property
    def _convolutions(self) -> list[nn.Conv2d]:
        return [layer for layer in self.branch if isinstance(layer, nn.Conv2d)]

    @property
    def last_norm(self) -> nn.BatchNorm2d | None:
        """The batch norm after the branch's last convolution; None where there is none."""
        layers = list(self.branch)
        following = layers[layers.index(self.last_conv) :]
        return next((layer for layer in following if isinstance(layer, nn.BatchNorm2d)), None)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.before_split(x_NCHW)
        branch_NDHW = self.branch(x_NCHW)
        if self.gain is not None:
            branch_NDHW = self.gain * branch_NDHW
        return cast(Tensor, self.after(self.shortcut(x_NCHW, branch_NDHW)))


# -------------------------------------------------------------------------------------------------------- network


def make_stem(in_channels: int, width: int, *, small_input: bool) -> nn.Sequential:
    """A 3x3 convolution; for large images a 7x7 one and a max pooling, which leave a sixteenth of the pixels."""
    conv = (
        conv3x3(in_channels, width)
        if small_input
        else nn.Conv2d(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, norm=nn.BatchNorm2d(width), relu=nn.ReLU(inplace=True))
    if not small_input:
        layers["pool"] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    return nn.Sequential(layers)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDesign:
    """What all blocks of a network have in common."""

    block: BlockKind = "basic"
    shortcut: ShortcutOption = "option_a"
    h: ShortcutVariant | None = "identity"
    """None in a plain network."""
    f: ActivationOrder = "original"
    stride_in_1x1: bool = False
    shortcut_scale: float = 0.5
    branch_scale: float = 0.5
    gate_bias: float = -6.0
    """The paper's best, for exclusive gating 8.70 %, for shortcut-only gating 6.91 % (ResNet-110, CIFAR-10)."""
    shortcut_dropout: float = 0.5
    skip_init: bool = False

    def out_channels(self, width: int) -> int:
        """Channels that a block of this width puts out."""
        return width * (BOTTLENECK_EXPANSION if self.block == "bottleneck" else 1)

    def make(self, in_channels: int, width: int, stride: int, *, after_stem: bool) -> Block:
        """A block; the first one after the stem gets an input that the stem has activated."""
        out_channels = self.out_channels(width)
        projects = self._projects(in_channels, out_channels, stride)
        convolutions = branch_convolutions(self.block, in_channels, width, stride, stride_in_1x1=self.stride_in_1x1)
        return Block(
            before_split=activation_of(self.f, in_channels) if projects and not after_stem else nn.Identity(),
            branch=branch_of(convolutions, self.f, activated=projects or after_stem),
            shortcut=self._shortcut(in_channels, out_channels, stride),
            after=after_addition(self.f, out_channels),
            skip_init=self.skip_init,
        )

    def _projects(self, in_channels: int, out_channels: int, stride: int) -> bool:
        if self.h is None:
            return False
        if self.h == "conv1x1" or self.shortcut == "option_c":
            return True
        return self.shortcut == "option_b" and not (stride == 1 and in_channels == out_channels)

    def _shortcut(self, in_channels: int, out_channels: int, stride: int) -> Shortcut:
        path = self._path(in_channels, out_channels, stride)
        match self.h:
            case None:
                return NoShortcut()
            case "identity" | "conv1x1":
                return Addition(path)
            case "dropout":
                return Addition(nn.Sequential(OrderedDict(path=path, dropout=nn.Dropout(self.shortcut_dropout))))
            case "constant_scaling":
                return ConstantScaling(path, shortcut_scale=self.shortcut_scale, branch_scale=self.branch_scale)
            case "exclusive_gating":
                return ExclusiveGating(path, Gate(in_channels, out_channels, stride, self.gate_bias))
            case "shortcut_only_gating":
                return ShortcutOnlyGating(path, Gate(in_channels, out_channels, stride, self.gate_bias))

    def _path(self, in_channels: int, out_channels: int, stride: int) -> nn.Module:
        if self._projects(in_channels, out_channels, stride):
            return projection(in_channels, out_channels, stride, self.f)
        if stride == 1 and in_channels == out_channels:
            return nn.Identity()
        return PaddedPath(stride, out_channels - in_channels)


_FIXED: dict[Form, dict[str, Any]] = {"resnet": {}, "preact_resnet": {"f": "full_pre"}, "plain": {"h": None}}


class Head(nn.Module):
    """Logits from the global average of the last map, which a pre-activation network activates first."""

    def __init__(self, activation: nn.Module, width: int, num_classes: int) -> None:
        super().__init__()
        self.activation = activation
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(width, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.pool(self.activation(x_NCHW)).flatten(start_dim=1)))


class ResNet(nn.Module):
    """A residual network, or its plain twin, of any number of stages.

    Attributes:
        stem: convolution, norm, relu, and for large images a max pooling. In the pre-activation form norm and relu are
            the first block's own, which the paper puts before that block's split.
        stages: one nn.Sequential of blocks a stage; blocks may be appended.
        head: global average and linear classifier; it begins with norm and relu in the pre-activation form.
    """

    def __init__(
        self,
        form: Form,
        *,
        blocks: Sequence[int],
        widths: Sequence[int],
        small_input: bool,
        num_classes: int,
        in_channels: int,
        **design: Any,
    ) -> None:
        """A freshly initialised network.

        Args:
            form: what the zoo calls such networks; it decides what of the design is not open.
            blocks: blocks in each stage.
            widths: channels of each stage's convolutions; a bottleneck's output has four times as many.
            small_input: whether the stem is that of small images.
            design: fields of BlockDesign.
        """
        super().__init__()
        self.form = form
        self.design = BlockDesign(**design, **_FIXED[form])
        self._design_arguments = design
        self.widths = tuple(widths)
        self.small_input = small_input
        self.stem = make_stem(in_channels, self.widths[0], small_input=small_input)
        self.stages = nn.ModuleList(
            nn.Sequential(*(self._new_block(stage, number) for number in range(count)))
            for stage, count in enumerate(blocks)
        )
        last_width = self.design.out_channels(self.widths[-1])
        self.head = Head(activation_of(self.design.f, last_width), last_width, num_classes)
        initialise(self)

    @property
    def architecture(self) -> dict[str, Any]:
        """Plain data that makes this network again: zoo.create_model(**architecture, num_classes=..., ...)."""
        return {
            "name": self.form,
            "blocks": [len(cast(nn.Sequential, stage)) for stage in self.stages],
            "widths": list(self.widths),
            "small_input": self.small_input,
            **self._design_arguments,
        }

    @property
    def num_blocks(self) -> int:
        return sum(self.architecture["blocks"])

    @property
    def total_stride(self) -> int:
        """How many pixels of the image a pixel of the last map stands for, along each side."""
        return int((1 if self.small_input else 4) * 2 ** (len(self.stages) - 1))

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the maps after each stage, in order."""
        return {"stem": self.stem, **{f"stage{number}": stage for number, stage in enumerate(self.stages)}}

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

    def add_stage(self, width: int) -> None:
        """Makes the network one stage longer, by a fresh block that halves the map; the head is made anew.

        Device, dtype, memory format, mode and randomness are as in `make_block`.
        """
        self.widths = (*self.widths, width)
        self.stages.append(nn.Sequential())
        block = self.make_block(len(self.stages) - 1, 0)
        cast(nn.Sequential, self.stages[-1]).append(block)
        out_channels = self.design.out_channels(width)
        head = Head(activation_of(self.design.f, out_channels), out_channels, self.head.classifier.out_features)
        initialise(head)
        weight = self.head.classifier.weight
        self.head = head.to(device=weight.device, dtype=weight.dtype).train(self.training)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        x_NCHW = self.stem(images_NCHW)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        return cast(Tensor, self.head(x_NCHW))

    def _in_channels(self, stage: int, block: int) -> int:
        if stage == 0 and block == 0:
            return self.widths[0]
        return self.design.out_channels(self.widths[stage if block > 0 else stage - 1])

    def _new_block(self, stage: int, block: int) -> Block:
        return self.design.make(
            self._in_channels(stage, block),
            self.widths[stage],
            stride=2 if stage > 0 and block == 0 else 1,
            after_stem=stage == 0 and block == 0,
        )


def initialise(module: nn.Module) -> None:
    """He initialisation: convolutions normal with variance 2 / (outputs of a weight), the classifier's bias zero.

    Batch norms keep PyTorch's scale of one and shift of zero, gates the bias that they were made with.
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
