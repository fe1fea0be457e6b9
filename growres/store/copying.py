"""A whole store copied from one database into another, and compared before the copy is kept.

The source is read once, as it stands at one moment. All rows go into the target in one transaction, are read back
inside it, and stay only if both sides have the same counts and digests. Which tables there are is the models' to say.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Context
from typing import Any

from sqlalchemy import Column, Connection, Table, func, insert, select, text, update

from growres.errors import BusyError, ConfigError, SchemaMismatchError, StoreError
from growres.store import migration
from growres.store.database import URL_VARIABLE, Address, Database
from growres.store.runs import alive_runs
from growres.store.tables import Base, Experiment

_BATCH = 2_000
"""Rows that are held in memory at once."""
_EXACT = Context(prec=400)
"""More digits than any double has when it is written out: 1e308 has 309."""

ProgressReport = Callable[[str, int, int], None]
"""Is told a table, how many of its rows are copied, and how many it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """What was copied."""

    num_rows: dict[str, int]
    """Rows by table."""
    running: tuple[str, ...]
    """The experiments that the source calls running, though none of their drivers gives a sign of life."""


def copy_store(source: Address, target: Address, report: ProgressReport = lambda table, done, total: None) -> Copy:
    """Copies all rows of a store into an empty database, which is given this program's schema first.

    A target that cannot be filled whole and checked keeps no row; its schema stays, and the copy may be tried again.

    Raises:
        BusyError: if a driver writes into the source.
        ConfigError: if the target holds rows, or is the source.
        StoreError: if one of the databases is away or refuses, or the copy is not what its source is.
        SchemaMismatchError: if one of the databases has another schema, or tables that growres did not make.
    """
    if source.url == target.url:
        raise ConfigError(f"Cannot copy {source.for_people} into itself. Name another database as the target.")
    if source.is_sqlite and not source.path.is_file():
        raise StoreError(f"Cannot copy {source.for_people}: there is no such file.")
    with Database(source, create=False) as origin, Database(target) as copy:
        with origin.reading() as connection:
            _refuse_other_schema(source, migration.revision_of(source, connection))
        _prepare(copy)
        with _snapshot(origin) as reading, copy.writing() as writing:
            _refuse_while_running(source, reading)
            _keep_others_out(writing)
            _refuse_rows(target, writing)
            found = _copy_rows(origin, reading, writing, report)
            _compare(source, target, found, _read_back(copy, writing))
            running = tuple(reading.execute(select(Experiment.id).where(Experiment.status == "running")).scalars())
    return Copy(num_rows={table: sum_.num_rows for table, sum_ in found.items()}, running=running)


def _prepare(copy: Database) -> None:
    """Gives an empty target the schema. One that has a schema already is nobody's to upgrade here."""
    with copy.reading() as connection:
        revision = migration.revision_of(copy.address, connection)
    if revision is None:
        migration.upgrade_database(copy)
    else:
        _refuse_other_schema(copy.address, revision)


def _refuse_other_schema(address: Address, revision: str | None) -> None:
    try:
        migration.refuse_other(address, revision)
    except SchemaMismatchError as error:
        raise SchemaMismatchError(f"{error}, with {URL_VARIABLE} naming that database.") from None


@contextmanager
def _snapshot(origin: Database) -> Iterator[Connection]:
    """A transaction in which every query sees the same moment."""
    with origin.errors("read"), origin.engine.connect() as connection:
        if not origin.address.is_sqlite:  # where every transaction that reads is one
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


def _refuse_while_running(source: Address, reading: Connection) -> None:
    """What a driver writes after this moment would be in the source alone, though it is the copy that is used on."""
    if running := [run.experiment_id for run in alive_runs(reading)]:
        raise BusyError(
            f"Cannot copy {source.for_people} while it is written to: experiment {', '.join(running)} is being run. "
            f"Wait for its end, or stop it (growres stop {running[0]}) and resume it from the copy."
        )


def _keep_others_out(writing: Connection) -> None:
    """Until the transaction's end nobody else writes into the target; in SQLite nobody does in any case."""
    if writing.dialect.name == "postgresql":
        names = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
        writing.execute(text(f"LOCK TABLE {names} IN EXCLUSIVE MODE"))


