"""A file of events that wait for the database: one JSON object a line, each line on the disk before the next event.

    {"trial_id": "k3f9xa-1", "attempt": 1, "recorded_at": "2026-01-01T12:00:00+00:00", "event": {"event": ..., ...}}

Beside it, `<spool>.rejected` keeps what the store can never hold, with the reason under "reason".
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from growres import events
from growres.store.columns import storable
from growres.store.writing import Record, Rejection

logger = logging.getLogger(__name__)


class Spool:
    """The events in `path`, oldest first. The file exists only while something waits in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rejected_path = path.with_name(path.name + ".rejected")
        self._num_waiting: int | None = None

    def __bool__(self) -> bool:
        return os.path.exists(self.path)  # unlike Path.exists, this never raises

    @property
    def num_waiting(self) -> int:
        """Events in the file."""
        if not self:
            return 0
        if self._num_waiting is None:  # what an earlier process left
            try:
                self._num_waiting = self.path.read_bytes().count(b"\n")
            except OSError:
                return 0
        return self._num_waiting

    def append(self, records: Iterable[Record]) -> None:
        """Adds events, and returns when they are on the disk.

        Raises:
            OSError: if they cannot be written; part of them may have been.
        """
        lines = []
        for record in records:
            try:
                lines.append(_to_json(record))
            except (TypeError, ValueError) as error:
                self.reject(Rejection(record, f"it cannot be written as JSON: {error}"))
        waiting = self.num_waiting
        _append_lines(self.path, lines)
        self._num_waiting = waiting + len(lines)

    def read(self) -> list[Record]:
        """All events that wait. A line that cannot be read, such as one cut off by a crash, is kept among the rejected.

        Raises:
            OSError: if the file cannot be read.
        """
        records = []
        for line in self.path.read_text(encoding="utf-8", errors="replace").split("\n"):
            if not line.strip():
                continue
            try:
                records.append(_from_json(line))
            except (ValueError, KeyError, TypeError) as error:
                logger.warning("spool %s: a line cannot be read (%s: %s)", self.path, type(error).__name__, error)
                self._append_rejected({"line": line, "reason": f"it cannot be read: {error!r}"})
        return records

    def clear(self) -> None:
        self.path.unlink(missing_ok=True)
        self._num_waiting = 0

    def reject(self, rejection: Rejection) -> None:
        """Puts an event aside for a person to look at."""
        record = rejection.record
        logger.error(
            "trial %s, attempt %d: %s cannot be stored (%s); kept in %s",
            record.trial_id, record.attempt, type(record.event).__name__, rejection.reason, self.rejected_path,
        )  # fmt: skip
        try:
            self._append_rejected({**json.loads(_to_json(record)), "reason": rejection.reason})
        except (TypeError, ValueError):
            self._append_rejected({"event": repr(record), "reason": rejection.reason})

    def _append_rejected(self, entry: dict[str, Any]) -> None:
        try:
            _append_lines(self.rejected_path, [json.dumps(entry)])
        except OSError as error:
            logger.error("cannot write %s: %s", self.rejected_path, error)


def _to_json(record: Record) -> str:
    values = {
        "trial_id": record.trial_id,
        "attempt": record.attempt,
        "recorded_at": record.recorded_at.isoformat(),
        "event": storable(events.to_dict(record.event)),
    }
    return json.dumps(values, allow_nan=False)


def _from_json(line: str) -> Record:
    values = json.loads(line)
    return Record(
        trial_id=values["trial_id"],
        attempt=values["attempt"],
        recorded_at=datetime.fromisoformat(values["recorded_at"]),
        event=events.from_dict(values["event"]),
    )


def _append_lines(path: Path, lines: list[str]) -> None:
    if not lines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell() > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # a crash cut the last line off: what comes now must not be glued to it
                file.write(b"\n")
        file.write(("\n".join(lines) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
