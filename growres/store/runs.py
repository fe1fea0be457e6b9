"""Runs: which driver has an experiment, whether it lives, and what is asked of it.

One driver at a time has an experiment: it claims the experiment in a transaction, and shows by a heartbeat that it is
there. Times are the database's, so that no two machines' clocks are compared. A driver that could not be heard for so
long that another took over learns of it by its next heartbeat.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, func, insert, select, update

from growres.errors import BusyError
from growres.store import clock as process_clock
from growres.store import database_clock as clock
from growres.store.columns import storable
from growres.store.database import Database
from growres.store.rows import RunRow, Status, Stop
from growres.store.tables import Attempt, Experiment, Run, Trial
from growres.store.transitions import close_attempts, move_trials

VANISHED = "its driver vanished"

_TABLE = cast(Table, Run.__table__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a driver learns by its heartbeat."""

    is_mine: bool
    """False if another has taken the experiment over."""
    stop: Stop | None


class Runs:
    """The runs of the experiments in one database.

    Every method raises StoreError if the database is away or refuses.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, experiment_id: str) -> RunRow | None:
        """The newest run of an experiment, if it ever had one."""
        return self.newest_of([experiment_id]).get(experiment_id)

    def newest_of(self, experiment_ids: Collection[str]) -> dict[str, RunRow]:
        """The newest run of each of these experiments that had one."""
        newest = select(Run.experiment_id, func.max(Run.run).label("run")).group_by(Run.experiment_id).subquery()
        query = _rows().join(newest, (Run.experiment_id == newest.c.experiment_id) & (Run.run == newest.c.run))
        with self._database.reading() as connection:
            rows = connection.execute(query.where(Run.experiment_id.in_(experiment_ids))).mappings()
            return {row["experiment_id"]: RunRow(**row) for row in rows}

    def all(self, experiment_id: str) -> list[RunRow]:
        """An experiment's runs in their order."""
        query = _rows().where(Run.experiment_id == experiment_id).order_by(Run.run)
        with self._database.reading() as connection:
            return [RunRow(**row) for row in connection.execute(query).mappings()]

    def claim(
        self,
        experiment_id: str,
        *,
        backend: str,
        address: str | None = None,
        known_gone: int | None = None,
        job_prefix: str | None = None,
        job_id: str | None = None,
    ) -> RunRow:
        """Makes the experiment's next run, queued; of any number who try at once, one succeeds.

        Args:
            known_gone: the number of a run that may look alive and is known to be gone.
            job_prefix: the run will be the Ray job `<job_prefix>-<run>`.
            job_id: the run is this Ray job already.
        Raises:
            BusyError: if the experiment has a run that is alive, or was just asked for.
        """
        with self._database.writing() as connection:
            newest = _lock_newest(connection, experiment_id)
            number = 1
            if newest is not None:
                if newest.is_open:
                    if newest.run != known_gone:
                        _refuse_if_alive(newest)
                    _close(connection, newest)
                number = newest.run + 1
            values = {
                "experiment_id": experiment_id,
                "run": number,
                "status": "queued",
                "backend": backend,
                "address": storable(address),
                "job_id": f"{job_prefix}-{number}" if job_prefix else job_id,
                "submitted_at": clock.now(),
                "heartbeat_at": clock.now(),
            }
            connection.execute(insert(Run).values(values))
            return _get(connection, experiment_id, number)

    def begin(self, experiment_id: str, run: int, *, host: str, pid: int) -> RunRow:
        """The run's driver is there.

        Raises:
            BusyError: if the run was begun by another, was ended, or is not the newest.
        """
        with self._database.writing() as connection:
            newest = _lock_newest(connection, experiment_id)
            if newest is None or newest.run != run or newest.status != "queued" or not newest.is_open:
                now = f"run {newest.run}, {newest.status}, is its newest" if newest else "it has no run"
                raise BusyError(f"Cannot begin run {run} of experiment {experiment_id}: {now}.")
            values = {"status": "running", "host": host, "pid": pid, "started_at": clock.now()}
            self._change(connection, experiment_id, run, **values, heartbeat_at=clock.now())
            connection.execute(
                update(Experiment)
                .where(Experiment.id == experiment_id)
                .values(
                    status="running",
                    reason=None,
                    ended_at=None,
                    # By this process's clock, as its end will be.
                    started_at=func.coalesce(Experiment.started_at, process_clock.now()),
                )
            )
            return _get(connection, experiment_id, run)

    def beat(self, experiment_id: str, run: int) -> Answer:
        """A sign of life of a run."""
        with self._database.writing() as connection:
            mine = update(Run).where(Run.experiment_id == experiment_id, Run.run == run, Run.ended_at.is_(None))
            if connection.execute(mine.values(heartbeat_at=clock.now())).rowcount == 0:
                return Answer(is_mine=False, stop=None)
            return Answer(is_mine=True, stop=_get(connection, experiment_id, run).stop_requested)

    def set_dashboard(self, experiment_id: str, run: int, url: str | None) -> None:
        """Where the dashboard of the run's Ray is."""
        with self._database.writing() as connection:
            self._change(connection, experiment_id, run, dashboard_url=url)

    def request_stop(self, experiment_id: str, run: int, how: Stop) -> bool:
        """Asks a run's driver to stop; it hears of it by its next heartbeat. False if the run has ended already.

        `now` is never taken back by `epoch`.
        """
        this = (Run.experiment_id == experiment_id, Run.run == run, Run.ended_at.is_(None))
        wanted = how if how == "now" else func.coalesce(Run.stop_requested, how)
        with self._database.writing() as connection:
            return connection.execute(update(Run).where(*this).values(stop_requested=wanted)).rowcount > 0

    def end(self, experiment_id: str, run: int, status: Status, reason: str | None) -> bool:
        """Ends a run; False if it was ended already, perhaps by who took over."""
        this = (Run.experiment_id == experiment_id, Run.run == run, Run.ended_at.is_(None))
        values = {"status": status, "reason": storable(reason), "ended_at": clock.now()}
        with self._database.writing() as connection:
            return connection.execute(update(Run).where(*this).values(values)).rowcount > 0

    def alive(self) -> list[RunRow]:
        """The runs whose drivers are there, or are about to be."""
        with self._database.reading() as connection:
            return alive_runs(connection)

    @staticmethod
    def _change(connection: Connection, experiment_id: str, run: int, **values: Any) -> None:
        connection.execute(update(Run).where(Run.experiment_id == experiment_id, Run.run == run).values(values))


