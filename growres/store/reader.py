"""The PostgreSQL role that may read a store and nothing else: the SQL that makes it."""

from __future__ import annotations

from sqlalchemy import text

from growres.errors import StoreError
from growres.store import migration
from growres.store.database import QUERY_URL_VARIABLE, Database, resolve

_WHERE = text(
    "SELECT current_database(), schemaname, tableowner FROM pg_tables "
    "WHERE tablename = 'alembic_version' AND schemaname = current_schema()"
)


def reader_sql(role: str, url: str | None = None) -> str:
    """The statements that make a role which may read a store's tables and views, also those of later migrations.

    Raises:
        StoreError: if the database is SQLite, which has no roles, or cannot be reached.
        SchemaMismatchError: if its schema is not this program's.
    """
    address = resolve(url)
    if address.is_sqlite:
        raise StoreError(
            f"Cannot make a role in {address.for_people}: SQLite has none. A query opens the file for reading only."
        )
    with Database(address) as database, database.reading() as connection:
        migration.refuse_other(address, migration.revision_of(address, connection))
        quote = connection.dialect.identifier_preparer.quote_identifier
        reader, (name, schema, owner) = quote(role), map(quote, connection.execute(_WHERE).one())
    return f"""\
-- Run this as {owner}, if that may make roles, or as a superuser; give the role a password with psql's \\password.
CREATE ROLE {reader} LOGIN;
ALTER ROLE {reader} SET default_transaction_read_only = on;
ALTER ROLE {reader} SET statement_timeout = '60s';
GRANT CONNECT ON DATABASE {name} TO {reader};
GRANT USAGE ON SCHEMA {schema} TO {reader};
GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {reader};
-- What later upgrades make:
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA {schema} GRANT SELECT ON TABLES TO {reader};
-- Then {QUERY_URL_VARIABLE} names this database with that role.
"""
