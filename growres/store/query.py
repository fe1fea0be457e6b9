"""One SELECT over the store, in a connection that can do nothing else, under a time and a row limit.

SQLite: mode=ro alone still lets ATTACH and VACUUM INTO create files, and query_only can be switched off in SQL; so an
authorizer allows reading and nothing more. PostgreSQL: the text is declared as a cursor over the extended protocol,
which takes a single query that changes nothing, in a read-only transaction. What the database's user may do on the
server with a function, such as a superuser's pg_read_file, a query may do too. So GROWRES_QUERY_DATABASE_URL may name
the same database with a role that has SELECT alone; `growres db reader-sql` writes the SQL that makes one.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from growres.errors import QueryError, StoreError
from growres.store.database import Address, Database, resolve_for_queries
from growres.store.migration import find_revision, refuse_other

_READING_ONLY = "Only reading is allowed: one SELECT (or WITH ... SELECT) over the store's tables and views."
_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_FORBIDDEN_FUNCTIONS = frozenset({"load_extension", "fts3_tokenizer"})
_STEPS_BETWEEN_LOOKS = 10_000
"""SQLite's virtual machine steps, some tenths of a millisecond, between two looks at the clock."""
_LARGEST_VALUE = 64 * 2**20
"""Bytes. Without it, one zeroblob() asks for a gigabyte."""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """The rows of a query, as None, bool, int, float and str on either database."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool
    """Whether there were more rows than allowed."""


def run_read_only(url: str | None, sql: str, *, timeout_s: float, max_rows: int) -> QueryResult:
    """Runs one query that reads.

    Args:
        url: None: GROWRES_QUERY_DATABASE_URL, or else the database that is used everywhere.
    Raises:
        QueryError: if it would write, is more than one statement, is wrong, or takes longer than `timeout_s`.
        StoreError: if the database cannot be reached.
        SchemaMismatchError: if its schema is not this program's; nothing is upgraded here.
    """
    address = resolve_for_queries(url)
    if not sql.strip().rstrip(";").strip():
        raise QueryError(f"Cannot run an empty query. {_READING_ONLY}")
    if "\0" in sql:
        raise QueryError("Cannot run a query that contains a NUL character.")
    run = _run_on_sqlite if address.is_sqlite else _run_on_postgres
    return run(address, sql, timeout_s, max_rows)


def _refuse_other_schema(address: Address, cursor: Any, list_tables: str) -> None:
    """Asks a cursor of either database's driver."""

    def ask(sql: str) -> str | None:
        row = cursor.execute(sql).fetchone()
        return row[0] if row else None

    tables = [name for (name,) in cursor.execute(list_tables).fetchall()]
    refuse_other(address, find_revision(address, tables, ask))


def _too_slow(timeout_s: float) -> QueryError:
    return QueryError(f"Cannot answer within {timeout_s:g} s: the query was stopped. Narrow it, or allow it more time.")


def _denied(what: str) -> QueryError:
    return QueryError(f"Cannot run this query: {what}. {_READING_ONLY}")


def _wrong(reason: str) -> QueryError:
    return QueryError(f"Cannot run this query: {reason}")


def _result(columns: list[str], rows: list[Any], max_rows: int) -> QueryResult:
    kept = tuple(tuple(_plain(value) for value in row) for row in rows[:max_rows])
    return QueryResult(columns=tuple(columns), rows=kept, truncated=len(rows) > max_rows)


