from __future__ import annotations

import json
import math
import multiprocessing
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from sqlalchemy import insert, select

from growres.errors import BusyError, ConfigError, SchemaMismatchError, StoreError
from growres.events import ArtifactWritten
from growres.store import NewExperiment, NewTrial, Recorder, Store, migration
from growres.store.copying import copy_store
from growres.store.database import Database, resolve
from growres.store.tables import Base, Experiment
from tests.databases import postgres_place, sqlite_place

EMPTY = {"name": "next", "spec_text": "", "spec": {}, "trials": ()}
MOMENT = datetime(2026, 1, 2, tzinfo=UTC)
ODD = [1e20, 1e23, 1e308, 5e-324, -0.0, 0.1, 2**53 + 1, '\u00fc\U0001f600"\\', None, {}]


@pytest.fixture(params=["sqlite", "postgres"])
def other_place(request, tmp_path):
    """A second database, without any table."""
    (tmp_path / "other").mkdir()
    if request.param == "sqlite":
        yield sqlite_place(tmp_path / "other", None)
    else:
        yield from postgres_place(request.getfixturevalue("postgres_server"), None)


@pytest.fixture
def fill(place, digits, recorder, started, epoch, decided, finished):
    """Puts something into every table, odd values among it."""

    def into_store():
        with Store.open(place.url) as store:
            experiment_id = store.add_experiment(digits(git_dirty=True, versions={"odd": ODD}))
        told = [started, *(epoch(number) for number in range(1, 40)), decided(1, p_value=0.1 + 0.2), decided(2)]
        told += [epoch(77, train_loss=1e-310, val_loss=-0.0, lr=None), finished(train_flops=2**63 - 1)]
        told.append(ArtifactWritten(kind="checkpoint", path="x/checkpoint.pt", sha256="ab" * 32, num_bytes=5 * 10**9))
        for event in told:
            recorder.record(f"{experiment_id}-1", 1, event)
        recorder.flush()
        return experiment_id

    return into_store


def rows_of(url):
    """Every table's rows. (PostgreSQL keeps the keys of JSON in an order of its own, SQLite no sign of a zero.)"""

    def whole(row):
        return json.dumps(dict(row), sort_keys=True, default=str).replace("-0.0", "0.0")

    with Database(resolve(url)) as database, database.reading() as connection:
        tables = Base.metadata.sorted_tables
        return {table.name: sorted(map(whole, connection.execute(select(table)).mappings())) for table in tables}


def copy(place, other_place, **options):
    return copy_store(resolve(place.url), resolve(other_place.url), **options)


def test_a_copy_has_every_row_of_every_table_as_it_was(place, other_place, fill):
    experiment_id = fill()
    done = copy(place, other_place)
    before, after = rows_of(place.url), rows_of(other_place.url)
    assert done.num_rows == {table: len(rows) for table, rows in before.items()}
    assert done.num_rows["epoch"] == 40 and done.running == (experiment_id,)
    for table in before.keys() - {"experiment"}:  # whose JSON holds 1e20: a whole number in PostgreSQL
        assert after[table] == before[table]
    with Store.open(place.url) as store, Store.open(other_place.url) as copied:
        experiment, its_copy = store.find_experiment(experiment_id), copied.find_experiment(experiment_id)
        assert replace(its_copy, versions=None) == replace(experiment, versions=None)
        for odd, copied_odd in zip(experiment.versions["odd"], its_copy.versions["odd"], strict=True):
            assert float(copied_odd) == odd if isinstance(odd, float) else copied_odd == odd
        assert copied.leaderboard() == store.leaderboard()
    assert migration.check(other_place.url) == []


def test_a_copy_can_be_gone_on_with(place, other_place, fill, tmp_path, started, epoch):
    experiment_id = fill()
    copy(place, other_place)
    recorder = Recorder(other_place.url, tmp_path / "copied.jsonl")
    recorder.record(f"{experiment_id}-2", 1, started)
    recorder.record(f"{experiment_id}-2", 1, epoch(1))
    recorder.close()
    with Store.open(other_place.url) as store:
        assert len(store.epochs(f"{experiment_id}-2")) == 1
        assert len(store.find_experiment(store.add_experiment(NewExperiment(**EMPTY))).id) == 6


