from __future__ import annotations

import dataclasses
import os
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from growres.store import RunRow
from jobs.driver_lock import driver_is_gone, only_driver

HOLD = """
import sys, time
from pathlib import Path
from jobs.driver_lock import only_driver
with only_driver(Path(sys.argv[1]), "k3f9xa"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run() -> RunRow:
    """A run that this very process drives."""
    now = datetime.now(UTC)
    return RunRow(
        experiment_id="k3f9xa",
        run=1,
        status="running",
        reason=None,
        backend="local",
        address=None,
        job_id=None,
        host=socket.gethostname(),
        pid=os.getpid(),
        dashboard_url=None,
        stop_requested=None,
        submitted_at=now,
        started_at=now,
        heartbeat_at=now,
        ended_at=None,
        silent_s=0.0,
    )


def test_a_driver_that_was_killed_is_known_to_be_gone(tmp_path: Path, run: RunRow) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    its_run = dataclasses.replace(run, pid=holder.pid)
    assert not driver_is_gone(its_run, tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert driver_is_gone(its_run, tmp_path)
    assert driver_is_gone(run, tmp_path), "its number is another process's by now, and the lock is free"


def test_nothing_is_known_of_other_machines_or_of_a_lock_that_is_kept_elsewhere(tmp_path: Path, run: RunRow) -> None:
    assert not driver_is_gone(run, tmp_path / "never begun here")
    assert not driver_is_gone(dataclasses.replace(run, host="another", pid=2**22), tmp_path)


def test_the_lock_is_given_back(tmp_path: Path, run: RunRow) -> None:
    with only_driver(tmp_path, "k3f9xa"):
        assert not driver_is_gone(run, tmp_path)
    assert driver_is_gone(run, tmp_path)
