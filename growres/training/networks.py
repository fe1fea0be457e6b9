"""Networks from their architectures: the zoo's as they are, or a residual trunk under an auxiliary head.

Such a head classifies from the middle of a network while the blocks after it do not exist yet. It is that of
Belilovsky, Eickenberg and Oyallon, Greedy Layerwise Learning Can Scale to ImageNet (arXiv:1812.11446): for a problem
of depth k it has k - 1 hidden 3x3 convolutions, averages the map to 2x2, and ends in a linear classifier.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

import zoo
from zoo.counting import copy_on_meta
from zoo.resnet import ResNet, conv3x3, initialise, norm_relu

AUXILIARY_DEPTH = "auxiliary_depth"
"""The key of an architecture that asks for an auxiliary head, beside the arguments for zoo.create_model."""

_POOLED_TO = 2


class AuxiliaryHead(nn.Module):
    """Logits by k - 1 convolutions (3x3, norm, relu each) of the map's own width, an average to 2x2, a linear layer.

    Differs from the paper: a pre-activation trunk's map is activated first, as the zoo does before its own head; the
    convolutions have the map's width, where the paper chose a width for each data set; and a map that is smaller than
    2x2 stays as it is.

    Args:
        activation: what the trunk's form puts before a head.
        depth: k, from 1.
        map_size: height and width of the trunk's map, a pixel at least.
    """

    def __init__(self, activation: nn.Module, width: int, *, depth: int, map_size: int, num_classes: int) -> None:
        super().__init__()
        pooled = min(_POOLED_TO, map_size)
        self.activation = activation
        self.hidden = nn.Sequential(
            *(nn.Sequential(conv3x3(width, width), *norm_relu(width)) for _ in range(depth - 1))
        )
        self.pool = nn.AdaptiveAvgPool2d(pooled)
        self.classifier = nn.Linear(width * pooled * pooled, num_classes)
        initialise(self)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        pooled = self.pool(self.hidden(self.activation(x_NCHW)))
        return cast(Tensor, self.classifier(pooled.flatten(start_dim=1)))


class LayerwiseNetwork(nn.Module):
    """The stem and the stages of a residual network, as the zoo makes and names them, under an auxiliary head."""

    def __init__(self, trunk: ResNet, head: AuxiliaryHead, *, depth: int) -> None:
        super().__init__()
        self.stem = trunk.stem
        self.stages = trunk.stages
        self.head = head
        self.architecture: dict[str, Any] = {**trunk.architecture, AUXILIARY_DEPTH: depth}
        """Plain data from which `build_network` makes this network again."""

    @property
    def num_blocks(self) -> int:
        return sum(self.architecture["blocks"])

    @property
    def newest_block(self) -> nn.Module:
        """The block before the head."""
        return cast(nn.Sequential, self.stages[-1])[-1]

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the maps after each stage, in order."""
        return {"stem": self.stem, **{f"stage{number}": stage for number, stage in enumerate(self.stages)}}

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        x_NCHW = self.stem(images_NCHW)
        for stage in self.stages:
            x_NCHW = stage(x_NCHW)
        return cast(Tensor, self.head(x_NCHW))


def build_network(architecture: dict[str, Any], *, num_classes: int, in_channels: int, image_size: int) -> nn.Module:
    """A freshly initialised network of this architecture; its weights come from torch's global generator.

    Args:
        architecture: the name and arguments for zoo.create_model, as a TrialFinished has them; with `auxiliary_depth`
            an auxiliary head of that depth stands in place of the residual network's own.
    Raises:
        zoo.ModelError: if the zoo has no such network, or it does not fit the images.
    """
    arguments = {key: value for key, value in architecture.items() if key != AUXILIARY_DEPTH}
    network = zoo.create_model(**arguments, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    depth = architecture.get(AUXILIARY_DEPTH)
    if depth is None:
        return network
    if not isinstance(network, ResNet):
        raise zoo.ModelError(f"Cannot put an auxiliary head on {architecture['name']}: it has no residual stages.")
    _, width, map_size, _ = _map_shape(network, in_channels, image_size)
    activation = network.head.activation
    head = AuxiliaryHead(activation, width, depth=depth, map_size=map_size, num_classes=num_classes)
    return LayerwiseNetwork(network, head, depth=depth)


@torch.no_grad()
def _map_shape(network: ResNet, in_channels: int, image_size: int) -> torch.Size:
    """(1, C, H, W) of the map that the last stage puts out; the network is not run."""
    trunk = cast(ResNet, copy_on_meta(network).eval())
    x_NCHW: Tensor = trunk.stem(torch.empty(1, in_channels, image_size, image_size, device="meta"))
    for stage in trunk.stages:
        x_NCHW = stage(x_NCHW)
    return x_NCHW.shape