def alive_runs(connection: Connection) -> list[RunRow]:
    """`Runs.alive`, inside a transaction."""
    rows = connection.execute(_rows().where(Run.ended_at.is_(None))).mappings()
    return [run for run in (RunRow(**row) for row in rows) if not run.is_stale]


def _rows() -> Select[Any]:
    return select(*_TABLE.columns, clock.seconds_since(Run.heartbeat_at).label("silent_s"))


def _get(connection: Connection, experiment_id: str, run: int) -> RunRow:
    query = _rows().where(Run.experiment_id == experiment_id, Run.run == run)
    return RunRow(**connection.execute(query).mappings().one())


def _lock_newest(connection: Connection, experiment_id: str) -> RunRow | None:
    """The newest run; the experiment's row is locked, so that whoever else wants to claim it waits."""
    connection.execute(select(Experiment.id).where(Experiment.id == experiment_id).with_for_update()).one()
    newest = select(func.max(Run.run)).where(Run.experiment_id == experiment_id).scalar_subquery()
    row = connection.execute(_rows().where(Run.experiment_id == experiment_id, Run.run == newest)).mappings().first()
    return RunRow(**row) if row else None


def _refuse_if_alive(run: RunRow) -> None:
    if run.is_stale:
        return
    watch = f"Watch it with: growres status {run.experiment_id} --watch"
    if run.started_at is None:
        raise BusyError(
            f"Experiment {run.experiment_id} was given to a driver {run.silent_s:.0f} s ago, which has not begun "
            f"yet. {watch}"
        )
    where = f" on {run.host}, process {run.pid}, which gave a sign of life {max(0.0, run.silent_s):.0f} s ago"
    raise BusyError(f"Experiment {run.experiment_id} is being run by another driver{where}. {watch}")


def _close(connection: Connection, run: RunRow) -> None:
    """Ends a run whose driver is gone; its trials that were under way are interrupted."""
    this = update(Run).where(Run.experiment_id == run.experiment_id, Run.run == run.run)
    connection.execute(this.values(status="interrupted", reason=VANISHED, ended_at=clock.now()))
    theirs = Trial.experiment_id == run.experiment_id
    ended_at = run.heartbeat_at
    open_attempts = Attempt.trial_id.in_(select(Trial.id).where(theirs, Trial.status == "running"))
    close_attempts(connection, open_attempts, "interrupted", reason=VANISHED, at=ended_at)
    move_trials(connection, theirs, "interrupted", from_statuses=["running"], reason=VANISHED, at=ended_at)
