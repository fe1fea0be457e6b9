from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest

from growres.errors import QueryError, SchemaMismatchError, StoreError
from growres.events import AttemptEnded
from growres.store import Store, migration
from growres.store.database import Database, resolve
from growres.store.query import QueryResult, run_read_only
from growres.store.reader import reader_sql


@pytest.fixture
def query(place):
    def run(sql, timeout_s=10.0, max_rows=100):
        return run_read_only(place.url, sql, timeout_s=timeout_s, max_rows=max_rows)

    return run


@pytest.fixture
def experiment_id(store, digits, recorder, started, finished):
    """An experiment with one trial that succeeded, in a store that is open for writing all the while."""
    experiment_id = store.add_experiment(digits())
    recorder.record(f"{experiment_id}-1", 1, started)
    recorder.record(f"{experiment_id}-1", 1, finished())
    recorder.record(f"{experiment_id}-1", 1, AttemptEnded(status="succeeded", reason="done"))
    return experiment_id


def test_the_columns_that_people_count_on_can_be_queried_while_the_store_is_in_use(query, experiment_id):
    result = query(
        "select experiment, trial_id, variant, seed, procedure, model, status, val_error, test_error, num_params, "
        "num_blocks, train_flops, wall_s from leaderboard where experiment = 'digits' and status = 'succeeded';"
    )
    assert result.rows == (
        ("digits", f"{experiment_id}-1", "simons", 0, "growth", "preact_resnet", "succeeded", 0.25, 0.375, 1500, 3,
         3 * 10**18, 20.5),
    )  # fmt: skip
    assert result.columns[0] == "experiment"
    for sql in (
        "select trial_id, step, stage, block, initialiser, train_error_before, train_error_candidate, "
        "val_error_before, val_error_candidate, val_error_control, p_value, verdict, reason, num_params_before, "
        "num_params_after, epochs, train_flops, wall_s from growth_step",
        "select trial_id, growth_step, arm, epoch, train_loss, train_error, val_loss, val_error, lr, images_per_s, "
        "epoch_s from epoch",
        "select experiment, trial_id, variant, seed, step, verdict, num_blocks, num_params, val_error, train_error, "
        "train_flops_total from growth_curve",
    ):
        assert query(sql).rows == ()


def test_values_come_back_plain_and_the_same_from_either_database(query, experiment_id):
    result = query(
        "select count(*) as n, sum(seed) as total, max(val_error) as largest, null as none, 'a%b' as pattern "
        "from trial -- why not"
    )
    assert result == QueryResult(
        columns=("n", "total", "largest", "none", "pattern"), rows=((4, 2, 0.25, None, "a%b"),), truncated=False
    )
    ((created_at, config),) = query("select created_at, config from trial where trial_index = 1").rows
    assert len(created_at) == len("2026-01-02 03:04:05.000006")
    assert '"simons"' in config


def test_no_more_rows_come_than_allowed(query, experiment_id):
    assert query("select id from trial", max_rows=4).truncated is False
    few = query("select id from trial order by trial_index", max_rows=3)
    assert (few.truncated, len(few.rows)) == (True, 3)


def assert_denied(query, sql, message="Only reading is allowed"):
    with pytest.raises(QueryError, match=message) as caught:
        query(sql)
    assert caught.value.exit_code == 2


