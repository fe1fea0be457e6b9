"""The one writer of an experiment's results.

It stands in the control loop of whoever drives the trials, so it never raises and seldom waits. Events gather in a
buffer that is written in one transaction; decisive ones (an attempt's start and end, a verdict, a result) are written
at once. While the database is away events go to a spool file, and from there to the database when it is back: in
their order, each with the effect of having been written once.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from growres.errors import StoreError
from growres.events import AttemptEnded, AttemptStarted, Event, GrowthStepDecided, TrialFinished
from growres.store import clock
from growres.store.database import URL_VARIABLE, Address, Database, resolve
from growres.store.spool import Spool
from growres.store.writing import Record, Rejection, write_records

logger = logging.getLogger(__name__)

_DECISIVE = (AttemptStarted, AttemptEnded, GrowthStepDecided, TrialFinished)
_BATCH = 512
"""Events in one transaction, at most."""
_TIMEOUT_S = 2.0
"""How long the control loop may wait for another writer before the events go to the spool."""
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 30.0


class Recorder:
    """Writes events into the store, or keeps them until that is possible.

    For one thread of one process. What an earlier recorder left in the spool is written first. A pickled recorder
    carries no database address that has a password: its copy finds that again in GROWRES_DATABASE_URL.

    Args:
        url: as Store.open takes it.
        spool: the file for events that wait; one for each run, its folder is made when it is needed.
        flush_every_s: how long an event that is not decisive may wait for company.
    Raises:
        StoreError: if the URL cannot be understood, or its driver is not installed. Nothing else ever.
    """

    def __init__(self, url: str | None, spool: Path, *, flush_every_s: float = 0.2) -> None:
        self._address: Address | None = resolve(url)
        self._database: Database | None = _open(self._address)
        self._address_for_people = self._address.for_people
        self._flush_every_s = flush_every_s
        self._spool = Spool(Path(spool))
        self._start_empty()
        self.tick()

    def _start_empty(self) -> None:
        self._buffer: list[Record] = []
        self._flushed_at = time.monotonic()
        self._retry_at = 0.0
        self._retry_after_s = _FIRST_RETRY_S
        self._degraded = False
        self._spool_failed = False
        self._file_id: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"Recorder({self._address_for_people!r}, spool={str(self._spool.path)!r})"

    @property
    def degraded(self) -> bool:
        """Whether events wait outside the database, because it is away."""
        return self._degraded

    @property
    def num_waiting(self) -> int:
        """Events that are not in the database yet, because it is away."""
        return self._spool.num_waiting + (len(self._buffer) if self._degraded else 0)

    def record(self, trial_id: str, attempt: int, event: Event) -> None:
        """Takes an event. It is in the database, or safe in the spool, after the next `tick` that is due."""
        self._buffer.append(Record(trial_id, attempt, clock.now(), event))
        if isinstance(event, _DECISIVE) or len(self._buffer) >= _BATCH:
            self.flush()
        else:
            self.tick()

    def tick(self) -> None:
        """Writes what is due. Cheap enough to be called at every turn of a control loop."""
        now = time.monotonic()
        due = self._buffer and now >= self._flushed_at + self._flush_every_s
        if due or (now >= self._retry_at and self._spool):
            self.flush()

    def flush(self) -> None:
        """Writes everything now: into the database, or while that is away into the spool."""
        try:
            self._flush()
        except Exception as error:  # whatever it is, it must not end the trials
            self._log_failure("cannot keep events", error)
        self._flushed_at = time.monotonic()

    def close(self) -> None:
        """Writes everything, trying the database once more if it was away. What remains stays in the spool."""
        self._retry_at = 0.0
        self.flush()
        if self._spool or self._buffer:
            logger.warning(
                "database %s: away until the end; the events wait in %s and are written when the run is resumed",
                self._address_for_people, self._spool.path,
            )  # fmt: skip
        if self._buffer:
            logger.error("%d events are lost: neither database nor spool could be written", len(self._buffer))
        if self._database is not None:
            self._database.close()

    # -------------------------------------------------------------------------------------------------- writing

    def _flush(self) -> None:
        may_try = time.monotonic() >= self._retry_at
        if self._spool:
            # What waits goes first, so that events reach the database in their order.
            self._move_buffer_to_spool()
            if may_try:
                self._attempt(self._replay)
        elif self._buffer and may_try:
            self._attempt(self._write_buffer)
        if self._degraded:
            self._move_buffer_to_spool()

    def _attempt(self, write: Callable[[], None]) -> None:
        """Writes, and notes whether the database is there."""
        try:
            write()
        except Exception as error:  # `_write` has settled what is wrong with an event; this is the database's trouble
            if not self._degraded:
                self._log_failure("away; events wait in the spool", error)
            self._degraded = True
            self._retry_at = time.monotonic() + self._retry_after_s
            self._retry_after_s = min(2 * self._retry_after_s, _LONGEST_RETRY_S)
        else:
            self._degraded = False
            self._retry_after_s = _FIRST_RETRY_S

    def _write_buffer(self) -> None:
        self._write(self._buffer)
        self._buffer = []

    def _replay(self) -> None:
        with self._connected().writer.begin():
            pass  # before a long spool is read for nothing
        records = self._spool.read()
        for start in range(0, len(records), _BATCH):
            self._write(records[start : start + _BATCH])
        self._spool.clear()
        logger.info("database %s: wrote %d events that waited", self._address_for_people, len(records))

    def _move_buffer_to_spool(self) -> None:
        if not self._buffer:
            return
        try:
            self._spool.append(self._buffer)
        except OSError as error:
            if not self._spool_failed:
                logger.error("cannot write %s (%s); events are kept in memory", self._spool.path, error)
            self._spool_failed = True
            return
        self._spool_failed = False
        self._buffer = []

    def _write(self, records: Sequence[Record]) -> None:
        """Writes events in one transaction; one that the database refuses is put aside, and the others are written."""
        try:
            rejections = self._transaction(records)
        except Exception as error:
            if not _is_refusal(error):
                raise
            rejections = [found for record in records for found in self._transaction_of_one(record)]
        for rejection in rejections:
            self._spool.reject(rejection)

    def _transaction_of_one(self, record: Record) -> list[Rejection]:
        try:
            return self._transaction([record])
        except Exception as error:
            if not _is_refusal(error):
                raise
            return [Rejection(record, self._explain(error))]

    def _transaction(self, records: Sequence[Record]) -> list[Rejection]:
        database = self._connected()
        with database.writer.begin() as connection:
            return write_records(connection, records)

    def _connected(self) -> Database:
        """The database; with new connections where its file is not the one that the old ones had opened.

        A SQLite connection keeps writing into a file that has been deleted or moved away, without an error.
        """
        if self._database is None:
            self._address = self._address or _find_again(self._address_for_people)
            self._database = _open(self._address)
        database = self._database
        if database.address.is_sqlite:
            file = os.stat(database.address.path)
            if self._file_id not in (None, (file.st_dev, file.st_ino)):
                database.close()
            self._file_id = (file.st_dev, file.st_ino)
        return database

    # ------------------------------------------------------------------------------------------ talk and pickles

    def _explain(self, error: Exception) -> str:
        return self._address.explain(error) if self._address else str(error)

    def _log_failure(self, what: str, error: Exception) -> None:
        logger.warning(
            "database %s: %s (%s: %s)", self._address_for_people, what, type(error).__name__, self._explain(error)
        )

    def __getstate__(self) -> dict[str, Any]:
        address = self._address
        return {
            "address": address if address is not None and not address.secrets else None,
            "address_for_people": self._address_for_people,
            "flush_every_s": self._flush_every_s,
            "spool": self._spool.path,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._address = state["address"]
        self._database = None
        self._address_for_people = state["address_for_people"]
        self._flush_every_s = state["flush_every_s"]
        self._spool = Spool(state["spool"])
        self._start_empty()


def _open(address: Address) -> Database:
    return Database(address, create=False, timeout_s=_TIMEOUT_S)


def _find_again(address_for_people: str) -> Address:
    """The address, with its password, of which a pickled recorder knew only what may be shown."""
    address = resolve(None)
    if address.for_people != address_for_people:
        raise StoreError(
            f"Cannot reach {address_for_people}: its password is not kept, and {URL_VARIABLE} names another database. "
            f"Set {URL_VARIABLE} to the whole address."
        )
    return address


def _is_refusal(error: Exception) -> bool:
    """Whether the database (or its driver) refuses these very values, as opposed to being away or in trouble."""
    if isinstance(error, DBAPIError):
        # Neither driver has a class of its own for a value of a type that it cannot send.
        untyped = "binding parameter" in str(error.orig) or "cannot adapt" in str(error.orig)
        return isinstance(error, IntegrityError | DataError) or untyped
    return isinstance(
        error,
        StatementError | TypeError | ValueError | LookupError | AttributeError | ArithmeticError | AssertionError,
    )
