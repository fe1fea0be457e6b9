"""Which schema a database has, and how it becomes this program's.

Alembic's migrations are the only place where the schema changes. Its library is imported when there is something to
change; opening a store that is up to date reads one row. Revisions are numbered, so their files' names tell the newest.

The embedded SQLite store upgrades itself, after a backup. A database that somebody named is theirs: it is set up when
it is an empty SQLite file, and otherwise left alone until `growres db upgrade`.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout
from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.exc import OperationalError

import growres
from growres.errors import BusyError, SchemaMismatchError, StoreError
from growres.home import growres_home
from growres.store.database import URL_VARIABLE, Address, Database, resolve
from growres.store.database_clock import seconds_since
from growres.store.rows import STALE_AFTER_S
from growres.store.tables import GROWTH_CURVE, LEADERBOARD, Base, Run

if TYPE_CHECKING:
    from alembic.config import Config

logger = logging.getLogger(__name__)

FOR_A_NEWER_SCHEMA = f"install that one (pip install --upgrade growres), or name another database in {URL_VARIABLE}"
"""What to do about a database that a newer growres made."""

_VERSION_TABLE = "alembic_version"
_LOCK_TIMEOUT_S = 120.0
_ADVISORY_LOCK = 0x67726F77  # any number will do, as long as every growres takes the same


@dataclass(frozen=True, slots=True)
class Upgrade:
    """What an upgrade did; `before` is None for a database that was empty, `backup` where nothing needed one."""

    before: str | None
    after: str
    backup: Path | None


def migrations_folder() -> Path:
    """The folder of the migrations: inside the package in a wheel, alembic/ in a checkout."""
    package = Path(growres.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "alembic"


def revisions() -> list[str]:
    """All revisions that this program knows, oldest first."""
    return sorted(path.name.split("_")[0] for path in (migrations_folder() / "versions").glob("[0-9]*.py"))


def head_revision() -> str:
    """The revision that this program was written for."""
    return revisions()[-1]


def current_revision(url: str | None = None) -> str | None:
    """The revision of a database; None if it is empty, or a SQLite file that does not exist (and is not made here).

    Raises:
        StoreError: if it cannot be reached.
        SchemaMismatchError: if it holds tables that growres did not make.
    """
    address = resolve(url)
    if address.is_sqlite and not address.path.exists():
        return None
    with Database(address) as database, database.reading() as connection:
        return revision_of(address, connection)


def upgrade(url: str | None = None) -> Upgrade:
    """Brings a database to this program's schema. A SQLite file that holds anything is backed up first.

    Raises:
        StoreError: if it cannot be reached.
        SchemaMismatchError: if it is newer than this program, or not growres's.
    """
    with Database(resolve(url)) as database:
        return upgrade_database(database)


def prepare(database: Database, *, upgrade: bool | None) -> None:
    """Makes sure that a database has this program's schema.

    Args:
        upgrade: True: upgrade it where needed; False: never; None: if it is the embedded one, or an empty SQLite file.
    Raises:
        SchemaMismatchError: if it has another schema and may not be changed.
    """
    address = database.address
    with database.reading() as connection:
        revision = revision_of(address, connection)
    may_upgrade = address.embedded or (address.is_sqlite and revision is None) if upgrade is None else upgrade
    if not may_upgrade:
        refuse_other(address, revision)
    elif revision != head_revision():
        upgrade_database(database)


def refuse_other(address: Address, revision: str | None) -> None:
    """Returns if a database of this revision, None for an empty one, can be read.

    Raises:
        SchemaMismatchError: if its schema is newer or older than this program's.
    """
    _refuse_newer(address, revision)
    if revision != head_revision():
        found = f"has the older schema {revision}" if revision else "is empty"
        raise SchemaMismatchError(
            f"The database {address.for_people} {found}; this growres needs schema {head_revision()}. "
            "Run: growres db upgrade"
        )


def find_revision(address: Address, tables: Collection[str], ask: Callable[[str], str | None]) -> str | None:
    """The revision of a database; None if it is empty.

    Args:
        tables: the names of its tables.
        ask: answers a SELECT that gives at most one value.
    Raises:
        SchemaMismatchError: if it holds tables that growres did not make.
    """
    if _VERSION_TABLE in tables:
        return ask(f"SELECT version_num FROM {_VERSION_TABLE}")
    if tables:
        raise SchemaMismatchError(
            f"The database {address.for_people} holds tables that growres did not make "
            f"({', '.join(sorted(tables)[:3])}). Give growres a database of its own."
        )
    return None


def revision_of(address: Address, connection: Connection) -> str | None:
    """`find_revision`, over a connection."""
    tables = inspect(connection).get_table_names()
    return find_revision(address, tables, lambda sql: connection.execute(text(sql)).scalar())


def upgrade_database(database: Database) -> Upgrade:
    """`upgrade`, for a database that is open already. Processes that come together wait for one another."""
    with _file_lock(database), database.errors("upgrade"):
        with database.reading() as connection:
            before = revision_of(database.address, connection)
        _refuse_newer(database.address, before)
        if before == head_revision():
            return Upgrade(before=before, after=before, backup=None)
        saved = _backup_sqlite(database) if before is not None and database.address.is_sqlite else None
        with _migration_connection(database) as connection:
            before = revision_of(database.address, connection)  # another process may have been at it meanwhile
            _refuse_newer(database.address, before)
            if before == head_revision():
                return Upgrade(before=before, after=before, backup=saved)
            _refuse_while_running(database.address, connection)
            _run_migrations(connection)
        logger.info("database %s: schema %s -> %s", database.address.for_people, before or "empty", head_revision())
        return Upgrade(before=before, after=head_revision(), backup=saved)


def check(url: str | None = None) -> list[str]:
    """What is wrong with a database, in words; an empty list if it is sound and its schema is this program's.

    Raises:
        StoreError: if it cannot be reached.
    """
    with Database(resolve(url), create=False) as database, database.reading() as connection:
        try:
            revision = revision_of(database.address, connection)
            _refuse_newer(database.address, revision)
        except SchemaMismatchError as error:
            return [str(error)]
        if revision != head_revision():
            return [f"The schema is {revision or 'empty'}, not {head_revision()}. Run: growres db upgrade"]
        return _schema_differences(connection) + (_sqlite_damage(connection) if database.address.is_sqlite else [])


def backup(url: str | None = None) -> Path:
    """Copies a SQLite store, also one in use, to <GROWRES_HOME>/backups; returns the copy's path.

    Raises:
        StoreError: for PostgreSQL, which has pg_dump; if there is no such file; if the copy cannot be written.
    """
    address = resolve(url)
    if not address.is_sqlite:
        raise StoreError(
            f"Cannot back up {address.for_people}: growres copies SQLite files only. "
            f"Use PostgreSQL's own: pg_dump --format=custom --file=growres.dump {address.url.database or ''}".rstrip()
        )
    if not address.path.is_file():
        raise StoreError(f"Cannot back up {address.for_people}: there is no such file yet.")
    with Database(address, create=False) as database:
        return _backup_sqlite(database)


# ------------------------------------------------------------------------------------------------------ the steps


def _refuse_newer(address: Address, revision: str | None) -> None:
    if revision is not None and revision not in revisions():
        raise SchemaMismatchError(
            f"The database {address.for_people} has schema {revision}; this growres, {growres.__version__}, "
            f"knows schemas up to {head_revision()}. A newer growres made it: {FOR_A_NEWER_SCHEMA}."
        )


def _refuse_while_running(address: Address, connection: Connection) -> None:
    """A driver that runs would write by the older schema into the newer one."""
    if not inspect(connection).has_table("run"):
        return
    since = seconds_since(Run.heartbeat_at)
    alive = (Run.ended_at.is_(None), Run.started_at.is_not(None), func.abs(since) < STALE_AFTER_S)
    if (
        running := connection.execute(select(Run.experiment_id).where(*alive).order_by(Run.experiment_id))
        .scalars()
        .all()
    ):
        raise BusyError(
            f"Cannot upgrade {address.for_people} while it is written to: experiment {', '.join(running)} is being "
            f"run. Wait for its end, or stop it (growres stop {running[0]}) and resume it after the upgrade."
        )


@contextmanager
def _file_lock(database: Database) -> Iterator[None]:
    """One process upgrades a SQLite file; the others wait. (PostgreSQL's lock is taken with the connection.)"""
    if not database.address.is_sqlite:
        yield
        return
    lock = FileLock(f"{database.address.path}.upgrade.lock", timeout=_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
    except Timeout:
        raise _waited_in_vain(database) from None
    except OSError as error:
        raise database.store_error("upgrade", error) from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _migration_connection(database: Database) -> Iterator[Connection]:
    """A connection inside one transaction over all migrations: they are made together, or none is."""
    with database.writer.connect() as connection:
        if database.address.is_sqlite:
            # SQLite changes a table by making a new one and dropping the old, which would take the rows that
            # refer to it along. The setting has no effect inside a transaction.
            _pragma(connection, "foreign_keys=OFF")
        try:
            with connection.begin():
                if not database.address.is_sqlite:
                    _lock_postgres(database, connection)
                yield connection
        finally:
            if database.address.is_sqlite:
                _pragma(connection, "foreign_keys=ON")


def _lock_postgres(database: Database, connection: Connection) -> None:
    """One process upgrades a PostgreSQL database; the others wait until its transaction has ended."""
    for_rows = connection.execute(text("SELECT current_setting('lock_timeout')")).scalar_one()
    connection.execute(text(f"SET LOCAL lock_timeout = {round(1000 * _LOCK_TIMEOUT_S)}"))
    try:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    except OperationalError as error:
        if "lock timeout" not in str(error.orig):
            raise
        raise _waited_in_vain(database) from None
    connection.execute(text("SELECT set_config('lock_timeout', :before, true)"), {"before": for_rows})


def _waited_in_vain(database: Database) -> StoreError:
    return StoreError(
        f"Cannot upgrade {database.address.for_people}: another process has been at it for {_LOCK_TIMEOUT_S:g} s. "
        "See whether a growres hangs, and end it."
    )


def _pragma(connection: Connection, setting: str) -> None:
    raw = connection.connection.dbapi_connection
    assert isinstance(raw, sqlite3.Connection)
    raw.execute(f"PRAGMA {setting}")


def _run_migrations(connection: Connection) -> None:
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def alembic_config() -> Config:
    """Alembic's configuration without a file; hand the connection over in `attributes["connection"]`."""
    from alembic.config import Config

    config = Config()
    # A percent sign begins an interpolation in the configuration's format.
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _backup_sqlite(database: Database) -> Path:
    source = database.address.path
    now = datetime.now(UTC)
    with database.errors("back up"):
        folder = growres_home() / "backups"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{source.stem}-{now:%Y%m%dT%H%M%S}-{now.microsecond:06d}Z.db"
        # A half-written copy must not look like a backup.
        partial = target.with_suffix(".partial")
        try:
            with closing(sqlite3.connect(source, timeout=30, isolation_level=None)) as connection:
                connection.execute("VACUUM INTO ?", (str(partial),))
            partial.rename(target)
        finally:
            partial.unlink(missing_ok=True)
    logger.info("database %s: saved as %s", database.address.for_people, target)
    return target


def _schema_differences(connection: Connection) -> list[str]:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    differences = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    problems = [f"The schema differs from this program's: {difference!r}" for difference in differences]
    views = set(inspect(connection).get_view_names())
    problems += [f"The view {view.name} is missing." for view in (LEADERBOARD, GROWTH_CURVE) if view.name not in views]
    return problems


def _sqlite_damage(connection: Connection) -> list[str]:
    findings = connection.exec_driver_sql("PRAGMA integrity_check").scalars().all()
    problems = [f"SQLite's integrity check: {finding}" for finding in findings if finding != "ok"]
    orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    return problems + ([f"{len(orphans)} rows refer to a row that does not exist."] if orphans else [])
