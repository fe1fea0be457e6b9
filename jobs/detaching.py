"""A driver of its own on this machine, which outlives the terminal that it was started from."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from growres.errors import GrowresError
from growres.home import run_folder
from growres.store import RunRow, Store

_BEGIN_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.2
_TAIL_LINES = 15


def log_path(experiment_id: str) -> Path:
    """The log of the drivers that ran an experiment on this machine, one run after the other."""
    return run_folder(experiment_id) / "driver.log"


def detach(store: Store, run: RunRow, options: Sequence[str]) -> RunRow:
    """Starts the run's driver in a session of its own, and returns when it has begun.

    Args:
        options: of the command `growres drive`, beside the experiment and the run.
    Raises:
        GrowresError: if it ends before it has begun, with what it said last.
    """
    log = log_path(run.experiment_id)
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "growres", "drive", run.experiment_id, "--run", str(run.run), *options]
    with log.open("ab") as output:
        size_before = output.tell()
        driver = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    give_up_at = time.monotonic() + _BEGIN_WITHIN_S
    while time.monotonic() < give_up_at:
        newest = store.runs.newest(run.experiment_id)
        if newest is not None and newest.started_at is not None:
            return newest
        if driver.poll() is not None:
            break
        time.sleep(_LOOK_EVERY_S)
    with log.open("rb") as said:
        said.seek(size_before)
        tail = said.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    state = (
        f"ended with {driver.returncode}" if driver.poll() is not None else f"has not begun in {_BEGIN_WITHIN_S:g} s"
    )
    store.runs.end(run.experiment_id, run.run, "failed", f"its driver {state}")
    raise GrowresError(f"Cannot start a driver for {run.experiment_id}: it {state}; it said:\n" + "\n".join(tail))
