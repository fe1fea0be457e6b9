"""`growres query` and `growres db`: the store by its own means, SQL and migrations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
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


def _found() -> tuple[str, str | None]:
    """The database's address for people and its revision. Looking makes no file where there is none."""
    from growres.store.database import resolve
    from growres.store.migration import current_revision

    address = resolve(None)
    if address.is_sqlite and not address.path.is_file():
        return address.for_people, None
    return address.for_people, current_revision()
