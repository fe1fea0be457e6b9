"""AlexNet, as it was published in 2012, and as torchvision has it.

Krizhevsky, Sutskever and Hinton: ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012.

    conv1  11x11 / 4      96 x 55 x 55      pool1  96 x 27 x 27
    conv2  5x5, 2 groups 256 x 27 x 27      pool2 256 x 13 x 13
    conv3  3x3           384 x 13 x 13
    conv4  3x3, 2 groups 384 x 13 x 13
    conv5  3x3, 2 groups 256 x 13 x 13      pool5 256 x 6 x 6
    fc6 4096, fc7 4096, fc8 1000

The groups are the two GPUs of the paper, each of which saw its own half of the channels in conv2, conv4 and conv5.
After relu, conv1 and conv2 are normalised across neighbouring channels. Pooling windows overlap: 3x3, 2 apart.
torchvision has the single tower of "One weird trick" (Krizhevsky 2014, arXiv:1404.5997) instead, without that norm.

The paper speaks of 224x224 images, from which no 55x55 map comes; its map is that of 227x227, to which 224x224 is
bordered here. The form for small images is ours: a 5x5 convolution of stride 1 in front, and hidden layers that keep
the paper's proportion of 4 units to 9 inputs.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from zoo.response_norm import ResponseNorm

PAPERS_IMAGE_SIZE, IMAGE_SIZE = 224, 227
HIDDEN, LARGEST_MAP, LARGEST_SMALL_MAP = 4096, 6, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """In what the two AlexNets differ."""

    widths: tuple[int, int, int, int, int]
    groups: int
    stem_padding: int
    normalises: bool
    drops_inputs: bool
    """Whether dropout stands before fc6 and fc7, or after them, as in the paper."""
    borders: bool
    """Whether 224x224 is bordered to 227x227."""
    starts_as_published: bool
    """Whether the form for large images has the paper's first weights."""


PAPER = Design(
    widths=(96, 256, 384, 384, 256),
    groups=2,
    stem_padding=0,
    normalises=True,
    drops_inputs=False,
    borders=True,
    starts_as_published=True,
)
TORCHVISION = Design(
    widths=(64, 192, 384, 256, 256),
    groups=1,
    stem_padding=2,
    normalises=False,
    drops_inputs=True,
    borders=False,
    starts_as_published=False,
)


def pooled(pixels: int) -> int:
    """What overlapping pooling, 3x3 with a stride of 2, leaves of a side."""
    return (pixels - 3) // 2 + 1


def last_map(image_size: int, design: Design, *, small_input: bool) -> int:
    """Pixels a side of pool5; below 1 the image is too small."""
    if image_size == PAPERS_IMAGE_SIZE and design.borders:
        image_size = IMAGE_SIZE
    conv1 = image_size if small_input else (image_size + 2 * design.stem_padding - 11) // 4 + 1
    return pooled(pooled(pooled(conv1)))


