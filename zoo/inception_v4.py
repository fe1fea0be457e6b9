"""Inception v4: the pure Inception network at its most regular.

Szegedy, Ioffe, Vanhoucke and Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning,
2016 (arXiv:1602.07261), figures 3 to 9.

    stem          eleven convolutions, three times split and joined                  384 x 35 x 35
    inception A   four times                                                         384 x 35 x 35
    reduction A                                                                     1024 x 17 x 17
    inception B   seven times                                                       1024 x 17 x 17
    reduction B                                                                     1536 x  8 x  8
    inception C   three times                                                       1536 x  8 x  8
    head          global average, dropout 0.2, linear

The form for small images pads the stem and never strides there, so that A sees every pixel.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

KernelSize = int | tuple[int, int]
Scale = Callable[[int], int]


class Convolution(nn.Sequential):
    """Convolution, batch norm, relu. It keeps the map's size unless `valid`, as the paper marks with a V."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: KernelSize, *, stride: int = 1, valid: bool = False
    ) -> None:
        height, width = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        padding = 0 if valid else (height // 2, width // 2)
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False)
        norm = nn.BatchNorm2d(out_channels, eps=1e-3)
        super().__init__(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU(inplace=True)))
        self.out_channels = out_channels


def chain(in_channels: int, *steps: tuple[int, KernelSize]) -> list[Convolution]:
    """Convolutions one after the other, each (output channels, kernel size)."""
    made: list[Convolution] = []
    for out_channels, kernel_size in steps:
        made.append(Convolution(in_channels, out_channels, kernel_size))
        in_channels = out_channels
    return made


def sequence(*layers: nn.Module) -> nn.Sequential:
    """The layers one after the other, named 1, 2, ..."""
    return nn.Sequential(OrderedDict((str(number), layer) for number, layer in enumerate(layers, start=1)))


def average_pool() -> nn.AvgPool2d:
    return nn.AvgPool2d(kernel_size=3, stride=1, padding=1, count_include_pad=False)


def halving_pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size=3, stride=2)