def _refuse_rows(target: Address, writing: Connection) -> None:
    for table in Base.metadata.sorted_tables:
        if num_rows := _count(writing, table):
            raise ConfigError(
                f"Cannot copy into {target.for_people}: its table {table.name} holds {num_rows} rows already. "
                "A store is copied into an empty database: name another one."
            )


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


# ------------------------------------------------------------------------------------------------------- the rows


@dataclass(slots=True)
class _Sum:
    """How many rows, and the sum of their hashes: whatever order they come in."""

    num_rows: int = 0
    digest: int = field(default=0, repr=False)

    def add(self, row: Sequence[Any]) -> None:
        self.num_rows += 1
        whole = json.dumps([_canonical(value) for value in row], sort_keys=True, default=str)
        hashed = hashlib.sha256(whole.encode("utf-8", "surrogatepass")).digest()
        self.digest = (self.digest + int.from_bytes(hashed, "big")) % 2**256


def _copy_rows(origin: Database, reading: Connection, writing: Connection, report: ProgressReport) -> dict[str, _Sum]:
    """Copies the tables, those first that others refer to."""
    sums: dict[str, _Sum] = {}
    for table in Base.metadata.sorted_tables:
        total, found = _count(reading, table), sums.setdefault(table.name, _Sum())
        report(table.name, 0, total)
        references = _references_to_itself(table)
        postponed: list[dict[str, Any]] = []
        for rows in _batches(origin, reading, table):
            for row in rows:
                found.add(tuple(row.values()))
            postponed += [row for row in rows if any(row[column.name] is not None for column in references)]
            nothing = {column.name: None for column in references}
            writing.execute(insert(table), [row | nothing for row in rows])
            report(table.name, found.num_rows, total)
        # A row may refer to one that comes after it.
        for row in postponed:
            this = [column == row[column.name] for column in table.primary_key]
            writing.execute(update(table).where(*this).values({column.name: row[column.name] for column in references}))
    return sums


def _batches(database: Database, connection: Connection, table: Table) -> Iterator[list[dict[str, Any]]]:
    # yield_per has PostgreSQL send the rows by and by, where otherwise all would come at once. Which of the two
    # databases failed is said here: around, there is a transaction of each.
    with database.errors("read"), connection.execute(select(table).execution_options(yield_per=_BATCH)) as found:
        for rows in found.mappings().partitions():
            yield [dict(row) for row in rows]


def _references_to_itself(table: Table) -> list[Column[Any]]:
    return [key.parent for key in table.foreign_keys if key.column.table is table]


def _read_back(copy: Database, writing: Connection) -> dict[str, _Sum]:
    sums: dict[str, _Sum] = {}
    for table in Base.metadata.sorted_tables:
        found = sums.setdefault(table.name, _Sum())
        for rows in _batches(copy, writing, table):
            for row in rows:
                found.add(tuple(row.values()))
    return sums


def _compare(source: Address, target: Address, found: dict[str, _Sum], copied: dict[str, _Sum]) -> None:
    for table, there in found.items():
        here = copied[table]
        if here.num_rows != there.num_rows:
            what = f"its table {table} has {here.num_rows} rows, the source's has {there.num_rows}"
        elif here.digest != there.digest:
            what = f"the {here.num_rows} rows of its table {table} are not those of the source"
        else:
            continue
        raise StoreError(
            f"Cannot copy {source.for_people} into {target.for_people}: {what}. Nothing was kept there. "
            "See whether a trigger or a rule of that database changes rows."
        )


def _canonical(value: Any) -> Any:
    """The value in the one form that both databases' values take.

    JSONB writes its numbers out (1e20 comes back as a whole number), and neither database is sure to keep the sign of a
    zero.
    """
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_canonical(item) for item in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return f"number {value}"
    if isinstance(value, int | float):
        return f"number {_EXACT.normalize(_EXACT.plus(_EXACT.create_decimal(repr(value))))}"
    raise AssertionError(f"no canonical form for a {type(value).__name__}")
