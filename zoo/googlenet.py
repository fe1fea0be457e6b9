"""GoogLeNet (Inception v1), as it was published in 2014, and as torchvision has it.

Szegedy et al.: Going Deeper with Convolutions, 2014 (arXiv:1409.4842), table 1.

    stem                 7x7 / 2, pooling, 1x1, 3x3, pooling             192 x 28 x 28
    inception 3a, 3b     pooling after them                              480 x 14 x 14
    inception 4a to 4e   pooling after them                              832 x  7 x  7
    inception 5a, 5b                                                    1024 x  7 x  7
    head                 global average, dropout 0.4, linear

An inception module looks at its input through 1x1, 3x3 and 5x5 windows and a 3x3 max pooling at once, and stacks the
four answers. The larger windows see the input through a 1x1 convolution that reduces its channels first.

In training, two auxiliary classifiers, on 4a and 4d, have their say in the loss with a weight of 0.3 each.

torchvision's network has batch norm instead of the response norm, 3x3 windows where the paper has 5x5, and other
sizes here and there; it is no network of the paper, but there are weights for it. The form for small images has one 3x3
convolution of stride 1 as its stem, so that modules 3a and 3b see every pixel.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.auxiliary import AuxiliaryClassifier, WithAuxiliary
from zoo.response_norm import ResponseNorm

AUXILIARY_WEIGHT = 0.3


@dataclass(frozen=True, slots=True)
class Filters:
    """A row of the paper's table 1: channels of each convolution of a module."""

    one: int
    reduce3: int
    three: int
    reduce5: int
    five: int
    pool: int


