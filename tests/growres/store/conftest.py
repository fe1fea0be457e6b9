"""One suite over every store: `place` is a database with the newest schema, in SQLite and in PostgreSQL.

PostgreSQL comes from GROWRES_TEST_PG_URL (the address of a server where databases may be made and dropped), or else
from the server's programs on this machine, started once a session without fsync on a socket in a temporary folder.
Where there is neither, those tests are skipped and say why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text

from growres.events import AttemptStarted, EpochFinished, GrowthStepDecided, TrialFinished
from growres.store import NewExperiment, NewTrial, Recorder, Store, migration

CANARY = "canary-s3cr3t%pw"
"""A password that must never be seen."""

_database_numbers = count(1)


@dataclass(frozen=True)
class Place:
    """A database for one test."""

    url: str
    take_away: Callable[[], None]
    bring_back: Callable[[], None]
    execute: Callable[[str], None]

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")


# --------------------------------------------------------------------------------------------------------- SQLite


def sqlite_place(folder: Path, template: Path | None) -> Place:
    file = folder / "database" / "results.db"
    hidden = folder / "database-taken-away"
    file.parent.mkdir()
    if template is not None:
        shutil.copy(template, file)
    url = f"sqlite:///{file}"
    return Place(
        url=url,
        take_away=lambda: file.parent.rename(hidden) and None,
        bring_back=lambda: hidden.rename(file.parent) and None,
        execute=lambda sql: execute(create_engine(url), sql),
    )


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("template") / "template.db"
    migration.upgrade(f"sqlite:///{file}")
    return file


# ----------------------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    pytest.importorskip("psycopg", reason="the PostgreSQL driver psycopg is not installed")
    if given := os.environ.get("GROWRES_TEST_PG_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg")
        return
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL: GROWRES_TEST_PG_URL is not set, and its server programs are not on this machine")
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    # A socket's path may have 107 bytes at most, which pytest's own folders exceed.
    folder = Path(tempfile.mkdtemp(prefix="growres-pg-"))
    try:
        if as_user:
            shutil.chown(folder, "postgres", "postgres")
        yield from running_postgres(programs, as_user, folder)
    except (LookupError, subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"PostgreSQL cannot be started: {error}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def running_postgres(programs: Path, as_user: list[str], folder: Path) -> Iterator[URL]:
    def call(*command: str | Path) -> None:
        subprocess.run([*as_user, *command], check=True, capture_output=True, cwd=folder)

    data = folder / "data"
    call(programs / "initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--username=postgres", "-D", data)
    settings = f"-c fsync=off -c full_page_writes=off -c listen_addresses='' -c unix_socket_directories={folder}"
    call(programs / "pg_ctl", "start", "-w", "-D", data, "-l", folder / "log", "-o", settings)
    try:
        yield URL.create("postgresql+psycopg", username="postgres", database="postgres", query={"host": str(folder)})
    finally:
        call(programs / "pg_ctl", "stop", "-m", "immediate", "-D", data)


def postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    config = shutil.which("pg_config")
    folder = Path(subprocess.check_output([config, "--bindir"], text=True).strip()) if config else None
    return folder if folder and (folder / "initdb").exists() else None


@pytest.fixture(scope="session")
def postgres_template(postgres_server: URL) -> Iterator[str]:
    name = f"growres_template_{os.getpid()}"
    in_postgres(postgres_server, f"CREATE DATABASE {name}")
    migration.upgrade(postgres_server.set(database=name).render_as_string(hide_password=False))
    yield name
    in_postgres(postgres_server, f"DROP DATABASE {name} WITH (FORCE)")


def in_postgres(server: URL, *statements: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def postgres_place(server: URL, template: str | None) -> Iterator[Place]:
    name = f"growres_test_{os.getpid()}_{next(_database_numbers)}"
    in_postgres(server, f"CREATE DATABASE {name}" + (f" TEMPLATE {template}" if template else ""))
    url = server.set(database=name)
    if server.password is None:  # our own server trusts everyone, whatever the password
        url = url.set(password=CANARY)
    end_sessions = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    yield Place(
        url=url.render_as_string(hide_password=False),
        take_away=lambda: in_postgres(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", end_sessions),
        bring_back=lambda: in_postgres(server, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"),
        execute=lambda sql: execute(create_engine(url), sql),
    )
    in_postgres(server, f"DROP DATABASE {name} WITH (FORCE)")


def execute(engine: Engine, sql: str) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL TIME ZONE 'UTC'"))
        for statement in sql.split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement)
    engine.dispose()


# ---------------------------------------------------------------------------------------------------------- places


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GROWRES_HOME of the test's own, and no database but the one that it names."""
    monkeypatch.setenv("GROWRES_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GROWRES_DATABASE_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database that has the newest schema and no rows."""
    if request.param == "sqlite":
        yield sqlite_place(tmp_path, request.getfixturevalue("sqlite_template"))
    else:
        server = request.getfixturevalue("postgres_server")
        yield from postgres_place(server, request.getfixturevalue("postgres_template"))


@pytest.fixture(params=["sqlite", "postgres"])
def empty_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A database without any table."""
    if request.param == "sqlite":
        yield sqlite_place(tmp_path, None)
    else:
        yield from postgres_place(request.getfixturevalue("postgres_server"), None)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with Store.open(place.url) as store:
        yield store


@pytest.fixture
def recorder(place: Place, tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(place.url, tmp_path / "run" / "spool.jsonl")
    yield recorder
    recorder.close()


@pytest.fixture
def canary() -> str:
    return CANARY


# ------------------------------------------------------------------------------------------------- things to store


@pytest.fixture
def digits() -> Callable[..., NewExperiment]:
    """Makes an experiment with `seeds` trials of the variant `simons`, and as many of `lenet5`."""

    def make(name: str = "digits", seeds: int = 2, **provenance: Any) -> NewExperiment:
        grown = {"name": "preact_resnet", "blocks": [1, 1], "widths": [16, 32]}
        trials = []
        for seed in range(seeds):
            config = {"variant": "simons", "seed": seed, "sweep_point": {}, "model": grown}
            trials.append(
                NewTrial(variant="simons", seed=seed, procedure="growth", model="preact_resnet", config=config)
            )
        for seed in range(seeds):
            config = {"variant": "lenet5", "seed": seed, "sweep_point": {}, "model": {"name": "lenet5"}}
            trials.append(NewTrial(variant="lenet5", seed=seed, procedure="end_to_end", model="lenet5", config=config))
        text = f"name: {name}  # as it was read\n"
        return NewExperiment(
            name=name, spec_text=text, spec={"name": name}, trials=tuple(trials), provenance=provenance
        )

    return make


@pytest.fixture
def started() -> AttemptStarted:
    return AttemptStarted(host="bench", device="cpu", pid=4711)


@pytest.fixture
def epoch() -> Callable[..., EpochFinished]:
    def make(epoch: int = 1, **changes: Any) -> EpochFinished:
        values: dict[str, Any] = {
            "growth_step": 0, "arm": "network", "train_loss": 0.5 / epoch, "train_error": 0.25 / epoch,
            "val_loss": 0.75 / epoch, "val_error": 0.5 / epoch, "lr": 0.1, "train_flops": 10**12,
            "images_per_s": 1000.0, "epoch_s": 1.5,
        }  # fmt: skip
        return EpochFinished(epoch=epoch, **{**values, **changes})

    return make


@pytest.fixture
def decided() -> Callable[..., GrowthStepDecided]:
    def make(step: int = 1, **changes: Any) -> GrowthStepDecided:
        values: dict[str, Any] = {
            "round": step, "stage": 0, "block": 1, "initialiser": "zero_branch", "train_error_before": 0.25,
            "train_error_candidate": 0.125, "val_error_before": 0.5, "val_error_candidate": 0.25,
            "val_error_control": None, "p_value": None, "verdict": "accepted", "reason": "val_error fell",
            "num_params_before": 1000, "num_params_after": 1500, "epochs": 5, "train_flops": 5 * 10**12,
            "wall_s": 7.5, "max_logit_change": 0.0,
        }  # fmt: skip
        return GrowthStepDecided(step=step, **{**values, **changes})

    return make


@pytest.fixture
def finished() -> Callable[..., TrialFinished]:
    def make(**changes: Any) -> TrialFinished:
        values: dict[str, Any] = {
            "val_error": 0.25, "test_error": 0.375, "num_params": 1500, "num_blocks": 3,
            "train_flops": 3 * 10**18, "epochs": 10, "wall_s": 20.5, "reason": "trained 10 epochs",
            "architecture": {"name": "preact_resnet", "blocks": [2, 1], "widths": [16, 32]},
        }  # fmt: skip
        return TrialFinished(**{**values, **changes})

    return make


@pytest.fixture
def rows(store: Store) -> Callable[[str], Any]:
    """All that the store holds of a trial, to be compared."""

    def read(trial_id: str) -> Any:
        return (
            store.find_trial(trial_id),
            store.epochs(trial_id),
            store.growth_steps(trial_id),
            store.attempts(trial_id),
            store.artifacts(trial_id),
        )

    return read
