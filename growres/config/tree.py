"""A document as a tree in which every value remembers where it was written.

Defaults, `--set` and sweeps lay values over one another. Because each node carries its own place and path, an error in
the result still points to the line, or the `--set`, that the value came from. Nodes are never changed, only replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

Path = tuple[str | int, ...]
"""Keys and list indices, from the document's root."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a person wrote something; places sort as they are read: the file first, then each `--set`."""

    order: tuple[int, int, int]
    """(0, line, column) in the file, (1 + index, line, column) in the value of a `--set`."""
    name: str = field(compare=False)
    """`file:line:column`, or `--set KEY=VALUE`."""


class Unreadable:
    """The value of a scalar that was already reported and that no check shall report again."""


UNREADABLE: Final = Unreadable()
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One value of the document."""

    value: Scalar | Unreadable | tuple[Node, ...] | dict[str, Node]
    place: Place
    """Where the value begins."""
    key_place: Place
    """Where its key stands; for an item of a list and for the root, where the value begins."""
    path: Path
    """As it was written: a default keeps its path under `training` when it is laid under a variant."""

    def get(self, part: str | int) -> Node | None:
        """The value under a key, or at an index; None where there is none."""
        if isinstance(self.value, dict):
            return self.value.get(part) if isinstance(part, str) else None
        if isinstance(self.value, tuple) and isinstance(part, int) and 0 <= part < len(self.value):
            return self.value[part]
        return None

    @property
    def entries(self) -> dict[str, Node]:
        """The entries of a mapping; empty for anything else."""
        return self.value if isinstance(self.value, dict) else {}


def plain(node: Node) -> Any:
    """The value as dicts, lists and scalars."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, tuple):
        return [plain(child) for child in node.value]
    return None if isinstance(node.value, Unreadable) else node.value


def written_at(word: Node, value: Any) -> Node:
    """The value as a tree, every node of which is blamed on one word of the file: what the word stands for."""
    if isinstance(value, dict):
        value = {key: written_at(word, child) for key, child in value.items()}
    elif isinstance(value, list | tuple):
        value = tuple(written_at(word, child) for child in value)
    return Node(value, word.place, word.key_place, word.path)


def set_by_override(node: Node) -> Node | None:
    """What of the tree was said by `--set`, in the mappings that lead there; None where nothing was."""
    if node.place.order[0] > 0:
        return node
    said = {key: found for key, child in node.entries.items() if (found := set_by_override(child)) is not None}
    return replace(node, value=said) if said else None


def deepest(node: Node, path: Path) -> Node:
    """The node at the path, or the last one on the way there that exists."""
    for part in path:
        child = node.get(part)
        if child is None:
            return node
        node = child
    return node


def laid_over(default: Node, override: Node) -> Node:
    """The override, with the default's keys where both are mappings and it has none of its own.

    Mappings that bear different names are different things (adamw is no sgd with other keys): there, nothing is kept.
    """
    if not isinstance(default.value, dict) or not isinstance(override.value, dict) or _names_differ(default, override):
        return override
    merged = dict(default.value)
    for key, child in override.value.items():
        merged[key] = laid_over(merged[key], child) if key in merged else child
    return replace(override, value=merged)


def _names_differ(default: Node, override: Node) -> bool:
    before, after = default.get("name"), override.get("name")
    return before is not None and after is not None and plain(before) != plain(after)


def with_value(node: Node, path: Path, value: Node, *, merge: bool) -> Node:
    """The tree with the value at the path, in mappings made where there were none.

    Args:
        merge: lay the value over what stands there, instead of replacing it.

    Where something that is neither a mapping nor null stands in the way, the tree comes back as it was.
    """
    if not path:
        return laid_over(node, value) if merge else value
    part, rest = path[0], path[1:]
    child = node.get(part)
    if isinstance(node.value, tuple):
        if child is None:
            return node
        items = [with_value(item, rest, value, merge=merge) if item is child else item for item in node.value]
        return replace(node, value=tuple(items))
    if not (isinstance(node.value, dict) or node.value is None) or isinstance(part, int):
        return node
    if child is None and not rest:
        return replace(node, value={**node.entries, part: value})
    child = child or Node({}, value.place, value.key_place, (*node.path, part))
    return replace(node, value={**node.entries, part: with_value(child, rest, value, merge=merge)})