def _plain(value: Any) -> Any:
    """The value as None, bool, int, float or str, and the same from either database."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):  # what PostgreSQL makes of sums and means of integers
        return int(value) if value == value.to_integral_value() and value.as_tuple().exponent == 0 else float(value)
    if isinstance(value, datetime):
        utc = value.astimezone(UTC) if value.tzinfo else value
        return utc.strftime("%Y-%m-%d %H:%M:%S.%f")
    if isinstance(value, dict | list):
        return json.dumps(value)
    return value.hex() if isinstance(value, bytes) else str(value)


# --------------------------------------------------------------------------------------------------------- SQLite

_SQLITE_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'"


def _run_on_sqlite(address: Address, sql: str, timeout_s: float, max_rows: int) -> QueryResult:
    deadline = time.monotonic() + timeout_s
    denials: list[str] = []
    with closing(_connect_read_only(address, timeout_s)) as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
        connection.set_authorizer(_authorizer(denials))
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS_BETWEEN_LOOKS)
        try:
            cursor = connection.cursor()
            _refuse_other_schema(address, cursor, _SQLITE_TABLES)
            cursor.execute(sql)
            rows = cursor.fetchmany(max_rows + 1)
        except (sqlite3.Error, sqlite3.Warning, OverflowError, MemoryError) as error:
            if denials:
                raise _denied(denials[0]) from None
            if "interrupted" in str(error):
                raise _too_slow(timeout_s) from None
            if "one statement at a time" in str(error):
                raise _denied("it is more than one statement") from None
            raise _wrong(str(error) or type(error).__name__) from None
        if cursor.description is None:
            raise _denied("it returns nothing")
        return _result([column[0] for column in cursor.description], rows, max_rows)


def _connect_read_only(address: Address, timeout_s: float) -> sqlite3.Connection:
    if not address.path.is_file():
        raise StoreError(f"Cannot read {address.for_people}: there is no such file yet. Run: growres submit SPEC")
    uri = address.path.as_uri() + "?mode=ro"
    try:
        return _probed(uri, timeout_s)
    except sqlite3.Error as error:
        # WAL needs a -shm file beside the database even for reading. In a folder that cannot be written to, and where
        # no log is left to be read, nobody can be writing either.
        no_place = "unable to open" in str(error) or "readonly" in str(error)
        if no_place and not address.path.with_name(address.path.name + "-wal").exists():
            return _probed(uri + "&immutable=1", timeout_s)
        raise StoreError(f"Cannot read {address.for_people}: {error}.") from None


def _probed(uri: str, timeout_s: float) -> sqlite3.Connection:
    """A connection that has read something: SQLite opens the file's companions only then."""
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _authorizer(denials: list[str]) -> Callable[[int, str | None, str | None, str | None, str | None], int]:
    def authorize(action: int, _first: str | None, second: str | None, *_: str | None) -> int:
        function = (second or "").lower() if action == sqlite3.SQLITE_FUNCTION else ""
        if action in _READING and function not in _FORBIDDEN_FUNCTIONS:
            return sqlite3.SQLITE_OK
        denials.append(f"{function}() is not allowed" if function else "it does more than read")
        return sqlite3.SQLITE_DENY

    return authorize


# ----------------------------------------------------------------------------------------------------- PostgreSQL

_POSTGRES_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"


def _run_on_postgres(address: Address, sql: str, timeout_s: float, max_rows: int) -> QueryResult:
    import psycopg

    with Database(address, timeout_s=max(timeout_s, 5.0)) as database:
        try:
            pooled = database.engine.raw_connection()
        except (SQLAlchemyError, psycopg.OperationalError) as error:  # a raw connection's error comes unwrapped
            raise database.store_error("read", error) from None
        with closing(pooled):
            connection = pooled.driver_connection
            assert isinstance(connection, psycopg.Connection)
            try:
                return _fetch(address, connection, sql, timeout_s, max_rows)
            except psycopg.errors.QueryCanceled:
                raise _too_slow(timeout_s) from None
            except psycopg.errors.ReadOnlySqlTransaction:
                raise _denied("it does more than read") from None
            except psycopg.OperationalError as error:
                raise database.store_error("read", error) from None
            except psycopg.Error as error:
                raise _explained(error) from None
            finally:
                connection.rollback()


def _fetch(address: Address, connection: Any, sql: str, timeout_s: float, max_rows: int) -> QueryResult:
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute(f"SET LOCAL statement_timeout = {max(1, round(1000 * timeout_s))}")
        _refuse_other_schema(address, cursor, _POSTGRES_TABLES)
        # A line break, because the query may end in a comment. Prepared: that protocol takes one statement only.
        cursor.execute(f"DECLARE growres_query NO SCROLL CURSOR FOR\n{sql}\n", prepare=True)
        cursor.execute(f"FETCH FORWARD {max_rows + 1} FROM growres_query")
        return _result([column.name for column in cursor.description or ()], cursor.fetchall(), max_rows)


def _explained(error: Any) -> QueryError:
    message = error.diag.message_primary or str(error)
    if "multiple commands" in message:
        return _denied("it is more than one statement")
    syntax_error, feature_not_supported = "42601", "0A000"
    if error.sqlstate == feature_not_supported:
        return _denied(message)
    if error.sqlstate == syntax_error:
        return QueryError(f"Cannot run this query: {message}. {_READING_ONLY}")
    return _wrong(message)
