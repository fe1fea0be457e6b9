"""The seven tables and two views of the store.

Alembic's migrations make the schema; these models must agree with them (a test compares the two on each database).
Keys are natural, so that writing a row again changes it and never doubles it. The rows of `epoch` and `growth_step`
carry neither attempt nor time: a trial that was interrupted and resumed leaves the rows that it would have left anyway.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from growres.store.columns import JsonValue, UtcDateTime

BigCount = Annotated[int, mapped_column(BigInteger)]
TrialKey = Annotated[str, mapped_column(ForeignKey("trial.id"), primary_key=True)]

_STATUS_CHECK = "status IN ('queued', 'running', 'succeeded', 'failed', 'stopped', 'interrupted')"


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {
        str: Text(),
        int: Integer(),
        float: Double(),
        datetime: UtcDateTime(),
        dict[str, Any]: JsonValue(),
    }


class Experiment(Base):
    """One submitted experiment file, and what is needed to repeat it."""

    __tablename__ = "experiment"
    __table_args__ = (CheckConstraint(_STATUS_CHECK, name="status"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(index=True)
    status: Mapped[str]
    reason: Mapped[str | None]
    spec_text: Mapped[str]
    """The YAML as it was read."""
    spec: Mapped[dict[str, Any]]
    """The same as data, with --set applied."""
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    git_commit: Mapped[str | None]
    git_dirty: Mapped[bool | None]
    versions: Mapped[dict[str, Any] | None]
    host: Mapped[str | None]
    device: Mapped[str | None]
    data_fingerprint: Mapped[str | None]
    data_splits: Mapped[dict[str, Any] | None]
    """Images in each split."""


class Run(Base):
    """One go of a driver at an experiment: a process that runs its trials, or that was asked for.

    The times are the database's own.
    """

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint(_STATUS_CHECK, name="status"),
        CheckConstraint("stop_requested IN ('epoch', 'now')", name="stop_requested"),
    )

    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiment.id"), primary_key=True)
    run: Mapped[int] = mapped_column(primary_key=True)
    """From 1 within the experiment."""
    status: Mapped[str]
    reason: Mapped[str | None]
    backend: Mapped[str]
    address: Mapped[str | None]
    """Of the Ray cluster, where it was named."""
    job_id: Mapped[str | None]
    """Of the Ray job whose process the driver is."""
    host: Mapped[str | None]
    pid: Mapped[int | None]
    dashboard_url: Mapped[str | None]
    stop_requested: Mapped[str | None]
    """epoch: stop when the running epochs are over; now: at once."""
    submitted_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime]
    """The last sign of life."""
    ended_at: Mapped[datetime | None]


class Trial(Base):
    """One variant at one point of its sweep with one seed. The result columns are empty until it has finished."""

    __tablename__ = "trial"
    # The unique key also serves the foreign key, which is its prefix.
    __table_args__ = (UniqueConstraint("experiment_id", "trial_index"), CheckConstraint(_STATUS_CHECK, name="status"))

    id: Mapped[str] = mapped_column(primary_key=True)
    experiment_id: Mapped[str] = mapped_column(ForeignKey("experiment.id"))
    trial_index: Mapped[int]
    """From 1 within the experiment. Not named `index`, which SQLite would want quoted."""
    variant: Mapped[str]
    seed: Mapped[BigCount]
    procedure: Mapped[str]
    model: Mapped[str]
    sweep_point: Mapped[dict[str, Any]]
    config: Mapped[dict[str, Any]]
    initial_blocks: Mapped[int | None]
    """Residual blocks before any growth, where the configuration says so."""
    status: Mapped[str]
    reason: Mapped[str | None]
    """Why it has this status."""
    attempt: Mapped[int]
    """The newest attempt; 0 before the first. Events of an older one are dropped."""
    val_error: Mapped[float | None]
    test_error: Mapped[float | None]
    num_params: Mapped[BigCount | None]
    num_blocks: Mapped[int | None]
    train_flops: Mapped[BigCount | None]
    epochs: Mapped[int | None]
    wall_s: Mapped[float | None]
    finish_reason: Mapped[str | None]
    """Why the procedure ended."""
    architecture: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    twin_of: Mapped[str | None] = mapped_column(ForeignKey("trial.id"))
    """The trial whose final network this one trains from scratch."""
    twin: Mapped[str | None]
    """What it has in common with that trial: same_epochs or same_flops."""
    stopped_by: Mapped[str | None]
    """Where the status is `stopped`: person, scheduler, parent (a twin's), or needed (its like has succeeded)."""


class Attempt(Base):
    """One run of a trial on a machine."""

    __tablename__ = "attempt"
    __table_args__ = (
        CheckConstraint("status IN ('running', 'succeeded', 'failed', 'stopped', 'interrupted')", name="status"),
    )

    trial_id: Mapped[TrialKey]
    attempt: Mapped[int] = mapped_column(primary_key=True)
    status: Mapped[str]
    reason: Mapped[str | None]
    host: Mapped[str | None]
    device: Mapped[str | None]
    pid: Mapped[int | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    note: Mapped[str | None]
    """What it had to say when it began, such as that a checkpoint was damaged."""


class Epoch(Base):
    """One pass over the training split, by one arm."""

    __tablename__ = "epoch"
    # Without rowid, SQLite keeps a trial's epochs side by side and their key once.
    __table_args__ = (
        CheckConstraint("arm IN ('network', 'candidate', 'control', 'screen')", name="arm"),
        {"sqlite_with_rowid": False},
    )

    trial_id: Mapped[TrialKey]
    growth_step: Mapped[int] = mapped_column(primary_key=True)
    """0 before any growth."""
    arm: Mapped[str] = mapped_column(primary_key=True)
    replicate: Mapped[int] = mapped_column(primary_key=True)
    """Which of the paired seeds of one proposal."""
    epoch: Mapped[int] = mapped_column(primary_key=True)
    train_loss: Mapped[float | None]
    train_error: Mapped[float | None]
    val_loss: Mapped[float | None]
    val_error: Mapped[float | None]
    lr: Mapped[float | None]
    images_per_s: Mapped[float | None]
    epoch_s: Mapped[float | None]
    train_flops: Mapped[BigCount | None]


class GrowthStep(Base):
    """One proposal with its verdict; a rejected one is a row like any other."""

    __tablename__ = "growth_step"
    __table_args__ = (
        CheckConstraint("verdict IN ('accepted', 'rejected', 'undecided')", name="verdict"),
        CheckConstraint("kind IN ('append', 'remove')", name="kind"),
        {"sqlite_with_rowid": False},
    )

    trial_id: Mapped[TrialKey]
    step: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """append, or remove where a grown network was pruned."""
    round: Mapped[int]
    """Proposals of one round grew from the same parent."""
    stage: Mapped[int]
    block: Mapped[int]
    initialiser: Mapped[str | None]
    train_error_before: Mapped[float | None]
    train_error_candidate: Mapped[float | None]
    val_error_before: Mapped[float | None]
    val_error_candidate: Mapped[float | None]
    val_error_control: Mapped[float | None]
    val_loss_before: Mapped[float | None]
    val_loss_candidate: Mapped[float | None]
    val_loss_control: Mapped[float | None]
    num_replicates: Mapped[int]
    p_value: Mapped[float | None]
    verdict: Mapped[str]
    reason: Mapped[str]
    num_params_before: Mapped[BigCount]
    num_params_after: Mapped[BigCount]
    epochs: Mapped[int]
    train_flops: Mapped[BigCount | None]
    wall_s: Mapped[float | None]
    max_logit_change: Mapped[float | None]


class Artifact(Base):
    """A file that belongs to a trial; its path is relative to the run's folder."""

    __tablename__ = "artifact"

    trial_id: Mapped[TrialKey]
    kind: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    num_bytes: Mapped[BigCount]
    written_at: Mapped[datetime]


# The views stand in metadata of their own: alembic compares Base.metadata with the tables alone.
_VIEWS = MetaData()

LEADERBOARD = Table(
    "leaderboard",
    _VIEWS,
    Column("experiment", Text),
    Column("trial_id", Text),
    Column("variant", Text),
    Column("seed", BigInteger),
    Column("procedure", Text),
    Column("model", Text),
    Column("status", Text),
    Column("val_error", Double),
    Column("test_error", Double),
    Column("num_params", BigInteger),
    Column("num_blocks", Integer),
    Column("train_flops", BigInteger),
    Column("wall_s", Double),
    Column("epochs", Integer),
    Column("sweep_point", JsonValue()),
    Column("reason", Text),
    Column("experiment_id", Text),
    Column("trial_index", Integer),
)

GROWTH_CURVE = Table(
    "growth_curve",
    _VIEWS,
    Column("experiment", Text),
    Column("trial_id", Text),
    Column("variant", Text),
    Column("seed", BigInteger),
    Column("step", Integer),
    Column("verdict", Text),
    Column("num_blocks", Integer),
    Column("num_params", BigInteger),
    Column("val_error", Double),
    Column("train_error", Double),
    Column("train_flops_total", BigInteger),
    Column("epochs_total", BigInteger),
    Column("stage", Integer),
    Column("block", Integer),
    Column("val_error_candidate", Double),
    Column("train_error_candidate", Double),
    Column("val_error_control", Double),
    Column("p_value", Double),
    Column("reason", Text),
    Column("experiment_id", Text),
    Column("kind", Text),
    Column("round", Integer),
)
