"""The SQL store: what was submitted, what happened, and every decision, to be queried while it runs.

`Store` puts experiments in and reads results; `Recorder` writes what running trials report. The tables' own rows stay
in here: frozen dataclasses and plain dicts go in and out. `Recorder` is imported on first use: who only reads does
without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from growres.store.rows import ExperimentRow, NewExperiment, NewTrial, RunRow, Status, Stop, TrialRow
from growres.store.store import Store

if TYPE_CHECKING:
    from growres.store.recorder import Recorder as Recorder

__all__ = ["ExperimentRow", "NewExperiment", "NewTrial", "Recorder", "RunRow", "Status", "Stop", "Store", "TrialRow"]


def __getattr__(name: str) -> Any:
    if name != "Recorder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.recorder").Recorder
