"""How many epoch rows a second the recorder puts into SQLite, and into PostgreSQL."""

from __future__ import annotations

import itertools
import statistics
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from growres.store import Recorder
from tests.bench.measuring import Row
from tests.bench.stored import STARTED, epochs, new_store, num_epoch_rows
from tests.databases import PostgresServer, in_postgres, postgres_programs

_NUM_ROWS = 20_000
_NUM_TRIALS = 20


def run(quick: bool) -> list[Row]:
    """Wall time from the first event, given to Recorder.record as a driver does, until the last row is in the database.

    PostgreSQL, where its programs are on this machine, writes through to the disk and is reached by a socket.
    """
    rounds = 1 if quick else 3
    rows = [_row("recorder", "SQLite", [_rows_per_s(None) for _ in range(rounds)])]
    if postgres_programs() is not None:
        with PostgresServer(safe=True) as server:

            def into_postgres(number: int) -> float:
                in_postgres(server.url, f"CREATE DATABASE bench_{number}")
                return _rows_per_s(server.url.set(database=f"bench_{number}").render_as_string(hide_password=False))

            rows.append(_row("recorder, PostgreSQL", "PostgreSQL", [into_postgres(number) for number in range(rounds)]))
    return rows


def _row(name: str, database: str, rates: list[float]) -> Row:
    return Row(
        name=name,
        compares=f"{_NUM_ROWS:,} epoch rows of {_NUM_TRIALS} trials into {database}",
        figure=statistics.median(rates),
        figure_unit="rows/s",
        ours=statistics.median(rates),
        unit="rows/s",
        samples={"rows/s": rates},
    )


def _rows_per_s(url: str | None) -> float:
    with TemporaryDirectory() as folder:
        url, trial_ids = new_store(Path(folder), _NUM_TRIALS, url=url)
        events = list(itertools.islice(epochs(), _NUM_ROWS // _NUM_TRIALS))
        with closing(Recorder(url, Path(folder) / "spool.jsonl")) as recorder:
            for trial_id in trial_ids:
                recorder.record(trial_id, 1, STARTED)
            started = time.perf_counter()
            for event in events:
                for trial_id in trial_ids:
                    recorder.record(trial_id, 1, event)
            recorder.flush()
            elapsed_s = time.perf_counter() - started
            assert not recorder.degraded
        assert num_epoch_rows(url, trial_ids) == _NUM_ROWS
        return _NUM_ROWS / elapsed_s
