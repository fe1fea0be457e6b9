"""Inception v3, with its auxiliary classifier.

Szegedy, Vanhoucke, Ioffe, Shlens and Wojna: Rethinking the Inception Architecture for Computer Vision, 2015
(arXiv:1512.00567), as it was released with TensorFlow, which torchvision follows.

    stem           five convolutions, two poolings                                   192 x 35 x 35
    mixed 5b to 5d 1x1, 5x5, two 3x3, pooling                                        288 x 35 x 35
    mixed 6a       halves the map                                                    768 x 17 x 17
    mixed 6b to 6e 7x7 as 1x7 and 7x1, once and twice                                768 x 17 x 17
    mixed 7a       halves the map                                                   1280 x  8 x  8
    mixed 7b, 7c   3x3 split into 1x3 beside 3x1, for many channels                 2048 x  8 x  8
    head           global average, dropout 0.5, linear

In training an auxiliary classifier with batch norm has its say after 6e, with a weight of 0.4 as in the release; the
dropout is torchvision's (the release has 0.2). The paper speaks of 42 layers; the longest path has 48. The form for
small images pads its stem and never strides there, so that 5b to 5d see every pixel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.auxiliary import AuxiliaryClassifier, WithAuxiliary

AUXILIARY_WEIGHT = 0.4
KernelSize = int | tuple[int, int]
Scale = Callable[[int], int]


class Convolution(nn.Sequential):
    """Convolution, batch norm, relu."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: KernelSize,
        *,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False)
        norm = nn.BatchNorm2d(out_channels, eps=1e-3)
        super().__init__(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU(inplace=True)))
        self.out_channels = out_channels


def row_and_column(in_channels: int, channels: list[int], first: str) -> list[Convolution]:
    """1x7 and 7x1 convolutions in turn, beginning with `first`, with these output channels."""
    made: list[Convolution] = []
    shapes: dict[str, KernelSize] = {"1x7": (1, 7), "7x1": (7, 1)}
    order = ["1x7", "7x1"] if first == "1x7" else ["7x1", "1x7"]
    for number, out_channels in enumerate(channels):
        shape = order[number % 2]
        padding = (0, 3) if shape == "1x7" else (3, 0)
        made.append(Convolution(in_channels, out_channels, shapes[shape], padding=padding))
        in_channels = out_channels
    return made


def sequence(*layers: nn.Module) -> nn.Sequential:
    """The layers one after the other, named 1, 2, ..."""
    return nn.Sequential(OrderedDict((str(number), layer) for number, layer in enumerate(layers, start=1)))


def average_pool() -> nn.AvgPool2d:
    return nn.AvgPool2d(kernel_size=3, stride=1, padding=1)


class Mixed(nn.Module):
    """Branches that see the same map, their outputs stacked."""

    def __init__(self, out_channels: int, **branches: nn.Module) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.branches = nn.ModuleDict(branches)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.cat([branch(x_NCHW) for branch in self.branches.values()], dim=1)


