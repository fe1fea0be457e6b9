"""torchvision's state dicts as names and shapes, written from their regularities; torchvision is not needed.

KEYS["resnet18"]() -> {"conv1.weight": (64, 3, 7, 7), ...}
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

Shapes = dict[str, tuple[int, ...]]


def conv(name: str, inputs: int, outputs: int, kernel: int | tuple[int, int], *, bias: bool = False) -> Shapes:
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    shapes: Shapes = {f"{name}.weight": (outputs, inputs, height, width)}
    return shapes | ({f"{name}.bias": (outputs,)} if bias else {})


def norm(name: str, channels: int) -> Shapes:
    one_each = {f"{name}.{what}": (channels,) for what in ("weight", "bias", "running_mean", "running_var")}
    return one_each | {f"{name}.num_batches_tracked": ()}


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def conv_bn(name: str, inputs: int, outputs: int, kernel: int | tuple[int, int]) -> Shapes:
    """BasicConv2d of GoogLeNet and Inception v3."""
    return conv(f"{name}.conv", inputs, outputs, kernel) | norm(f"{name}.bn", outputs)


def alexnet() -> Shapes:
    shapes: Shapes = {}
    inputs = 3
    for index, outputs, kernel in ((0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3)):
        shapes |= conv(f"features.{index}", inputs, outputs, kernel, bias=True)
        inputs = outputs
    return (
        shapes
        | linear("classifier.1", 9216, 4096)
        | linear("classifier.4", 4096, 4096)
        | linear("classifier.6", 4096, 1000)
    )


def vgg(stages: str, *, batch_norm: bool) -> Shapes:
    shapes: Shapes = {}
    inputs, index = 3, 0
    for convolutions, outputs in zip(stages, (64, 128, 256, 512, 512), strict=True):
        for _ in range(int(convolutions)):
            shapes |= conv(f"features.{index}", inputs, outputs, 3, bias=True)
            if batch_norm:
                shapes |= norm(f"features.{index + 1}", outputs)
            index += 3 if batch_norm else 2
            inputs = outputs
        index += 1
    return (
        shapes
        | linear("classifier.0", 25088, 4096)
        | linear("classifier.3", 4096, 4096)
        | linear("classifier.6", 4096, 1000)
    )


def googlenet() -> Shapes:
    shapes = conv_bn("conv1", 3, 64, 7) | conv_bn("conv2", 64, 64, 1) | conv_bn("conv3", 64, 192, 3)
    modules = {
        "3a": (192, 64, 96, 128, 16, 32, 32),
        "3b": (256, 128, 128, 192, 32, 96, 64),
        "4a": (480, 192, 96, 208, 16, 48, 64),
        "4b": (512, 160, 112, 224, 24, 64, 64),
        "4c": (512, 128, 128, 256, 24, 64, 64),
        "4d": (512, 112, 144, 288, 32, 64, 64),
        "4e": (528, 256, 160, 320, 32, 128, 128),
        "5a": (832, 256, 160, 320, 32, 128, 128),
        "5b": (832, 384, 192, 384, 48, 128, 128),
    }
    for module, (inputs, one, red3, three, red5, five, pool) in modules.items():
        name = f"inception{module}"
        shapes |= conv_bn(f"{name}.branch1", inputs, one, 1)
        shapes |= conv_bn(f"{name}.branch2.0", inputs, red3, 1) | conv_bn(f"{name}.branch2.1", red3, three, 3)
        shapes |= conv_bn(f"{name}.branch3.0", inputs, red5, 1) | conv_bn(f"{name}.branch3.1", red5, five, 3)
        shapes |= conv_bn(f"{name}.branch4.1", inputs, pool, 1)
    for name, inputs in (("aux1", 512), ("aux2", 528)):
        shapes |= conv_bn(f"{name}.conv", inputs, 128, 1)
        shapes |= linear(f"{name}.fc1", 2048, 1024) | linear(f"{name}.fc2", 1024, 1000)
    return shapes | linear("fc", 1024, 1000)


def inception_v3() -> Shapes:
    row, column = (1, 7), (7, 1)
    shapes: Shapes = {}
    for name, inputs, outputs, kernel in (
        ("1a_3x3", 3, 32, 3),
        ("2a_3x3", 32, 32, 3),
        ("2b_3x3", 32, 64, 3),
        ("3b_1x1", 64, 80, 1),
        ("4a_3x3", 80, 192, 3),
    ):
        shapes |= conv_bn(f"Conv2d_{name}", inputs, outputs, kernel)
    for name, inputs, pool in (("Mixed_5b", 192, 32), ("Mixed_5c", 256, 64), ("Mixed_5d", 288, 64)):
        shapes |= conv_bn(f"{name}.branch1x1", inputs, 64, 1)
        shapes |= conv_bn(f"{name}.branch5x5_1", inputs, 48, 1) | conv_bn(f"{name}.branch5x5_2", 48, 64, 5)
        shapes |= conv_bn(f"{name}.branch3x3dbl_1", inputs, 64, 1) | conv_bn(f"{name}.branch3x3dbl_2", 64, 96, 3)
        shapes |= conv_bn(f"{name}.branch3x3dbl_3", 96, 96, 3) | conv_bn(f"{name}.branch_pool", inputs, pool, 1)
    name = "Mixed_6a"
    shapes |= conv_bn(f"{name}.branch3x3", 288, 384, 3) | conv_bn(f"{name}.branch3x3dbl_1", 288, 64, 1)
    shapes |= conv_bn(f"{name}.branch3x3dbl_2", 64, 96, 3) | conv_bn(f"{name}.branch3x3dbl_3", 96, 96, 3)
    for name, inner in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
        shapes |= conv_bn(f"{name}.branch1x1", 768, 192, 1) | conv_bn(f"{name}.branch7x7_1", 768, inner, 1)
        shapes |= conv_bn(f"{name}.branch7x7_2", inner, inner, row) | conv_bn(f"{name}.branch7x7_3", inner, 192, column)
        shapes |= conv_bn(f"{name}.branch7x7dbl_1", 768, inner, 1)
        for number, outputs, kernel in ((2, inner, column), (3, inner, row), (4, inner, column), (5, 192, row)):
            shapes |= conv_bn(f"{name}.branch7x7dbl_{number}", inner, outputs, kernel)
        shapes |= conv_bn(f"{name}.branch_pool", 768, 192, 1)
    shapes |= conv_bn("AuxLogits.conv0", 768, 128, 1) | conv_bn("AuxLogits.conv1", 128, 768, 5)
    shapes |= linear("AuxLogits.fc", 768, 1000)
    name = "Mixed_7a"
    shapes |= conv_bn(f"{name}.branch3x3_1", 768, 192, 1) | conv_bn(f"{name}.branch3x3_2", 192, 320, 3)
    shapes |= conv_bn(f"{name}.branch7x7x3_1", 768, 192, 1)
    for number, kernel in ((2, row), (3, column), (4, (3, 3))):
        shapes |= conv_bn(f"{name}.branch7x7x3_{number}", 192, 192, kernel)
    for name, inputs in (("Mixed_7b", 1280), ("Mixed_7c", 2048)):
        shapes |= conv_bn(f"{name}.branch1x1", inputs, 320, 1) | conv_bn(f"{name}.branch3x3_1", inputs, 384, 1)
        shapes |= conv_bn(f"{name}.branch3x3_2a", 384, 384, (1, 3)) | conv_bn(f"{name}.branch3x3_2b", 384, 384, (3, 1))
        shapes |= conv_bn(f"{name}.branch3x3dbl_1", inputs, 448, 1) | conv_bn(f"{name}.branch3x3dbl_2", 448, 384, 3)
        shapes |= conv_bn(f"{name}.branch3x3dbl_3a", 384, 384, (1, 3))
        shapes |= conv_bn(f"{name}.branch3x3dbl_3b", 384, 384, (3, 1))
        shapes |= conv_bn(f"{name}.branch_pool", inputs, 192, 1)
    return shapes | linear("fc", 2048, 1000)


def resnet(blocks: tuple[int, ...], *, bottleneck: bool) -> Shapes:
    shapes = conv("conv1", 3, 64, 7) | norm("bn1", 64)
    inputs, expansion = 64, 4 if bottleneck else 1
    for layer, (count, width) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), start=1):
        for block in range(count):
            name, outputs = f"layer{layer}.{block}", width * expansion
            steps = (
                [(inputs, width, 1), (width, width, 3), (width, outputs, 1)]
                if bottleneck
                else [
                    (inputs, width, 3),
                    (width, width, 3),
                ]
            )
            for number, (before, after, kernel) in enumerate(steps, start=1):
                shapes |= conv(f"{name}.conv{number}", before, after, kernel) | norm(f"{name}.bn{number}", after)
            if block == 0 and inputs != outputs:
                shapes |= conv(f"{name}.downsample.0", inputs, outputs, 1) | norm(f"{name}.downsample.1", outputs)
            inputs = outputs
    return shapes | linear("fc", inputs, 1000)


def densenet(layers: tuple[int, ...], growth: int) -> Shapes:
    channels = 2 * growth
    shapes = conv("features.conv0", 3, channels, 7) | norm("features.norm0", channels)
    for block, count in enumerate(layers, start=1):
        for layer in range(1, count + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            shapes |= norm(f"{name}.norm1", channels) | conv(f"{name}.conv1", channels, 4 * growth, 1)
            shapes |= norm(f"{name}.norm2", 4 * growth) | conv(f"{name}.conv2", 4 * growth, growth, 3)
            channels += growth
        if block < len(layers):
            name = f"features.transition{block}"
            shapes |= norm(f"{name}.norm", channels) | conv(f"{name}.conv", channels, channels // 2, 1)
            channels //= 2
    return shapes | norm("features.norm5", channels) | linear("classifier", channels, 1000)


KEYS: dict[str, Callable[[], Shapes]] = {
    "alexnet": alexnet,
    **{
        f"vgg{depth}{'_bn' if bn else ''}": partial(vgg, stages, batch_norm=bn)
        for depth, stages in ((11, "11222"), (13, "22222"), (16, "22333"), (19, "22444"))
        for bn in (False, True)
    },
    "googlenet": googlenet,
    "inception_v3": inception_v3,
    "resnet18": partial(resnet, (2, 2, 2, 2), bottleneck=False),
    "resnet34": partial(resnet, (3, 4, 6, 3), bottleneck=False),
    "resnet50": partial(resnet, (3, 4, 6, 3), bottleneck=True),
    "resnet101": partial(resnet, (3, 4, 23, 3), bottleneck=True),
    "resnet152": partial(resnet, (3, 8, 36, 3), bottleneck=True),
    "densenet121": partial(densenet, (6, 12, 24, 16), 32),
    "densenet161": partial(densenet, (6, 12, 36, 24), 48),
    "densenet169": partial(densenet, (6, 12, 32, 32), 32),
    "densenet201": partial(densenet, (6, 12, 48, 32), 32),
}
NUM_KEYS = {
    "alexnet": 16, "vgg16": 32, "vgg16_bn": 97, "googlenet": 364, "inception_v3": 580, "resnet18": 122,
    "resnet34": 218, "resnet50": 320, "resnet101": 626, "resnet152": 932, "densenet121": 727, "densenet161": 967,
    "densenet169": 1015, "densenet201": 1207,
}  # fmt: skip
"""How many there are, counted in torchvision."""
