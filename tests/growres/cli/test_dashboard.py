from __future__ import annotations

import http.server
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from growres.cli.dashboard import print_dashboard
from growres.cli.tables import Format
from growres.errors import NotFoundError

TOKEN = "5ec2e7" * 10 + "5ec2"


@dataclass(frozen=True)
class Run:
    dashboard_url: str | None
    host: str | None = None
    address: str | None = None


@pytest.fixture
def serve():
    """Something on loopback that answers every request with this status; gives its address."""
    servers = []

    def start(status: int) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                self.end_headers()

            def log_message(self, *arguments):
                pass

        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def user(tmp_path, monkeypatch) -> Path:
    """The home folder of a user whose environment says nothing of Ray's tokens."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    return tmp_path / "user"


def put_token(path: Path, mode: int = 0o600) -> Path:
    path.parent.mkdir(parents=True)
    path.write_text(TOKEN)
    path.chmod(mode)
    return path


def test_a_dashboard_that_asks_for_its_token(growres, serve, home):
    path = put_token(home / "ray" / "auth_token")
    url = serve(401)
    answer = growres("dashboard", "--address", url, "--format", "json")
    assert answer.code == 0 and answer.err == ""
    assert (answer.json["dashboard"], answer.json["reachable"], answer.json["asks_for_token"]) == (url, True, True)
    assert answer.json["token_path"] == str(path)
    assert answer.json["token_command"] == f"cat {path}"
    port = url.rpartition(":")[2]
    assert answer.json["tunnel"].startswith(f"ssh -N -L {port}:127.0.0.1:{port} ")
    assert TOKEN not in answer.out


def test_the_table_says_the_same_and_never_the_token(growres, serve, home):
    path = put_token(home / "ray" / "auth_token")
    url = serve(401)
    answer = growres("dashboard", "--address", url)
    lines = dict(line.split("  ", 1) for line in answer.out.splitlines())
    assert lines["dashboard"].strip() == url
    assert lines["asks for token"].strip() == "yes"
    assert lines["token command"].strip() == f"cat {path}"
    assert TOKEN not in answer.out + answer.err


def test_an_open_dashboard_is_warned_about(growres, serve):
    answer = growres("dashboard", "--address", serve(200), "--format", "json")
    assert answer.json["asks_for_token"] is False
    assert "asks for no token" in answer.err and "RAY_AUTH_MODE=token" in answer.err


def test_one_that_does_not_answer_is_said_to(growres):
    answer = growres("dashboard", "--address", "127.0.0.1:9")
    assert answer.code == 0
    assert "nothing answers" in answer.out and "http://127.0.0.1:9" in answer.out


def test_a_token_that_others_can_read_is_warned_about(growres, serve, user):
    path = put_token(user / ".ray" / "auth_token", 0o644)
    answer = growres("dashboard", "--address", serve(401))
    assert f"chmod 600 {path}" in answer.err


def test_a_token_in_the_environment_is_not_told(growres, serve, monkeypatch):
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    answer = growres("dashboard", "--address", serve(401), "--format", "json")
    assert answer.json["token_path"] is None and TOKEN not in answer.out + answer.err


def test_the_token_of_a_cluster_is_ray_s_own_and_that_of_our_own_ray_is_at_home(serve, home, user, capsys):
    ours, clusters = put_token(home / "ray" / "auth_token"), put_token(user / ".ray" / "auth_token")
    url = serve(401)
    for address, path in (("auto", clusters), (None, ours)):
        print_dashboard(Run(url, address=address), Format.TABLE)
        assert f"cat {path}\n" in capsys.readouterr().out


def test_of_another_machine_s_loopback_only_the_tunnel_is_told(serve, capsys):
    """What answers on this machine's loopback is not the dashboard of that run: it is neither praised nor warned of."""
    url = serve(200)
    print_dashboard(Run(url, host="gpu7.example"), Format.TABLE)
    told = capsys.readouterr()
    port = url.rpartition(":")[2]
    assert f"ssh -N -L {port}:127.0.0.1:{port} gpu7.example\n" in told.out
    assert "through the tunnel" in told.out and told.err == ""


@pytest.mark.parametrize("host", ["-oProxyCommand=touch owned", "a;touch owned", "$(touch owned)", "\x1b[2J"])
def test_a_host_that_a_shell_or_a_terminal_would_obey_is_put_into_no_command(host, capsys):
    print_dashboard(Run("http://127.0.0.1:8265", host=host), Format.TABLE)
    out = capsys.readouterr().out
    assert "ssh" not in out and "\x1b" not in out


def test_a_run_without_a_dashboard_is_said_to_have_none():
    with pytest.raises(NotFoundError, match="uses no Ray"):
        print_dashboard(Run(None), Format.TABLE)


@pytest.mark.parametrize(
    "address", ["ray://head:10001", "http://", "http://[::1", "http://h:99999", "http://me:pw@h:1"]
)
def test_an_address_that_is_none_is_refused(growres, address):
    answer = growres("dashboard", "--address", address)
    assert answer.code == 2
    assert "http://HOST:PORT" in answer.err and "Traceback" not in answer.err
    assert "pw" not in answer.err


def test_without_anything_that_runs_the_next_step_is_named(growres, home):
    answer = growres("dashboard")
    assert answer.code == 2
    assert "--address" in answer.err
