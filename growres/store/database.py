"""Where the results are kept, and how a connection to that place is set up.

SQLite runs in WAL mode. A transaction that will write begins with BEGIN IMMEDIATE: one that began as a reader and then
wrote would fail at once when another process wrote in between, whatever its timeout.

A password is never shown: not in a message, a log line, a repr or a pickle.
"""

from __future__ import annotations

import dataclasses
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from growres.errors import ConfigError, StoreError
from growres.home import growres_home

URL_VARIABLE = "GROWRES_DATABASE_URL"
QUERY_URL_VARIABLE = "GROWRES_QUERY_DATABASE_URL"
"""Names the same database with a role that may only read, for queries."""
DEFAULT = "default"
"""On a command line: the database that is used where none is named."""

_ALLOWED = "Allowed are sqlite:///FILE and postgresql://USER@HOST/DATABASE"

_HINTS = {
    "file is not a database": "Name a file that growres made, or one that does not exist yet.",
    "malformed": "The file is damaged: put a backup in its place (growres db backup writes them).",
    "locked": "Another program is writing to it: try again when that has ended.",
    "lock timeout": "Another program is writing to it: try again when that has ended.",
    "readonly": "See that you may write to the file and to its folder.",
    "unable to open": "See that the folder exists and that you may write to it.",
    "Permission denied": "See that you may read and write the file and its folder.",
    "full": "Free some disk space.",
    "password": "See the user and password of the address, or of your password file (PGPASSFILE).",
}
_HINT_SQLITE = "See that the file can be read and written."
_HINT_POSTGRES = "See that the server runs and that {variable} names it."


def _is_secret(key: str) -> bool:
    """Whether an option of the address may hold a secret: password, oauth_client_secret, scram_client_key."""
    return any(sign in key.lower() for sign in ("password", "secret", "scram"))


@dataclass(frozen=True, slots=True)
class Address:
    """A database's resolved address; `embedded` is the SQLite file in GROWRES_HOME, reached without naming it."""

    url: URL = field(repr=False)
    embedded: bool = False
    variable: str = URL_VARIABLE
    """The environment's variable to look at where the database cannot be reached."""

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @property
    def path(self) -> Path:
        """The SQLite file."""
        assert self.is_sqlite and self.url.database is not None
        return Path(self.url.database)

    @property
    def for_people(self) -> str:
        """The address without its password, to be shown: a file's path as it is, not as a URL would spell it."""
        if self.is_sqlite:
            return f"sqlite:///{self.path}"
        hidden = {key: "hidden" for key in self.url.query if _is_secret(key)}
        return self.url.update_query_dict(hidden).render_as_string(hide_password=True)

    def __str__(self) -> str:
        return self.for_people

    @property
    def without_secrets(self) -> str:
        """The address as it may travel: whatever in it could be a password is gone, not blanked."""
        if self.is_sqlite:
            return f"sqlite:///{self.path}"
        secret = [key for key in self.url.query if _is_secret(key)]
        bare = self.url.difference_update_query(secret)._replace(password=None)
        return bare.render_as_string(hide_password=False)

    @property
    def secrets(self) -> list[str]:
        """The passwords that the address holds."""
        in_query = [str(value) for key, value in self.url.query.items() if _is_secret(key)]
        return ([str(self.url.password)] if self.url.password else []) + in_query

    def scrub(self, text: str) -> str:
        """The text with every form of the address's passwords blanked."""
        for secret in self.secrets:
            for form in {secret, quote(secret), quote_plus(secret), quote(secret, safe="")}:
                text = text.replace(form, "***")
        return text

    def explain(self, error: BaseException) -> str:
        """The first line of a database's error, without any password."""
        cause = getattr(error, "orig", None) or error
        lines = self.scrub(str(cause)).strip().splitlines()
        return lines[0].rstrip(". ") if lines else type(cause).__name__


def resolve(url: str | None) -> Address:
    """The address that a URL means; None stands for GROWRES_DATABASE_URL or else the SQLite file in GROWRES_HOME.

    Raises:
        StoreError: if it is no URL, or names a database that growres cannot use.
        ConfigError: if GROWRES_HOME is needed and cannot be made.
    """
    given = url or os.environ.get(URL_VARIABLE)
    if not given:
        return Address(URL.create("sqlite", database=str(growres_home() / "growres.db")), embedded=True)
    try:
        parsed = make_url(given)
    except (ArgumentError, ValueError):
        # The text itself stays unsaid: a mistyped URL still has its password in it.
        raise StoreError(f"Cannot read the database's address: it is not a URL. {_ALLOWED}.") from None
    match parsed.get_backend_name():
        case "sqlite":
            return Address(_absolute(parsed))
        case "postgresql" | "postgres":
            return Address(parsed.set(drivername="postgresql+psycopg"))
        case other:
            raise StoreError(f"Cannot keep results in a database of the kind {other!r}. {_ALLOWED}.")