class AlexNet(nn.Module):
    """Five convolutions and three fully connected layers."""

    def __init__(
        self,
        design: Design,
        *,
        num_classes: int,
        in_channels: int,
        image_size: int,
        small_input: bool,
        width: float = 1.0,
    ) -> None:
        """A freshly initialised network.

        Args:
            width: a factor on the channels and hidden units of every layer.
        """
        super().__init__()
        self.design = design
        w1, w2, w3, w4, w5 = (scaled(channels, width) for channels in design.widths)
        if small_input:
            stem = nn.Conv2d(in_channels, w1, kernel_size=5, padding=2)
        else:
            stem = nn.Conv2d(in_channels, w1, kernel_size=11, stride=4, padding=design.stem_padding)
        self.border = nn.ZeroPad2d((1, 2, 1, 2) if image_size == PAPERS_IMAGE_SIZE and design.borders else 0)
        self.conv1 = convolution(stem, normalises=design.normalises)
        self.pool1 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.conv2 = convolution(
            nn.Conv2d(w1, w2, kernel_size=5, padding=2, groups=design.groups), normalises=design.normalises
        )
        self.pool2 = nn.MaxPool2d(kernel_size=3, stride=2)
        self.conv3 = convolution(nn.Conv2d(w2, w3, kernel_size=3, padding=1))
        self.conv4 = convolution(nn.Conv2d(w3, w4, kernel_size=3, padding=1, groups=design.groups))
        self.conv5 = convolution(nn.Conv2d(w4, w5, kernel_size=3, padding=1, groups=design.groups))
        self.pool5 = nn.MaxPool2d(kernel_size=3, stride=2)

        self._add_head(w5, num_classes, last_map(image_size, design, small_input=small_input), small_input, width)
        if design.starts_as_published and not small_input:
            initialise_as_published(self)
        else:
            initialise(self)

    def _add_head(self, channels: int, num_classes: int, pixels: int, small_input: bool, width: float) -> None:
        most = LARGEST_SMALL_MAP if small_input else LARGEST_MAP
        kept = min(pixels, most)
        hidden = scaled(HIDDEN * (kept / LARGEST_MAP) ** 2 if small_input else HIDDEN, width)
        self.fit = nn.AdaptiveAvgPool2d(kept) if pixels > most else nn.Identity()
        self.fc6 = hidden_layer(channels * kept**2, hidden, drops_inputs=self.design.drops_inputs)
        self.fc7 = hidden_layer(hidden, hidden, drops_inputs=self.design.drops_inputs)
        self.fc8 = nn.Linear(hidden, num_classes)

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the maps after each stage, in order."""
        names = ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")
        return {name: self.get_submodule(name) for name in names}

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        x_NCHW = self.pool1(self.conv1(self.border(images_NCHW)))
        x_NCHW = self.pool2(self.conv2(x_NCHW))
        x_NCHW = self.pool5(self.conv5(self.conv4(self.conv3(x_NCHW))))
        x_NF = self.fit(x_NCHW).flatten(start_dim=1)
        return cast(Tensor, self.fc8(self.fc7(self.fc6(x_NF))))


def convolution(conv: nn.Conv2d, *, normalises: bool = False) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=conv, relu=nn.ReLU(inplace=True))
    if normalises:
        layers["norm"] = ResponseNorm()
    return nn.Sequential(layers)


def hidden_layer(in_features: int, out_features: int, *, drops_inputs: bool) -> nn.Sequential:
    linear, relu, dropout = nn.Linear(in_features, out_features), nn.ReLU(inplace=True), nn.Dropout(0.5)
    if drops_inputs:
        return nn.Sequential(OrderedDict(dropout=dropout, linear=linear, relu=relu))
    return nn.Sequential(OrderedDict(linear=linear, relu=relu, dropout=dropout))


def scaled(channels: float, width: float) -> int:
    """An even number of channels, so that two groups can share them."""
    return max(2, 2 * round(channels * width / 2))


def initialise_as_published(network: AlexNet) -> None:
    """Weights normal with a deviation of 0.01; biases of 1 where relu should start alive, else 0."""
    start_alive = {network.conv2, network.conv4, network.conv5, network.fc6, network.fc7}
    for part in network.children():
        for layer in part.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.constant_(cast(Tensor, layer.bias), 1.0 if part in start_alive else 0.0)


def initialise(network: AlexNet) -> None:
    """He initialisation, for the forms that the paper does not have: narrow layers would fade at its 0.01.

    The last layer keeps the 0.01, so that the first answers are not loud.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
    nn.init.normal_(network.fc8.weight, std=0.01)


# ------------------------------------------------------------------------------------------------------ factories


def alexnet(**settings: Any) -> AlexNet:
    """The network of the paper."""
    return AlexNet(PAPER, **settings)


def alexnet_torchvision(**settings: Any) -> AlexNet:
    """The network of torchvision.models.alexnet."""
    return AlexNet(TORCHVISION, **settings)
