"""LeNet-5 as it was published in 1998, not as it is usually redrawn.

LeCun, Bottou, Bengio and Haffner: Gradient-Based Learning Applied to Document Recognition, Proceedings of the IEEE 86.
For one channel and ten digits it has 60,000 trainable parameters and 340,908 connections:

    C1  convolution 5x5             6 x 28 x 28
    S2  subsampling 2x2             6 x 14 x 14    each map has one trainable weight and one bias
    C3  convolution 5x5            16 x 10 x 10    each map sees a few of S2's, by a table
    S4  subsampling 2x2            16 x  5 x  5
    C5  convolution 5x5           120 x  1 x  1
    F6  fully connected            84
    OUT distance to fixed codes    10

Every layer before the output is followed by the squash. Two things differ here from the paper. Images of another size
than 32x32 are brought to it by the network's own first step. The output is minus the distance times a constant, which
makes cross-entropy the paper's discriminative criterion (its equation 9) at another temperature and without the rubbish
class.

Dimension key: N batch, C channels, D output channels, H and W height and width, F the 84 units of F6, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_SIZE = 32

C3_TABLE: tuple[tuple[int, ...], ...] = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)
"""For each map of C3 the maps of S2 that feed it: different sets, so that the maps must become different features."""

CODE_HEIGHT, CODE_WIDTH = 12, 7
DIGIT_CODES = """
 ..###..   ...#...   .#####.   .#####.   ....##.   #######   ..####.   #######   .#####.   .#####.
 .##.##.   ..##...   ##...##   ##...##   ...###.   ##.....   .##....   .....##   ##...##   ##...##
 ##...##   .###...   .....##   .....##   ..####.   ##.....   ##.....   .....##   ##...##   ##...##
 ##...##   ...##..   .....##   .....##   .##.##.   ##.....   ##.....   ....##.   ##...##   ##...##
 ##...##   ...##..   ....##.   ....##.   ##..##.   ######.   ##.###.   ....##.   .##.##.   ##...##
 ##...##   ...##..   ...##..   ..###..   ##..##.   ##..###   ###..##   ...##..   ..###..   ##..###
 ##...##   ...##..   ..##...   ....##.   #######   .....##   ##...##   ...##..   .##.##.   .###.##
 ##...##   ...##..   .##....   .....##   #######   .....##   ##...##   ..##...   ##...##   .....##
 ##...##   ...##..   ##.....   .....##   ....##.   .....##   ##...##   ..##...   ##...##   .....##
 ##...##   ...##..   ##.....   ##...##   ....##.   ##...##   ##...##   .##....   ##...##   ....##.
 .##.##.   ..####.   ##...##   ##..##.   ....##.   ##..##.   .##.##.   .##....   ##...##   ...##..
 ..###..   .######   #######   .####..   ....##.   .####..   ..###..   ##.....   .#####.   .###...
"""
"""The target codes: a bitmap of each digit, # for +1 and . for -1, drawn for this zoo in the manner of the paper's
figure 3. Like shapes have like codes, so that a distance means something for an image that is not sure."""


DISTANCE_SCALE = 0.05
"""What turns a squared distance into minus a logit. At 1 a few units that disagree saturate the softmax, and SGD
diverges from a learning rate of 0.03 on; at 0.05 it learns from 0.03 to 0.2, and AdamW at 0.01 (digits, 8x8)."""


def digit_codes() -> Tensor:
    """The ten codes (10, 84) of +1 and -1, each a 12x7 bitmap row by row."""
    rows = [line.split() for line in DIGIT_CODES.strip().splitlines()]
    bitmaps = ("".join(row[digit] for row in rows) for digit in range(10))
    return torch.tensor([[1.0 if pixel == "#" else -1.0 for pixel in bitmap] for bitmap in bitmaps])


def uniform_by_fan_in(tensor: Tensor, fan_in: int) -> None:
    """The paper's initialisation: uniform within 2.4 / fan_in of zero, where fan_in is the inputs of one unit."""
    nn.init.uniform_(tensor, -2.4 / fan_in, 2.4 / fan_in)


