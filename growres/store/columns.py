"""What columns hold: times in UTC, JSON, and only numbers that both databases can keep."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

_LARGEST_BIGINT = 2**63 - 1


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time: aware and in UTC in Python, whatever zone the database or its session keeps.

    SQLite has no zones, so the bare UTC value is stored there and the zone put back when it is read.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        assert value.tzinfo is not None, f"a time without a zone: {value!r}"
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class JsonValue(TypeDecorator[Any]):
    """Plain data as JSON, in PostgreSQL as JSONB; None is NULL."""

    impl = JSON
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(none_as_null=True)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return super().load_dialect_impl(dialect)
        # Not `with_variant`: the module takes a twentieth of a second, which who has a SQLite store would wait in vain.
        from sqlalchemy.dialects.postgresql import JSONB

        return dialect.type_descriptor(JSONB(none_as_null=True))


def storable(value: Any) -> Any:
    """The value as both databases keep it, alone or inside JSON.

    A number that is not finite, or that 64 bits cannot hold, becomes None: SQLite reads a NaN back as NULL, PostgreSQL
    sorts it above every number and refuses it in JSON. A character that one of them refuses (NUL, half of a surrogate
    pair; an error's message may quote such bytes) is written out as its escape.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if -_LARGEST_BIGINT <= value <= _LARGEST_BIGINT else None
    if isinstance(value, dict):
        return {str(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return value
