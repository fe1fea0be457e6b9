"""`--set KEY=VALUE`: values laid into the document before it is checked, each its own place in the errors."""

from __future__ import annotations

from collections.abc import Sequence

from growres.config.problems import Problem, Problems, dotted, shortened, shown
from growres.config.sweeps import KINDS
from growres.config.tree import Node, Path, with_value
from growres.config.yaml_tree import Source, parse


def apply_overrides(root: Node, overrides: Sequence[str], problems: Problems) -> Node:
    """The document with every `KEY=VALUE` set, in their order; the value is YAML, and an empty one is null.

    KEY is a dotted path; a number is an index where a list stands. Mappings on the way are made where there are none.
    """
    for index, override in enumerate(overrides):
        source = Source(f"--set {shortened(override)}", override=index)
        place = source.place(0, 0)
        key, equals, value = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            problems.add(Problem(place, (), "must be KEY=VALUE, where KEY is a dotted path, as in training.epochs=3"))
            continue
        try:
            path = _resolved(root, parts)
        except ValueError as error:
            problems.add(Problem(place, (), str(error)))
            continue
        root = with_value(root, path, parse(value, source, problems, path=path, key_place=place), merge=False)
    return root


def _resolved(root: Node, parts: Sequence[str]) -> Path:
    """The path that the parts mean.

    Raises:
        ValueError: in words, what stands in the way.
    """
    path: list[str | int] = []
    rest = list(parts)
    node: Node | None = root
    while rest:
        if node is not None and isinstance(node.value, tuple):
            part: str | int = _index(node.value, path, rest.pop(0))
        elif node is None or node.value is None or isinstance(node.value, dict):
            part = _key(node, path, rest)
            rest = rest[part.count(".") + 1 :]
        else:
            raise ValueError(f"{dotted(tuple(path))} is {shown(node)}, which has no keys")
        path.append(part)
        node = node.get(part) if node else None
    return tuple(path)


def _index(items: tuple[Node, ...], path: list[str | int], part: str) -> int:
    if part.isascii() and part.isdecimal() and len(part) < 10 and int(part) < len(items):
        return int(part)
    allowed = f"an index from 0 to {len(items) - 1}" if items else "no index"
    raise ValueError(f"{dotted(tuple(path))} is a list of {len(items)}, which takes {allowed} (seen {part!r})")


def _key(node: Node | None, path: list[str | int], rest: list[str]) -> str:
    """The longest key that is there: names of variants and keys of sweeps may hold dots themselves."""
    entries = node.entries if node else {}
    for length in range(len(rest), 0, -1):
        if (key := ".".join(rest[:length])) in entries:
            return key
    if len(path) == 3 and path[0] == "variants" and path[2] == "sweep":
        return ".".join(rest[:-1] if rest[-1] in KINDS and len(rest) > 1 else rest)
    return rest[0]
