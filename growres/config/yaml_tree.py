"""YAML text read into a tree with places.

The loader is PyYAML's safe one with the scalars of YAML 1.2's core schema: `1e-3` is a number, `on`, `1:30` and
2024-01-01 are text. It only composes: no tag can construct anything. The limits below are far beyond what a
person writes; they keep nested aliases and deep brackets from eating the machine.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

import yaml

from growres.config.problems import Problem, Problems, dotted
from growres.config.tree import UNREADABLE, Node, Path, Place, Scalar

MOST_VALUES = 100_000
"""Values in the document after its aliases are expanded."""
DEEPEST = 40
"""Mappings and lists within one another."""
LARGEST_INT = 2**63 - 1

_DEEP = f"more than {DEEPEST} mappings and lists within one another"

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


class _LimitError(yaml.MarkedYAMLError):
    """The document is larger than any experiment."""


class _CoreLoader(yaml.SafeLoader):
    """Composes nodes whose plain scalars are tagged as YAML 1.2 does, and merge keys."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}
    depth = 0
    values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        self.values += 1
        if self.depth > DEEPEST or self.values > MOST_VALUES:
            raise _LimitError(
                problem=_DEEP if self.depth > DEEPEST else f"more than {MOST_VALUES} values",
                problem_mark=self.peek_event().start_mark,  # type: ignore[no-untyped-call]
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


# An int before a float: the float's pattern takes whole numbers too.
for _kind, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", re.compile(f"{_TRUE.pattern}|{_FALSE.pattern}"), list("tTfF")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
    ("merge", re.compile("<<"), ["<"]),
):
    # PyYAML matches from the start only.
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _CoreLoader.add_implicit_resolver(_TAG + _kind, _whole, _first)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a YAML text comes from, for the places of its values."""

    name: str
    override: int | None = None
    """The index of the `--set` that the text is the value of; None for a file."""

    def place(self, line: int, column: int) -> Place:
        """Line and column count from 1; a `--set` is short enough to be its own place."""
        if self.override is None:
            return Place((0, line, column), f"{self.name}:{line}:{column}")
        return Place((1 + self.override, line, column), self.name)

    def at(self, mark: yaml.Mark) -> Place:
        """The place of PyYAML's mark, which counts from 0."""
        return self.place(mark.line + 1, mark.column + 1)


def parse(text: str, source: Source, problems: Problems, *, path: Path = (), key_place: Place | None = None) -> Node:
    """The document as a tree; an empty one is null. What cannot be read is reported and UNREADABLE.

    Args:
        path: where the document stands, for a `--set`.
    """
    start = key_place or source.place(1, 1)
    unreadable = Node(UNREADABLE, start, start, path)
    try:
        composed = _compose(text)
        if composed is None:
            return Node(None, start, start, path)
        return _Conversion(source, problems).node(composed, path, key_place or source.at(composed.start_mark), 0)
    except yaml.MarkedYAMLError as error:
        problems.add(_syntax_problem(error, source, path))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        place = source.place(before.count("\n") + 1, error.position - before.rfind("\n"))
        problems.add(Problem(place, path, f"the character {text[error.position]!r} is not allowed in YAML"))
    return unreadable


def _compose(text: str) -> yaml.Node | None:
    loader = _CoreLoader(text)
    try:
        return loader.get_single_node()
    except (ValueError, OverflowError) as error:
        # PyYAML hands escapes such as "\UFFFFFFFF" and version numbers to Python unchecked.
        raise yaml.MarkedYAMLError(problem=str(error), problem_mark=loader.get_mark()) from error
    finally:
        loader.dispose()


def _syntax_problem(error: yaml.MarkedYAMLError, source: Source, path: Path) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = source.at(mark) if mark else source.place(1, 1)
    problem = error.problem or "it cannot be parsed"
    if isinstance(error, _LimitError):
        return Problem(place, path, problem)
    context = f" ({error.context})" if error.context else ""
    hint = "; indent with spaces" if "'\\t'" in problem else ""
    return Problem(place, path, f"not valid YAML: {problem}{context}{hint}")


