import csv
import io
import os
import sqlite3

import pytest

from tests.databases import in_store

pytestmark = pytest.mark.every_store


def test_a_query_is_answered_in_every_format(growres, experiment):
    sql = "SELECT variant, avg(val_error) AS val_error FROM leaderboard GROUP BY variant ORDER BY variant"
    assert growres("query", sql).out.splitlines() == ["variant  val_error", "lenet5           -", "simons      0.0261"]
    simons = growres("query", sql, "--format", "json").json[1]
    assert simons == {"variant": "simons", "val_error": pytest.approx(0.0261)}
    rows = list(csv.reader(io.StringIO(growres("query", sql, "--format", "csv").out)))
    assert rows[:2] == [["variant", "val_error"], ["lenet5", ""]]
    assert growres("query", sql, "--format", "md").out.splitlines()[1] == "| ------- | --------: |"


def test_columns_of_the_same_name_are_told_apart(growres, experiment):
    answer = growres("query", "select 1 as a, 2 as a", "--format", "json")
    assert answer.json == [{"a": 1, "a_2": 2}]


def test_a_limit_is_told_on_stderr(growres, experiment):
    answer = growres("query", "select id from trial", "--limit", "2", "--format", "json")
    assert len(answer.json) == 2
    assert "first 2 rows" in answer.err and "--limit 20" in answer.err


@pytest.mark.parametrize("sql", ["delete from trial", "select from where", "select 1; select 2", "attach 'x' as x", ""])
def test_a_query_that_is_refused_or_wrong_is_one_message(growres, experiment, sql):
    answer = growres("query", sql)
    assert answer.code == 2
    assert answer.err.startswith("growres: Cannot run") and "Traceback" not in answer.err
    assert len(growres("results", "--format", "json").json) == 4


@pytest.mark.embedded
def test_a_query_without_a_store_says_what_to_do(growres):
    answer = growres("query", "select 1")
    assert answer.code == 3
    assert "growres submit" in answer.err


@pytest.mark.embedded
def test_looking_at_a_database_that_is_not_there_makes_none(growres, home):
    assert growres("db", "current", "--format", "json").json["schema"] is None
    assert growres("db", "check").code == 4
    assert list(home.glob("*.db")) == []


@pytest.mark.embedded
def test_upgrade_sets_a_database_up_and_then_has_nothing_to_do(growres):
    assert "from nothing to" in growres("db", "upgrade").err
    assert "already" in growres("db", "upgrade").err
    answer = growres("db", "current", "--format", "json")
    assert answer.json["up_to_date"] is True
    assert growres("db", "check").code == 0


def test_a_newer_schema_is_refused_with_exit_code_4(growres, experiment):
    in_store("UPDATE alembic_version SET version_num = '9999'")
    for arguments in (["results"], ["query", "select 1"], ["db", "upgrade"], ["db", "check"]):
        answer = growres(*arguments)
        assert answer.code == 4
        assert "9999" in answer.out + answer.err


@pytest.mark.embedded
def test_a_path_is_shown_as_it_is(growres, tmp_path, monkeypatch):
    folder = tmp_path / "höme dir's"
    folder.mkdir()
    monkeypatch.setenv("GROWRES_HOME", str(folder))
    growres("db", "upgrade")
    assert f"sqlite:///{folder}/growres.db" in growres("db", "current").out
    assert f"sqlite:///{folder}/growres.db is sound" in growres("db", "check").err


@pytest.mark.embedded
def test_backup_prints_the_path_of_a_copy(growres, experiment):
    with sqlite3.connect(growres("db", "backup").out.strip()) as copy:
        assert copy.execute("SELECT count(*) FROM trial").fetchone() == (4,)


def test_an_unreachable_database_is_exit_code_3_and_shows_no_password(growres, monkeypatch):
    monkeypatch.setenv("GROWRES_DATABASE_URL", "postgresql://me:s3cret@127.0.0.1:1/growres?connect_timeout=2")
    for arguments in (["list"], ["db", "current"], ["query", "select 1"]):
        answer = growres(*arguments)
        assert answer.code == 3
        assert "s3cret" not in answer.out + answer.err
        assert "127.0.0.1" in answer.err and "Traceback" not in answer.err


def test_a_store_is_copied_and_what_stays_behind_is_said(growres, experiment, tmp_path, monkeypatch):
    answer = growres("db", "copy", "default", str(tmp_path / "copy of 50%.db"))
    assert (answer.code, answer.out) == (0, "")
    lines = answer.err.splitlines()
    assert {"experiment: 1 row", "trial: 4 rows", "epoch: 6 rows"} <= set(lines)
    (total,) = (line for line in lines if line.startswith("Copied "))
    assert total.endswith(" rows and compared them.")
    assert f"experiment {experiment} is called running" in answer.err
    assert "stay in GROWRES_HOME" in lines[-1]
    told = growres("results", "--format", "json").json
    monkeypatch.setenv("GROWRES_DATABASE_URL", f"sqlite:///{tmp_path}/copy of 50%.db")
    assert growres("results", "--format", "json").json == told
    again = growres("db", "copy", "default", f"sqlite:///{tmp_path}/third.db")
    assert (again.code, total in again.err) == (0, True)


def test_a_copy_that_cannot_be_is_one_message(growres, experiment, tmp_path):
    for arguments, code, words in (
        (("default", "default"), 2, "into itself"),
        (("nothing.db", str(tmp_path / "copy.db")), 3, "nothing.db: there is no such file"),
        (("default", "postgresql://me:s3cret@127.0.0.1:1/growres"), 2, "PGPASSFILE"),
        (("postgresql://me@127.0.0.1:1/g?password=s3cret", "default"), 2, "PGPASSFILE"),
        (("default", "mysql://host/db"), 3, "of the kind 'mysql'"),
        (("default", ""), 3, "names no file"),
    ):
        answer = growres("db", "copy", *arguments)
        assert (answer.code, answer.out) == (code, ""), answer.err
        assert words in answer.err and "Traceback" not in answer.err and "s3cret" not in answer.err
    assert list(tmp_path.iterdir()) == []


def test_a_role_for_queries_is_postgres_own(growres, experiment):
    answer = growres("db", "reader-sql", "ann")
    if "GROWRES_DATABASE_URL" in os.environ:
        assert 'CREATE ROLE "ann" LOGIN;' in answer.out.splitlines()
        assert "canary" not in answer.out + answer.err
    else:
        assert (answer.code, answer.out) == (3, "") and "SQLite has none" in answer.err
