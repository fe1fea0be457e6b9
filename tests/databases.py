"""Databases for tests, SQLite and PostgreSQL: a plugin that tests/conftest.py loads.

`place` and `empty_place` run a test over both. Everywhere else a test uses the embedded SQLite store of its
GROWRES_HOME; with `--store postgresql` it finds in GROWRES_DATABASE_URL a PostgreSQL database of its own instead, and a
module or test marked `every_store` runs over both in any case. One that is about the SQLite file is marked `embedded`.

PostgreSQL comes from GROWRES_TEST_PG_URL (the address of a server where databases may be made and dropped), or else
from the server's programs on this machine, started once a session without fsync on a socket in a temporary folder.
Where there is neither, those tests are skipped and say why.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, quote_plus

import pytest
from sqlalchemy import URL, Engine, create_engine, make_url, text

from growres.store import migration
from growres.store.database import resolve

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


# ------------------------------------------------------------------------------------------------------ the password


def encodings(secret: str) -> set[bytes]:
    """The forms that a careless program may write a secret in."""
    plain = secret.encode()
    forms = {plain, quote(secret).encode(), quote(secret, safe="").encode(), quote_plus(secret).encode()}
    forms |= {quote(form.decode(), safe="").encode() for form in forms}  # as a part of a URL within a URL
    forms |= {json.dumps(secret)[1:-1].encode(), repr(secret)[1:-1].encode(), plain.hex().encode(), plain[::-1]}
    for before in range(3):  # what base64 makes of a text depends on where it begins
        inner = base64.b64encode(b"x" * before + plain)[4:-4]
        forms |= {inner, inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return forms | {secret.encode("utf-16-le"), secret.encode("utf-32-le")}


_FORMS = encodings(CANARY) | encodings(CANARY.partition("%")[0])  # what follows may be written in other ways yet


def traces(content: bytes) -> list[bytes]:
    """The forms in which the password stands in there."""
    return [form for form in _FORMS if form in content]


def canaries_below(*folders: Path) -> list[Path]:
    """The files below the folders in which the password stands in some form."""
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if traces(path.read_bytes())]


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
    if postgres_programs() is None:
        pytest.skip("no PostgreSQL: GROWRES_TEST_PG_URL is not set, and its server programs are not on this machine")
    try:
        with PostgresServer() as server:
            yield server.url
    except (LookupError, subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"PostgreSQL cannot be started: {error}")


class PostgresServer:
    """A server of one's own, reached through a socket; it runs while inside, and may be stopped and started there.

    Args:
        safe: write through to the disk, as a server does whose data should outlive a power cut.
    """

    def __init__(self, *, safe: bool = False) -> None:
        programs = postgres_programs()
        assert programs is not None, "PostgreSQL's server programs are not on this machine"
        self._programs = programs
        self._as_user = (
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        )
        # A socket's path may have 107 bytes at most, which pytest's own folders exceed.
        self._folder = Path(tempfile.mkdtemp(prefix="growres-pg-"))
        self._data = self._folder / "data"
        self._settings = f"-c listen_addresses='' -c unix_socket_directories={self._folder}"
        self._settings += "" if safe else " -c fsync=off -c full_page_writes=off"
        self.url = URL.create(
            "postgresql+psycopg", username="postgres", database="postgres", query={"host": str(self._folder)}
        )

    def __enter__(self) -> Self:
        try:
            if self._as_user:
                shutil.chown(self._folder, "postgres", "postgres")
            initdb = ("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--username=postgres")
            self._call(*initdb, "-D", self._data)
            self.start()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if (self._data / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        self._call("pg_ctl", "start", "-w", "-D", self._data, "-l", self._folder / "log", "-o", self._settings)

    def stop(self, mode: str) -> None:
        """Stops it: `fast` ends the sessions, `immediate` is as a power cut."""
        self._call("pg_ctl", "stop", "-w", "-m", mode, "-D", self._data)

    def _call(self, program: str, *arguments: str | Path) -> None:
        command = [*self._as_user, self._programs / program, *arguments]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder)


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


# ------------------------------------------------------------------------------------------------- the default store


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--store",
        choices=["sqlite", "postgresql"],
        default="sqlite",
        help="the database that tests use where they name none (default: the embedded SQLite file)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = metafunc.definition.get_closest_marker
    if marked("every_store") and not marked("embedded"):
        metafunc.parametrize("default_store", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def default_store(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test finds where it names no database: the file in its home, or a PostgreSQL database of its own."""
    kind = getattr(request, "param", request.config.getoption("--store"))
    if kind == "sqlite" or request.node.get_closest_marker("embedded"):
        yield
        return
    server, template = request.getfixturevalue("postgres_server"), request.getfixturevalue("postgres_template")
    for place in postgres_place(server, template):
        monkeypatch.setenv("GROWRES_DATABASE_URL", place.url)
        yield


def in_store(sql: str, **values: Any) -> int:
    """Runs one statement in the store that a test finds where it names none; gives the number of rows it changed."""
    engine = create_engine(resolve(None).url)
    with engine.begin() as connection:
        changed = connection.execute(text(sql), values).rowcount
    engine.dispose()
    return changed
