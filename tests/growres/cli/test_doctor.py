import shutil
from collections import namedtuple

import pytest

from growres.cli import doctor
from tests.databases import in_store


@pytest.fixture
def examine(growres):
    """The doctor's findings by check, with the exit code."""

    def call():
        answer = growres("doctor", "--format", "json")
        assert "Traceback" not in answer.err
        return answer.code, {row["check"]: row for row in answer.json}, answer.out

    return call


def test_a_sound_machine_has_nothing_that_fails(examine, experiment):
    code, findings, _ = examine()
    assert code == 0
    assert {"python", "torch", "ray", "cpu", "GROWRES_HOME", "disk", "store", "ray folder"} <= set(findings)
    assert findings["store"]["status"] == "ok"
    assert "trial 4" in findings["store"]["found"]


@pytest.mark.embedded
def test_looking_makes_no_store(examine, home):
    _, findings, _ = examine()
    assert findings["store"]["status"] == "ok"
    assert list(home.glob("*.db")) == []


def test_a_full_disk_is_a_warning_with_advice(examine, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**12, 10**12 - 10**9, 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    code, findings, _ = examine()
    assert code == 0
    assert findings["disk"]["status"] == "warn"
    assert "2 GB" in findings["disk"]["advice"]


def test_a_store_that_is_away_fails_and_shows_no_password(examine, monkeypatch):
    monkeypatch.setenv("GROWRES_DATABASE_URL", "postgresql://me:s3cret@127.0.0.1:1/growres?connect_timeout=2")
    code, findings, out = examine()
    assert code == 1
    assert findings["store"]["status"] == "fail"
    assert "s3cret" not in out


def test_a_newer_schema_fails_with_the_advice_to_install_a_newer_growres(examine, experiment):
    in_store("UPDATE alembic_version SET version_num = '9999'")
    code, findings, _ = examine()
    assert code == 1
    assert findings["store"]["status"] == "fail"
    assert "9999" in findings["store"]["found"]
    assert "pip install --upgrade growres" in findings["store"]["advice"]
    assert "db upgrade" not in findings["store"]["advice"]


def test_a_store_in_a_folder_that_is_not_there_fails(examine, monkeypatch, tmp_path):
    monkeypatch.setenv("GROWRES_DATABASE_URL", f"sqlite:///{tmp_path}/nowhere/results.db")
    code, findings, _ = examine()
    assert code == 1
    assert findings["store"]["status"] == "fail"
    assert f"there is no folder {tmp_path}/nowhere" in findings["store"]["found"]
    assert "make the folder" in findings["store"]["advice"]


def test_a_home_that_cannot_be_made_fails(examine, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("GROWRES_HOME", f"{tmp_path}/file/home")
    code, findings, _ = examine()
    assert code == 1
    assert f"{tmp_path}/file/home" in findings["GROWRES_HOME"]["found"]


def test_a_long_temporary_folder_is_found_before_ray_breaks_on_it(examine, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "long" * 20)
    code, findings, _ = examine()
    assert code == 1
    assert "RAY_TMPDIR" in findings["ray folder"]["advice"]


def test_a_token_of_ray_that_others_can_read_is_a_warning_with_advice(examine, monkeypatch, tmp_path, home):
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    ours, made_by_ray = home / "ray" / "auth_token", tmp_path / ".ray" / "auth_token"
    for path, mode in ((ours, 0o600), (made_by_ray, 0o644)):
        path.parent.mkdir()
        path.write_text("a" * 64)
        path.chmod(mode)
    code, findings, out = examine()
    assert code == 0 and "a" * 64 not in out
    assert findings["ray token"]["status"] == "ok" and str(ours) in findings["ray token"]["found"]
    assert findings["cluster token"]["status"] == "warn"
    assert findings["cluster token"]["advice"] == f"chmod 600 {made_by_ray}"


def test_a_check_that_breaks_down_is_a_finding(examine, monkeypatch):
    def broken():
        yield doctor.Finding("first", "ok", "fine")
        raise OSError("the floor gave way")

    monkeypatch.setattr(doctor, "_devices", broken)
    code, findings, _ = examine()
    assert code == 1
    assert findings["first"]["status"] == "ok"
    assert "the floor gave way" in findings["broken"]["found"]
