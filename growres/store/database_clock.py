"""The database's own clock, by which runs are told alive or gone: the machines' clocks need not agree."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Double
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from growres.store.columns import UtcDateTime


class now(FunctionElement[Any]):
    """The time of the database, at this moment and not at the transaction's beginning."""

    type = UtcDateTime()
    inherit_cache = True


class seconds_since(FunctionElement[Any]):
    """Seconds by the database's clock since a column's time; negative if the clock was set back meanwhile.

    In PostgreSQL at most those since the server started: while it was away, nobody could give it a sign of life.
    """

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_in_sqlite(element: now, compiler: Any, **options: Any) -> str:
    return "strftime('%Y-%m-%d %H:%M:%f000', 'now')"


@compiles(now, "postgresql")
def _now_in_postgres(element: now, compiler: Any, **options: Any) -> str:
    return "clock_timestamp()"


@compiles(seconds_since, "sqlite")
def _since_in_sqlite(element: seconds_since, compiler: Any, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    return f"((julianday('now') - julianday({moment})) * 86400.0)"


@compiles(seconds_since, "postgresql")
def _since_in_postgres(element: seconds_since, compiler: Any, **options: Any) -> str:
    moment = compiler.process(element.clauses, **options)
    return (
        f"CAST(EXTRACT(EPOCH FROM clock_timestamp() - GREATEST({moment}, pg_postmaster_start_time()))"
        " AS DOUBLE PRECISION)"
    )
