"""VGG: nothing but 3x3 convolutions, from 11 to 19 layers, each with and without batch norm.

Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014 (arXiv:1409.1556).

    stage1 to stage5   1 to 4 convolutions 3x3 with relu, then a max pooling that halves the map
                       64, 128, 256, 512, 512 channels: 224 pixels a side become 7
    fc6 4096, fc7 4096, fc8 1000

Configurations A, B, D and E of the paper's table 1 have 11, 13, 16 and 19 layers that hold weights. Batch norm came
a year later and is no part of the paper. For small images the fully connected layers give way to one, on the average of
the last map, as most repositories have it for CIFAR; odd maps are halved upwards, so that 28x28 images, which five
halvings would leave nothing of, pass as well.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

from torch import Tensor, nn

CONVOLUTIONS: dict[int, tuple[int, int, int, int, int]] = {
    11: (1, 1, 2, 2, 2),
    13: (2, 2, 2, 2, 2),
    16: (2, 2, 3, 3, 3),
    19: (2, 2, 4, 4, 4),
}
WIDTHS = (64, 128, 256, 512, 512)
HIDDEN, LARGEST_MAP = 4096, 7


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, then three fully connected layers; for small images one."""

    def __init__(
        self,
        *,
        depth: int,
        batch_norm: bool,
        num_classes: int,
        in_channels: int,
        image_size: int,
        small_input: bool,
        width: float = 1.0,
    ) -> None:
        """A freshly initialised network.

        Args:
            depth: 11, 13, 16 or 19.
            width: a factor on the channels and hidden units of every layer.
        """
        super().__init__()
        self.depth = depth
        widths = [scaled(channels, width) for channels in WIDTHS]
        inputs = [in_channels, *widths[:-1]]
        self.trunk = nn.Sequential(
            OrderedDict(
                (f"stage{n}", stage(inputs[n - 1], widths[n - 1], convs, batch_norm=batch_norm, rounds_up=small_input))
                for n, convs in enumerate(CONVOLUTIONS[depth], start=1)
            )
        )
        self.fit: nn.Module
        self.classifier: nn.Sequential
        if small_input:
            self.fit = nn.AdaptiveAvgPool2d(1)
            self.classifier = nn.Sequential(OrderedDict(fc=nn.Linear(widths[-1], num_classes)))
        else:
            pixels = image_size // 32
            kept = min(pixels, LARGEST_MAP)
            self.fit = nn.AdaptiveAvgPool2d(kept) if pixels > LARGEST_MAP else nn.Identity()
            self.classifier = fully_connected(widths[-1] * kept**2, scaled(HIDDEN, width), num_classes)
        initialise(self)

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the maps after each stage, in order."""
        return dict(self.trunk.named_children())

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        return cast(Tensor, self.classifier(self.fit(self.trunk(images_NCHW)).flatten(start_dim=1)))


def stage(
    in_channels: int, out_channels: int, convolutions: int, *, batch_norm: bool, rounds_up: bool
) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number in range(1, convolutions + 1):
        layers[f"conv{number}"] = nn.Conv2d(
            in_channels if number == 1 else out_channels, out_channels, kernel_size=3, padding=1
        )
        if batch_norm:
            layers[f"norm{number}"] = nn.BatchNorm2d(out_channels)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
    layers["pool"] = nn.MaxPool2d(kernel_size=2, ceil_mode=rounds_up)
    return nn.Sequential(layers)


def fully_connected(in_features: int, hidden: int, num_classes: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            fc6=nn.Linear(in_features, hidden),
            relu6=nn.ReLU(inplace=True),
            dropout6=nn.Dropout(0.5),
            fc7=nn.Linear(hidden, hidden),
            relu7=nn.ReLU(inplace=True),
            dropout7=nn.Dropout(0.5),
            fc8=nn.Linear(hidden, num_classes),
        )
    )


def scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def initialise(network: VGG) -> None:
    """He initialisation for the convolutions, a deviation of 0.01 for the linear layers, biases of zero.

    The authors trained configuration A first and began the deeper ones with its layers; they found later that a good
    random initialisation does as well (section 3.1), and named Glorot and Bengio's. He's allows for
    relu, without which the signal of 16 layers fades.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, layer.bias))
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
