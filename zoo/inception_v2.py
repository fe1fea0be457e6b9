"""BN-Inception, the first network with batch norm, often called Inception v2.

Ioffe and Szegedy: Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift, 2015
(arXiv:1502.03167), appendix, with the filters of the Caffe port (the paper's own sum of 13.6 million parameters is
reached by no public version).

    stem                 7x7 / 2, pooling, 1x1, 3x3, pooling             192 x 28 x 28
    inception 3a to 3c   3c halves the map                               576 x 14 x 14
    inception 4a to 4e   4e halves the map                              1056 x  7 x  7
    inception 5a, 5b                                                    1024 x  7 x  7
    head                 global average, linear

Against GoogLeNet: a batch norm after every convolution, two 3x3 for each 5x5, mostly average pooling in the modules,
and modules that halve the map where there were poolings. "Inception v2" is also what the paper of Inception v3 calls
the network of its own first step; that one has 42 layers and is not this.

The form for small images has one 3x3 convolution of stride 1 as its stem. The Inception networks share no code, so that
each can be read alone.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Filters:
    """Channels of each convolution of a module; one that halves the map has neither `one` nor a projection."""

    one: int | None
    reduce3: int
    three: int
    reduce33: int
    three3: int
    project: int | None
    pool: Literal["average", "max"] = "average"

    @property
    def halves(self) -> bool:
        return self.one is None


MODULES: dict[str, Filters] = {
    "3a": Filters(64, 64, 64, 64, 96, 32),
    "3b": Filters(64, 64, 96, 64, 96, 64),
    "3c": Filters(None, 128, 160, 64, 96, None, pool="max"),
    "4a": Filters(224, 64, 96, 96, 128, 128),
    "4b": Filters(192, 96, 128, 96, 128, 128),
    "4c": Filters(160, 128, 160, 128, 160, 128),
    "4d": Filters(96, 128, 192, 160, 192, 128),
    "4e": Filters(None, 128, 192, 192, 256, None, pool="max"),
    "5a": Filters(352, 192, 320, 160, 224, 128),
    "5b": Filters(352, 192, 320, 192, 224, 128, pool="max"),
}


def scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, relu; it keeps the map's size but for its stride."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out_channels), relu=nn.ReLU(inplace=True)))


def halving_pool(pixels: int) -> nn.MaxPool2d:
    """A 3x3 max pooling of stride 2 that leaves as many pixels as a padded convolution of stride 2 does."""
    return nn.MaxPool2d(kernel_size=3, stride=2, padding=pixels % 2, ceil_mode=True)


def projected_pool(in_channels: int, out_channels: int, kind: Literal["average", "max"]) -> nn.Sequential:
    pool = nn.MaxPool2d if kind == "max" else nn.AvgPool2d
    return in_turn(pool=pool(kernel_size=3, stride=1, padding=1), project=convolution(in_channels, out_channels, 1))


def in_turn(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


class Inception(nn.Module):
    """Up to four views of the same map, stacked."""

    def __init__(self, in_channels: int, filters: Filters, pixels: int, width: float) -> None:
        """`pixels` is the side of the map that it gets."""
        super().__init__()
        stride = 2 if filters.halves else 1
        reduce3, three = scaled(filters.reduce3, width), scaled(filters.three, width)
        reduce33, three3 = scaled(filters.reduce33, width), scaled(filters.three3, width)
        one = 0 if filters.one is None else scaled(filters.one, width)
        pooled = in_channels if filters.project is None else scaled(filters.project, width)
        branches: OrderedDict[str, nn.Module] = OrderedDict()
        if one:
            branches["one"] = convolution(in_channels, one, 1)
        branches["three"] = in_turn(
            reduce=convolution(in_channels, reduce3, 1), conv=convolution(reduce3, three, 3, stride)
        )
        branches["deep"] = in_turn(
            reduce=convolution(in_channels, reduce33, 1),
            conv1=convolution(reduce33, three3, 3),
            conv2=convolution(three3, three3, 3, stride),
        )
        branches["pool"] = halving_pool(pixels) if filters.halves else projected_pool(in_channels, pooled, filters.pool)
        self.branches = nn.ModuleDict(branches)
        self.out_channels = one + three + three3 + pooled

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.cat([branch(x_NCHW) for branch in self.branches.values()], dim=1)


class Head(nn.Module):
    """Global average, linear: (N, C, H, W) to (N, classes). Batch norm made dropout needless, the paper finds."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.pool(x_NCHW).flatten(start_dim=1)))


def make_stem(in_channels: int, width: float, *, small_input: bool) -> nn.Sequential:
    """What brings the image to 192 channels; for large images on an eighth of the side."""
    first, last = scaled(64, width), scaled(192, width)
    if small_input:
        return nn.Sequential(OrderedDict(conv2=convolution(in_channels, last, 3)))
    return nn.Sequential(
        OrderedDict(
            conv1=convolution(in_channels, first, 7, stride=2),
            pool1=nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
            reduce=convolution(first, first, 1),
            conv2=convolution(first, last, 3),
            pool2=nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True),
        )
    )


class InceptionV2(nn.Module):
    """A stem, ten inception modules, a head."""

    def __init__(
        self, *, num_classes: int, in_channels: int, image_size: int, small_input: bool, width: float = 1.0
    ) -> None:
        """A freshly initialised network.

        Args:
            width: a factor on the channels of every layer.
        """
        super().__init__()
        self.stem = make_stem(in_channels, width, small_input=small_input)
        self.trunk = nn.Sequential()
        channels = scaled(192, width)
        pixels = image_size if small_input else side_after_stem(image_size)
        for name, filters in MODULES.items():
            module = Inception(channels, filters, pixels, width)
            self.trunk.add_module(f"inception_{name}", module)
            channels = module.out_channels
            pixels = (pixels + 1) // 2 if filters.halves else pixels
        self.head = Head(channels, num_classes)
        initialise(self)

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the maps after each stage, in order."""
        return {"stem": self.stem, **dict(self.trunk.named_children())}

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        return cast(Tensor, self.head(self.trunk(self.stem(images_NCHW))))


def side_after_stem(image_size: int) -> int:
    """Pixels a side after a convolution of stride 2 and two poolings of stride 2 that round up."""
    pixels = (image_size - 1) // 2 + 1
    for _pooling in range(2):
        pixels = -(-(pixels - 3) // 2) + 1
    return pixels


def initialise(network: nn.Module) -> None:
    """He initialisation for the convolutions, a deviation of 0.01 for the classifier, whose bias is zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)


# ---------------------------------------------------------------------------------------------------------- factory


def inception_v2(**settings: Any) -> InceptionV2:
    """BN-Inception."""
    return InceptionV2(**settings)
