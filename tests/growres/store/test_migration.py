from __future__ import annotations

import logging
import multiprocessing
import shutil
import sqlite3
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from filelock import FileLock
from sqlalchemy import inspect

from growres.errors import BusyError, SchemaMismatchError, StoreError
from growres.store import Store, migration
from growres.store.database import Database, resolve
from growres.store.tables import GROWTH_CURVE, LEADERBOARD, Base

SAVED = Path(__file__).parent / "data"


def migrate_to(url, revision, move=command.upgrade):
    with Database(resolve(url)) as database, database.writing() as connection:
        config = migration.alembic_config()
        config.attributes["connection"] = connection
        move(config, revision)


def tables_and_views(url):
    with Database(resolve(url)) as database, database.reading() as connection:
        return set(inspect(connection).get_table_names()), set(inspect(connection).get_view_names())


def test_the_migrated_schema_is_that_of_the_models(place):
    with Database(resolve(place.url)) as database, database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    assert migration.check(place.url) == []


@pytest.mark.parametrize("view", [LEADERBOARD, GROWTH_CURVE], ids=lambda view: view.name)
def test_a_view_has_the_columns_that_the_models_name_for_it(place, view):
    with Database(resolve(place.url)) as database, database.reading() as connection:
        columns = [column["name"] for column in inspect(connection).get_columns(view.name)]
    assert columns == [column.name for column in view.columns]


def test_a_downgrade_to_the_base_leaves_nothing_and_an_upgrade_brings_it_back(place):
    before = tables_and_views(place.url)
    migrate_to(place.url, "base", command.downgrade)
    assert tables_and_views(place.url) == ({"alembic_version"}, set())
    migrate_to(place.url, "head")
    assert tables_and_views(place.url) == before


def test_the_revisions_told_from_file_names_are_those_that_alembic_finds():
    script = ScriptDirectory.from_config(migration.alembic_config())
    assert migration.revisions() == [revision.revision for revision in reversed(list(script.walk_revisions()))]
    assert migration.head_revision() == script.get_current_head()


@pytest.mark.parametrize("saved", sorted(SAVED.glob("*.sql")), ids=lambda path: path.stem)
def test_a_saved_old_database_comes_through_an_upgrade_with_all_its_rows(empty_place, saved):
    migrate_to(empty_place.url, saved.stem)
    empty_place.execute(saved.read_text())
    migration.upgrade(empty_place.url)
    assert migration.check(empty_place.url) == []
    with Store.open(empty_place.url) as store:
        experiment = store.find_experiment("digits")
        grown, waiting = store.trials("abcdef")
        assert experiment.created_at.isoformat() == "2026-01-02T03:04:05.000006+00:00"
        assert (experiment.git_dirty, experiment.data_splits["train"]) == (True, 1151)
        assert (grown.num_params, grown.train_flops, grown.attempt) == (90123456789, 3 * 10**18, 2)
        assert (waiting.status, waiting.val_error) == ("queued", None)
        assert waiting.sweep_point == {"training.optimizer.lr": 0.1}
        assert [(row["train_loss"], row["replicate"]) for row in store.epochs("abcdef-1")] == [(0.5, 0), (None, 0)]
        # A store from before there were rounds has one for each step, which appended a block with one seed.
        told = ("step", "round", "kind", "num_replicates", "verdict")
        assert [tuple(row[key] for key in told) for row in store.growth_steps("abcdef-1")] == [
            (1, 1, "append", 1 if saved.stem == "0001" else 2, "accepted")
        ]
        assert [row["status"] for row in store.attempts("abcdef-1")] == ["interrupted", "succeeded"]
        assert store.artifacts("abcdef-1")[0]["num_bytes"] == 5_000_000_000


# -------------------------------------------------------------------------------------------- who may be upgraded


@pytest.mark.parametrize("empty_place", ["postgres"], indirect=True)
def test_an_empty_postgres_is_left_alone_until_it_is_upgraded(empty_place):
    with pytest.raises(SchemaMismatchError, match=r"is empty.*growres db upgrade"):
        Store.open(empty_place.url)
    report = migration.upgrade(empty_place.url)
    assert (report.before, report.after, report.backup) == (None, migration.head_revision(), None)
    Store.open(empty_place.url).close()


