"""What the zoo knows of a network before torch is imported: its name, its source, what it takes, how it was trained."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

LARGEST_SMALL_IMAGE = 64
"""Up to this many pixels a side a network of the ImageNet kind takes its form for small images."""

Settings = Mapping[str, Any]
"""A network's arguments by name; where they are known, `num_classes` and `image_size` stand among them."""


class ModelError(ValueError):
    """A network that cannot be made as asked: unknown name, unknown or wrong argument, image too small."""


# ------------------------------------------------------------------------------------------------------- arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument(ABC):
    """Something that a network can be asked for by name."""

    name: str
    description: str
    default: Any = None
    only_with: tuple[str, tuple[str, ...]] | None = None
    """Another argument and those of its values that this one belongs to. With others it must not be given, and the
    default is what the network takes by itself."""

    @property
    def required(self) -> bool:
        """Whether it must be given."""
        return self.default is None

    @property
    @abstractmethod
    def allowed(self) -> str:
        """What it may be, in words."""

    @abstractmethod
    def takes(self, value: object) -> bool:
        """Whether it may be this value."""

    def problem(self, value: object) -> str | None:
        """What is wrong with the value, in words; None where nothing is."""
        return None if self.takes(value) else f"{self.name} is {value!r}; allowed: {self.allowed}{self._guess(value)}"

    def _guess(self, value: object) -> str:
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Argument):
    """One of a few words."""

    choices: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return " or ".join(self.choices)

    def takes(self, value: object) -> bool:
        return isinstance(value, str) and value in self.choices

    def _guess(self, value: object) -> str:
        return did_you_mean(value, self.choices)


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveInts(Argument):
    """A list of whole numbers from 1, one a stage."""

    @property
    def allowed(self) -> str:
        return "a list of whole numbers from 1, one a stage, such as [2, 2]"

    def takes(self, value: object) -> bool:
        return isinstance(value, list | tuple) and len(value) > 0 and all(is_positive_int(number) for number in value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Argument):
    """True or false, or left to the other arguments and the image size."""

    auto: Callable[[Settings], bool] | None = None
    """What `auto` means; asked of the settings with the image size among them."""

    @property
    def allowed(self) -> str:
        return "true or false or auto" if self.auto else "true or false"

    def takes(self, value: object) -> bool:
        return isinstance(value, bool) or (self.auto is not None and value == "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Argument):
    """A number within bounds."""

    least: float
    most: float
    whole: bool = False

    @property
    def allowed(self) -> str:
        return f"a {'whole ' if self.whole else ''}number from {self.least:g} to {self.most:g}"

    def takes(self, value: object) -> bool:
        of_its_kind = isinstance(value, int) or (isinstance(value, float) and not self.whole)
        return of_its_kind and not isinstance(value, bool) and self.least <= cast(float, value) <= self.most


Rule = Callable[[Settings], str | None]
"""A condition over several arguments, each right by itself: what is wrong, in words, or None."""

SMALL_INPUT = Flag(
    name="small_input",
    default="auto",
    auto=lambda settings: bool(settings["image_size"] <= LARGEST_SMALL_IMAGE),
    description="the form for small images, whose stem keeps every pixel; auto: for images of at most "
    f"{LARGEST_SMALL_IMAGE} pixels",
)
AUXILIARY = Flag(
    name="aux",
    default="auto",
    auto=lambda settings: not settings["small_input"],
    description="auxiliary classifiers, in training only; auto: in the form for large images",
)
WIDTH = Number(
    name="width",
    default=1.0,
    least=0.02,
    most=4.0,
    description="a factor on the channels of every layer; 1 is the published network",
)


# --------------------------------------------------------------------------------------------- what is published


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedError:
    """An error that was published, and what was measured how; errors are fractions."""

    data: str
    top1: float | None = None
    top5: float | None = None
    protocol: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network was trained by its authors, as the `training` section of an experiment file."""

    training: Mapping[str, Any]
    cost: str
    """What it took them, or takes here."""
    differs: str = ""
    """What their recipe had that `training` cannot say, or that we do otherwise."""


# ------------------------------------------------------------------------------------------------------- a network


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One network of the zoo."""

    name: str
    title: str
    year: int
    paper: str
    factory: str
    """Where it is made, as `module:function`; the function takes num_classes, in_channels, image_size, the preset and
    the arguments, all by name."""
    input_shape: tuple[int, int, int]
    """(C, H, W) of the images that it was published for."""
    num_classes: int
    """The classes that it was published for."""
    grows: bool = False
    """Whether it has the residual stages that blocks can be appended to."""
    preset: Settings = field(default_factory=dict)
    """What the factory is given for this name; these arguments are not open."""
    arguments: tuple[Argument, ...] = ()
    rules: tuple[Rule, ...] = ()
    """Conditions over several arguments."""
    smallest_image: Callable[[Settings], int] = lambda settings: 1
    """The smallest image side in pixels, given the settings."""
    remark: str = ""
    """What one has to know to read its figures right, in a sentence."""
    published: tuple[PublishedError, ...] = ()
    """The errors of its paper, the one to quote first."""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """`paper`, and where that ran for days, `short`."""

    @property
    def min_image_size(self) -> int | None:
        """Pixels a side of the smallest image; None where the stages that must be given decide it."""
        if any(argument.required for argument in self.arguments):
            return None
        return self.smallest_image(self.settings({"small_input": True} if self.argument("small_input") else {}))

    def argument(self, name: str) -> Argument | None:
        """The argument of this name."""
        return next((argument for argument in self.arguments if argument.name == name), None)

    def settings(self, kwargs: Settings, *, image_size: int | None = None) -> dict[str, Any]:
        """Every argument of the factory: the preset, the defaults, and over them what was given.

        Args:
            image_size: decides what `auto` means; without it `auto` stays.
        """
        settings = {**self.preset, **self._defaults(), **kwargs}
        if image_size is not None:
            for argument in self.arguments:
                if isinstance(argument, Flag) and argument.auto and settings[argument.name] == "auto":
                    settings[argument.name] = argument.auto({**settings, "image_size": image_size})
        return settings

    def _defaults(self) -> dict[str, Any]:
        """The defaults, but for arguments that belong to a value of another, which it may not have."""
        return {
            argument.name: argument.default
            for argument in self.arguments
            if not argument.required and argument.only_with is None
        }

    def problems(self, kwargs: Settings) -> list[str]:
        """What is wrong with the arguments, in words; empty where create_model will take them."""
        arguments = {argument.name: argument for argument in self.arguments}
        found = [self._unknown(name) for name in kwargs if name not in arguments]
        found += [
            f"{self.name} needs {name} ({argument.allowed})"
            for name, argument in arguments.items()
            if argument.required and name not in kwargs
        ]
        wrong = (arguments[name].problem(value) for name, value in kwargs.items() if name in arguments)
        found += [problem for problem in wrong if problem]
        return found or self._stray(kwargs)

    def broken_rules(self, known: Settings) -> list[str]:
        """What is wrong between arguments that are right one by one, in words."""
        settings = self.settings(known)
        return [problem for rule in self.rules if (problem := rule(settings))]

    def _stray(self, kwargs: Settings) -> list[str]:
        """Arguments that were given though the value that they belong to was not."""
        settings = self.settings(kwargs)
        return [
            f"{argument.name} belongs to {key} {' or '.join(values)}, and {key} is {settings[key]!r}"
            for argument in self.arguments
            if argument.name in kwargs and argument.only_with is not None
            for key, values in [argument.only_with]
            if settings[key] not in values
        ]

    def _unknown(self, name: str) -> str:
        taken = [argument.name for argument in self.arguments]
        if name in self.preset:
            return f"{self.name} fixes {name} at {self.preset[name]!r}; it takes {_listed(taken)}"
        return f"{self.name} takes no argument {name!r}; it takes {_listed(taken)}{did_you_mean(name, taken)}"


def is_positive_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` where a known word is like the value, else nothing."""
    close = difflib.get_close_matches(str(value), list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names) if names else "no arguments"
