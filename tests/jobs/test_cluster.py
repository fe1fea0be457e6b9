"""Who can reach a Ray that growres starts: its token, and where its dashboard may listen."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from growres.errors import ConfigError
from jobs.cluster import cluster_token_path, is_loopback, is_open_to_others, ray_session

# A process of its own for each: Ray reads its environment once, when it is imported.
SESSION = """
import sys
from pathlib import Path
{before}
from growres.errors import GrowresError
from jobs.cluster import asks_for_the_token, ray_session
try:
    with ray_session({address!r}, Path(sys.argv[1]), dashboard_host=sys.argv[2]) as url:
        import ray
        print("asks" if asks_for_the_token(url) else "open", url, ray.nodes()[0]["NodeManagerAddress"])
except GrowresError as error:
    sys.exit(f"{{type(error).__name__}}: {{error}}")
"""


def run_session(
    home: Path, host: str, *, before: str = "", address: str = "local", umask: int = 0o022, **environment: str
) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-c", SESSION.format(before=before, address=address), str(home), host],
        env={**inherited, "PYTHONPATH": str(Path(__file__).parents[2]), **environment},
        capture_output=True,
        text=True,
        umask=umask,
        timeout=180,
    )


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.xdist_group("ray")  # it starts a Ray of its own, which would compete for the cores
def test_a_wider_dashboard_asks_for_a_token_that_only_its_owner_can_read(tmp_path: Path) -> None:
    # Ray imported beforehand has read where its ports are to be already.
    done = run_session(tmp_path, "0.0.0.0", before="import ray", umask=0)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"asks http://\S+ 127\.0\.0\.1\n", done.stdout), "Ray's other ports stay on loopback"
    assert mode(tmp_path / "ray" / "auth_token") == 0o600


@pytest.mark.parametrize(
    ("before", "environment"),
    [
        ("", {"RAY_AUTH_MODE": "disabled"}),
        ("", {"RAY_AUTH_MODE": "k8s"}),
        ("import os, ray; os.environ['RAY_AUTH_MODE'] = 'token'", {"RAY_AUTH_MODE": "disabled"}),
    ],
    ids=["disabled", "another mode", "token too late"],
)
def test_a_wider_dashboard_without_the_token_is_refused(
    tmp_path: Path, before: str, environment: dict[str, str]
) -> None:
    done = run_session(tmp_path, "0.0.0.0", before=before, **environment)
    assert done.returncode == 1 and done.stdout == ""
    assert "ConfigError: Cannot have Ray's dashboard listen on 0.0.0.0" in done.stderr
    assert "RAY_AUTH_MODE" in done.stderr and "--dashboard-host" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_dashboard_of_a_ray_that_is_joined_is_not_ours_to_place(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="whoever started that Ray"),
        ray_session("head:6379", tmp_path, dashboard_host="::"),
    ):
        raise AssertionError("it must not come so far")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "head.example", "", "127.0.0.1.example", "0"])
def test_anything_else_counts_as_open(host: str) -> None:
    assert not is_loopback(host)


def make_token(home: Path, wanted_mode: int) -> Path:
    path = home / "ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("a" * 64)
    path.chmod(wanted_mode)
    return path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch):
    """Prepares the token as a session does, without the seconds that Ray takes."""
    from jobs import cluster

    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return lambda home: Path(cluster._settings("local", home)["RAY_AUTH_TOKEN_PATH"])


@pytest.mark.parametrize("found", [0o644, 0o640, 0o666, 0o604])
def test_a_token_that_others_can_read_is_narrowed_and_kept(tmp_path: Path, started, found: int) -> None:
    path = make_token(tmp_path, found)
    assert is_open_to_others(path)
    assert started(tmp_path) == path
    assert mode(path) == 0o600 and path.read_text() == "a" * 64
    assert not is_open_to_others(path)


def test_a_token_that_ray_has_made_itself_is_narrowed_where_the_environment_names_it(tmp_path, started, monkeypatch):
    path = make_token(tmp_path, 0o644)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert started(tmp_path / "elsewhere") == path == cluster_token_path()
    assert mode(path) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user's")
def test_a_token_of_another_user_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = make_token(tmp_path, 0o644)
    program = (
        "import os, sys; from pathlib import Path; from jobs import cluster; os.setuid(65534)\n"
        "from growres.errors import ConfigError\n"
        "try: cluster._ensure_token(Path('auth_token'))\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=path.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("Others can read the token in auth_token"), done.stderr
    assert "RAY_AUTH_TOKEN_PATH" in done.stdout


def test_of_many_who_make_the_token_at_once_all_find_the_same(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from jobs.cluster import _ensure_token\n"
        "print(_ensure_token(Path(sys.argv[1])).read_text())"
    )
    path = tmp_path / "ray" / "auth_token"
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    tokens = {maker.communicate()[0].strip() for maker in makers}
    assert tokens == {path.read_text()} and re.fullmatch("[0-9a-f]{64}", path.read_text())
    assert [entry.name for entry in path.parent.iterdir()] == ["auth_token"]
