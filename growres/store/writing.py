"""Turns a procedure's events into rows, in the recorder's transaction.

Whatever arrives twice, or late, leaves the rows as they are: keys are natural, an attempt starts once, the events of an
attempt that has been followed by another are dropped, and so are those of a trial that has succeeded.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, assert_never, cast

from sqlalchemy import Connection, Insert, Table, bindparam, func, select, update
from sqlalchemy.dialects import sqlite

from growres.events import (
    ArtifactWritten,
    AttemptEnded,
    AttemptStarted,
    EpochFinished,
    Event,
    GrowthStepDecided,
    TrialFinished,
)
from growres.store.columns import storable
from growres.store.rows import Status, StoppedBy
from growres.store.tables import Artifact, Attempt, Base, Epoch, Experiment, GrowthStep, Trial
from growres.store.transitions import close_attempts, may_become, move_trials

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """An event with what the recorder knows about it."""

    trial_id: str
    attempt: int
    recorded_at: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class Rejection:
    """An event that the store can never hold, and why."""

    record: Record
    reason: str


# `updated_at` never goes back: what a spool tells may be older than what is known.
_TOUCH = (
    update(Trial)
    .where(Trial.id == bindparam("touched_id"), Trial.updated_at < bindparam("at"))
    .values(updated_at=bindparam("at"))
)


@dataclass(slots=True)
class _TrialState:
    experiment_id: str
    attempt: int
    status: Status


def write_records(connection: Connection, records: Sequence[Record]) -> list[Rejection]:
    """Writes events in their order; returns those whose trial the store does not know.

    Runs inside the caller's transaction, in which the trials' rows are locked until its end.
    """
    states = _lock_trials(connection, {record.trial_id for record in records})
    batch = _Batch(connection, states)
    rejections = []
    for record in records:
        if record.trial_id in states:
            batch.add(record)
        else:
            rejections.append(Rejection(record, f"the store has no trial {record.trial_id!r}"))
    batch.write()
    return rejections


def _lock_trials(connection: Connection, trial_ids: set[str]) -> dict[str, _TrialState]:
    """The trials as they are now; in order of their ids, so that two writers cannot wait for each other."""
    query = select(Trial.id, Trial.experiment_id, Trial.attempt, Trial.status).where(Trial.id.in_(sorted(trial_ids)))
    rows = connection.execute(query.order_by(Trial.id).with_for_update()).all()
    return {row.id: _TrialState(row.experiment_id, row.attempt, cast(Status, row.status)) for row in rows}


class _Batch:
    """The events of one transaction. What is rare is written at once, what comes in numbers is gathered."""

    def __init__(self, connection: Connection, states: dict[str, _TrialState]) -> None:
        self._connection = connection
        self._states = states
        self._rows: dict[type[Base], dict[tuple[Any, ...], dict[str, Any]]] = {Epoch: {}, GrowthStep: {}, Artifact: {}}
        self._touched: dict[str, datetime] = {}

    def add(self, record: Record) -> None:
        state = self._states[record.trial_id]
        if state.status == "succeeded" or record.attempt < state.attempt:
            logger.debug(
                "trial %s, attempt %d: dropped a late %s (the trial is %s in attempt %d)",
                record.trial_id, record.attempt, type(record.event).__name__, state.status, state.attempt,
            )  # fmt: skip
            return
        self._touched[record.trial_id] = max(record.recorded_at, self._touched.get(record.trial_id, record.recorded_at))
        match record.event:
            case EpochFinished() as epoch:
                self._gather(Epoch, record, (epoch.growth_step, epoch.arm, epoch.replicate, epoch.epoch))
            case GrowthStepDecided() as decided:
                self._gather(GrowthStep, record, (decided.step,))
            case ArtifactWritten() as artifact:
                self._gather(Artifact, record, (artifact.kind, artifact.path), written_at=record.recorded_at)
            case TrialFinished() as finished:
                self._finish_trial(record.trial_id, finished)
            case AttemptStarted() as started:
                self._start_attempt(record, state, started)
            case AttemptEnded() as ended:
                self._end_attempt(record, state, ended)
            case unknown:
                assert_never(unknown)

    def write(self) -> None:
        for table, rows in self._rows.items():
            if rows:
                self._connection.execute(_upsert(table, self._connection.dialect.name), list(rows.values()))
        if self._touched:
            touched = [{"touched_id": trial_id, "at": at} for trial_id, at in self._touched.items()]
            self._connection.execute(_TOUCH, touched)

    def _gather(self, table: type[Base], record: Record, key: tuple[Any, ...], **more: Any) -> None:
        self._rows[table][(record.trial_id, *key)] = {"trial_id": record.trial_id, **_columns(record.event), **more}

    def _finish_trial(self, trial_id: str, finished: TrialFinished) -> None:
        values = _columns(finished)
        values["finish_reason"] = values.pop("reason")
        self._connection.execute(update(Trial).where(Trial.id == trial_id).values(values))

    def _start_attempt(self, record: Record, state: _TrialState, started: AttemptStarted) -> None:
        if record.attempt == state.attempt:  # a replay
            return
        connection, trial_id, at = self._connection, record.trial_id, record.recorded_at
        if state.attempt:
            reason = f"never ended; followed by attempt {record.attempt}"
            close_attempts(connection, Attempt.trial_id == trial_id, "interrupted", reason=reason, at=None)
        where = {"host": started.host, "device": started.device, "pid": started.pid, "note": storable(started.note)}
        self._write_attempt(record, status="running", started_at=at, **where)
        self._move(record, state, "running", reason=None)
        connection.execute(
            update(Trial)
            .where(Trial.id == trial_id)
            .values(attempt=record.attempt, started_at=func.coalesce(Trial.started_at, at))
        )
        connection.execute(
            update(Experiment)
            .where(Experiment.id == state.experiment_id, Experiment.status != "running")
            .values(status="running", reason=None, ended_at=None, started_at=func.coalesce(Experiment.started_at, at))
        )
        state.attempt = record.attempt

    def _end_attempt(self, record: Record, state: _TrialState, ended: AttemptEnded) -> None:
        never_started = record.attempt > state.attempt
        # A trial that waits for its next attempt is not called back by the end of its last one; except by its success,
        # after which there is nothing left to attempt.
        if state.status == "queued" and not never_started and ended.status != "succeeded":
            return
        reason = storable(ended.reason)
        self._write_attempt(record, status=ended.status, reason=reason, ended_at=record.recorded_at)
        if never_started:
            self._connection.execute(update(Trial).where(Trial.id == record.trial_id).values(attempt=record.attempt))
            state.attempt = record.attempt
        # Until now only schedulers stopped a trial: what an older spool tells has nothing of it.
        by: StoppedBy | None = (ended.stopped_by or "scheduler") if ended.status == "stopped" else None
        self._move(record, state, ended.status, reason=reason, stopped_by=by)

    def _write_attempt(self, record: Record, **values: Any) -> None:
        key = {"trial_id": record.trial_id, "attempt": record.attempt}
        insert = _insert(Attempt, self._connection.dialect.name)
        self._connection.execute(
            insert.on_conflict_do_update(index_elements=list(key), set_=values).values({**key, **values})
        )

    def _move(
        self,
        record: Record,
        state: _TrialState,
        status: Status,
        *,
        reason: str | None,
        stopped_by: StoppedBy | None = None,
    ) -> None:
        if may_become(state.status, status):
            move_trials(
                self._connection,
                Trial.id == record.trial_id,
                status,
                from_statuses=[state.status],
                reason=reason,
                at=record.recorded_at,
                stopped_by=stopped_by,
            )
            state.status = status


def _columns(event: Event) -> dict[str, Any]:
    """The event's fields, which bear their columns' names. (dataclasses.asdict would copy every value, deeply.)"""
    return {field.name: storable(getattr(event, field.name)) for field in dataclasses.fields(event)}


def _insert(table: type[Base], dialect: str) -> postgresql.Insert | sqlite.Insert:
    target = cast(Table, table.__table__)
    if dialect != "postgresql":
        return sqlite.insert(target)
    from sqlalchemy.dialects import postgresql  # takes long to import, and SQLite does without it

    return postgresql.insert(target)


@cache
def _upsert(table: type[Base], dialect: str) -> Insert:
    """Inserts rows, or where one with the same key stands, makes it like the new one."""
    insert = _insert(table, dialect)
    keys = [column.name for column in table.__table__.primary_key]
    others = [column.name for column in table.__table__.columns if column.name not in keys]
    return insert.on_conflict_do_update(index_elements=keys, set_={name: insert.excluded[name] for name in others})
