"""What the zoo knows of a network before torch is imported: its name, its source, the arguments that it takes."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar


class ModelError(ValueError):
    """A network that cannot be made as asked: unknown name, unknown or wrong argument, image too small."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An argument that is one of a few words."""

    name: str
    choices: tuple[str, ...]
    default: str
    description: str
    required: ClassVar[bool] = False

    @property
    def allowed(self) -> str:
        return " or ".join(self.choices)

    def problem(self, value: object) -> str | None:
        """What is wrong with the value, in words; None where nothing is."""
        if isinstance(value, str) and value in self.choices:
            return None
        return f"{self.name} is {value!r}; allowed: {self.allowed}{did_you_mean(value, self.choices)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PositiveInts:
    """An argument that is a list of whole numbers from 1, one a stage. It must be given."""

    name: str
    description: str
    required: ClassVar[bool] = True

    @property
    def allowed(self) -> str:
        return "a list of whole numbers from 1, one a stage, such as [2, 2]"

    def problem(self, value: object) -> str | None:
        """What is wrong with the value, in words; None where nothing is."""
        if isinstance(value, list | tuple) and value and all(is_positive_int(number) for number in value):
            return None
        return f"{self.name} is {value!r}; allowed: {self.allowed}"


Argument = Choice | PositiveInts
Rule = Callable[[Mapping[str, Any]], str | None]
"""A condition over several arguments, each right by itself: what is wrong, in words, or None."""


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
    grows: bool
    """Whether it has the residual stages that blocks can be appended to."""
    preset: Mapping[str, Any] = field(default_factory=dict)
    """What the factory is given for this name; these arguments are not open."""
    arguments: tuple[Argument, ...] = ()
    rules: tuple[Rule, ...] = ()
    """Conditions over several arguments; `num_classes` stands among them where it is known."""
    smallest_image: Callable[[Mapping[str, Any]], int] = lambda settings: 1
    """The smallest image side in pixels, given the preset and the arguments."""

    @property
    def min_image_size(self) -> int | None:
        """Pixels a side of the smallest image; None where the stages that must be given decide it."""
        return None if any(a.required for a in self.arguments) else self.smallest_image(self.settings({}))

    def settings(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Every argument of the factory: the preset, the defaults, and over them what was given."""
        defaults = {argument.name: argument.default for argument in self.arguments if isinstance(argument, Choice)}
        return {**self.preset, **defaults, **kwargs}

    def problems(self, kwargs: Mapping[str, Any]) -> list[str]:
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
        return found

    def broken_rules(self, known: Mapping[str, Any]) -> list[str]:
        """What is wrong between arguments that are right one by one, in words."""
        settings = self.settings(known)
        return [problem for rule in self.rules if (problem := rule(settings))]

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
