"""Rows on stdout: a table for a person, JSON or CSV for a program, Markdown for a note.

A table's columns are laid out here rather than by rich, which needs 0.7 s for the thousand rows of a large leaderboard.
On a terminal a table fits its width: columns that matter least are left out, then long texts are cut or broken into
lines, those that tell the rows apart last. In a pipe it is as wide as it needs to be.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TextIO

import typer

from growres.cli import figures

GAP = "  "
CUT = "..."

Row = Mapping[str, Any]


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    MD = "md"


FormatOption = Annotated[
    Format, typer.Option("--format", help="How to write rows: json and csv carry every field, raw.", show_default=True)
]

COLORS = {
    "succeeded": "green",
    "accepted": "green",
    "ok": "green",
    "running": "cyan",
    "stopped": "yellow",
    "interrupted": "yellow",
    "undecided": "yellow",
    "warn": "yellow",
    "failed": "red",
    "fail": "red",
}
"""The colour of a status, verdict or check on a terminal. A rejected proposal is no failure: it stays plain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table; `key` is the field of the rows that it shows."""

    key: str
    title: str = ""
    """The heading; the key with spaces where it is not given."""
    show: Callable[[Any], str] = figures.text
    right: bool = False
    """Aligned right, as figures are."""
    min_width: int | None = None
    """On a narrow terminal the texts may be cut to this many characters; None: never."""
    wraps: bool = False
    """On a narrow terminal the heading and the texts are broken into lines between words, and not cut."""
    tells_apart: bool = False
    """Texts that are cut lose their beginning, and only as much as leaves different ones different."""
    leave_out: int = 0
    """On a narrow terminal the column with the largest number is left out first; 0: never."""

    @property
    def heading(self) -> str:
        return self.title or self.key.replace("_", " ")


def figure(
    key: str,
    title: str = "",
    show: Callable[[Any], str] = figures.text,
    *,
    leave_out: int = 0,
    wraps: bool = False,
) -> Column:
    """A column of numbers."""
    return Column(key=key, title=title, show=show, right=True, leave_out=leave_out, wraps=wraps)


def print_rows(
    rows: Sequence[Row], columns: Sequence[Column], output: Format, *, stream: TextIO | None = None
) -> list[str]:
    """Writes rows in a format. A table and Markdown show `columns`; JSON and CSV every field of the rows, raw but for
    CSV's control characters where a terminal would obey them.

    Of no rows a table shows nothing. Returns the headings of those columns that the terminal had no room for, in whole
    or in part.
    """
    stream = stream or sys.stdout
    missing: list[str] = []
    match output:
        case Format.JSON:
            print_json(list(rows), stream=stream)
        case Format.CSV:
            stream.write(_csv(rows, columns, escaped=stream.isatty()))
        case Format.MD:
            stream.writelines(f"{line}\n" for line in markdown_lines(rows, columns))
        case Format.TABLE if rows:
            width = terminal_width(stream)
            lines = table_lines(rows, columns, width=width, colored=is_colored(stream))
            stream.writelines(f"{line}\n" for line in lines)
            missing = missing_columns(rows, columns, width)
    return missing


def print_facts(facts: Row, output: Format, *, show: Mapping[str, Callable[[Any], str]] | None = None) -> None:
    """Writes one record, a field a line; JSON gives it as one object. `show` says how a person reads a field."""
    if output is Format.JSON:
        print_json(facts)
        return
    if output is Format.CSV:
        print_rows([facts], [], output)
        return
    readable = [
        {"field": key.replace("_", " "), "value": (show or {}).get(key, figures.text)(value)}
        for key, value in facts.items()
    ]
    columns = (Column(key="field", title=""), Column(key="value", title=""))
    if output is Format.MD:
        print_rows(readable, (Column(key="field"), Column(key="value")), output)
        return
    sys.stdout.writelines(f"{line}\n" for line in table_lines(readable, columns, headings=False))


def print_json(document: Any, *, stream: TextIO | None = None) -> None:
    """Writes one JSON document: times in ISO 8601 UTC, and null for what JSON has no number for."""
    stream = stream or sys.stdout
    text = json.dumps(_json_ready(document), indent=2, ensure_ascii=False, allow_nan=False)
    stream.writelines(f"{_escaped(line)}\n" for line in text.split("\n"))


def _escaped(json_line: str) -> str:
    r"""The same in JSON, with the control characters that it lets stand, such as U+009B, as \u009b."""
    if json_line.isprintable():
        return json_line
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in json_line)


def _json_ready(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return figures.iso_time(value)
    if isinstance(value, Mapping):
        return {str(key): _json_ready(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_ready(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _json_ready(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return str(value)


def _csv(rows: Sequence[Row], columns: Sequence[Column], *, escaped: bool) -> str:
    fields = list(rows[0]) if rows else [column.key for column in columns]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(fields)
    for row in rows:
        values = [_csv_value(row[field]) for field in fields]
        writer.writerow([figures.text(v) if escaped and isinstance(v, str) else v for v in values])
    return buffer.getvalue()


def _csv_value(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    ready = _json_ready(value)
    return ready if isinstance(ready, str) else json.dumps(ready, ensure_ascii=False)


# ------------------------------------------------------------------------------------------------------- layout


def table_lines(
    rows: Sequence[Row],
    columns: Sequence[Column],
    *,
    width: int | None = None,
    colored: bool = False,
    headings: bool = True,
) -> list[str]:
    """The lines of a table, below the headings, fitted to a terminal's width where one is given."""
    cells = [[column.show(row[column.key]) for column in columns] for row in rows]
    above = [[column.heading for column in columns]] if headings else []
    widths = _fitted([*above, *cells], columns, width)
    heading = [line for texts in above for line in _lines(texts, columns, widths)]
    below = [line for texts in cells for line in _lines(texts, columns, widths, colored=colored)]
    return [*(typer.style(line, bold=True) if colored else line for line in heading), *below]


