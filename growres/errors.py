"""The errors that growres raises on purpose.

Every one is a GrowresError; the command line prints its message without a traceback and leaves with its exit code.

    GrowresError                      1
    |-- ConfigError                   2   a command line, or a configuration, that cannot be used
    |   `-- SpecError                 2   an experiment file's mistakes, one a line, each with its place
    |-- DataError                     2   a data set that cannot be read or split as configured
    |-- GrowthError                   2   a growth step that the network does not allow
    |-- AnalysisError                 2   numbers that an analysis cannot be made of
    |-- NotFoundError                 2   no such experiment, trial, preset or source
    |-- QueryError                    2   a query that is refused or fails
    |-- ExportError                   1   a trained network that cannot be written to a file
    |-- BusyError                     2   another process is running the experiment
    |-- TrainingError                 1   training cannot go on
    |   |-- NonFiniteLossError        1   the loss became NaN or infinite
    |   |-- OutOfMemoryError          1   the trial does not fit into the memory of its device
    |   `-- CheckpointError           1   a checkpoint that cannot be written or read back
    |       `-- DiskError             1   ... for now: another attempt, or another machine, may be able to
    |-- StoreError                    3   the result database is away or refuses
    |   |-- FinishedTrialError        2   a finished trial is never changed
    |   `-- SchemaMismatchError       4   the database's schema is not this program's
    `-- ClusterError                  3   Ray cannot be started or reached

(`zoo` imports torch only and raises its own `zoo.ModelError`, a ValueError.)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_INTERRUPTED = 130
"""What a command that Ctrl-C ended leaves with: 128 and the signal's number, as shells have it."""


class GrowresError(Exception):
    """What could not be done, the value seen, what is allowed, the next step."""

    exit_code = 1


class ConfigError(GrowresError):
    """A command line, or a configuration, that cannot be used."""

    exit_code = 2


class SpecError(ConfigError):
    """An experiment file's mistakes, one a line: `file:line:column: ...`, or `--set KEY=VALUE: ...`."""


class DataError(GrowresError):
    """A data set that cannot be read or split as configured."""

    exit_code = 2


class GrowthError(GrowresError):
    """A growth step that the network does not allow."""

    exit_code = 2


class AnalysisError(GrowresError):
    """Numbers that an analysis cannot be made of."""

    exit_code = 2


class NotFoundError(GrowresError):
    """No experiment, trial, preset or source answers to the name given."""

    exit_code = 2


class QueryError(GrowresError):
    """A read-only query that is refused or fails."""

    exit_code = 2


class ExportError(GrowresError):
    """A trained network that cannot be written to a file."""


class BusyError(GrowresError):
    """Another process is running the experiment."""

    exit_code = 2


class TrainingError(GrowresError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """The training loss became NaN or infinite."""


class OutOfMemoryError(TrainingError):
    """The trial does not fit into the memory of its device."""


class CheckpointError(TrainingError):
    """A checkpoint that cannot be written or read back."""


class DiskError(CheckpointError):
    """A checkpoint that cannot be written or read back for now: another attempt may be able to."""


class StoreError(GrowresError):
    """The result database is away or refuses."""

    exit_code = 3


class FinishedTrialError(StoreError):
    """A finished trial is never changed."""

    exit_code = 2


class SchemaMismatchError(StoreError):
    """The database's schema is not the one that this program was written for."""

    exit_code = 4


class ClusterError(GrowresError):
    """Ray cannot be started or reached."""

    exit_code = 3


class GrowresWarning(UserWarning):
    """Something that growres noticed and worked around."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that a mistyped one most likely meant, or None where none is like it."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return matches[0] if matches else None