def test_an_empty_sqlite_file_is_set_up_by_itself_unless_that_is_forbidden(tmp_path):
    with pytest.raises(SchemaMismatchError, match="growres db upgrade"):
        Store.open(f"sqlite:///{tmp_path}/results.db", upgrade=False)
    Store.open(f"sqlite:///{tmp_path}/results.db").close()
    assert migration.current_revision(f"sqlite:///{tmp_path}/results.db") == migration.head_revision()


@pytest.fixture
def older_program(monkeypatch, tmp_path):
    """Makes the schema that the databases of this test have yesterday's, by adding a migration to today's."""

    def age():
        folder = tmp_path / "migrations % today"
        shutil.copytree(migration.migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
        (folder / "versions" / "9999_note.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision, down_revision = '9999', {migration.head_revision()!r}\n"
            "def upgrade():\n"
            "    for view in ('growth_curve', 'leaderboard'):\n"
            "        op.execute(f'DROP VIEW {view}')\n"
            "    with op.batch_alter_table('trial') as trial:\n"
            "        trial.add_column(sa.Column('note', sa.Text()))\n"
            "        trial.create_check_constraint('seed', 'seed >= 0')\n"  # SQLite makes the table anew for that
        )
        monkeypatch.setattr(migration, "migrations_folder", lambda: folder)

    return age


def test_the_embedded_store_upgrades_itself_after_a_backup(home, digits, older_program):
    with Store.open() as store:
        experiment_id = store.add_experiment(digits())
    assert not (home / "backups").exists()
    older_program()
    with Store.open() as store:
        assert len(store.trials(experiment_id)) == 4
    assert migration.current_revision() == "9999"
    (saved,) = (home / "backups").iterdir()
    with sqlite3.connect(saved) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() != ("9999",)
        assert connection.execute("SELECT count(*) FROM trial").fetchone() == (4,)


def test_a_named_database_of_an_older_schema_is_refused_until_it_is_upgraded(place, older_program):
    older_program()
    with pytest.raises(SchemaMismatchError, match=r"older schema .*needs schema 9999.*growres db upgrade") as caught:
        Store.open(place.url)
    assert caught.value.exit_code == 4
    assert "Run: growres db upgrade" in migration.check(place.url)[0]
    Store.open(place.url, upgrade=True).close()
    assert migration.current_revision(place.url) == "9999"


def test_an_upgrade_keeps_the_rows_that_refer_to_a_changed_table(place, digits, recorder, started, older_program):
    with Store.open(place.url) as store:
        experiment_id = store.add_experiment(digits())
        recorder.record(f"{experiment_id}-1", 1, started)
        older_program()
        migration.upgrade(place.url)
        assert len(store.trials(experiment_id)) == 4
        assert len(store.attempts(f"{experiment_id}-1")) == 1


def test_an_upgrade_that_fails_changes_nothing(place, older_program):
    older_program()
    broken = migration.migrations_folder() / "versions" / "9999_note.py"
    broken.write_text(broken.read_text() + "    op.execute('SELECT nothing FROM nowhere')\n")
    with pytest.raises(StoreError, match="Cannot upgrade"):
        migration.upgrade(place.url)
    assert migration.current_revision(place.url) != "9999"
    with Database(resolve(place.url)) as database, database.reading() as connection:
        assert "note" not in {column["name"] for column in inspect(connection).get_columns("trial")}


def test_a_database_newer_than_the_program_is_refused(place):
    place.execute("UPDATE alembic_version SET version_num = '7777'")
    for attempt in (lambda: Store.open(place.url, upgrade=True), lambda: migration.upgrade(place.url)):
        with pytest.raises(SchemaMismatchError, match=r"has schema 7777.*up to \d{4}.*A newer growres made it"):
            attempt()
    assert "7777" in migration.check(place.url)[0]


def test_a_database_that_is_not_growres_own_is_refused(empty_place):
    empty_place.execute("CREATE TABLE invoices (id INTEGER)")
    with pytest.raises(SchemaMismatchError, match=r"did not make \(invoices\)"):
        Store.open(empty_place.url, upgrade=True)


def open_and_count(url, results):
    try:
        with Store.open(url) as store:
            results.put(len(store.experiments()))
    except Exception as error:
        results.put(repr(error))


def at_once(number, target, *arguments):
    """What so many processes answer that call a function together."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=target, args=(*arguments, results)) for _ in range(number)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=100) for _ in processes]
    for process in processes:
        process.join()
    return answers


def test_processes_that_come_together_set_the_store_up_once(tmp_path):
    assert at_once(4, open_and_count, f"sqlite:///{tmp_path}/results.db") == [0, 0, 0, 0]


def upgrade_and_tell(url, results):
    try:
        done = migration.upgrade(url)
        results.put((done.before, done.after))
    except Exception as error:
        results.put(repr(error))


def test_processes_that_upgrade_an_empty_database_together_upgrade_it_once(empty_place):
    head = migration.head_revision()
    answers = at_once(6, upgrade_and_tell, empty_place.url)
    assert sorted(answers, key=str) == [*[(head, head)] * 5, (None, head)]
    assert migration.check(empty_place.url) == []


def test_who_waits_for_an_upgrade_that_hangs_gives_up_and_says_so(empty_place, monkeypatch):
    monkeypatch.setattr(migration, "_LOCK_TIMEOUT_S", 0.5)
    address = resolve(empty_place.url)
    with ExitStack() as hanging:
        if address.is_sqlite:
            hanging.enter_context(FileLock(f"{address.path}.upgrade.lock"))
        else:
            other = hanging.enter_context(Database(address))
            connection = hanging.enter_context(other.reading())
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({migration._ADVISORY_LOCK})")
        begun = time.monotonic()
        with pytest.raises(StoreError, match=r"another process has been at it for 0\.5 s.*whether a growres hangs"):
            migration.upgrade(empty_place.url)
        assert 0.4 < time.monotonic() - begun < 20
    assert migration.upgrade(empty_place.url).before is None


def test_an_upgrade_leaves_the_programs_loggers_as_they_are(tmp_path):
    logger = logging.getLogger("growres.somewhere")
    migration.upgrade(f"sqlite:///{tmp_path}/results.db")
    assert not logger.disabled


def test_looking_at_a_store_that_is_not_there_does_not_make_it(home):
    assert migration.current_revision() is None
    assert not (home / "growres.db").exists()


# --------------------------------------------------------------------------------------------------------- backups


def test_a_backup_of_a_sqlite_store_in_use_is_a_whole_store(home, digits):
    with Store.open() as store:
        store.add_experiment(digits())
        saved = migration.backup()
    assert saved.parent == home / "backups"
    with Store.open(f"sqlite:///{saved}") as copy:
        assert [experiment.name for experiment in copy.experiments()] == ["digits"]


def test_a_backup_says_what_it_cannot_do(place, tmp_path):
    with pytest.raises(StoreError, match="there is no such file yet"):
        migration.backup(f"sqlite:///{tmp_path}/nothing.db")
    if not place.is_sqlite:
        with pytest.raises(StoreError, match="pg_dump"):
            migration.backup(place.url)


def test_a_check_names_what_is_missing(place):
    place.execute("DROP VIEW leaderboard")
    assert migration.check(place.url) == ["The view leaderboard is missing."]


def test_a_database_is_not_upgraded_under_a_driver_that_runs(place, digits, older_program):
    with Store.open(place.url) as store:
        experiment_id = store.add_experiment(digits())
        run = store.runs.claim(experiment_id, backend="local").run
        store.runs.begin(experiment_id, run, host="bench", pid=4711)
        older_program()
        with pytest.raises(BusyError, match=rf"{experiment_id} is being run.*growres stop {experiment_id}"):
            migration.upgrade(place.url)
        store.runs.end(experiment_id, run, "stopped", "for the upgrade")
        assert migration.upgrade(place.url).after == migration.head_revision()