def missing_columns(rows: Sequence[Row], columns: Sequence[Column], width: int | None) -> list[str]:
    """The headings of the columns that a terminal of this width shows cut, or not at all."""
    if width is None:
        return []
    cells = [[column.heading for column in columns]]
    cells += [[column.show(row[column.key]) for column in columns] for row in rows]
    whole, fitted = _fitted(cells, columns, None), _fitted(cells, columns, width)
    return [
        column.heading
        for column, before, after in zip(columns, whole, fitted, strict=True)
        if after == 0 or (after < before and not column.wraps)
    ]


def markdown_lines(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """The lines of a Markdown table, aligned in the source as well as when it is rendered."""
    cells = [[_markdown(column.show(row[column.key])) for column in columns] for row in rows]
    headings = [_markdown(column.heading) for column in columns]
    widths = [max(3, _width(headings[i]), *(_width(line[i]) for line in cells)) for i in range(len(columns))]
    rule = [f"{'-' * (widths[i] - 1)}:" if column.right else "-" * widths[i] for i, column in enumerate(columns)]
    return [_markdown_line(line, columns, widths) for line in (headings, rule, *cells)]


def _markdown(cell: str) -> str:
    return cell.replace("\\", "\\\\").replace("|", "\\|")


def _markdown_line(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> str:
    padded = [_padded(cell, column, width) for cell, column, width in zip(cells, columns, widths, strict=True)]
    return f"| {' | '.join(padded)} |"


def _lines(
    texts: Sequence[str], columns: Sequence[Column], widths: Sequence[int], *, colored: bool = False
) -> list[str]:
    """A row of the table: one line, or as many as its longest wrapped text takes."""
    shown = [i for i in range(len(columns)) if widths[i] > 0]
    pieces = {i: _within(texts[i], columns[i], widths[i]) for i in shown}
    lines = []
    for number in range(max(map(len, pieces.values()), default=1)):
        parts = []
        for i in shown:
            piece = pieces[i][number] if number < len(pieces[i]) else ""
            part = _padded(piece, columns[i], widths[i])
            color = COLORS.get(texts[i]) if colored else None
            parts.append(typer.style(part, fg=color) if color else part)
        lines.append(GAP.join(parts).rstrip())
    return lines


def _within(text: str, column: Column, width: int) -> list[str]:
    """The text in lines of at most this width."""
    if _width(text) <= width:
        return [text]
    if column.wraps:
        return textwrap.wrap(text, width) or [""]
    return [_without_beginning(text, width) if column.tells_apart else _cut(text, width)]


def _without_beginning(text: str, width: int) -> str:
    return text if len(text) <= width else CUT + text[len(text) - max(0, width - len(CUT)) :]


def _fitted(cells: Sequence[Sequence[str]], columns: Sequence[Column], width: int | None) -> list[int]:
    """Widths that fit: first the least important columns go (width 0), then the widest texts become narrower."""
    fitted = [max((_width(line[i]) for line in cells), default=0) for i in range(len(columns))]
    if width is None or _total(fitted) <= width:
        return fitted
    least = [_least_width(column, [line[i] for line in cells], fitted[i]) for i, column in enumerate(columns)]
    for i in sorted(range(len(columns)), key=lambda i: -columns[i].leave_out):
        if columns[i].leave_out > 0 and _total(least) > width:
            fitted[i] = least[i] = 0
    while _total(fitted) > width:
        narrowing = [i for i in range(len(columns)) if fitted[i] > least[i]]
        if not narrowing:
            break
        fitted[max(narrowing, key=lambda i: (_gives_way(columns[i]), fitted[i]))] -= 1
    return fitted


def _gives_way(column: Column) -> int:
    """How readily: headings of figures that can be broken, then texts, then what tells the rows apart."""
    return 0 if column.tells_apart else 2 if column.right and column.wraps else 1


def _least_width(column: Column, texts: Sequence[str], width: int) -> int:
    """What the column cannot do with less of, on whatever terminal."""
    if column.tells_apart:
        different = len(set(texts))
        widths = range(column.min_width or 1, width)
        return next((w for w in widths if len({_without_beginning(text, w) for text in texts}) == different), width)
    if column.wraps:
        words = (word for text in texts for word in text.split())
        return min(width, max([column.min_width or 0, *map(_width, words)]))
    return min(width, column.min_width or width)


def _total(widths: Sequence[int]) -> int:
    shown = [w for w in widths if w > 0]
    return sum(shown) + len(GAP) * max(0, len(shown) - 1)


def _padded(cell: str, column: Column, width: int) -> str:
    spaces = " " * (width - _width(cell))
    return spaces + cell if column.right else cell + spaces


def _cut(cell: str, width: int) -> str:
    if _width(cell) <= width:
        return cell
    kept = cell[: max(0, width - len(CUT))]
    while kept and _width(kept) > width - len(CUT):
        kept = kept[:-1]
    return kept + CUT


def _width(cell: str) -> int:
    """The terminal columns that a printable text takes: East Asian wide characters take two, combining ones none."""
    if cell.isascii():
        return len(cell)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in cell)


def terminal_width(stream: TextIO) -> int | None:
    """The columns of the terminal behind a stream; None where it is no terminal, which may be as wide as it needs."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def is_colored(stream: TextIO) -> bool:
    """Whether a stream shows colours: a terminal that is not dumb, unless NO_COLOR is set (https://no-color.org)."""
    return stream.isatty() and os.environ.get("TERM") != "dumb" and not os.environ.get("NO_COLOR")
