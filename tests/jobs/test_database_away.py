"""A real PostgreSQL restarted, taken away and brought back under a run: nothing is lost, nothing stands twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from growres.errors import StoreError
from growres.events import EpochFinished, Event, GrowthStepDecided, TrialFinished
from growres.store import Store, migration
from jobs import driver
from jobs.submission import resume, submit
from tests.databases import PostgresServer, in_postgres, postgres_programs
from tests.jobs.conftest import FIXED, GROWN, SpecWriter, Witness, science, undisturbed_science

pytestmark = [
    pytest.mark.embedded,  # it brings its own PostgreSQL
    pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL's server programs are not on this machine"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    with PostgresServer(safe=True) as server:
        yield server


@pytest.fixture
def database(server: PostgresServer, home: Path, monkeypatch: pytest.MonkeyPatch, request: Any) -> PostgresServer:
    """The server, with a database of the test's own as the store."""
    name = f"away_{abs(hash(request.node.name))}"
    in_postgres(server.url, f"CREATE DATABASE {name}")
    monkeypatch.setenv("GROWRES_DATABASE_URL", server.url.set(database=name).render_as_string(hide_password=False))
    migration.upgrade()
    return server


@pytest.fixture
def undisturbed(write_spec: SpecWriter, tmp_path: Path) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as alone:
        alone.delenv("GROWRES_DATABASE_URL", raising=False)
        alone.setenv("GROWRES_HOME", str(tmp_path / "alone"))
        return undisturbed_science(spec(write_spec))


def spec(write_spec: SpecWriter) -> Path:
    return write_spec({"grown": GROWN, "fixed": FIXED})


def once(kind: type[Event], action: Callable[[], object], *, after: int = 1) -> Witness:
    """A witness that does something at the nth event of a kind."""
    seen: list[Event] = []

    def react(trial_id: str, event: Event) -> None:
        if isinstance(event, kind):
            seen.append(event)
            if len(seen) == after:
                action()

    return Witness(react)


def away_for(server: PostgresServer, seconds: float) -> threading.Timer:
    server.stop("immediate")
    timer = threading.Timer(seconds, server.start)
    timer.start()
    return timer


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_is_not_noticed(
    undisturbed: dict[str, Any], database: PostgresServer, write_spec: SpecWriter, mode: str
) -> None:
    def restart() -> None:
        database.stop(mode)
        database.start()

    outcome = submit(spec(write_spec), backend="inline", progress=once(EpochFinished, restart, after=3))
    assert outcome.status == "succeeded"
    assert science(outcome.experiment_id) == undisturbed


# Issue-sized absences of a minute are the chaos run's: here the trials are over before the database is back.
@pytest.mark.parametrize(
    ("kind", "after"),
    [(EpochFinished, 2), pytest.param(GrowthStepDecided, 1, marks=pytest.mark.slow), (TrialFinished, 2)],
)
def test_while_it_is_away_the_trials_go_on_and_their_events_wait(
    undisturbed: dict[str, Any], database: PostgresServer, write_spec: SpecWriter, kind: type[Event], after: int
) -> None:
    timers: list[threading.Timer] = []
    witness = once(kind, lambda: timers.append(away_for(database, 6)), after=after)
    outcome = submit(spec(write_spec), backend="inline", progress=witness)
    timers[0].join()
    assert (outcome.status, outcome.num_succeeded) == ("succeeded", 2)
    assert science(outcome.experiment_id) == undisturbed
    with Store.open() as store:
        for trial in store.trials(outcome.experiment_id):
            assert [attempt["status"] for attempt in store.attempts(trial.id)] == ["succeeded"], "no trial noticed"
        run = store.runs.newest(outcome.experiment_id)
    assert run is not None and run.status == "succeeded"


def test_away_for_good_it_says_where_the_events_wait_and_resume_brings_them_in(
    undisturbed: dict[str, Any],
    database: PostgresServer,
    write_spec: SpecWriter,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(driver, "_WAIT_FOR_STORE_S", 1.0)
    witness = once(EpochFinished, lambda: database.stop("fast"), after=4)
    with pytest.raises(StoreError, match=r"wait in .*spool\.jsonl; they are written by: growres resume") as away:
        submit(spec(write_spec), backend="inline", progress=witness)
    assert away.value.exit_code == 3
    database.start()
    (folder,) = (home / "runs").iterdir()
    assert (folder / "spool.jsonl").exists()
    witness = Witness()
    outcome = resume(folder.name, backend="inline", progress=witness)
    assert outcome.status == "succeeded"
    assert not [event for _, event in witness.events if isinstance(event, EpochFinished)], "nothing is trained again"
    assert science(outcome.experiment_id) == undisturbed
    assert not (folder / "spool.jsonl").exists()
