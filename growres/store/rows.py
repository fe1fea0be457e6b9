"""What the store hands out and takes in: frozen dataclasses. The tables' own rows never leave this package."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

STALE_AFTER_S = 45.0
"""A driver that lives gives a sign every few seconds."""

START_WITHIN_S = 120.0
"""A run that was asked for and has not begun for so long is given up, unless its cluster still knows of its job."""

Status = Literal["queued", "running", "succeeded", "failed", "stopped", "interrupted"]
"""Of experiments and trials. `stopped` was decided, by a person or a scheduler; `interrupted` is to be gone on from."""


StoppedBy = Literal["person", "scheduler", "parent", "needed"]
"""Who stopped a trial. A resume goes on with what a person stopped. parent: the trial whose twin it is did not succeed;
needed: it was not, for its like had succeeded before."""

Stop = Literal["epoch", "now"]
"""How a run is to stop: when the running epochs are over, or at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTrial:
    """A trial to be stored; `config` is all that is needed to run it."""

    variant: str
    seed: int
    procedure: str
    model: str
    config: dict[str, Any]
    twin_of: int | None = None
    """The number, from 1 in the order of the experiment's trials, of the one whose final network this one trains."""
    twin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewExperiment:
    """An experiment to be stored with its trials, which are numbered from 1 in the order given."""

    name: str
    spec_text: str
    """The YAML as it was read."""
    spec: dict[str, Any]
    """The same as data, with --set applied."""
    trials: tuple[NewTrial, ...]
    provenance: dict[str, Any] = field(default_factory=dict)
    """Any of the columns git_commit, git_dirty, versions, host, device, data_fingerprint and data_splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRow:
    id: str
    name: str
    status: Status
    reason: str | None
    spec_text: str
    spec: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    git_commit: str | None
    git_dirty: bool | None
    versions: dict[str, Any] | None
    host: str | None
    device: str | None
    data_fingerprint: str | None
    data_splits: dict[str, Any] | None
    trial_counts: dict[str, int]
    """Trials by status; a status that no trial has is absent."""

    @property
    def num_trials(self) -> int:
        return sum(self.trial_counts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRow:
    id: str
    experiment: str
    """The experiment's name."""
    experiment_id: str
    trial_index: int
    variant: str
    seed: int
    procedure: str
    model: str
    sweep_point: dict[str, Any]
    config: dict[str, Any]
    initial_blocks: int | None
    status: Status
    reason: str | None
    attempt: int
    """The newest attempt; 0 before the first."""
    val_error: float | None
    test_error: float | None
    num_params: int | None
    num_blocks: int | None
    train_flops: int | None
    epochs: int | None
    wall_s: float | None
    finish_reason: str | None
    architecture: dict[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    twin_of: str | None
    """The trial whose final network this one trains from scratch."""
    twin: str | None
    """What it has in common with that trial: same_epochs or same_flops."""
    stopped_by: StoppedBy | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One go of a driver at an experiment."""

    experiment_id: str
    run: int
    status: Status
    reason: str | None
    backend: str
    address: str | None
    job_id: str | None
    host: str | None
    pid: int | None
    dashboard_url: str | None
    stop_requested: Stop | None
    submitted_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime
    ended_at: datetime | None
    silent_s: float
    """Seconds by the database's clock since the last sign of life."""

    @property
    def is_open(self) -> bool:
        """Whether it has not been ended; its driver may be gone all the same."""
        return self.ended_at is None

    @property
    def is_stale(self) -> bool:
        """Whether its driver has given no sign of life for longer than one that lives would, or never began at all."""
        patience_s = START_WITHIN_S if self.started_at is None else STALE_AFTER_S
        return self.is_open and abs(self.silent_s) > patience_s