def test_nothing_but_reading_is_allowed(query, experiment_id, store):
    for sql in (
        "insert into trial (id) values ('x')",
        "update trial set val_error = 0",
        "delete from trial",
        "drop table trial",
        "create table mine (id integer)",
        "create temp table mine (id integer)",
        "begin",
        "commit",
        "select 1; select 2",
        "select 1; drop table trial",
        "commit; create table mine (id integer)",
        "reindex",
        "vacuum",
        "analyze",
    ):
        assert_denied(query, sql)
    assert len(store.trials(experiment_id)) == 4


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_sqlite_has_no_back_door(query, experiment_id, tmp_path):
    before = set(tmp_path.rglob("*"))
    for sql in (
        f"attach database '{tmp_path}/new.db' as new",
        f"vacuum into '{tmp_path}/new.db'",
        "pragma query_only = off",
        "pragma writable_schema = on",
        "pragma journal_mode = delete",
        "select * from pragma_table_info('trial')",
        f"select load_extension('{tmp_path}/new.so')",
        "explain delete from trial",
        "with x as (select 1) insert into trial (id) select * from x",
    ):
        assert_denied(query, sql)
    assert_denied(query, "update sqlite_master set sql = ''", "may not be modified")
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_postgres_has_no_back_door(query, place, experiment_id, store, tmp_path):
    place.execute("CREATE SEQUENCE numbers")
    for sql in (
        f"copy trial to '{tmp_path}/new.csv'",
        "copy trial to stdout",
        "do $$ begin create table mine (id integer); end $$",
        "with x as (delete from trial returning id) select * from x",
        "select 1 into mine",
        "select * from trial for update",
        "select nextval('numbers')",
        "select setval('numbers', 7)",
        "select query_to_xml('delete from trial', true, true, '')",
        "select set_config('transaction_read_only', 'off', true)",
        "select set_config('transaction_read_only', 'off', false) from trial",
        "select set_config('role', 'nobody_here', false)",
        "set transaction read write",
        "select 1) to stdout; copy (select 2",
    ):
        assert_denied(query, sql, "Cannot run this query")
    assert len(store.trials(experiment_id)) == 4
    assert query("select last_value, is_called from numbers").rows == ((1, False),)
    assert query("select count(*) from pg_tables where tablename = 'mine'").rows == ((0,),)


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_a_query_cannot_give_itself_more_time_nor_leave_a_setting_behind(query, place):
    begun = time.monotonic()
    with pytest.raises(QueryError, match=r"within 0\.3 s"):
        query("select set_config('statement_timeout', '0', false), pg_sleep(20)", timeout_s=0.3)
    with Database(resolve(place.url)) as database, database.writing() as connection:
        connection.exec_driver_sql("LOCK TABLE trial IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(QueryError, match=r"within 0\.3 s"):  # it waits for the lock
            query("select * from trial", timeout_s=0.3)
    assert time.monotonic() - begun < 10
    query("select set_config('default_transaction_read_only', 'off', false)")
    assert query("select current_setting('transaction_read_only')").rows == (("on",),)


READER = 'growres test "reader"'


@pytest.fixture
def reader(place, monkeypatch):
    """The address of a role that reader_sql has made, in the environment."""
    quoted = '"' + READER.replace('"', '""') + '"'
    place.execute(reader_sql(READER, place.url))
    address = resolve(place.url).url.set(username=READER)
    monkeypatch.setenv("GROWRES_DATABASE_URL", place.url)
    monkeypatch.setenv("GROWRES_QUERY_DATABASE_URL", address.render_as_string(hide_password=False))
    yield address
    place.execute(f"DROP OWNED BY {quoted};\nDROP ROLE {quoted}")


@pytest.fixture
def ask():
    """A query as the command line asks it."""
    return lambda sql: run_read_only(None, sql, timeout_s=10.0, max_rows=100)


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_the_reader_of_queries_can_read_the_store_and_nothing_else(place, reader, ask, experiment_id, tmp_path):
    assert ask("select current_user").rows == ((READER,),)
    assert ask("select count(*) from leaderboard").rows == ((4,),)
    assert ask("select count(*) from growth_curve").rows == ((0,),)
    place.execute(
        "CREATE FUNCTION clear() RETURNS integer LANGUAGE sql AS 'DELETE FROM trial RETURNING 1';\n"
        "CREATE FUNCTION clear_as_owner() RETURNS integer LANGUAGE sql SECURITY DEFINER "
        "AS 'DELETE FROM trial RETURNING 1'"
    )
    (tmp_path / "secret").write_text("secret")
    for sql in (
        "select clear()",
        "select clear_as_owner()",
        "select pg_read_file('postgresql.conf')",
        f"select pg_read_binary_file('{tmp_path}/secret')",
        "select * from pg_ls_dir('.')",
        "select lo_import('/etc/passwd')",
        "select * from pg_authid",
        "select set_config('role', 'postgres', false)",
        "select query_to_xml('copy trial to program ''id''', true, true, '')",
        "copy trial to program 'id'",
        "copy trial to stdout",
        "select 1; select 2",
    ):
        assert_denied(ask, sql, "Cannot run this query")


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_the_server_itself_refuses_what_the_reader_may_not(place, reader, experiment_id, store):
    """Whatever program the role is used from, and though it switches its own settings off."""
    place.execute("CREATE FUNCTION clear() RETURNS integer LANGUAGE sql AS 'DELETE FROM trial RETURNING 1'")
    with Database(resolve(reader.render_as_string(hide_password=False))) as database:
        for sql in ("UPDATE trial SET val_error = 0", "SELECT clear()", "CREATE TABLE mine (id INTEGER)"):
            with pytest.raises(StoreError, match="read-only transaction"), database.writing() as connection:
                connection.exec_driver_sql(sql)
            with pytest.raises(StoreError, match="permission denied"), database.writing() as connection:
                connection.exec_driver_sql("SET TRANSACTION READ WRITE")
                connection.exec_driver_sql(sql)
        with database.reading() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "1min"
    assert len(store.trials(experiment_id)) == 4


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_the_reader_can_read_what_a_later_upgrade_makes(place, reader, ask):
    place.execute("DROP VIEW leaderboard;\nCREATE VIEW leaderboard AS SELECT id FROM trial;\nCREATE TABLE more (a INT)")
    assert ask("select * from leaderboard, more").rows == ()


def test_sqlite_needs_no_reader(sqlite_template):
    with pytest.raises(StoreError, match="SQLite has none"):
        reader_sql("ann", f"sqlite:///{sqlite_template}")


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_queries_have_an_address_of_their_own_that_is_named_where_it_is_wrong(place, ask, monkeypatch, canary):
    monkeypatch.setenv("GROWRES_DATABASE_URL", place.url)
    nowhere = resolve(place.url).url.update_query_dict({"host": "/nowhere"}).render_as_string(hide_password=False)
    monkeypatch.setenv("GROWRES_QUERY_DATABASE_URL", nowhere)
    with pytest.raises(StoreError, match="that GROWRES_QUERY_DATABASE_URL names it") as caught:
        ask("select 1")
    assert canary not in str(caught.value)
    assert run_read_only(place.url, "select 1", timeout_s=1, max_rows=1).rows == ((1,),)


def test_an_endless_query_is_stopped(query):
    begun = time.monotonic()
    with pytest.raises(QueryError, match=r"within 0\.3 s.*more time"):
        query(
            "with recursive endless(n) as (select 1 union all select n + 1 from endless) select max(n) from endless",
            timeout_s=0.3,
        )
    assert time.monotonic() - begun < 3


def test_a_wrong_query_is_told_what_is_wrong(query):
    for sql, message in (
        ("select nonsense from trial", "nonsense"),
        ("select * from nowhere", "nowhere"),
        ("selekt 1", "syntax error"),
        (" ; ", "empty query"),
        ("-- only a comment", "Cannot run this query"),
        ("select 'a\0b'", "NUL"),
    ):
        assert_denied(query, sql, message)


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_one_value_cannot_take_all_memory(query):
    with pytest.raises(QueryError, match="too big"):
        query("select zeroblob(1000000000)")


def test_a_store_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"nothing\.db: there is no such file yet"):
        run_read_only(f"sqlite:///{tmp_path}/nothing.db", "select 1", timeout_s=1, max_rows=1)
    (tmp_path / "notes.db").write_text("Dear diary, " * 500)
    with pytest.raises(StoreError, match=r"notes\.db: file is not a database"):
        run_read_only(f"sqlite:///{tmp_path}/notes.db", "select 1", timeout_s=1, max_rows=1)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "has schema 9999.*A newer growres made it"),
        ("UPDATE alembic_version SET version_num = '0000'", "has schema 0000"),
        ("DELETE FROM alembic_version", "is empty; this growres needs schema .*Run: growres db upgrade"),
        ("DROP TABLE alembic_version", "holds tables that growres did not make"),
    ],
)
def test_a_database_of_another_schema_is_refused_as_opening_it_is(place, query, statement, message):
    place.execute(statement)
    with pytest.raises(SchemaMismatchError, match=message) as refused:
        query("select 1")
    with pytest.raises(SchemaMismatchError) as not_opened:
        Store.open(place.url, upgrade=False)
    assert str(refused.value) == str(not_opened.value)


