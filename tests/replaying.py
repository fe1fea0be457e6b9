"""For tests that hold two runs against each other: what must be equal, and the way through a checkpoint file."""

from __future__ import annotations

import dataclasses
import io
from typing import Any

import torch

from growres.events import ProcedureEvent

TIMES = frozenset({"epoch_s", "wall_s", "images_per_s"})
"""What a clock measured."""


def science(event: ProcedureEvent) -> dict[str, Any]:
    """The event without what a clock measured."""
    return {key: value for key, value in dataclasses.asdict(event).items() if key not in TIMES}


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    """The state as a checkpoint gives it back."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded
