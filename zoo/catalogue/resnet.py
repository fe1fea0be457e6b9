"""Residual networks and their plain twins: the published ones, and the rule by which any other depth is named.

Networks for small images (He et al. 2015, section 4.2) have three stages and 6n + 2 weight layers in basic blocks of
two, or 9n + 2 in bottlenecks of three. Some depths are both. A depth means basic blocks wherever 6n + 2 can give it,
except the two that were published as bottlenecks, 164 and 1001 (He et al. 2016), and those of the ImageNet networks,
which have four stages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from zoo.catalogue import recipes
from zoo.entry import (
    SMALL_INPUT,
    Argument,
    Choice,
    Flag,
    ModelEntry,
    ModelError,
    Number,
    PositiveInts,
    PublishedError,
    Recipe,
    Settings,
)

Form = Literal["resnet", "preact_resnet", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """What the networks of one form share."""

    title: str
    year: int
    paper: str
    grows: bool


_RESIDUAL_PAPER = "He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition (arXiv:1512.03385)"
_IDENTITY_PAPER = "He, Zhang, Ren and Sun: Identity Mappings in Deep Residual Networks (arXiv:1603.05027)"
_BASELINES_OF_2016 = ("resnet164", "resnet1001", "resnet200")
"""Networks of the first form that were published with the second, as what it is held against."""
_FAMILIES: dict[Form, _Family] = {
    "resnet": _Family(title="ResNet", year=2015, paper=_RESIDUAL_PAPER, grows=True),
    "preact_resnet": _Family(title="Pre-activation ResNet", year=2016, paper=_IDENTITY_PAPER, grows=True),
    "plain": _Family(title="Plain twin of ResNet", year=2015, paper=_RESIDUAL_PAPER, grows=False),
}

_CIFAR_DEPTHS: dict[Form, tuple[int, ...]] = {
    "resnet": (20, 32, 44, 56, 110, 164, 1001, 1202),
    "preact_resnet": (110, 164, 1001),
    "plain": (20, 32, 44, 56, 110),
}
_CIFAR_WIDTHS = (16, 32, 64)
_CIFAR_BOTTLENECKS = (164, 1001)
_DEEPEST = 1202

_IMAGENET_BLOCKS: dict[int, tuple[str, tuple[int, ...]]] = {
    18: ("basic", (2, 2, 2, 2)),
    34: ("basic", (3, 4, 6, 3)),
    50: ("bottleneck", (3, 4, 6, 3)),
    101: ("bottleneck", (3, 4, 23, 3)),
    152: ("bottleneck", (3, 8, 36, 3)),
    200: ("bottleneck", (3, 24, 36, 3)),
}
_IMAGENET_WIDTHS = (64, 128, 256, 512)

# -------------------------------------------------------------------------------------------------------- arguments

_BLOCKS = PositiveInts(name="blocks", description="residual blocks in each stage")
_WIDTHS = PositiveInts(
    name="widths", description="channels of each stage's convolutions; a bottleneck puts out four times as many"
)
_BLOCK = Choice(
    name="block",
    choices=("basic", "bottleneck"),
    default="basic",
    description="basic: two 3x3 convolutions; bottleneck: 1x1, 3x3, 1x1",
)
_STRIDE = Flag(
    name="stride_in_1x1",
    default=False,
    only_with=("block", ("bottleneck",)),
    description="a bottleneck halves the map in its first 1x1 convolution, as in the paper, and not in its 3x3, as in "
    "later releases",
)
_SHORTCUT = Choice(
    name="shortcut",
    choices=("option_a", "option_b", "option_c"),
    default="option_a",
    description="option_a subsamples and pads with zero channels where the shape changes; option_b has a 1x1 "
    "convolution there; option_c has one in every block",
)
_H = Choice(
    name="h",
    choices=("identity", "constant_scaling", "exclusive_gating", "shortcut_only_gating", "conv1x1", "dropout"),
    default="identity",
    description="what the shortcut does to its input (He et al. 2016, section 3)",
)
_F = Choice(
    name="f",
    choices=("original", "bn_after", "relu_before", "relu_only_pre", "full_pre"),
    default="original",
    description="where norm and relu stand about the addition (He et al. 2016, section 4)",
)
_SCALED, _GATED = ("h", ("constant_scaling",)), ("h", ("exclusive_gating", "shortcut_only_gating"))
_H_NUMBERS: tuple[Number, ...] = (
    Number(
        name="shortcut_scale",
        default=0.5,
        least=-2,
        most=2,
        only_with=_SCALED,
        description="what the shortcut is multiplied by",
    ),
    Number(
        name="branch_scale",
        default=0.5,
        least=-2,
        most=2,
        only_with=_SCALED,
        description="what the branch is multiplied by",
    ),
    Number(
        name="gate_bias",
        default=-6.0,
        least=-100,
        most=100,
        only_with=_GATED,
        description="what the gates' bias starts from; far below zero the shortcut is nearly open",
    ),
    Number(
        name="shortcut_dropout",
        default=0.5,
        least=0,
        most=0.99,
        only_with=("h", ("dropout",)),
        description="the share of the shortcut that training drops",
    ),
)


_SKIP_INIT = Flag(
    name="skip_init",
    default=False,
    description="multiply every branch by a learned number that starts at zero (De and Smith 2020)",
)


def _shortcut_arguments(form: Form, option: str) -> tuple[Argument, ...]:
    shortcut = replace(_SHORTCUT, default=option)
    match form:
        case "plain":
            return ()
        case "preact_resnet":  # f is what makes it one
            return (shortcut, _H, *_H_NUMBERS, _SKIP_INIT)
        case "resnet":
            return (shortcut, _H, _F, *_H_NUMBERS, _SKIP_INIT)


# ------------------------------------------------------------------------------------------------------------ rules


def _one_width_a_stage(settings: Settings) -> str | None:
    blocks, widths = settings["blocks"], settings["widths"]
    if len(blocks) == len(widths):
        return None
    return (
        f"blocks names {len(blocks)} stages ({list(blocks)}) and widths {len(widths)} ({list(widths)}); "
        "give one number a stage in both"
    )


def _option_a_never_narrows(settings: Settings) -> str | None:
    widths = list(settings["widths"])
    pads = settings.get("shortcut") == "option_a" and settings["h"] != "conv1x1"
    if not pads or widths == sorted(widths):
        return None
    return f"shortcut option_a pads channels and cannot drop any, but widths fall ({widths}); give shortcut: option_b"


def _one_pixel_in_the_last_stage(settings: Settings) -> int:
    """Every stage but the first halves the map; the stem of large images leaves a quarter of each side."""
    smallest = 2 ** (len(settings["blocks"]) - 1)
    return int(smallest if settings["small_input"] is True else 4 * smallest)


# --------------------------------------------------------------------------------------------- what was published


def _cifar10(error: float, protocol: str, source: str) -> tuple[PublishedError, ...]:
    return (PublishedError(data="CIFAR-10", top1=error, protocol=protocol, source=source),)


def _imagenet(top1: float, top5: float | None, protocol: str, source: str) -> tuple[PublishedError, ...]:
    return (PublishedError(data="ImageNet", top1=top1, top5=top5, protocol=protocol, source=source),)


_HE_2015, _HE_2016 = "He et al. 2015", "He et al. 2016"
_IN_1X1 = "stride in the 1x1"
_PUBLISHED: dict[str, tuple[PublishedError, ...]] = {
    "resnet20": _cifar10(0.0875, "test", f"{_HE_2015}, table 6"),
    "resnet32": _cifar10(0.0751, "test", f"{_HE_2015}, table 6"),
    "resnet44": _cifar10(0.0717, "test", f"{_HE_2015}, table 6"),
    "resnet56": _cifar10(0.0697, "test", f"{_HE_2015}, table 6"),
    "resnet110": (
        *_cifar10(0.0643, "test, best of 5", f"{_HE_2015}, table 6"),
        *_cifar10(0.0661, "test, mean of 5 (+- 0.16)", f"{_HE_2015}, table 6"),
    ),
    "resnet164": _cifar10(0.0593, "test, median of 5", f"{_HE_2016}, table 2"),
    "resnet1001": _cifar10(0.0761, "test, median of 5", f"{_HE_2016}, table 3"),
    "resnet1202": _cifar10(0.0793, "test", f"{_HE_2015}, table 6"),
    "preact_resnet110": _cifar10(0.0637, "test, median of 5", f"{_HE_2016}, table 2"),
    "preact_resnet164": _cifar10(0.0546, "test, median of 5", f"{_HE_2016}, table 2"),
    "preact_resnet1001": (
        *_cifar10(0.0492, "test, median of 5", f"{_HE_2016}, table 3"),
        *_cifar10(0.0462, "test, median of 5, batches of 64", f"{_HE_2016}, table 4"),
    ),
    "resnet18": _imagenet(0.2788, None, "10-crop, option A", f"{_HE_2015}, table 2"),
    "resnet34": (
        *_imagenet(0.2452, 0.0746, "10-crop, option B", f"{_HE_2015}, table 3"),
        *_imagenet(0.2503, 0.0776, "10-crop, option A", f"{_HE_2015}, table 3"),
        *_imagenet(0.2419, 0.0740, "10-crop, option C", f"{_HE_2015}, table 3"),
    ),
    "resnet50": (
        *_imagenet(0.2285, 0.0671, f"10-crop, {_IN_1X1}", f"{_HE_2015}, table 3"),
        *_imagenet(0.247, 0.078, f"1-crop, {_IN_1X1}", "He's release of the networks"),
        *_imagenet(0.2401, 0.0702, "1-crop", "fb.resnet.torch"),
    ),
    "resnet101": (
        *_imagenet(0.2175, 0.0605, f"10-crop, {_IN_1X1}", f"{_HE_2015}, table 3"),
        *_imagenet(0.236, 0.071, f"1-crop, {_IN_1X1}", "He's release of the networks"),
        *_imagenet(0.2244, 0.0621, "1-crop", "fb.resnet.torch"),
    ),
    "resnet152": (
        *_imagenet(0.2143, 0.0571, f"10-crop, {_IN_1X1}", f"{_HE_2015}, table 3"),
        *_imagenet(0.230, 0.067, f"1-crop, {_IN_1X1}", "He's release of the networks"),
        *_imagenet(0.2216, 0.0616, "1-crop", "fb.resnet.torch"),
    ),
    "resnet200": _imagenet(0.218, 0.060, "1-crop of 320x320", f"{_HE_2016}, table 5"),
    "plain18": _imagenet(0.2794, None, "10-crop", f"{_HE_2015}, table 2"),
    "plain34": _imagenet(0.2854, 0.1002, "10-crop", f"{_HE_2015}, tables 2 and 3"),
    "preact_resnet152": _imagenet(0.211, 0.055, "1-crop of 320x320", f"{_HE_2016}, table 5"),
    "preact_resnet200": _imagenet(0.207, 0.053, "1-crop of 320x320", f"{_HE_2016}, table 5"),
}

# ---------------------------------------------------------------------------------------------------------- recipes


def _recipes_of_small_images(form: Form, depth: int) -> Mapping[str, Recipe]:
    """64,000 iterations of 128 of the 45,000 training images, the learning rate divided at 32,000 and 48,000."""
    warms_up = form == "preact_resnet" or depth >= 110
    paper = Recipe(
        training=recipes.training(
            epochs=182,
            batch_size=128,
            optimizer=recipes.sgd(0.1, weight_decay=1e-4),
            schedule=recipes.divided_by_ten(91, 136, warmup_epochs=1 if warms_up else 0),
            augment=recipes.CROP_AND_FLIP,
        ),
        cost="64,000 iterations: 182 epochs of 45,000 images, or 164 of 50,000"
        + ("; its authors needed 27 hours on two GPUs" if depth == 1001 else ""),
        differs="the paper subtracts the mean of each pixel, we normalise by channel"
        + ("; it warms up at a learning rate of 0.01 for 400 iterations, we rise over one epoch" if warms_up else ""),
    )
    return {"paper": paper, "short": recipes.short(0.1)}


def _recipes_of_imagenet(year: int) -> Mapping[str, Recipe]:
    """256 images at a time, the learning rate divided when the error stops falling, or after epochs 30 and 60."""
    epochs, milestones = (120, [30, 60, 90]) if year < 2016 else (90, [30, 60])
    when, cost = (
        ("when the error stops falling, here after every 30 epochs", "600,000 iterations on ImageNet: 120 epochs")
        if year < 2016
        else (
            "after epochs 30 and 60 and does not say when it ends",
            "90 epochs of ImageNet as in fb.resnet.torch; 200 layers took the authors three weeks on eight GPUs",
        )
    )
    paper = Recipe(
        training=recipes.training(
            epochs=epochs,
            batch_size=256,
            optimizer=recipes.sgd(0.1, weight_decay=1e-4),
            schedule=recipes.divided_by_ten(*milestones),
            augment=(recipes.crop_of_jittered_scale(256, 480, crop=224), "flip", "lighting"),
        ),
        cost=cost,
        differs=f"the paper divides the learning rate {when}; it subtracts the mean of each pixel, we normalise by "
        "channel",
    )
    return {"paper": paper, "short": recipes.short(0.1)}


# ---------------------------------------------------------------------------------------------------------- entries


def _entry(form: Form, *, name: str, **entry: Any) -> ModelEntry:
    family = _FAMILIES["preact_resnet" if name in _BASELINES_OF_2016 else form]
    return ModelEntry(
        name=name,
        year=family.year,
        paper=family.paper,
        grows=_FAMILIES[form].grows,
        factory=f"zoo.resnet:{form}",
        smallest_image=_one_pixel_in_the_last_stage,
        **entry,
    )


def _parametric(form: Form) -> ModelEntry:
    return _entry(
        form,
        name=form,
        title=f"{_FAMILIES[form].title} of any shape",
        input_shape=(3, 32, 32),
        num_classes=10,
        arguments=(_BLOCKS, _WIDTHS, _BLOCK, SMALL_INPUT, _STRIDE, *_shortcut_arguments(form, "option_a")),
        rules=(_one_width_a_stage, *(() if form == "plain" else (_option_a_never_narrows,))),
        recipes=_recipes_of_small_images(form, 0),
    )


def _of_small_images(form: Form, depth: int) -> ModelEntry:
    # The basic networks' counts hold with option A, the bottlenecks' (10.2 million weights at 1001 layers) with B.
    block, layers_a_unit, option = (
        ("bottleneck", 9, "option_b") if depth in _CIFAR_BOTTLENECKS else ("basic", 6, "option_a")
    )
    name = f"{form}{depth}"
    return _entry(
        form,
        name=name,
        title=f"{_FAMILIES[form].title} of {depth} layers for small images",
        input_shape=(3, 32, 32),
        num_classes=10,
        preset={
            "blocks": [(depth - 2) // layers_a_unit] * 3,
            "widths": list(_CIFAR_WIDTHS),
            "block": block,
            "small_input": True,
        },
        arguments=(*((_STRIDE,) if block == "bottleneck" else ()), *_shortcut_arguments(form, option)),
        published=_PUBLISHED.get(name, ()),
        recipes=_recipes_of_small_images(form, depth),
    )


def _of_imagenet(form: Form, depth: int) -> ModelEntry:
    block, blocks = _IMAGENET_BLOCKS[depth]
    name = f"{form}{depth}"
    return _entry(
        form,
        name=name,
        title=f"{_FAMILIES[form].title} of {depth} layers",
        input_shape=(3, 224, 224),
        num_classes=1000,
        preset={"blocks": list(blocks), "widths": list(_IMAGENET_WIDTHS), "block": block},
        arguments=(
            SMALL_INPUT,
            *((_STRIDE,) if block == "bottleneck" else ()),
            *_shortcut_arguments(form, "option_b"),
        ),
        published=_PUBLISHED.get(name, ()),
        recipes=_recipes_of_imagenet(2016 if name in _BASELINES_OF_2016 else _FAMILIES[form].year),
    )


def residual_by_depth(name: str) -> ModelEntry | None:
    """The network for small images that a name such as `resnet26` stands for; None for a name of another form.

    Raises:
        ModelError: a depth that no such network has.
    """
    match = re.fullmatch(r"(resnet|preact_resnet|plain)([1-9][0-9]*)", name)
    if match is None:
        return None
    form: Form = match[1]  # type: ignore[assignment]  # the pattern's own words
    depth = int(match[2])
    if _is_of_small_images(depth):
        return _of_small_images(form, depth)
    nearest = sorted(filter(_is_of_small_images, range(8, _DEEPEST + 1)), key=lambda known: abs(known - depth))[:2]
    names = " and ".join(f"{form}{known}" for known in sorted(nearest))
    raise ModelError(
        f"no network is named {name!r}: a network for small images has 6n + 2 layers, from 8 to {_DEEPEST}; the "
        f"nearest are {names}; {form} with blocks and widths has any shape"
    )


def _is_of_small_images(depth: int) -> bool:
    if depth in _CIFAR_BOTTLENECKS:
        return True
    return depth % 6 == 2 and 8 <= depth <= _DEEPEST and depth not in _IMAGENET_BLOCKS


ENTRIES: tuple[ModelEntry, ...] = tuple(
    entry
    for form in _FAMILIES
    for entry in (
        _parametric(form),
        *(_of_small_images(form, depth) for depth in _CIFAR_DEPTHS[form]),
        *(_of_imagenet(form, depth) for depth in _IMAGENET_BLOCKS),
    )
)
