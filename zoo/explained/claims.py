"""A claim about a network, the figures that bear it out, and what they are computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from zoo.counted import Totals, totals
from zoo.counting import Counts, count
from zoo.entry import ModelEntry, ModelError
from zoo.registry import create_model, describe

Cell = str | int | float | None
"""A figure: counts are whole numbers, measured figures and ratios are not, and shares are fractions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a network brought, and why that works, beside figures from the network itself."""

    title: str
    text: str
    """For someone who meets the network for the first time; one paragraph."""
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The network that is explained: the one that was asked for, at the size that was asked for."""

    entry: ModelEntry
    kwargs: Mapping[str, Any]
    num_classes: int
    in_channels: int
    image_size: int
    counts: Counts

    @property
    def settings(self) -> dict[str, Any]:
        """The network's arguments, those by default included."""
        return self.entry.settings(self.kwargs, image_size=self.image_size)

    def make(self, name: str | None = None, **kwargs: Any) -> nn.Module:
        """A network with real weights for the same images and classes; by default the subject, with these changes."""
        given = {**self.kwargs, **kwargs} if name is None else kwargs
        return create_model(
            name or self.entry.name,
            num_classes=self.num_classes,
            in_channels=self.in_channels,
            image_size=self.image_size,
            **given,
        )

    def make_on_meta(self, name: str | None = None, **kwargs: Any) -> nn.Module:
        """The same without values, on the meta device."""
        with torch.device("meta"):
            return self.make(name, **kwargs)

    def counts_of(self, name: str | None = None, **kwargs: Any) -> Counts:
        """The counts of a network for the same images and classes; by default the subject, with these changes."""
        return count(self.make_on_meta(name, **kwargs), (self.in_channels, self.image_size, self.image_size))


def subject_of(name: str, kwargs: Mapping[str, Any], *, num_classes: int, in_channels: int, image_size: int) -> Subject:
    """The network of this name and these arguments, counted.

    Raises:
        ModelError: as create_model.
    """
    if problems := describe(name).problems(kwargs):
        raise ModelError(f"Cannot make {name}: {'; '.join(problems)}.")
    with torch.device("meta"):
        model = create_model(name, num_classes=num_classes, in_channels=in_channels, image_size=image_size, **kwargs)
    return Subject(
        entry=describe(name),
        kwargs=kwargs,
        num_classes=num_classes,
        in_channels=in_channels,
        image_size=image_size,
        counts=count(model, (in_channels, image_size, image_size)),
    )


def counts_published(name: str, **kwargs: Any) -> Counts:
    """The counts of a network at the size and for the classes that it was published for."""
    entry = describe(name)
    channels, image_size, _ = entry.input_shape
    with torch.device("meta"):
        model = create_model(name, num_classes=entry.num_classes, in_channels=channels, image_size=image_size, **kwargs)
    return count(model, entry.input_shape)


def totals_of(name: str) -> Totals:
    """The same for a network that the table of counts holds, from there."""
    found = totals(describe(name))
    assert found is not None, "a network of an open shape has no counts"
    return found


def share(part: float, whole: float) -> str:
    """A share as a percentage."""
    return f"{part / whole:.1%}"


def times(one: float, other: float) -> str:
    """How many times one is the other: 4.1x, 0.23x."""
    ratio = one / other
    digits = 2 if ratio < 2 else 1 if ratio < 1000 else 0
    return f"{ratio:,.{digits}f}x"


@torch.no_grad()
def count_stack(*layers: nn.Module, in_channels: int, pixels: int) -> Counts:
    """The counts of layers one after the other, on a map."""
    return count(nn.Sequential(*layers), (in_channels, pixels, pixels))


Explain = Callable[[Subject], tuple[Claim, ...]]