def test_an_older_schema_is_refused_and_left_alone(place, query, monkeypatch):
    today = migration.head_revision()
    monkeypatch.setattr(migration, "revisions", lambda: [today, "9999"])
    with pytest.raises(SchemaMismatchError, match=f"older schema {today}; this growres needs schema 9999"):
        query("select 1")


@pytest.fixture
def another_user():
    """Runs the test as somebody who may not write everywhere, as root may."""
    if os.getuid() == 0:
        os.seteuid(65534)
    yield
    if os.getuid() == 0:
        os.seteuid(0)


@pytest.fixture
def archive(sqlite_template):
    """A store that nobody may write to, in a folder that nobody may write to."""
    folder = Path(tempfile.mkdtemp(prefix="growres-archive-"))
    shutil.copy(sqlite_template, folder / "results.db")
    (folder / "results.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder / "results.db"
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_store_in_a_folder_that_cannot_be_written_to_can_be_read(archive, another_user):
    result = run_read_only(f"sqlite:///{archive}", "select count(*) from trial", timeout_s=1, max_rows=1)
    assert result.rows == ((0,),)
    with pytest.raises(StoreError, match="See that you may write to the file and to its folder"):
        Store.open(f"sqlite:///{archive}")


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_query_waits_for_no_writer(place, query, experiment_id):
    writer = sqlite3.connect(place.url.removeprefix("sqlite:///"), isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("DELETE FROM epoch")
    begun = time.monotonic()
    assert query("select count(*) from trial").rows == ((4,),)
    assert time.monotonic() - begun < 1
    writer.close()
