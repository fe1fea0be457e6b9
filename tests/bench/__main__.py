"""Runs the benchmarks one after the other, prints a table, and writes it with every sample as JSON.

Exits with 1 if a target was missed or a benchmark broke, so that a person looks.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from growres.cli.tables import Column, Format, figure, print_rows
from tests.bench import (
    bench_append,
    bench_command_line,
    bench_defaults,
    bench_loop,
    bench_recorder,
    bench_report,
    bench_screening,
    bench_submit,
)
from tests.bench.measuring import Row, machine

BENCHMARKS: dict[str, Callable[[bool], list[Row]]] = {
    "help": bench_command_line.run_help,
    "results": bench_command_line.run_results,
    "recorder": bench_recorder.run,
    "append": bench_append.run,
    "loop": bench_loop.run,
    "defaults": bench_defaults.run,
    "report": bench_report.run,
    "submit": bench_submit.run,
    "screening": bench_screening.run,
}

_COLUMNS = (
    Column(key="name", title="benchmark"),
    Column(key="compares", title="what", min_width=20),
    figure("ours"),
    figure("theirs"),
    figure("figure"),
    figure("target"),
    Column(key="verdict", title=""),
)


def main() -> int:
    arguments = _parse()
    # A store that the user has elsewhere is not ours to fill.
    os.environ.pop("GROWRES_DATABASE_URL", None)
    before = machine()
    names = arguments.only or list(BENCHMARKS)
    started = time.perf_counter()
    results = {name: _run(name, arguments.quick) for name in names}
    rows = [row for found in results.values() for row in found or ()]
    broken = [name for name, found in results.items() if found is None]
    print_rows([_shown(row) for row in rows], _COLUMNS, Format.TABLE)
    report = {
        "machine": before,
        "quick": arguments.quick,
        "wall_s": time.perf_counter() - started,
        "broken": broken,
        "rows": [_as_json(row) for row in rows],
    }
    arguments.output.write_text(json.dumps(report, indent=2) + "\n")
    missed = [row.name for row in rows if row.missed]
    if missed:
        print(f"\nMissed: {', '.join(missed)}", file=sys.stderr)
    if broken:
        print(f"\nNot measured, see the tracebacks above: {', '.join(broken)}", file=sys.stderr)
    return 1 if missed or broken else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("bench.json"), help="the JSON file to write")
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="run this one alone; repeatable")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it runs, not to believe it")
    return parser.parse_args()


def _run(name: str, quick: bool) -> list[Row] | None:
    """The rows of a benchmark; None if it broke, which is no reason to lose the minutes that the others took."""
    print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
    started = time.perf_counter()
    try:
        rows = BENCHMARKS[name](quick)
    except Exception:
        traceback.print_exc()
        return None
    print(f"{time.perf_counter() - started:.0f} s", file=sys.stderr)
    return rows


def _shown(row: Row) -> dict[str, str]:
    return {
        "name": row.name,
        "compares": row.compares,
        "ours": f"{_digits(row.ours)} {row.unit}",
        "theirs": "" if row.theirs is None else f"{_digits(row.theirs)} {row.unit}",
        "figure": f"{_digits(row.figure)} {row.figure_unit}",
        "target": "" if row.target is None else str(row.target),
        "verdict": "" if row.target is None else "MISSED" if row.missed else "ok",
    }


def _digits(value: float) -> str:
    """Three significant digits or more: 0.986, 8.31, 426, 18,402."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _as_json(row: Row) -> dict[str, Any]:
    return {
        **dataclasses.asdict(row),
        "target": None if row.target is None else str(row.target),
        "met": None if row.target is None else not row.missed,
    }


if __name__ == "__main__":
    sys.exit(main())