class RowBesideColumn(nn.Module):
    """A 3x3 window as 1x3 beside 3x1 on the same input: two thirds of its weights, twice its outputs."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.row = Convolution(in_channels, out_channels, (1, 3), padding=(0, 1))
        self.column = Convolution(in_channels, out_channels, (3, 1), padding=(1, 0))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.cat([self.row(x_NCHW), self.column(x_NCHW)], dim=1)


def mixed_5(in_channels: int, pool_channels: int, scale: Scale) -> Mixed:
    """Figure 5 of the paper, but for one 5x5 that the release kept."""
    return Mixed(
        2 * scale(64) + scale(96) + scale(pool_channels),
        one=Convolution(in_channels, scale(64), 1),
        five=sequence(Convolution(in_channels, scale(48), 1), Convolution(scale(48), scale(64), 5, padding=2)),
        deep=sequence(
            Convolution(in_channels, scale(64), 1),
            Convolution(scale(64), scale(96), 3, padding=1),
            Convolution(scale(96), scale(96), 3, padding=1),
        ),
        pool=sequence(average_pool(), Convolution(in_channels, scale(pool_channels), 1)),
    )


def mixed_6a(in_channels: int, scale: Scale) -> Mixed:
    """Halves the map without a bottleneck: convolutions of stride 2 beside a pooling (figure 10)."""
    return Mixed(
        scale(384) + scale(96) + in_channels,
        three=Convolution(in_channels, scale(384), 3, stride=2),
        deep=sequence(
            Convolution(in_channels, scale(64), 1),
            Convolution(scale(64), scale(96), 3, padding=1),
            Convolution(scale(96), scale(96), 3, stride=2),
        ),
        pool=nn.MaxPool2d(kernel_size=3, stride=2),
    )


def mixed_6(in_channels: int, seven: int, scale: Scale) -> Mixed:
    """7x7 windows as rows and columns (figure 6, n = 7); `seven` is the width of the inner ones."""
    inner, out = scale(seven), scale(192)
    return Mixed(
        4 * out,
        one=Convolution(in_channels, out, 1),
        seven=sequence(
            Convolution(in_channels, inner, 1),
            *row_and_column(inner, [inner, out], first="1x7"),
        ),
        deep=sequence(
            Convolution(in_channels, inner, 1),
            *row_and_column(inner, [inner, inner, inner, out], first="7x1"),
        ),
        pool=sequence(average_pool(), Convolution(in_channels, out, 1)),
    )


def mixed_7a(in_channels: int, scale: Scale) -> Mixed:
    """Halves the map, with a 7x7 window before one of the convolutions that do it."""
    return Mixed(
        scale(320) + scale(192) + in_channels,
        three=sequence(Convolution(in_channels, scale(192), 1), Convolution(scale(192), scale(320), 3, stride=2)),
        seven=sequence(
            Convolution(in_channels, scale(192), 1),
            *row_and_column(scale(192), [scale(192), scale(192)], first="1x7"),
            Convolution(scale(192), scale(192), 3, stride=2),
        ),
        pool=nn.MaxPool2d(kernel_size=3, stride=2),
    )


def mixed_7(in_channels: int, scale: Scale) -> Mixed:
    """Rows beside columns, for many channels on a small map (figure 7)."""
    return Mixed(
        scale(320) + 4 * scale(384) + scale(192),
        one=Convolution(in_channels, scale(320), 1),
        three=sequence(Convolution(in_channels, scale(384), 1), RowBesideColumn(scale(384), scale(384))),
        deep=sequence(
            Convolution(in_channels, scale(448), 1),
            Convolution(scale(448), scale(384), 3, padding=1),
            RowBesideColumn(scale(384), scale(384)),
        ),
        pool=sequence(average_pool(), Convolution(in_channels, scale(192), 1)),
    )


def make_stem(in_channels: int, scale: Scale, *, small_input: bool) -> nn.Sequential:
    """What brings the image to 192 channels, on an eighth of the side for large images."""
    stride, padding = (1, 1) if small_input else (2, 0)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv1a"] = Convolution(in_channels, scale(32), 3, stride=stride, padding=padding)
    layers["conv2a"] = Convolution(scale(32), scale(32), 3, padding=padding)
    layers["conv2b"] = Convolution(scale(32), scale(64), 3, padding=1)
    if not small_input:
        layers["pool1"] = nn.MaxPool2d(kernel_size=3, stride=2)
    layers["conv3b"] = Convolution(scale(64), scale(80), 1)
    layers["conv4a"] = Convolution(scale(80), scale(192), 3, padding=padding)
    if not small_input:
        layers["pool2"] = nn.MaxPool2d(kernel_size=3, stride=2)
    return nn.Sequential(layers)


def side_of_mixed_6(image_size: int, *, small_input: bool) -> int:
    """Pixels a side of the maps that 6b to 6e see."""

    def halved(pixels: int) -> int:
        return (pixels - 3) // 2 + 1

    return halved(image_size) if small_input else halved(halved(halved(halved(image_size) - 2) - 2))


class InceptionAuxiliary(AuxiliaryClassifier):
    """Average pooling, a 1x1 and a 5x5 convolution with batch norm, linear."""

    def __init__(self, in_channels: int, pixels: int, num_classes: int, scale: Scale) -> None:
        """`pixels` is the side of the map that it gets: 17 of a 299x299 image."""
        super().__init__()
        window = min(5, pixels)
        left = (pixels - window) // 3 + 1
        self.pool = nn.AvgPool2d(kernel_size=window, stride=3)
        self.conv0 = Convolution(in_channels, scale(128), 1)
        self.conv1 = Convolution(scale(128), scale(768), min(5, left))
        self.average = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(scale(768), num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NCHW = self.conv1(self.conv0(self.pool(x_NCHW)))
        return cast(Tensor, self.fc(self.average(x_NCHW).flatten(start_dim=1)))


class Head(nn.Module):
    """Global average, dropout, linear: (N, C, H, W) to (N, classes)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.dropout(self.pool(x_NCHW).flatten(start_dim=1))))