class Squash(nn.Module):
    """1.7159 tanh(2a/3): about 1 at 1 and -1 at -1, where its curvature is greatest, far from saturation."""

    def forward(self, a: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(a * (2 / 3))


class Convolution(nn.Conv2d):
    """A fully connected 5x5 convolution without padding, initialised as in the paper."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=5)

    def reset_parameters(self) -> None:
        fan_in = self.weight[0].numel()
        uniform_by_fan_in(self.weight, fan_in)
        uniform_by_fan_in(cast(Tensor, self.bias), fan_in)


class PartialConvolution(nn.Module):
    """A 5x5 convolution whose maps each see a few of the input's, with weights for those pairs alone.

    The kernels are laid into a dense one of zeros for the computation: at this size one dense convolution is faster
    than sixteen small ones, and the zeros, not being parameters, stay zeros.
    """

    pair_index: Tensor

    def __init__(self, in_channels: int, table: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.table = table
        pairs = [out * in_channels + source for out, sources in enumerate(table) for source in sources]
        self.register_buffer("pair_index", torch.tensor(pairs), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(pairs), 5, 5))
        self.bias = nn.Parameter(torch.empty(len(table)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        pair = 0
        for out, sources in enumerate(self.table):
            fan_in = 25 * len(sources)
            with torch.no_grad():
                uniform_by_fan_in(self.weight[pair : pair + len(sources)], fan_in)
                uniform_by_fan_in(self.bias[out : out + 1], fan_in)
            pair += len(sources)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        dense = self.weight.new_zeros(len(self.table) * self.in_channels, 5, 5)
        kernel_DC55 = dense.index_copy(0, self.pair_index, self.weight).view(-1, self.in_channels, 5, 5)
        return F.conv2d(x_NCHW, kernel_DC55, self.bias)

    kernel_size, stride = 5, 1

    @property
    def kind(self) -> str:
        """What the layer is, for a table."""
        return f"conv 5x5, {len(self.weight)} of {len(self.table) * self.in_channels} pairs"

    def count_macs(self, output_shape: Sequence[int]) -> int:
        return self.weight.numel() * math.prod(output_shape[1:])

    def count_connections(self, output_shape: Sequence[int]) -> int:
        return (self.weight.numel() + self.bias.numel()) * math.prod(output_shape[1:])


class Subsampling(nn.Module):
    """The sum of each 2x2 neighbourhood, times the map's weight, plus the map's bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels, 1, 1))
        uniform_by_fan_in(self.weight, 4)
        uniform_by_fan_in(self.bias, 4)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        # The sum of four as a mean, bit for bit. A sum (divisor_override=1) is what ONNX's pooling does not have, and
        # PyTorch's exporter writes a mean for it without a word.
        return F.avg_pool2d(x_NCHW, 2) * (4 * self.weight) + self.bias

    kernel_size, stride = 2, 2
    kind = "subsampling 2x2 / 2"

    def count_macs(self, output_shape: Sequence[int]) -> int:
        """None: the convention counts no pooling."""
        return 0

    def count_connections(self, output_shape: Sequence[int]) -> int:
        return 5 * math.prod(output_shape)


class CodeDistance(nn.Module):
    """The Euclidean radial basis functions of the output, as logits: the nearer a class's fixed code, the larger.

    The published output is y_i = sum_j (x_j - w_ij)^2; this one is -DISTANCE_SCALE * y_i.
    """

    codes_KF: Tensor

    def __init__(self, codes_KF: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes_KF", codes_KF, persistent=False)

    def forward(self, x_NF: Tensor) -> Tensor:
        # In full precision under autocast too: a sum of 84 squares loses in bf16 what tells the classes apart.
        distances_NK = (x_NF.float().unsqueeze(1) - self.codes_KF.float()).square().sum(dim=2)
        return -DISTANCE_SCALE * distances_NK

    kernel_size, stride = 1, 1

    @property
    def kind(self) -> str:
        """What the layer is, for a table."""
        return f"distance to {len(self.codes_KF)} codes"

    def count_macs(self, output_shape: Sequence[int]) -> int:
        return self.codes_KF.numel()

    def count_connections(self, output_shape: Sequence[int]) -> int:
        return self.codes_KF.numel()


class LeNet5(nn.Module):
    """The 1998 network. Its logits are minus the scaled distances for `rbf`, a linear layer's for `linear`."""

    def __init__(
        self, *, num_classes: int, in_channels: int, image_size: int, output: Literal["auto", "rbf", "linear"] = "auto"
    ) -> None:
        """A freshly initialised network; `rbf` has codes for ten classes, and `auto` takes it for ten.

        Any image size will do.
        """
        super().__init__()
        if output == "auto":
            output = "rbf" if num_classes == 10 else "linear"
        self.c1 = Convolution(in_channels, 6)
        self.s2 = Subsampling(6)
        self.c3 = PartialConvolution(6, C3_TABLE)
        self.s4 = Subsampling(16)
        self.c5 = Convolution(16, 120)
        self.f6 = nn.Linear(120, CODE_HEIGHT * CODE_WIDTH)
        self.squash = nn.ModuleDict({name: Squash() for name in ("c1", "s2", "c3", "s4", "c5", "f6")})
        self.out = CodeDistance(digit_codes()) if output == "rbf" else nn.Linear(CODE_HEIGHT * CODE_WIDTH, num_classes)
        for layer in self.children():
            if isinstance(layer, nn.Linear):
                uniform_by_fan_in(layer.weight, layer.in_features)
                uniform_by_fan_in(layer.bias, layer.in_features)

    @property
    def feature_modules(self) -> dict[str, nn.Module]:
        """The modules whose outputs are the squashed maps of each layer, in order."""
        return dict(self.squash.items())

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, num_classes) of images (N, C, H, W)."""
        squash = self.squash
        x_NCHW = to_32x32(images_NCHW)
        x_NCHW = squash["s2"](self.s2(squash["c1"](self.c1(x_NCHW))))
        x_NCHW = squash["s4"](self.s4(squash["c3"](self.c3(x_NCHW))))
        x_NF = squash["f6"](self.f6(squash["c5"](self.c5(x_NCHW)).flatten(start_dim=1)))
        return cast(Tensor, self.out(x_NF))


def to_32x32(images_NCHW: Tensor) -> Tensor:
    """The images at the size that the network is made for.

    28x28 is bordered by two pixels, as the paper does with MNIST: the edge's own pixels are repeated, which is the
    background where there is one, however the images are normalised. Any other size is interpolated, up or down.
    """
    height, width = images_NCHW.shape[-2:]
    if (height, width) == (IMAGE_SIZE, IMAGE_SIZE):
        return images_NCHW
    if (height, width) == (28, 28):
        return F.pad(images_NCHW, (2, 2, 2, 2), mode="replicate")
    shrinks = max(height, width) > IMAGE_SIZE
    return F.interpolate(images_NCHW, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=shrinks)