class _Conversion:
    """Turns PyYAML's nodes into ours, following aliases and merge keys, and reports duplicate keys and odd scalars."""

    def __init__(self, source: Source, problems: Problems) -> None:
        self._source = source
        self._problems = problems
        self._values = 0

    def node(self, node: yaml.Node, path: Path, key_place: Place | None, depth: int) -> Node:
        """The value, its aliases expanded."""
        self._values += 1
        if self._values > MOST_VALUES or depth > DEEPEST:
            limit = _DEEP if depth > DEEPEST else f"more than {MOST_VALUES} values"
            wrong = f"{limit} once its aliases are expanded (at {dotted(path[:3])})"
            raise _LimitError(problem=wrong, problem_mark=node.start_mark)
        place = self._source.at(node.start_mark)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return Node(self._entries(node, path, depth), place, key_place or place, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            items = tuple(self.node(item, (*path, index), None, depth + 1) for index, item in enumerate(node.value))
            return Node(items, place, key_place or place, path)
        try:
            return Node(_scalar(node), place, key_place or place, path)
        except ValueError as error:
            self._problems.add(Problem(place, path, str(error)))
            return Node(UNREADABLE, place, key_place or place, path)

    def _entries(self, mapping: yaml.MappingNode, path: Path, depth: int) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key_node, value_node in mapping.value:
            place = self._source.at(key_node.start_mark)
            if not isinstance(key_node, yaml.ScalarNode):
                self._problems.add(Problem(place, path, "a key must be a plain name, not a mapping or a list"))
                continue
            key = str(key_node.value)  # a key is a name, whatever it looks like: 1 and on are keys like any other
            if _is_odd(key):
                self._problems.add(Problem(place, path, f"a key {_NO_ODD_CHARACTERS}"))
            elif key_node.tag == f"{_TAG}merge":
                for name, node in self._merged(value_node, path, depth).items():
                    merged.setdefault(name, node)
            elif key in own:
                wrong = f"duplicate key {key!r}; it first stands in line {own[key].key_place.order[1]}"
                self._problems.add(Problem(place, (*path, key), wrong))
            else:
                own[key] = self.node(value_node, (*path, key), place, depth + 1)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, path: Path, depth: int) -> dict[str, Node]:
        """The entries that `<<` brings in: of one mapping, or of several, the first of which wins."""
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        entries: dict[str, Node] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                place = self._source.at(source.start_mark)
                self._problems.add(Problem(place, path, "<< takes a mapping, or a list of mappings"))
                continue
            for name, child in self.node(source, path, None, depth + 1).entries.items():
                entries.setdefault(name, child)
        return entries


def _scalar(node: yaml.Node) -> Scalar:
    """The scalar's value.

    Raises:
        ValueError: in words, what is wrong with it.
    """
    if not isinstance(node, yaml.ScalarNode):
        raise ValueError(f"the tag {_tag_name(node)} is not supported")
    text = str(node.value)
    match node.tag.removeprefix(_TAG):
        case "str" | "merge":
            return _text(text)
        case "null" if _NULL.fullmatch(text):
            return None
        case "bool" if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
            return text.lower() == "true"
        case "int" if _INT.fullmatch(text):
            return _whole_number(text)
        case "float" if _FLOAT.fullmatch(text):
            return _number(text)
        case "null" | "bool" | "int" | "float":
            raise ValueError(f"{text!r} is not of the tag {_tag_name(node)} that is given")
    raise ValueError(f"the tag {_tag_name(node)} is not supported")


def _tag_name(node: yaml.Node) -> str:
    return str(node.tag).replace(_TAG, "!!")


_NO_ODD_CHARACTERS = "must not hold null characters or halves of surrogate pairs"


def _is_odd(text: str) -> bool:
    """Neither JSON nor a database can hold it."""
    return any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def _text(text: str) -> str:
    if _is_odd(text):
        raise ValueError(_NO_ODD_CHARACTERS)
    return text


def _whole_number(text: str) -> int:
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    if len(text) > 30 or abs(number := int(text, base)) > LARGEST_INT:
        raise ValueError("a whole number of more than 64 bits; none is needed here")
    return number


def _number(text: str) -> float:
    number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(number):
        raise ValueError(f"must be a finite number (seen {text})")
    return number
