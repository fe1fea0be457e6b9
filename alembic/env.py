"""How alembic reaches the database: over the connection that growres hands in, or, run as the command `alembic`,
over GROWRES_DATABASE_URL and the embedded SQLite store, as growres itself would.

There is no fileConfig here: it would silence the loggers of the program that is upgrading.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, Engine

from growres.store.database import Database, resolve
from growres.store.tables import Base


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        # SQLite changes a table by copying it.
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


def migrate_over(target: Connection | Engine) -> None:
    if isinstance(target, Engine):
        with target.begin() as connection:
            migrate(connection)
    else:
        migrate(target)


def print_sql() -> None:
    """What `alembic upgrade head --sql` prints, for a database that only its administrator may change."""
    context.configure(url=resolve(None).url, target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if context.is_offline_mode():
    print_sql()
elif given is not None:
    migrate_over(given)
else:
    with Database(resolve(None)) as database:
        migrate_over(database.writer)
