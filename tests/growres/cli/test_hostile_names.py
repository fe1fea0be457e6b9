"""Names and paths from whoever types them, or from a file that somebody sent: data, whatever they look like."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
import yaml

from growres.config.experiment_file import MOST_TRIALS
from growres.store import Store

CLIMBING = "../../x"
SQL = "x'; DROP TABLE experiment; --"
RED = "\x1b[31mred"
TITLE = "\x1b]0;owned\x07"
C1 = "\x9b2J"
BACKWARDS = "\u202egnp.x"
HOSTILE = [CLIMBING, SQL, RED, TITLE, C1, BACKWARDS, "..", "%s%n", "-" * 300, "x" * 5000, "~nobody/x", "a\nb", "a\rb"]

COMMANDS = [
    ["show", ...], ["status", ...], ["results", ...], ["analyze", ...], ["compare", ...], ["resume", ...],
    ["validate", ...], ["submit", ...], ["submit", "digits", "--dry-run", "--set", ...],
    ["submit", "digits", "--dry-run", "--set", "name=", ...], ["submit", "digits", "--backend", ...],
    ["zoo", "show", ...], ["data", "show", ...], ["query", ...], ["list", "--format", ...],
    ["export", ..., "-o", "net.pt"], ["export", "latest-1", "-o", ...], ["predict", ..., "picture.png"],
    ["predict", "latest-1", ...], [...],
]  # fmt: skip


def filled(command: list[object], name: str) -> list[str]:
    """The command with the name in place of the dots; `name=` and the dots become one word."""
    words = [name if word is ... else str(word) for word in command]
    if "name=" in words:
        at = words.index("name=")
        words[at : at + 2] = [f"name={name}"]
    return words


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join("NAME" if w is ... else w for w in command))
def test_a_hostile_name_gets_a_message_and_no_control_over_the_terminal(
    growres, experiment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[object]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.parent.iterdir())
    for name in HOSTILE:
        answer = growres(*filled(command, name))  # anything but a message would be an exception here
        assert answer.code in (1, 2), (name, answer)
        assert "growres: " in answer.err or "picture.png" in answer.err
        for output in (answer.out, answer.err):
            assert all(line.isprintable() for line in output.split("\n")), (name, output)
    assert sorted(tmp_path.parent.iterdir()) == before and list(tmp_path.iterdir()) == []
    with Store.open() as store:
        assert [found.id for found in store.experiments()] == [experiment]


def test_a_file_whose_name_drives_terminals_is_quoted(growres, tmp_path: Path) -> None:
    text = yaml.safe_dump(
        {
            "name": "x",
            "dataset": {"source": "digits"},
            "training": {"epochs": 1, "optimizer": {"name": "sgd", "lr": 0.1}},
            "variants": {"a": {"procedure": "end_to_end", "model": {"name": "lenet5"}}},
        }
    )
    (tmp_path / f"{RED}.yaml").write_text(text.replace("lenet5", "lenet6"))
    refused = growres("validate", str(tmp_path / f"{RED}.yaml"))
    (tmp_path / f"{RED}.yaml").write_text(text)
    accepted = growres("validate", str(tmp_path / f"{RED}.yaml"))
    assert (refused.code, accepted.code) == (2, 0)
    for output in (refused.err, accepted.out, accepted.err):
        assert "\x1b" not in output
    assert "\\x1b[31mred.yaml" in refused.err and "\\x1b[31mred.yaml" in accepted.out


@pytest.mark.parametrize("path", ["x" * 5000, "~nobody/x", f"../{RED}", SQL, "/dev/null/x", "a\nb"])
@pytest.mark.parametrize("source", ["imagefolder", "parquet"])
def test_a_hostile_path_of_a_data_set_is_refused_in_words(growres, source: str, path: str) -> None:
    values = [f"dataset.source={source}", f"dataset.path={json.dumps(path)}"]
    for words in (["submit", "digits", "--backend", "inline"], ["validate", "digits"]):
        answer = growres(*words, *(word for value in values for word in ("--set", value)))
        assert answer.code == (2 if words[0] == "submit" else answer.code)
        assert all(line.isprintable() for line in (answer.out + answer.err).split("\n"))


@pytest.mark.embedded
def test_what_is_stored_is_quoted_wherever_it_is_told(growres, experiment: str, home: Path) -> None:
    """Whoever may write into the database can put any text there; it still does not drive a reader's terminal."""
    with sqlite3.connect(home / "growres.db") as database:
        database.execute("UPDATE experiment SET host = ?, reason = ?, name = ?", (RED, TITLE, f"{C1}{RED}"))
        database.execute("UPDATE trial SET reason = ?, variant = variant || ?, model = ?", (RED, TITLE, C1))
        database.execute("UPDATE attempt SET reason = ?, host = ?", (BACKWARDS, C1))
    database.close()
    listings = (["list"], ["status", experiment], ["results", experiment], ["show", f"{experiment}-1"])
    for words in (*listings, ["query", "SELECT * FROM trial"], ["status", f"{C1}{RED}"]):
        for form in ([], ["--format", "md"]):
            answer = growres(*words, *form)
            assert answer.code == 0, answer.err
            for output in (answer.out, answer.err):
                assert all(line.isprintable() for line in output.split("\n")), (words, output)


def test_the_limit_on_trials_is_said_before_they_are_made(growres, tmp_path: Path) -> None:
    answer = growres("submit", "digits", "--dry-run", "--set", f"seeds={MOST_TRIALS}")
    assert answer.code == 2 and "trials" in answer.err
