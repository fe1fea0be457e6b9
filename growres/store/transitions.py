"""The one door through which a trial changes its status."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, select, update

from growres.errors import FinishedTrialError
from growres.store.rows import Status, StoppedBy
from growres.store.tables import Attempt, Trial

ENDED: tuple[Status, ...] = ("succeeded", "failed", "stopped", "interrupted")

# From which statuses each status may be reached. Nothing leads out of `succeeded`; everything else may be queued again.
# A success may come late: the driver wrote `interrupted` off, and then the recorder's spool tells of the trial's end.
_REACHED_FROM: dict[Status, frozenset[Status]] = {
    "queued": frozenset({"running", "failed", "stopped", "interrupted"}),
    "running": frozenset({"queued", "failed", "stopped", "interrupted"}),
    "succeeded": frozenset({"queued", "running", "failed", "stopped", "interrupted"}),
    "failed": frozenset({"queued", "running", "interrupted"}),
    "stopped": frozenset({"queued", "running", "interrupted"}),
    "interrupted": frozenset({"queued", "running"}),
}


def may_become(status: Status, wanted: Status) -> bool:
    """Whether a trial of this status may be given the other one."""
    return status in _REACHED_FROM[wanted]


def move_trials(
    connection: Connection,
    which: ColumnElement[bool],
    to_status: Status,
    *,
    from_statuses: Collection[Status],
    reason: str | None,
    at: datetime,
    stopped_by: StoppedBy | None = None,
) -> int:
    """Gives those of the trials that have one of `from_statuses` another status, if it may be; returns their number.

    Args:
        stopped_by: who stopped them, if the status is `stopped`.

    Raises:
        FinishedTrialError: if a trial that succeeded would be changed; nothing is changed then.
    """
    # In order of their ids, as the recorder does: two that lock the same rows in other orders wait for each other.
    connection.execute(select(Trial.id).where(which).order_by(Trial.id).with_for_update())
    if "succeeded" in from_statuses:
        _refuse_finished(connection, which)
    allowed = [status for status in from_statuses if may_become(status, to_status)]
    ended_at = at if to_status in ENDED else None
    assert (to_status == "stopped") == (stopped_by is not None), "who stops a trial says so, and nobody else"
    moved = update(Trial).where(which, Trial.status.in_(allowed))
    values = {"status": to_status, "reason": reason, "stopped_by": stopped_by, "ended_at": ended_at, "updated_at": at}
    return connection.execute(moved.values(values)).rowcount


def close_attempts(
    connection: Connection, which: ColumnElement[bool], status: Status, *, reason: str | None, at: datetime | None
) -> None:
    """Ends the attempts that are still open, because nobody is left who would tell of their end."""
    connection.execute(
        update(Attempt).where(which, Attempt.status == "running").values(status=status, reason=reason, ended_at=at)
    )


def _refuse_finished(connection: Connection, which: ColumnElement[bool]) -> None:
    finished = select(Trial.id).where(which, Trial.status == "succeeded").order_by(Trial.trial_index).limit(1)
    if trial_id := connection.execute(finished).scalar():
        raise FinishedTrialError(f"Trial {trial_id} is already finished: it succeeded, and is never changed.")
