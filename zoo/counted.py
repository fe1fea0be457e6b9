"""The counts of every listed network at the size that it was published for, as a table that needs no torch.

`counted.json` holds them, so that a list is there at once. `python -m zoo.counted` counts all networks again and writes
it; a test holds the file against the networks.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from zoo.entry import ModelEntry
from zoo.registry import create_model, describe, list_models

_TABLE = Path(__file__).with_name("counted.json")


@dataclass(frozen=True, slots=True)
class Totals:
    """Of a network in evaluation, for the images and classes that it was published for."""

    num_params: int
    macs: int
    depth: int


def totals(entry: ModelEntry) -> Totals | None:
    """The counts of a network, from the table if it is listed; None where its shape is open."""
    if entry.min_image_size is None:
        return None
    return _table().get(entry.name) or count_entry(entry)


def count_entry(entry: ModelEntry) -> Totals:
    """The counts of a network, counted now on the meta device."""
    import torch

    from zoo.counting import count

    channels, image_size, _ = entry.input_shape
    with torch.device("meta"):
        model = create_model(entry.name, num_classes=entry.num_classes, in_channels=channels, image_size=image_size)
    counts = count(model, entry.input_shape)
    return Totals(num_params=counts.num_params, macs=counts.macs, depth=counts.depth)


@cache
def _table() -> dict[str, Totals]:
    rows: dict[str, dict[str, int]] = json.loads(_TABLE.read_text())
    return {name: Totals(**row) for name, row in rows.items()}


def main() -> None:
    """Counts every listed network and writes the table."""
    entries = [describe(name) for name in list_models()]
    lines = [
        f"{json.dumps(entry.name)}: {json.dumps(asdict(count_entry(entry)))}"
        for entry in entries
        if entry.min_image_size is not None
    ]
    _TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
