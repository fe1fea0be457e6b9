"""What is wrong with an experiment file, collected until all of it can be said at once."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from growres.config.tree import Node, Path, Place, Unreadable, plain
from growres.errors import SpecError, nearest

_LONGEST_VALUE = 80
_LONGEST_TEXT = 1000
_DRAWN = (("uniform",), ("loguniform",), ("randint",))


@dataclass(frozen=True, slots=True)
class Problem:
    """One line for the person who wrote the file: place, path, what is wrong, the value seen, what to do."""

    place: Place
    path: Path
    wrong: str
    seen: str = ""
    hint: str = ""

    def __str__(self) -> str:
        path = f"{dotted(self.path)}: " if self.path else ""
        seen = f" (seen {self.seen})" if self.seen else ""
        wrong = shortened(self.wrong, _LONGEST_TEXT)
        return printable(f"{self.place.name}: {path}{wrong}{seen}{self.hint}")


@dataclass(slots=True)
class Problems:
    """Problems as they are found; the same one at the same place counts once, however many trials it would break."""

    _found: dict[tuple[Place, str, str], Problem] = field(default_factory=dict)

    def add(self, problem: Problem) -> None:
        """Keeps the first of equal problems, and one for all the numbers that are drawn from one distribution."""
        is_drawn = problem.path[-1:] in _DRAWN and is_swept(problem.path)
        words = ("", "") if is_drawn else (problem.wrong, problem.hint)
        self._found.setdefault((problem.place, *words), problem)

    def at_key(self, node: Node, wrong: str, **more: str) -> None:
        """A problem with the key, or with the mapping that stands under it."""
        self.add(Problem(node.key_place, node.path, wrong, **more))

    def at_value(self, node: Node, wrong: str, *, hint: str = "") -> None:
        """A problem with the value, which the message shows."""
        self.add(Problem(node.place, node.path, wrong, seen=shown(node), hint=hint))

    def __bool__(self) -> bool:
        return bool(self._found)

    def raise_if_any(self) -> None:
        """Raises SpecError with every problem, one a line, in the order of their places."""
        if self._found:
            lines = [str(problem) for problem in sorted(self._found.values(), key=lambda problem: problem.place)]
            raise SpecError("\n".join(lines))


def is_swept(path: Path) -> bool:
    """Whether this is where a value of a sweep was written."""
    return len(path) > 3 and path[0] == "variants" and path[2] == "sweep"


def dotted(path: Path) -> str:
    """The path as people write it: `training.optimizer.lr`."""
    return ".".join(shortened(str(part)) for part in path)


def printable(text: str) -> str:
    """The text with terminal control characters, line ends and stray surrogates as escapes."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def shown(node: Node) -> str:
    """The value as a message quotes it, cut where it is long."""
    match node.value:
        case dict() | tuple():
            return shortened(json.dumps(plain(node), ensure_ascii=False))
        case Unreadable():
            return "something unreadable"
        case None:
            return "null"
        case bool(truth):
            return "true" if truth else "false"
        case value:
            return shortened(repr(value))


def shortened(text: str, most: int = _LONGEST_VALUE) -> str:
    """At most so many characters of the text."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


def listed(names: Iterable[object]) -> str:
    """Names as a message lists what is allowed."""
    return ", ".join(str(name) for name in names)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` where a known name is like this one, else nothing."""
    match = nearest(name, known) if isinstance(name, str) else None
    return f", did you mean {match!r}?" if match else ""