class InceptionV3(nn.Module):
    """A stem, eleven mixed modules, a head, and in training an auxiliary classifier."""

    def __init__(
        self, *, num_classes: int, in_channels: int, image_size: int, small_input: bool, aux: bool, width: float = 1.0
    ) -> None:
        """A freshly initialised network.

        Args:
            aux: whether it has the auxiliary classifier.
            width: a factor on the channels of every layer.
        """
        super().__init__()

        def scale(channels: int) -> int:
            return max(1, round(channels * width))

        self.stem = make_stem(in_channels, scale, small_input=small_input)
        b5 = mixed_5(scale(192), 32, scale)
        c5 = mixed_5(b5.out_channels, 64, scale)
        d5 = mixed_5(c5.out_channels, 64, scale)
        a6 = mixed_6a(d5.out_channels, scale)
        b6 = mixed_6(a6.out_channels, 128, scale)
        c6, d6 = (mixed_6(b6.out_channels, 160, scale) for _ in range(2))
        e6 = mixed_6(b6.out_channels, 192, scale)
        a7 = mixed_7a(e6.out_channels, scale)
        b7 = mixed_7(a7.out_channels, scale)
        c7 = mixed_7(b7.out_channels, scale)
        self.before_auxiliary = nn.Sequential(
            OrderedDict(
                mixed_5b=b5, mixed_5c=c5, mixed_5d=d5, mixed_6a=a6, mixed_6b=b6, mixed_6c=c6, mixed_6d=d6, mixed_6e=e6
            )
        )
        self.after_auxiliary = nn.Sequential(OrderedDict(mixed_7a=a7, mixed_7b=b7, mixed_7c=c7))
        side = side_of_mixed_6(image_size, small_input=small_input)
        self.aux = InceptionAuxiliary(e6.out_channels, side, num_classes, scale) if aux else None
        self.head = Head(c7.out_channels, num_classes)
        initialise(self)

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the maps after each stage, in order."""
        return {
            "stem": self.stem,
            **dict(self.before_auxiliary.named_children()),
            **dict(self.after_auxiliary.named_children()),
        }

    def forward(self, images_NCHW: Tensor) -> Tensor | WithAuxiliary:
        """Logits (N, num_classes) of images (N, C, H, W); in training with those of the auxiliary classifier."""
        x_NCHW = self.before_auxiliary(self.stem(images_NCHW))
        auxiliary = (self.aux(x_NCHW),) if self.training and self.aux is not None else ()
        logits_NK = cast(Tensor, self.head(self.after_auxiliary(x_NCHW)))
        return WithAuxiliary(logits_NK, auxiliary, AUXILIARY_WEIGHT) if auxiliary else logits_NK


def initialise(network: nn.Module) -> None:
    """Truncated normal as in the release: a deviation of 0.1, of 0.01 in the auxiliary convolution, 0.001 in its
    linear layer; biases of zero."""
    deviations = {}
    for module in network.modules():
        if isinstance(module, InceptionAuxiliary):
            deviations = {module.conv1[0]: 0.01, module.fc: 0.001}
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            deviation = deviations.get(layer, 0.1)
            nn.init.trunc_normal_(layer.weight, std=deviation, a=-2 * deviation, b=2 * deviation)
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)


# ---------------------------------------------------------------------------------------------------------- factory


def inception_v3(**settings: Any) -> InceptionV3:
    """Inception v3."""
    return InceptionV3(**settings)
