"""The networks of the zoo by name: the published ones, and the rule by which any other depth is named.

Residual networks for small images (He et al. 2015, section 4.2) have three stages and 6n + 2 weight layers in basic
blocks of two, or 9n + 2 in bottlenecks of three. Some depths are both. A depth means basic blocks wherever 6n + 2 can
give it, except the two that were published as bottlenecks, 164 and 1001 (He et al. 2016).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zoo.entry import Choice, ModelEntry, ModelError, PositiveInts

# ------------------------------------------------------------------------------------------------------- LeNet-5


def _codes_for_ten_classes(settings: Mapping[str, Any]) -> str | None:
    num_classes = settings.get("num_classes", 10)
    if settings["output"] != "rbf" or num_classes == 10:
        return None
    return (
        f"lenet5 with output rbf has codes for the 10 digits only, and there are {num_classes} classes; "
        "give it output: linear"
    )


LENET5 = ModelEntry(
    name="lenet5",
    title="LeNet-5",
    year=1998,
    paper="LeCun, Bottou, Bengio and Haffner: Gradient-Based Learning Applied to Document Recognition",
    factory="zoo.lenet:LeNet5",
    grows=False,
    arguments=(
        Choice(
            name="output",
            choices=("auto", "rbf", "linear"),
            default="auto",
            description="rbf: distances to the fixed codes of the ten digits, as published; linear: for any classes; "
            "auto: rbf where there are ten",
        ),
    ),
    rules=(_codes_for_ten_classes,),
)

# ---------------------------------------------------------------------------------------------- residual networks

BOTTLENECK_DEPTHS = (164, 1001)
IMAGENET_DEPTHS = (18, 34, 50, 101, 152, 200)
DEEPEST = 1202
CIFAR_WIDTHS = (16, 32, 64)

_FORMS: dict[str, dict[str, Any]] = {
    "resnet": {
        "title": "ResNet",
        "year": 2015,
        "paper": "He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition (arXiv:1512.03385)",
        "grows": True,
    },
    "preact_resnet": {
        "title": "Pre-activation ResNet",
        "year": 2016,
        "paper": "He, Zhang, Ren and Sun: Identity Mappings in Deep Residual Networks (arXiv:1603.05027)",
        "grows": True,
    },
    "plain": {
        "title": "Plain twin of ResNet, without shortcuts",
        "year": 2015,
        "paper": "He, Zhang, Ren and Sun: Deep Residual Learning for Image Recognition (arXiv:1512.03385)",
        "grows": False,
    },
}
_PUBLISHED_DEPTHS = {
    "resnet": (20, 32, 44, 56, 110, 1202),
    "plain": (20, 32, 44, 56, 110),
    "preact_resnet": (110, 164, 1001),
}

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
_SHORTCUT = Choice(
    name="shortcut",
    choices=("option_a", "option_b"),
    default="option_a",
    description="where the shape changes: option_a subsamples and pads with zero channels; option_b is a 1x1 "
    "convolution",
)


def _one_width_a_stage(settings: Mapping[str, Any]) -> str | None:
    blocks, widths = settings["blocks"], settings["widths"]
    if len(blocks) == len(widths):
        return None
    return (
        f"blocks names {len(blocks)} stages ({list(blocks)}) and widths {len(widths)} ({list(widths)}); "
        "give one number a stage in both"
    )


def _option_a_never_narrows(settings: Mapping[str, Any]) -> str | None:
    widths = list(settings["widths"])
    if settings.get("shortcut") != "option_a" or widths == sorted(widths):
        return None
    return f"shortcut option_a pads channels and cannot drop any, but widths fall ({widths}); give shortcut: option_b"


def _one_pixel_in_the_last_stage(settings: Mapping[str, Any]) -> int:
    """Every stage but the first halves the map."""
    return int(2 ** (len(settings["blocks"]) - 1))


def _residual(form: str, *, name: str, title: str, **entry: Any) -> ModelEntry:
    return ModelEntry(
        name=name,
        title=title,
        factory=f"zoo.resnet:{form}",
        smallest_image=_one_pixel_in_the_last_stage,
        **{key: value for key, value in _FORMS[form].items() if key != "title"},
        **entry,
    )


def _shortcut_arguments(form: str, default: str = "option_a") -> tuple[Choice, ...]:
    return () if form == "plain" else (replace(_SHORTCUT, default=default),)


def _parametric(form: str) -> ModelEntry:
    return _residual(
        form,
        name=form,
        title=f"{_FORMS[form]['title']} of any shape",
        arguments=(_BLOCKS, _WIDTHS, _BLOCK, *_shortcut_arguments(form)),
        rules=(_one_width_a_stage, _option_a_never_narrows),
    )


def _cifar(form: str, depth: int) -> ModelEntry:
    # The basic networks' counts hold with option A, the bottlenecks' (10.2 million weights at 1001 layers) with B.
    block, layers_a_unit, shortcut = (
        ("bottleneck", 9, "option_b") if depth in BOTTLENECK_DEPTHS else ("basic", 6, "option_a")
    )
    blocks = [(depth - 2) // layers_a_unit] * 3
    return _residual(
        form,
        name=f"{form}{depth}",
        title=f"{_FORMS[form]['title']} of {depth} layers for small images",
        preset={"blocks": blocks, "widths": list(CIFAR_WIDTHS), "block": block},
        arguments=_shortcut_arguments(form, shortcut),
    )


def cifar_residual(name: str) -> ModelEntry | None:
    """The network that a name such as `resnet26` stands for; None for a name of another form.

    Raises:
        ModelError: a depth that no such network has.
    """
    match = re.fullmatch(r"(resnet|preact_resnet|plain)([1-9][0-9]*)", name)
    if match is None:
        return None
    form, depth = match[1], int(match[2])
    if _is_cifar_depth(depth):
        return _cifar(form, depth)
    nearest = sorted(filter(_is_cifar_depth, range(8, DEEPEST + 1)), key=lambda known: abs(known - depth))[:2]
    reason = (
        f"{depth} layers is an ImageNet form, which the zoo does not have"
        if depth in IMAGENET_DEPTHS
        else f"a network for small images has 6n + 2 layers, from 8 to {DEEPEST}"
    )
    names = " and ".join(f"{form}{known}" for known in sorted(nearest))
    raise ModelError(
        f"no network is named {name!r}: {reason}; the nearest are {names}; {form} with blocks and widths has any shape"
    )


def _is_cifar_depth(depth: int) -> bool:
    if depth in BOTTLENECK_DEPTHS:
        return True
    return depth % 6 == 2 and 8 <= depth <= DEEPEST and depth not in IMAGENET_DEPTHS


PUBLISHED: tuple[ModelEntry, ...] = (
    LENET5,
    *(_parametric(form) for form in _FORMS),
    *(_cifar(form, depth) for form, depths in _PUBLISHED_DEPTHS.items() for depth in depths),
)