def test_a_trial_may_refer_to_one_that_comes_after_it(place, other_place):
    trials = [
        NewTrial(
            variant=f"v{index}", seed=0, procedure="end_to_end", model="lenet5", config={}, twin_of=None, twin=None
        )
        for index in range(3)
    ]
    with Store.open(place.url) as store:
        experiment_id = store.add_experiment(NewExperiment(**EMPTY | {"trials": tuple(trials)}))
    for child, parent in ((1, 3), (2, 1)):  # a twin of a twin, and both before their parents
        place.execute(f"UPDATE trial SET twin_of = '{experiment_id}-{parent}' WHERE id = '{experiment_id}-{child}'")
    copy(place, other_place)
    with Store.open(other_place.url) as store:
        told = [trial.twin_of for trial in store.trials(experiment_id)]
    assert told == [f"{experiment_id}-3", f"{experiment_id}-1", None]


def test_no_table_numbers_its_rows_itself():
    """The copy of one that does would have to take the sequence along."""
    assert [table.name for table in Base.metadata.sorted_tables if table.autoincrement_column is not None] == []


def test_a_database_that_holds_rows_is_refused_and_left_as_it_is(place, other_place, fill):
    fill()
    with Store.open(other_place.url, upgrade=True) as store:
        store.add_experiment(NewExperiment(**EMPTY))
    before = rows_of(other_place.url)
    with pytest.raises(ConfigError, match=r"its table experiment holds 1 rows? already.*name another one") as refused:
        copy(place, other_place)
    assert refused.value.exit_code == 2
    assert rows_of(other_place.url) == before


def test_a_database_of_somebody_else_is_refused(place, other_place):
    other_place.execute("CREATE TABLE invoices (id INTEGER)")
    with pytest.raises(SchemaMismatchError, match=r"did not make \(invoices\)"):
        copy(place, other_place)


def test_a_database_is_not_copied_into_itself(place):
    with pytest.raises(ConfigError, match="into itself"):
        copy(place, place)


@pytest.mark.parametrize("changed", ["source", "target"])
def test_another_schema_is_refused_on_either_side(place, other_place, changed):
    migration.upgrade(other_place.url)
    {"source": place, "target": other_place}[changed].execute("UPDATE alembic_version SET version_num = '0000'")
    with pytest.raises(SchemaMismatchError, match="has schema 0000"):
        copy(place, other_place)


def test_what_is_to_be_copied_must_be_there(tmp_path, other_place):
    with pytest.raises(StoreError, match=r"nothing\.db: there is no such file"):
        copy_store(resolve(f"sqlite:///{tmp_path}/nothing.db"), resolve(other_place.url))
    assert not (tmp_path / "nothing.db").exists()


FALSIFY = {
    "sqlite": {
        "changes": "CREATE TRIGGER odd AFTER INSERT ON epoch WHEN new.epoch = 7 BEGIN "
        "UPDATE epoch SET val_error = 0.25000000000000006 WHERE epoch = 7; END",
        "drops": "CREATE TRIGGER odd BEFORE INSERT ON epoch WHEN new.epoch = 7 BEGIN SELECT RAISE(IGNORE); END",
    },
    "postgres": {
        "changes": "CREATE FUNCTION odd() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF new.epoch = 7 THEN "
        "new.val_error := 0.25000000000000006; END IF; RETURN new; END';\n"
        "CREATE TRIGGER odd BEFORE INSERT ON epoch FOR EACH ROW EXECUTE FUNCTION odd()",
        "drops": "CREATE RULE odd AS ON INSERT TO epoch WHERE new.epoch = 7 DO INSTEAD NOTHING",
    },
}


@pytest.mark.parametrize(("harm", "said"), [("changes", "are not those of the source"), ("drops", "has 39 rows")])
def test_a_copy_that_is_not_its_source_is_not_kept(place, other_place, fill, harm, said):
    fill()
    migration.upgrade(other_place.url)
    other_place.execute(FALSIFY["sqlite" if other_place.is_sqlite else "postgres"][harm])
    with pytest.raises(StoreError, match=rf"table epoch .*{said}.*Nothing was kept there"):
        copy(place, other_place)
    assert not any(rows_of(other_place.url).values())
    kind = "RULE" if "RULE" in FALSIFY["sqlite" if other_place.is_sqlite else "postgres"][harm] else "TRIGGER"
    other_place.execute(f"DROP {kind} odd" + ("" if other_place.is_sqlite else " ON epoch"))
    assert copy(place, other_place).num_rows["epoch"] == 40


