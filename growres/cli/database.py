"""`growres query` and `growres db`: the store by its own means, SQL and migrations."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from growres.cli import figures
from growres.cli.tables import Column, Format, FormatOption, print_facts, print_rows
from growres.cli.talk import say, say_what_did_not_fit
from growres.errors import SchemaMismatchError

EXIT_UNSOUND = 1

app = typer.Typer(help="The database of the results: its schema, its soundness, a copy of it.", no_args_is_help=True)


def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="One SELECT over the tables and views of the store.")],
    timeout_s: Annotated[
        float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Give up after this long.")
    ] = 30.0,
    limit: Annotated[int, typer.Option("--limit", metavar="ROWS", min=1, help="Print so many rows at most.")] = 10_000,
    output: FormatOption = Format.TABLE,
) -> None:
    """Ask the store in SQL; nothing that a query says can change it.

    In PostgreSQL, GROWRES_QUERY_DATABASE_URL may name the database with a role
    that can only read: see growres db reader-sql.

    Views: leaderboard, growth_curve. Tables: experiment, trial, attempt,
    epoch, growth_step, artifact. Errors are fractions, times UTC.
    """
    from growres.store.query import run_read_only

    result = run_read_only(None, sql, timeout_s=timeout_s, max_rows=limit)
    names = _distinct(result.columns)
    rows = [dict(zip(names, row, strict=True)) for row in result.rows]
    say_what_did_not_fit(print_rows(rows, [_query_column(name, rows) for name in names], output))
    if result.truncated:
        say(f"Only the first {len(rows)} rows are shown; for more: --limit {10 * limit}")


def _distinct(names: Sequence[str]) -> list[str]:
    """The names with a number after those that came before: a row is a mapping, and a join may name `id` twice."""
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return distinct


def _query_column(name: str, rows: Sequence[dict[str, Any]]) -> Column:
    values = [row[name] for row in rows if row[name] is not None]
    numeric = bool(values) and all(isinstance(value, int | float) for value in values)
    return Column(key=name, title=figures.text(name), show=_query_value, right=numeric, min_width=12)


def _query_value(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else figures.text(value)


@app.command()
def upgrade() -> None:
    """Bring the database to this program's schema; a SQLite file is copied first."""
    from growres.store import migration

    done = migration.upgrade()
    if done.before == done.after:
        say(f"The database has schema {done.after} already.")
        return
    if done.backup is not None:
        say(f"Saved before the upgrade as {done.backup}")
    say(f"The schema went from {done.before or 'nothing'} to {done.after}.")


@app.command()
def current(output: FormatOption = Format.TABLE) -> None:
    """Show which database is used and which schema it has."""
    from growres.store.migration import head_revision

    address, revision = _found()
    facts = {
        "database": address,
        "schema": revision,
        "newest_schema": head_revision(),
        "up_to_date": revision == head_revision(),
    }
    print_facts(facts, output)


@app.command()
def check(output: FormatOption = Format.TABLE) -> None:
    """Examine the database: the schema against this program's, the file, the references between rows."""
    from growres.store import migration

    address, revision = _found()
    if revision is None:
        problems = [f"There is nothing in {address} yet. Set it up with: growres db upgrade"]
    else:
        problems = migration.check()
    print_rows([{"problem": problem} for problem in problems], [Column(key="problem")], output)
    if not problems:
        say(f"{address} is sound.")
    elif revision != migration.head_revision():
        raise typer.Exit(SchemaMismatchError.exit_code)
    else:
        raise typer.Exit(EXIT_UNSOUND)


@app.command()
def backup() -> None:
    """Copy the SQLite database, also while it is in use; prints the path of the copy."""
    from growres.store import migration

    print(migration.backup())


@app.command()
def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="A URL, a SQLite file, or the word default.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same; a database without rows, or none yet.")],
) -> None:
    """Copy the whole store into another database, SQLite or PostgreSQL, and compare the two.

    The word default is the database of GROWRES_DATABASE_URL, or else the file in
    GROWRES_HOME. TO keeps all rows or none. An address with a password is not
    taken here, where others can read it: put the password into your password
    file (PGPASSFILE), or the address into GROWRES_DATABASE_URL.
    """
    from growres.store.copying import copy_store
    from growres.store.database import URL_VARIABLE, resolve_argument

    origin, place = resolve_argument(source), resolve_argument(target)
    done = copy_store(origin, place, _say_progress())
    say(f"Copied {figures.number_of(sum(done.num_rows.values()), 'row')} and compared them.")
    for experiment_id in done.running:
        say(
            f"growres: warning: experiment {experiment_id} is called running. If its driver lives after all, what it "
            "writes from now on is not in the copy."
        )
    say(f"To use the copy, let {URL_VARIABLE} be {place.for_people}")
    say("Checkpoints, logs and data caches stay in GROWRES_HOME, where both stores find them.")


_SAY_EVERY_S = 5.0


def _say_progress() -> Callable[[str, int, int], None]:
    """Tells of each table when it is done, and of a long one as it goes."""
    said_at = time.monotonic()

    def report(table: str, done: int, total: int) -> None:
        nonlocal said_at
        if total and (done == total or time.monotonic() > said_at + _SAY_EVERY_S):
            said_at = time.monotonic()
            so_far = "" if done == total else f"{figures.whole(done)} of "
            say(f"{table}: {so_far}{figures.number_of(total, 'row')}")

    return report


@app.command("reader-sql")
def reader_sql(
    role: Annotated[str, typer.Argument(metavar="ROLE", help="The name of the role to be made.")],
) -> None:
    """Print the SQL that makes a PostgreSQL role for queries, which can read the store and do nothing else."""
    from growres.store.reader import reader_sql

    print(reader_sql(role), end="")


def _found() -> tuple[str, str | None]:
    """The database's address for people and its revision. Looking makes no file where there is none."""
    from growres.store.database import resolve
    from growres.store.migration import current_revision

    address = resolve(None)
    if address.is_sqlite and not address.path.is_file():
        return address.for_people, None
    return address.for_people, current_revision()