class Branches(nn.Module):
    """Branches that see the same map, their outputs stacked."""

    def __init__(self, in_channels: int, **branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        self.out_channels = sum(channels_after(branch, in_channels) for branch in branches.values())

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.cat([branch(x_NCHW) for branch in self.branches.values()], dim=1)


def channels_after(layer: nn.Module, in_channels: int) -> int:
    """Channels that a layer makes of these; a pooling keeps them."""
    if isinstance(layer, Convolution | Branches):
        return layer.out_channels
    for inner in layer.children():
        in_channels = channels_after(inner, in_channels)
    return in_channels


def make_stem(in_channels: int, scale: Scale) -> nn.Sequential:
    """Figure 3."""
    c32, c64, c96, c192 = scale(32), scale(64), scale(96), scale(192)
    split1 = Branches(c64, pool=halving_pool(), conv=Convolution(c64, c96, 3, stride=2, valid=True))
    after1 = split1.out_channels
    split2 = Branches(
        after1,
        three=sequence(Convolution(after1, c64, 1), Convolution(c64, c96, 3, valid=True)),
        seven=sequence(*chain(after1, (c64, 1), (c64, (7, 1)), (c64, (1, 7))), Convolution(c64, c96, 3, valid=True)),
    )
    after2 = split2.out_channels
    split3 = Branches(after2, conv=Convolution(after2, c192, 3, stride=2, valid=True), pool=halving_pool())
    return nn.Sequential(
        OrderedDict(
            conv1=Convolution(in_channels, c32, 3, stride=2, valid=True),
            conv2=Convolution(c32, c32, 3, valid=True),
            conv3=Convolution(c32, c64, 3),
            split1=split1,
            split2=split2,
            split3=split3,
        )
    )


def make_small_stem(in_channels: int, scale: Scale) -> nn.Sequential:
    """The same convolutions on every pixel; where the stem of large images halves the map there is one, or none."""
    c32, c64, c96 = scale(32), scale(64), scale(96)
    split2 = Branches(
        c64,
        three=sequence(*chain(c64, (c64, 1), (c96, 3))),
        seven=sequence(*chain(c64, (c64, 1), (c64, (7, 1)), (c64, (1, 7)), (c96, 3))),
    )
    return nn.Sequential(
        OrderedDict(
            conv1=Convolution(in_channels, c32, 3),
            conv2=Convolution(c32, c32, 3),
            conv3=Convolution(c32, c64, 3),
            split2=split2,
            conv4=Convolution(split2.out_channels, scale(384), 3),
        )
    )


def inception_a(inputs: int, scale: Scale) -> Branches:
    """Figure 4."""
    c64, c96 = scale(64), scale(96)
    return Branches(
        inputs,
        one=Convolution(inputs, c96, 1),
        three=sequence(*chain(inputs, (c64, 1), (c96, 3))),
        deep=sequence(*chain(inputs, (c64, 1), (c96, 3), (c96, 3))),
        pool=sequence(average_pool(), Convolution(inputs, c96, 1)),
    )


def reduction_a(inputs: int, scale: Scale) -> Branches:
    """Figure 7, with the filters of table 1."""
    c192, c224, c256, c384 = scale(192), scale(224), scale(256), scale(384)
    return Branches(
        inputs,
        three=Convolution(inputs, c384, 3, stride=2, valid=True),
        deep=sequence(*chain(inputs, (c192, 1), (c224, 3)), Convolution(c224, c256, 3, stride=2, valid=True)),
        pool=halving_pool(),
    )


def inception_b(inputs: int, scale: Scale) -> Branches:
    """Figure 5."""
    c192, c224, c256 = scale(192), scale(224), scale(256)
    return Branches(
        inputs,
        one=Convolution(inputs, scale(384), 1),
        seven=sequence(*chain(inputs, (c192, 1), (c224, (1, 7)), (c256, (7, 1)))),
        deep=sequence(*chain(inputs, (c192, 1), (c192, (7, 1)), (c224, (1, 7)), (c224, (7, 1)), (c256, (1, 7)))),
        pool=sequence(average_pool(), Convolution(inputs, scale(128), 1)),
    )


def reduction_b(inputs: int, scale: Scale) -> Branches:
    """Figure 8."""
    c192, c256, c320 = scale(192), scale(256), scale(320)
    return Branches(
        inputs,
        three=sequence(Convolution(inputs, c192, 1), Convolution(c192, c192, 3, stride=2, valid=True)),
        seven=sequence(
            *chain(inputs, (c256, 1), (c256, (1, 7)), (c320, (7, 1))), Convolution(c320, c320, 3, stride=2, valid=True)
        ),
        pool=halving_pool(),
    )


def row_beside_column(inputs: int, out_channels: int) -> Branches:
    """A 3x3 window as 1x3 beside 3x1."""
    return Branches(
        inputs,
        row=Convolution(inputs, out_channels, (1, 3)),
        column=Convolution(inputs, out_channels, (3, 1)),
    )


def inception_c(inputs: int, scale: Scale) -> Branches:
    """Figure 6."""
    c256, c384, c448, c512 = scale(256), scale(384), scale(448), scale(512)
    return Branches(
        inputs,
        one=Convolution(inputs, c256, 1),
        three=sequence(Convolution(inputs, c384, 1), row_beside_column(c384, c256)),
        deep=sequence(*chain(inputs, (c384, 1), (c448, (3, 1)), (c512, (1, 3))), row_beside_column(c512, c256)),
        pool=sequence(average_pool(), Convolution(inputs, c256, 1)),
    )


TRUNK: tuple[tuple[str, Callable[[int, Scale], Branches]], ...] = (
    *((f"inception_a{number}", inception_a) for number in range(1, 5)),
    ("reduction_a", reduction_a),
    *((f"inception_b{number}", inception_b) for number in range(1, 8)),
    ("reduction_b", reduction_b),
    *((f"inception_c{number}", inception_c) for number in range(1, 4)),
)


class Head(nn.Module):
    """Global average, dropout, linear: (N, C, H, W) to (N, classes)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.dropout(self.pool(x_NCHW).flatten(start_dim=1))))


class InceptionV4(nn.Module):
    """A stem, fourteen inception modules of three kinds with two reductions between them, a head."""

    def __init__(
        self, *, num_classes: int, in_channels: int, image_size: int, small_input: bool, width: float = 1.0
    ) -> None:
        """A freshly initialised network. The image size was checked before and shapes nothing.

        Args:
            width: a factor on the channels of every layer.
        """
        super().__init__()

        def scale(channels: int) -> int:
            return max(1, round(channels * width))

        self.stem = (make_small_stem if small_input else make_stem)(in_channels, scale)
        self.trunk = nn.Sequential()
        channels = channels_after(self.stem, in_channels)
        for name, make in TRUNK:
            module = make(channels, scale)
            self.trunk.add_module(name, module)
            channels = module.out_channels
        self.head = Head(channels, num_classes)
        initialise(self)

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the maps after each stage, in order."""
        return {"stem": self.stem, **dict(self.trunk.named_children())}

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        return cast(Tensor, self.head(self.trunk(self.stem(images_NCHW))))


def initialise(network: nn.Module) -> None:
    """He initialisation for the convolutions, a deviation of 0.01 for the classifier, whose bias is zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)


# ---------------------------------------------------------------------------------------------------------- factory


def inception_v4(**settings: Any) -> InceptionV4:
    """Inception v4."""
    return InceptionV4(**settings)