MODULES: dict[str, Filters] = {
    "3a": Filters(64, 96, 128, 16, 32, 32),
    "3b": Filters(128, 128, 192, 32, 96, 64),
    "4a": Filters(192, 96, 208, 16, 48, 64),
    "4b": Filters(160, 112, 224, 24, 64, 64),
    "4c": Filters(128, 128, 256, 24, 64, 64),
    "4d": Filters(112, 144, 288, 32, 64, 64),
    "4e": Filters(256, 160, 320, 32, 128, 128),
    "5a": Filters(256, 160, 320, 32, 128, 128),
    "5b": Filters(384, 192, 384, 48, 128, 128),
}
POOL_BEFORE = {"4a": "pool3", "5a": "pool4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """In what the two GoogLeNets differ."""

    batch_norm: bool
    """Batch norm after each convolution; without it, response norm in the stem."""
    five: int
    """The window of what the paper calls 5x5."""
    pool4: int
    """The window of the last pooling."""
    dropout: float
    adaptive: bool
    """Whether an auxiliary classifier's average pooling gives 4x4 whatever it gets, or has 5x5 windows, 3 apart."""


PAPER = Design(batch_norm=False, five=5, pool4=3, dropout=0.4, adaptive=False)
TORCHVISION = Design(batch_norm=True, five=3, pool4=2, dropout=0.2, adaptive=True)


def scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def convolution(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, batch_norm: bool
) -> nn.Sequential:
    """A convolution with relu; it keeps the map's size but for its stride."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["conv"] = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=not batch_norm
    )
    if batch_norm:
        layers["norm"] = nn.BatchNorm2d(out_channels, eps=1e-3)
    layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


class Inception(nn.Module):
    """Four views of the same map, stacked: (N, C, H, W) to (N, one + three + five + pool, H, W)."""

    def __init__(self, in_channels: int, filters: Filters, design: Design, width: float) -> None:
        super().__init__()
        bn = design.batch_norm
        one, reduce3, three, reduce5, five, pool = (
            scaled(channels, width)
            for channels in (
                filters.one,
                filters.reduce3,
                filters.three,
                filters.reduce5,
                filters.five,
                filters.pool,
            )
        )
        self.out_channels = one + three + five + pool
        self.one = convolution(in_channels, one, 1, batch_norm=bn)
        self.three = nn.Sequential(
            OrderedDict(
                reduce=convolution(in_channels, reduce3, 1, batch_norm=bn),
                conv=convolution(reduce3, three, 3, batch_norm=bn),
            )
        )
        self.five = nn.Sequential(
            OrderedDict(
                reduce=convolution(in_channels, reduce5, 1, batch_norm=bn),
                conv=convolution(reduce5, five, design.five, batch_norm=bn),
            )
        )
        self.pool = nn.Sequential(
            OrderedDict(
                pool=nn.MaxPool2d(kernel_size=3, stride=1, padding=1),
                project=convolution(in_channels, pool, 1, batch_norm=bn),
            )
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return torch.cat([self.one(x_NCHW), self.three(x_NCHW), self.five(x_NCHW), self.pool(x_NCHW)], dim=1)


class GoogLeNetAuxiliary(AuxiliaryClassifier):
    """Average pooling, 1x1 convolution, two linear layers with dropout 0.7 between them."""

    def __init__(self, in_channels: int, pixels: int, num_classes: int, design: Design, width: float) -> None:
        """`pixels` is the side of the map that it gets."""
        super().__init__()
        conv, hidden = scaled(128, width), scaled(1024, width)
        window = min(5, pixels)
        left = 4 if design.adaptive else (pixels - window) // 3 + 1
        self.pool = nn.AdaptiveAvgPool2d(left) if design.adaptive else nn.AvgPool2d(kernel_size=window, stride=3)
        self.conv = convolution(in_channels, conv, 1, batch_norm=design.batch_norm)
        self.fc1 = nn.Linear(conv * left**2, hidden)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        x_NF = self.conv(self.pool(x_NCHW)).flatten(start_dim=1)
        return cast(Tensor, self.fc2(self.dropout(self.relu(self.fc1(x_NF)))))


class Head(nn.Module):
    """Global average, dropout, linear: (N, C, H, W) to (N, classes)."""

    def __init__(self, in_channels: int, num_classes: int, dropout: float) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.dropout(self.pool(x_NCHW).flatten(start_dim=1))))


def make_stem(in_channels: int, design: Design, width: float, *, small_input: bool) -> nn.Sequential:
    """What brings the image to 192 channels; for large images on an eighth of the side."""
    bn = design.batch_norm
    first, last = scaled(64, width), scaled(192, width)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if not small_input:
        layers["conv1"] = convolution(in_channels, first, 7, stride=2, batch_norm=bn)
        layers["pool1"] = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
        if not bn:
            layers["norm1"] = ResponseNorm()
        layers["reduce"] = convolution(first, first, 1, batch_norm=bn)
    layers["conv2"] = convolution(in_channels if small_input else first, last, 3, batch_norm=bn)
    if not bn:
        layers["norm2"] = ResponseNorm()
    if not small_input:
        layers["pool2"] = nn.MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)
    return nn.Sequential(layers)


class GoogLeNet(nn.Module):
    """A stem, nine inception modules, a head, and in training two auxiliary classifiers."""

    def __init__(
        self,
        design: Design,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        small_input: bool,
        aux: bool,
        width: float = 1.0,
    ) -> None:
        """A freshly initialised network.

        Args:
            aux: whether it has the auxiliary classifiers.
            width: a factor on the channels of every layer.
        """
        super().__init__()
        self.design = design
        self.stem = make_stem(in_channels, design, width, small_input=small_input)
        self.trunk = nn.ModuleDict()
        channels = scaled(192, width)
        channels_after: dict[str, int] = {}
        for name, filters in MODULES.items():
            if name in POOL_BEFORE:
                window = design.pool4 if name == "5a" else 3
                self.trunk[POOL_BEFORE[name]] = nn.MaxPool2d(kernel_size=window, stride=2, ceil_mode=True)
            module = Inception(channels, filters, design, width)
            self.trunk[f"inception_{name}"] = module
            channels = channels_after[name] = module.out_channels
        self.aux1, self.aux2 = (
            GoogLeNetAuxiliary(
                channels_after[name], side_of_4a(image_size, small_input=small_input), num_classes, design, width
            )
            if aux
            else None
            for name in ("4a", "4d")
        )
        self.head = Head(channels, num_classes, design.dropout)
        initialise(self)

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the maps after each stage, in order."""
        return {"stem": self.stem, **dict(self.trunk.items())}

    def forward(self, images_NCHW: Tensor) -> Tensor | WithAuxiliary:
        """Logits (N, num_classes) of images (N, C, H, W); in training with those of the auxiliary classifiers."""
        x_NCHW = self.stem(images_NCHW)
        auxiliary: list[Tensor] = []
        for name, module in self.trunk.items():
            x_NCHW = module(x_NCHW)
            classifier = {"inception_4a": self.aux1, "inception_4d": self.aux2}.get(name)
            if self.training and classifier is not None:
                auxiliary.append(classifier(x_NCHW))
        logits_NK = cast(Tensor, self.head(x_NCHW))
        return WithAuxiliary(logits_NK, tuple(auxiliary), AUXILIARY_WEIGHT) if auxiliary else logits_NK


def side_of_4a(image_size: int, *, small_input: bool) -> int:
    """Pixels a side of the maps that modules 4a to 4e see."""

    def pooled(pixels: int) -> int:
        return -(-(pixels - 3) // 2) + 1

    return pooled(image_size if small_input else pooled(pooled((image_size - 1) // 2 + 1)))


def initialise(network: nn.Module) -> None:
    """He initialisation for the convolutions and hidden layers, a deviation of 0.01 for classifiers, biases of zero.

    The paper does not say how it began; replicas use Glorot's.
    """
    classifiers = {
        module.classifier if isinstance(module, Head) else module.fc2
        for module in network.modules()
        if isinstance(module, Head | GoogLeNetAuxiliary)
    }
    for layer in network.modules():
        if layer in classifiers:
            nn.init.normal_(layer.weight, std=0.01)
        elif isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        if isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
            nn.init.zeros_(layer.bias)


# ------------------------------------------------------------------------------------------------------ factories


def googlenet(**settings: Any) -> GoogLeNet:
    """The network of the paper."""
    return GoogLeNet(PAPER, **settings)


def googlenet_torchvision(**settings: Any) -> GoogLeNet:
    """The network of torchvision.models.googlenet."""
    return GoogLeNet(TORCHVISION, **settings)
