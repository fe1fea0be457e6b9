import csv
import io
import json
from datetime import UTC, datetime

import pytest

from growres.cli import figures
from growres.cli.tables import Column, Format, figure, markdown_lines, print_json, print_rows, table_lines

ROWS = [
    {"name": "simons", "error": 0.0209, "reason": "patience: the last three proposals were not accepted"},
    {"name": "漢字 net", "error": None, "reason": "diverged | at\nstep 3"},
]
COLUMNS = (
    Column(key="name"),
    figure("error", show=figures.percent),
    Column(key="reason", min_width=10, leave_out=1),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(output: Format, rows=ROWS) -> str:
    stream = io.StringIO()
    print_rows(rows, COLUMNS, output, stream=stream)
    return stream.getvalue()


def test_in_a_pipe_nothing_is_cut_and_figures_are_aligned_right():
    assert written(Format.TABLE).splitlines() == [
        "name      error  reason",
        "simons    2.09%  patience: the last three proposals were not accepted",
        "漢字 net      -  diverged | at\\nstep 3",
    ]


def test_on_a_narrow_terminal_long_texts_are_cut():
    assert table_lines(ROWS, COLUMNS, width=40) == [
        "name      error  reason",
        "simons    2.09%  patience: the last t...",
        "漢字 net      -  diverged | at\\nstep 3",
    ]


def test_on_a_very_narrow_terminal_the_least_important_column_is_left_out():
    assert table_lines(ROWS, COLUMNS, width=20) == ["name      error", "simons    2.09%", "漢字 net      -"]


@pytest.mark.parametrize("width", [1, 14, 16, 17, 27, 40, 80, 200])
def test_a_table_never_outgrows_its_terminal_while_something_can_give_way(width):
    narrowest = len(table_lines(ROWS, COLUMNS[:2])[0])
    assert all(len(line) <= max(width, narrowest) for line in table_lines(ROWS, COLUMNS, width=width))


def test_a_terminal_gets_colours_and_a_pipe_does_not(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    rows, columns = [{"status": "failed"}], (Column(key="status"),)
    terminal, pipe = Terminal(), io.StringIO()
    print_rows(rows, columns, Format.TABLE, stream=terminal)
    print_rows(rows, columns, Format.TABLE, stream=pipe)
    assert "\x1b[31mfailed\x1b[0m" in terminal.getvalue()
    assert pipe.getvalue() == "status\nfailed\n"
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    print_rows(rows, columns, Format.TABLE, stream=plain)
    assert plain.getvalue() == pipe.getvalue()


def test_json_parses_back_to_the_raw_fields():
    moment = datetime(2026, 1, 31, 12, tzinfo=UTC)
    rows = [{"error": 0.0209, "at": moment, "loss": float("nan"), "point": {"lr": 0.1}, "names": ("a", "b")}]
    stream = io.StringIO()
    print_rows(rows, (), Format.JSON, stream=stream)
    assert json.loads(stream.getvalue()) == [
        {"error": 0.0209, "at": "2026-01-31T12:00:00Z", "loss": None, "point": {"lr": 0.1}, "names": ["a", "b"]}
    ]


def test_csv_parses_back_to_the_raw_fields():
    parsed = list(csv.DictReader(io.StringIO(written(Format.CSV))))
    assert parsed == [
        {"name": "simons", "error": "0.0209", "reason": ROWS[0]["reason"]},
        {"name": "漢字 net", "error": "", "reason": "diverged | at\nstep 3"},
    ]


def test_csv_of_no_rows_still_names_its_columns():
    assert written(Format.CSV, rows=[]) == "name,error,reason\n"


def test_no_rows_are_an_empty_list_in_json_and_nothing_in_a_table():
    assert json.loads(written(Format.JSON, rows=[])) == []
    assert written(Format.TABLE, rows=[]) == ""


def test_markdown_escapes_what_would_end_a_cell_and_is_aligned_in_the_source():
    lines = markdown_lines(ROWS[1:], COLUMNS)
    assert lines == [
        "| name     | error | reason                  |",
        "| -------- | ----: | ----------------------- |",
        "| 漢字 net |     - | diverged \\| at\\\\nstep 3 |",
    ]


def test_no_text_drives_a_terminal_and_a_pipe_gets_it_raw():
    texts = ["\x1b[2J", "\x9b2J", "two\nlines", "caf\u00e9", "\u202e", "\U000e0001"]
    rows = [{"name": text} for text in texts]
    terminal, pipe = Terminal(), io.StringIO()
    for stream in (terminal, pipe):
        print_rows(rows, (), Format.CSV, stream=stream)
    assert [row["name"] for row in csv.DictReader(io.StringIO(pipe.getvalue(), newline=""))] == texts
    assert all(line.isprintable() for line in terminal.getvalue().split("\n")) and "caf\u00e9" in terminal.getvalue()
    document = Terminal()
    print_json(rows, stream=document)
    assert all(line.isprintable() for line in document.getvalue().split("\n")) and "caf\u00e9" in document.getvalue()
    assert json.loads(document.getvalue()) == rows
