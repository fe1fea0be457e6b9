"""DenseNet: every layer sees the outputs of all layers before it in its block.

Huang, Liu, van der Maaten and Weinberger: Densely Connected Convolutional Networks, 2016 (arXiv:1608.06993).

    stem > dense block > transition > ... > dense block > head (norm, relu, global average, linear)

A layer of a dense block is norm, relu, 3x3 convolution, and puts out only k maps (the growth rate), which are stacked
upon its input. In the form DenseNet-B a 1x1 convolution to 4k maps comes first. A transition is norm, relu,
1x1 convolution, 2x2 average pooling; it keeps all channels in the basic form and the share theta = 0.5 in
DenseNet-C. BC is both, and what all networks for ImageNet are.

For ImageNet the stem is a 7x7 convolution to 2k maps, norm, relu and a max pooling. For small images it is one 3x3
convolution, to 16 maps in the basic form and 2k in BC: only so do the paper's parameter counts come out.

Dimension key: N batch, C channels, H and W height and width, k the growth rate.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Form = Literal["basic", "bc"]
BOTTLENECK, COMPRESSION = 4, 0.5


class DenseLayer(nn.Module):
    """k new maps from all maps so far: (N, C, H, W) to (N, k, H, W).

    With dropout the paper drops outputs of every convolution but the stem's, for data sets without augmentation.
    """

    def __init__(
        self, in_channels: int, growth_rate: int, form: Form, *, dropout: float, memory_efficient: bool
    ) -> None:
        super().__init__()
        self.memory_efficient = memory_efficient
        inner = BOTTLENECK * growth_rate
        steps = [(in_channels, inner, 1), (inner, growth_rate, 3)] if form == "bc" else [(in_channels, growth_rate, 3)]
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, (inputs, outputs, window) in enumerate(steps, start=1):
            layers[f"norm{number}"] = nn.BatchNorm2d(inputs)
            layers[f"relu{number}"] = nn.ReLU(inplace=True)
            layers[f"conv{number}"] = nn.Conv2d(inputs, outputs, window, padding=window // 2, bias=False)
            if dropout > 0:
                layers[f"dropout{number}"] = nn.Dropout(dropout)
        self.layers = nn.Sequential(layers)

    def forward(self, *maps_NCHW: Tensor) -> Tensor:
        if self.memory_efficient and self.training and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(self._new_maps, *maps_NCHW, use_reentrant=False, context_fn=self._contexts))
        return self._new_maps(*maps_NCHW)

    def _new_maps(self, *maps_NCHW: Tensor) -> Tensor:
        return cast(Tensor, self.layers(torch.cat(maps_NCHW, dim=1)))

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Around the forward pass, and around the one that repeats it during the backward pass."""
        return nullcontext(), statistics_kept(self)


@contextmanager
def statistics_kept(module: nn.Module) -> Iterator[None]:
    """The running statistics of batch norms are afterwards what they were before.

    A forward pass that repeats another would move them a second time; inside it moves copies.
    """
    norms = [layer for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]
    buffers = [(norm, name, buffer) for norm in norms for name, buffer in norm.named_buffers(recurse=False)]
    for norm, name, buffer in buffers:
        setattr(norm, name, buffer.clone())
    try:
        yield
    finally:
        for norm, name, buffer in buffers:
            setattr(norm, name, buffer)


class DenseBlock(nn.Module):
    """Layers that each see the block's input and the new maps of all layers before.

    C channels become C + num_layers * k.
    """

    def __init__(self, num_layers: int, in_channels: int, growth_rate: int, form: Form, **options: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DenseLayer(in_channels + number * growth_rate, growth_rate, form, **options) for number in range(num_layers)
        )
        self.in_channels = in_channels
        self.out_channels = in_channels + num_layers * growth_rate

    def forward(self, x_NCHW: Tensor) -> Tensor:
        maps_NCHW = [x_NCHW]
        for layer in self.layers:
            maps_NCHW.append(layer(*maps_NCHW))
        return torch.cat(maps_NCHW, dim=1)


def transition(in_channels: int, out_channels: int, dropout: float) -> nn.Sequential:
    """Norm, relu, 1x1 convolution, and a 2x2 average that halves the map."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["norm"] = nn.BatchNorm2d(in_channels)
    layers["relu"] = nn.ReLU(inplace=True)
    layers["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size=1, bias=False)
    if dropout > 0:
        layers["dropout"] = nn.Dropout(dropout)
    layers["pool"] = nn.AvgPool2d(kernel_size=2)
    return nn.Sequential(layers)


def make_stem(in_channels: int, out_channels: int, *, small_input: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if small_input:
        layers["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    else:
        layers["conv"] = nn.Conv2d(in_channels, out_channels, kernel_size=7, stride=2, padding=3, bias=False)
        layers["norm"] = nn.BatchNorm2d(out_channels)
        layers["relu"] = nn.ReLU(inplace=True)
        layers["pool"] = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    return nn.Sequential(layers)


class Head(nn.Module):
    """Norm, relu, global average, linear: (N, C, H, W) to (N, classes)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(in_channels, num_classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return cast(Tensor, self.classifier(self.pool(self.relu(self.norm(x_NCHW))).flatten(start_dim=1)))


class DenseNet(nn.Module):
    """A stem, dense blocks with transitions between them, a head."""

    def __init__(
        self,
        *,
        layers: Sequence[int],
        growth_rate: int,
        form: Form,
        num_classes: int,
        in_channels: int,
        image_size: int,
        small_input: bool,
        memory_efficient: bool = False,
        dropout: float = 0.0,
    ) -> None:
        """A freshly initialised network. The image size was checked before and shapes nothing.

        Args:
            layers: dense layers in each block.
            growth_rate: the maps that each of them adds.
            memory_efficient: dense layers keep nothing for the backward pass but their inputs, and are run again there,
                all but their last convolution: the same function and gradients, and memory that grows with the number
                of layers and not with its square.
            dropout: the share of the outputs of dense layers and transitions that training drops.
        """
        super().__init__()
        channels = 16 if form == "basic" else 2 * growth_rate
        self.stem = make_stem(in_channels, channels, small_input=small_input)
        self.trunk = nn.Sequential()
        for number, num_layers in enumerate(layers, start=1):
            if number > 1:
                kept = int(channels * COMPRESSION) if form == "bc" else channels
                self.trunk.add_module(f"transition{number - 1}", transition(channels, kept, dropout))
                channels = kept
            block = DenseBlock(
                num_layers, channels, growth_rate, form, dropout=dropout, memory_efficient=memory_efficient
            )
            self.trunk.add_module(f"block{number}", block)
            channels = block.out_channels
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
    """He initialisation, as the paper says; the classifier as PyTorch has it, its bias zero."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.bias)