def resolve_for_queries(url: str | None) -> Address:
    """The address for a query: None stands for GROWRES_QUERY_DATABASE_URL, or else for what it stands for elsewhere.

    Raises:
        StoreError, ConfigError: as `resolve`.
    """
    given = None if url else os.environ.get(QUERY_URL_VARIABLE)
    return dataclasses.replace(resolve(given), variable=QUERY_URL_VARIABLE) if given else resolve(url)


def resolve_argument(given: str) -> Address:
    """The address that a word of a command line means: a URL, a SQLite file's path, or `default`.

    Raises:
        StoreError: as `resolve`.
        ConfigError: if it has a password in it, which `ps` and the shell's history show to others.
    """
    if given == DEFAULT:
        return resolve(None)
    # Not by way of a URL's text, where some characters of a path mean something.
    address = resolve(given) if "://" in given else Address(_absolute(URL.create("sqlite", database=given)))
    if address.secrets:
        raise ConfigError(
            f"Cannot take the password of {address.for_people} from the command line: other people on this machine "
            f"can read it there. Put it into your password file (PGPASSFILE, by default ~/.pgpass), or the whole "
            f"address into {URL_VARIABLE} and write {DEFAULT} here."
        )
    return address


def _absolute(url: URL) -> URL:
    name = url.database or ""
    if name in ("", ":memory:") or name.startswith("file:"):
        raise StoreError(
            f"Cannot keep results in {str(url)!r}: it names no file that another process could open. "
            "Write sqlite:///results.db for a file in this folder, or sqlite:////data/results.db for one anywhere."
        )
    return URL.create("sqlite", database=str(Path(name).expanduser().absolute()))


class Database:
    """Connections to one database.

    Args:
        create: make a SQLite file that does not exist. Its folder must exist.
        timeout_s: how long to wait for another writer's lock (SQLite), or for the server to answer (PostgreSQL).
    Raises:
        StoreError: if the driver that the address needs is not installed.
    """

    def __init__(self, address: Address, *, create: bool = True, timeout_s: float = 30.0) -> None:
        self.address = address
        self.engine = _sqlite(address, create, timeout_s) if address.is_sqlite else _postgres(address, timeout_s)
        self.writer = self.engine.execution_options(writes=True)

    def __repr__(self) -> str:
        return f"Database({self.address.for_people!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads; the database's errors come out as StoreError."""
        with self.errors("read"), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that may write, committed at its end; the database's errors come out as StoreError."""
        with self.errors("write to"), self.writer.begin() as connection:
            yield connection

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Turns what a driver raises into a StoreError that says what could not be done and what to do about it."""
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error, OSError, OverflowError) as error:
            raise self.store_error(doing, error) from None

    def store_error(self, doing: str, error: BaseException) -> StoreError:
        reason = self.address.explain(error)
        default = _HINT_SQLITE if self.address.is_sqlite else _HINT_POSTGRES.format(variable=self.address.variable)
        hint = next((hint for fragment, hint in _HINTS.items() if fragment in reason), default)
        return StoreError(f"Cannot {doing} the database {self.address.for_people}: {reason}. {hint}")


def _sqlite(address: Address, create: bool, timeout_s: float) -> Engine:
    uri = f"file:{quote(str(address.path))}?mode={'rwc' if create else 'rw'}"

    def connect() -> sqlite3.Connection:
        # isolation_level=None: the sqlite3 module begins no transactions of its own; `begin` below does.
        return sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _postgres(address: Address, timeout_s: float) -> Engine:
    defaults = {
        "application_name": "growres",
        "connect_timeout": str(max(2, round(timeout_s))),
        # A server that has vanished without a word is noticed after this long (ms), not after the system's two hours.
        "tcp_user_timeout": str(round(1000 * timeout_s)),
    }
    chosen = {key: value for key, value in defaults.items() if key not in address.url.query}
    try:
        engine = create_engine(address.url, connect_args=chosen, pool_pre_ping=True)
    except ImportError:
        raise StoreError(
            f"Cannot reach {address.for_people}: the PostgreSQL driver psycopg is not installed. "
            'Install it with: pip install "growres[postgres]"'
        ) from None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("writes", False):
            # Otherwise one who waits for a row that another holds would wait for ever.
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {round(1000 * timeout_s)}")

    return engine
