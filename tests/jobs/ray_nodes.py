"""A Ray cluster of separate `ray start` processes on loopback, closed by a token, whose nodes leave and come back."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from itertools import count
from pathlib import Path

_UP_WITHIN_S = 120.0
_NODE_TRIES = 3


class RayNodes:
    """The nodes, the head first; each is one process that takes its own with it when it is killed.

    Args:
        variables: the environment of the nodes, and so of drivers and workers, beside this process's own.
        token: a file with the token; a process can speak with Rays of one token only.
    """

    def __init__(self, variables: dict[str, str] | None = None, token: Path | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="gr-", dir="/tmp"))  # a socket's path may have 107 bytes
        token = token or write_token(self.folder / "token")
        self.client_variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        """What a client of the cluster has in its environment."""
        self._environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            # A node that was killed is missed after three seconds, not after fifteen.
            "RAY_health_check_period_ms": "1000",
            "RAY_health_check_failure_threshold": "3",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1",  # more than one node is otherwise refused on loopback
            **self.client_variables,
            **(variables or {}),
        }
        for name in ("RAY_ADDRESS", "GROWRES_HOME", "GROWRES_DATABASE_URL"):
            if name not in (variables or {}):
                self._environment.pop(name, None)
        self._gcs_port, dashboard_port = free_port(), free_port()
        self.address = f"http://127.0.0.1:{dashboard_port}"
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._logs: dict[int, Path] = {}
        self._numbers = count()
        head = [
            "--head",
            f"--port={self._gcs_port}",
            "--dashboard-host=127.0.0.1",
            f"--dashboard-port={dashboard_port}",
        ]
        self._start([*head, f"--temp-dir={self.folder}", f"--ray-client-server-port={free_port()}"])
        self._wait_until_up()

    def add_node(self) -> subprocess.Popen[bytes]:
        """One node more, with one CPU, up and known.

        Ray gives a node thirty seconds to start, which on a busy machine is not always enough.
        """
        for _ in range(_NODE_TRIES):
            node = self._start([f"--address=127.0.0.1:{self._gcs_port}"])
            log = self._log_of(node)
            while node.poll() is None:
                if "Ray runtime started" in log.read_text(errors="replace"):
                    return node
                time.sleep(0.2)
            self.nodes.remove(node)
        raise AssertionError(log.read_text(errors="replace"))

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """The node is gone at once, with all that ran on it."""
        node.send_signal(signal.SIGKILL)
        node.wait()
        self.nodes.remove(node)

    def close(self) -> None:
        for node in reversed(self.nodes):
            with suppress(ProcessLookupError):
                os.killpg(node.pid, signal.SIGKILL)
            node.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self, options: list[str]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1", *options]
        command += ["--node-ip-address=127.0.0.1", "--object-store-memory=100000000", "--disable-usage-stats"]
        command += [f"--dashboard-agent-listen-port={free_port()}", f"--dashboard-agent-grpc-port={free_port()}"]
        command += [f"--metrics-export-port={free_port()}"]
        # Otherwise the nodes of one machine give their workers ports from the same range.
        command += ["--min-worker-port=0", "--max-worker-port=0"]
        path = self.folder / f"node-{next(self._numbers)}.log"
        with path.open("ab") as log:
            node = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log, start_new_session=True)
        self._logs[node.pid] = path
        self.nodes.append(node)
        return node

    def _log_of(self, node: subprocess.Popen[bytes]) -> Path:
        return self._logs[node.pid]

    def _wait_until_up(self) -> None:
        give_up_at = time.monotonic() + _UP_WITHIN_S
        while time.monotonic() < give_up_at and self.nodes[0].poll() is None:
            with suppress(OSError):
                urllib.request.urlopen(f"{self.address}/api/authentication_mode", timeout=5).read()
                return
            time.sleep(0.5)
        raise AssertionError((self.folder / "node-0.log").read_text())


def write_token(path: Path) -> Path:
    """A new token stands in the file, readable by its owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, secrets.token_hex(32).encode())
    os.close(descriptor)
    return path


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