def write_epochs(url, spool, trial_id, told, begun):
    recorder = Recorder(url, spool)
    for event in told:
        recorder.record(trial_id, 1, event)
        recorder.flush()
        begun.set()
    recorder.close()


def test_a_copy_is_of_one_moment_though_a_driver_writes_on(place, other_place, fill, epoch, started, tmp_path):
    experiment_id = fill()
    context = multiprocessing.get_context("fork")
    begun = context.Event()
    told = [started, *(epoch(number) for number in range(1, 1500))]
    driver = context.Process(
        target=write_epochs, args=(place.url, tmp_path / "other.jsonl", f"{experiment_id}-2", told, begun)
    )
    driver.start()
    try:
        assert begun.wait(30)
        done = copy(place, other_place)
        assert driver.is_alive()
    finally:
        driver.terminate()
        driver.join()
    with Store.open(other_place.url) as store:
        epochs = store.epochs(f"{experiment_id}-2")
    assert [row["epoch"] for row in epochs] == list(range(1, len(epochs) + 1))
    assert done.num_rows["epoch"] == 40 + len(epochs)
    assert migration.check(other_place.url) == []


def test_a_store_that_a_living_driver_writes_into_is_not_copied(place, other_place, fill):
    experiment_id = fill()
    with Store.open(place.url) as store:
        run = store.runs.claim(experiment_id, backend="local")
        store.runs.begin(experiment_id, run.run, host="bench", pid=4711)
        with pytest.raises(BusyError, match=f"experiment {experiment_id} is being run.*growres stop"):
            copy(place, other_place)
        assert not any(rows_of(other_place.url).values())
        store.runs.end(experiment_id, run.run, "succeeded", "done")
    assert copy(place, other_place).num_rows["run"] == 1


def test_the_rows_of_a_long_copy_are_told_as_they_come(place, other_place, fill, monkeypatch):
    fill()
    monkeypatch.setattr("growres.store.copying._BATCH", 16)
    told = []
    copy(place, other_place, report=lambda *about: told.append(about))
    assert [about for about in told if about[0] == "epoch"] == [("epoch", done, 40) for done in (0, 16, 32, 40)]
    tables = list(dict.fromkeys(table for table, *_ in told))
    assert tables.index("experiment") < tables.index("trial") < tables.index("epoch")


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_a_source_that_goes_away_is_named_and_nothing_is_kept(place, other_place, fill, monkeypatch):
    fill()
    monkeypatch.setattr("growres.store.copying._BATCH", 16)

    def take_away(table, done, total):
        if (table, done) == ("epoch", 0):
            place.take_away()

    try:
        with pytest.raises(StoreError, match="Cannot read the database postgresql") as caught:
            copy(place, other_place, report=take_away)
    finally:
        place.bring_back()
    assert resolve(place.url).for_people in str(caught.value)
    assert not any(rows_of(other_place.url).values())


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_what_postgres_cannot_hold_is_said_and_nothing_is_kept(place, postgres_server, fill):
    fill()
    with sqlite3.connect(place.url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE trial SET reason = 'a' || char(0) || 'b'")
    for other_place in postgres_place(postgres_server, None):
        with pytest.raises(StoreError, match="Cannot write to the database .*NUL"):
            copy(place, other_place)
        assert not any(rows_of(other_place.url).values())


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_row_that_refers_to_nothing_is_not_copied(place, other_place, fill):
    fill()
    with sqlite3.connect(place.url.removeprefix("sqlite:///")) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("UPDATE epoch SET trial_id = 'nobody-1' WHERE epoch = 3")
    with pytest.raises(StoreError, match="(?i)foreign key"):
        copy(place, other_place)
    assert not any(rows_of(other_place.url).values())


def test_a_number_that_json_does_not_know_is_compared_too(tmp_path):
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    migration.upgrade(f"sqlite:///{one}")
    with Database(resolve(f"sqlite:///{one}")) as database, database.writing() as connection:
        with Store.open(f"sqlite:///{two}"):
            pass
        values = {"id": "abcdef", "name": "a", "status": "queued", "spec_text": "", "created_at": MOMENT}
        connection.execute(insert(Experiment).values(spec={"nan": math.nan, "inf": -math.inf}, **values))
    assert copy_store(resolve(f"sqlite:///{one}"), resolve(f"sqlite:///{two}")).num_rows["experiment"] == 1
