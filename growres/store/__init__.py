"""The SQL store: what was submitted, what happened, and every decision, to be queried while it runs.

`Store` puts experiments in and reads results; `Recorder` writes what running trials report. The tables' own rows stay
in here: frozen dataclasses and plain dicts go in and out.
"""

from growres.store.recorder import Recorder
from growres.store.rows import ExperimentRow, NewExperiment, NewTrial, Status, TrialRow
from growres.store.store import Store

__all__ = ["ExperimentRow", "NewExperiment", "NewTrial", "Recorder", "Status", "Store", "TrialRow"]
