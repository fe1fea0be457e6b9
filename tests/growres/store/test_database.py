from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from growres.errors import ConfigError, StoreError
from growres.store import Store
from growres.store.database import Database, resolve


def test_the_default_is_a_file_in_growres_home_and_the_environment_goes_before_it(home, monkeypatch, tmp_path):
    assert resolve(None).path == home / "growres.db"
    assert resolve(None).embedded
    monkeypatch.setenv("GROWRES_DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    assert resolve(None).path == tmp_path / "other.db"
    assert not resolve(None).embedded
    assert resolve(f"sqlite:///{tmp_path}/third.db").path == tmp_path / "third.db"


def test_a_relative_sqlite_path_is_resolved_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    address = resolve("sqlite:///results.db")
    monkeypatch.chdir("/")
    assert address.path == tmp_path / "results.db"


@pytest.mark.parametrize(
    "url", ["postgres://ann:{}@host/db", "postgresql://ann@host/db?password={}", "postgresql+psycopg://ann:{}@host/db"]
)
def test_an_address_never_shows_its_password(url, canary):
    address = resolve(url.format(canary.replace("%", "%25")))
    assert address.secrets == [canary]
    for shown in (str(address), repr(address), address.for_people):
        assert canary not in shown
        assert canary.replace("%", "%25") not in shown
        assert "host/db" in shown or "Address" in shown
    assert address.scrub(f"invalid dsn {canary}") == "invalid dsn ***"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("results.db", "it is not a URL"),
        ("mysql://host/db", "of the kind 'mysql'.*Allowed are sqlite"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("postgresql://ann:s3cr3t@host:notaport/db", "it is not a URL"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_with_what_is_allowed(url, message):
    with pytest.raises(StoreError, match=message) as caught:
        resolve(url)
    assert "s3cr3t" not in str(caught.value)


def assert_one_plain_message(caught):
    assert "\n" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "notes.db").write_text("Dear diary, " * 500)
    with pytest.raises(StoreError, match=r"notes\.db: file is not a database.*Name a file that growres made") as caught:
        Store.open(f"sqlite:///{tmp_path}/notes.db")
    assert_one_plain_message(caught)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(StoreError, match=r"nowhere/results\.db: .*See that the folder exists") as caught:
        Store.open(f"sqlite:///{tmp_path}/nowhere/results.db")
    assert_one_plain_message(caught)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kind", ["folder without permission", "file without permission"])
def test_a_lack_of_permission_is_said(tmp_path, sqlite_template, kind):
    if os.geteuid() == 0:
        # Root may do anything; the folders above tmp_path are root's alone, so nobody else may even look into it.
        os.seteuid(65534)
    elif kind == "folder without permission":
        tmp_path.chmod(0)
    else:
        (tmp_path / "results.db").write_bytes(sqlite_template.read_bytes())
        (tmp_path / "results.db").chmod(0)
    try:
        with pytest.raises(StoreError, match=r"results\.db") as caught:
            Store.open(f"sqlite:///{tmp_path}/results.db")
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        tmp_path.chmod(0o700)
    assert_one_plain_message(caught)


def test_a_home_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GROWRES_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(ConfigError, match=r"file/home for .*Set GROWRES_HOME"):
        Store.open()


def test_a_postgres_that_does_not_answer_is_named_without_its_password(canary):
    pytest.importorskip("psycopg")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(StoreError, match=rf"127\.0\.0\.1:{port}/db.*See that the server runs") as caught:
        Store.open(f"postgresql://ann:{canary.replace('%', '%25')}@127.0.0.1:{port}/db")
    assert_one_plain_message(caught)
    assert canary not in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_missing_postgres_driver_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r'pip install "growres\[postgres\]"'):
        Store.open("postgresql://ann@host/db")


def test_a_sqlite_connection_is_set_up_for_several_writers(tmp_path):
    with Database(resolve(f"sqlite:///{tmp_path}/a.db")) as database, database.reading() as connection:
        settings = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "busy_timeout", "synchronous", "foreign_keys")
        ]
    assert settings == ["wal", 30000, 1, 1]


def test_a_writing_transaction_has_the_lock_from_its_beginning_and_a_reading_one_never(tmp_path):
    address = resolve(f"sqlite:///{tmp_path}/a.db")
    with Database(address) as database, Database(address, timeout_s=0.05) as other:
        with database.reading(), other.writing() as connection:
            connection.exec_driver_sql("CREATE TABLE mine (id INTEGER)")
        with (
            database.writing(),
            pytest.raises(StoreError, match=r"is locked\. Another program is writing"),
            other.writing(),
        ):
            pass


def test_a_sqlite_path_may_have_characters_that_mean_something_in_a_url(tmp_path):
    folder = tmp_path / "50% #1 a&b"
    folder.mkdir()
    with Store.open(f"sqlite:///{folder}/results.db") as store:
        assert store.experiments() == []
    assert (folder / "results.db").exists()


def test_a_sqlite_path_is_shown_as_it_is(tmp_path, monkeypatch):
    folder = tmp_path / "höme dir's 100%"
    monkeypatch.setenv("GROWRES_HOME", str(folder))
    assert resolve(None).for_people == f"sqlite:///{folder}/growres.db"
    with pytest.raises(StoreError, match=f"the database sqlite:///{folder}/no/results.db"):
        Store.open(f"sqlite:///{folder}/no/results.db")


def test_reading_a_sqlite_store_imports_neither_the_dialect_of_postgres_nor_the_recorder(tmp_path, sqlite_template):
    (tmp_path / "results.db").write_bytes(sqlite_template.read_bytes())
    code = (
        "import sys; from growres.store import Store\n"
        f"with Store.open('sqlite:///{tmp_path}/results.db') as store: store.experiments()\n"
        "print({'sqlalchemy.dialects.postgresql', 'growres.store.recorder', 'alembic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
