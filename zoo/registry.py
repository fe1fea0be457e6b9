"""Networks by name: what there is, what each takes, and the network itself. Only `create_model` imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from zoo.catalogue import PUBLISHED
from zoo.catalogue.resnet import residual_by_depth
from zoo.entry import ModelEntry, ModelError, did_you_mean, is_positive_int

if TYPE_CHECKING:
    from torch import nn

_BY_NAME = {entry.name: entry for entry in PUBLISHED}


def list_models(pattern: str = "*") -> list[str]:
    """The names that match the shell pattern, in the zoo's order: the published networks and the parametric ones.

    Names of the form `resnet26` (any 6n + 2) are known too, though they are not listed.
    """
    return [name for name in _BY_NAME if fnmatchcase(name, pattern)]


def describe(name: str) -> ModelEntry:
    """What the zoo knows of a network.

    Raises:
        ModelError: the zoo has no network of this name; the message names the nearest.
    """
    entry = _BY_NAME.get(name) or residual_by_depth(name)
    if entry is None:
        raise ModelError(f"no network is named {name!r}{did_you_mean(name, _BY_NAME)}; see zoo list")
    return entry


def check(
    name: str,
    kwargs: Mapping[str, Any],
    *,
    num_classes: int | None = None,
    in_channels: int | None = None,
    image_size: int | None = None,
) -> list[str]:
    """Every reason why `create_model` would refuse, in words; empty where it would not.

    What is not known yet (the data set's number of classes, say) is left out and not checked.
    """
    try:
        entry = describe(name)
    except ModelError as unknown:
        return [str(unknown)]
    problems = entry.problems(kwargs)
    problems += _problems_of_the_data(num_classes, in_channels, image_size)
    if problems:
        return problems
    known = dict(kwargs) if num_classes is None else {**kwargs, "num_classes": num_classes}
    problems = entry.broken_rules(known)
    if image_size is not None and not problems:
        problems = _problems_of_the_image(entry, kwargs, image_size)
    return problems


def create_model(name: str, *, num_classes: int, in_channels: int, image_size: int, **kwargs: Any) -> nn.Module:
    """A freshly initialised network that turns images (N, in_channels, image_size, image_size) into (N, num_classes).

    The initial weights come from torch's global generator.

    Raises:
        ModelError: unknown name, unknown or wrong argument, or images that the network cannot take; all problems in
            one message.
    """
    problems = check(name, kwargs, num_classes=num_classes, in_channels=in_channels, image_size=image_size)
    if problems:
        raise ModelError(f"Cannot make {name}: " + "; ".join(problems) + ".")
    from zoo.meta import NoValuesOnMeta

    entry = describe(name)
    module, function = entry.factory.split(":")
    factory = getattr(import_module(module), function)
    with NoValuesOnMeta():
        model: nn.Module = factory(
            num_classes=num_classes,
            in_channels=in_channels,
            image_size=image_size,
            **entry.settings(kwargs, image_size=image_size),
        )
    return model


def _problems_of_the_data(num_classes: int | None, in_channels: int | None, image_size: int | None) -> list[str]:
    problems = []
    if num_classes is not None and not (is_positive_int(num_classes) and num_classes >= 2):
        problems.append(f"num_classes is {num_classes!r}; allowed: a whole number from 2")
    if in_channels is not None and not is_positive_int(in_channels):
        problems.append(f"in_channels is {in_channels!r}; allowed: a whole number from 1 (grey is 1, RGB is 3)")
    if image_size is not None and not is_positive_int(image_size):
        problems.append(f"image_size is {image_size!r}; allowed: a whole number of pixels from 1")
    return problems


def _problems_of_the_image(entry: ModelEntry, kwargs: Mapping[str, Any], image_size: int) -> list[str]:
    smallest = entry.smallest_image(entry.settings(kwargs, image_size=image_size))
    if image_size >= smallest:
        return []
    return [
        f"images of {image_size}x{image_size} are too small for {entry.name}, whose smallest are "
        f"{smallest}x{smallest}; the nearest network that fits is {_nearest_that_fits(entry, kwargs, image_size)}"
    ]


def _nearest_that_fits(entry: ModelEntry, kwargs: Mapping[str, Any], image_size: int) -> str:
    if entry.argument("small_input"):
        small = entry.settings({**kwargs, "small_input": True}, image_size=image_size)
        if entry.smallest_image(small) <= image_size:
            return f"{entry.name} with small_input: true"
    fitting = [other for other in PUBLISHED if other.min_image_size is None or other.min_image_size <= image_size]
    nearest = min(fitting, key=lambda other: _distance(entry, other))
    return nearest.name if nearest.min_image_size is not None else f"{nearest.name} with fewer stages"


def _distance(entry: ModelEntry, other: ModelEntry) -> tuple[bool, int, int, int]:
    """How far two networks are apart: another form, another name, another year, another depth."""
    from zoo.counted import totals

    depths = [counts.depth if (counts := totals(network)) else 0 for network in (entry, other)]
    letters = len(commonprefix([network.name.rstrip("0123456789") for network in (entry, other)]))
    kinship = letters if letters >= 3 else 0
    return entry.factory != other.factory, -kinship, abs(entry.year - other.year), abs(depths[0] - depths[1])
