"""What is asked of a driver from outside, on any machine that reaches the store: that it stop, what its log says."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Iterable, Iterator

from growres.errors import ClusterError, NotFoundError
from growres.home import run_folder
from growres.store import RunRow, Stop, Store
from jobs.detaching import log_path
from jobs.driver_lock import is_held
from jobs.vanished import known_gone

_BEGINS_AN_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")


def stop(store: Store, experiment_id: str, how: Stop) -> str:
    """Asks the experiment's driver to stop; returns what that comes to, in words.

    A driver hears of it by its next heartbeat, within seconds; `now` is also sent as a signal, directly or through the
    cluster. What no driver has any more is settled here.
    """
    run = store.runs.newest(experiment_id)
    if run is None or not run.is_open:
        return "it is not being run"
    if known_gone(run) is not None or run.is_stale:
        _end_its_job(run)
        _settle(store, run, "stopped by growres stop; its driver had vanished")
        return "its driver was gone; what was under way can be resumed"
    if run.started_at is None:
        _end_its_job(run)
        _settle(store, run, "stopped by growres stop before it had begun")
        return "it had not begun"
    store.runs.request_stop(experiment_id, run.run, how)
    if how == "epoch":
        return "it stops when the epochs under way are over"
    _signal(run)
    return "it stops now"


def log_of(store: Store, run: RunRow) -> str:
    """All that the drivers have said so far: of a cluster's run that run's, of this machine's runs all of them.

    Raises:
        ClusterError: if the cluster cannot be reached, or does not know the job any more.
        NotFoundError: if the log is on another machine.
    """
    if run.job_id is not None and run.address is not None:
        from jobs.cluster_job import job_log

        return job_log(run.address, run.job_id)
    path = log_path(run.experiment_id)
    if not path.exists():
        where = f"{run.host}, where it was run" if run.host not in (None, socket.gethostname()) else "this machine"
        raise NotFoundError(
            f"Cannot show the log of {run.experiment_id}: there is no {path}. A local run's log is on the machine "
            f"that ran it: look on {where}."
        )
    return path.read_text(encoding="utf-8", errors="backslashreplace")


def of_trial(lines: Iterable[str], trial_id: str) -> Iterator[str]:
    """Those lines of a log that tell of the trial, with the tracebacks that follow them."""
    is_its = False
    for line in lines:
        if _BEGINS_AN_ENTRY.match(line):
            is_its = trial_id in line.split()[2:3]
        if is_its:
            yield line


def _end_its_job(run: RunRow) -> None:
    if run.job_id is not None and run.address is not None:
        from jobs.cluster_job import stop_job

        with contextlib.suppress(ClusterError):
            stop_job(run.address, run.job_id)


def _signal(run: RunRow) -> None:
    """The quicker messenger; the heartbeat tells it too."""
    if run.job_id is not None:
        _end_its_job(run)
    elif run.host == socket.gethostname() and run.pid is not None and is_held(run_folder(run.experiment_id)):
        with contextlib.suppress(OSError):
            os.kill(run.pid, signal.SIGTERM)


def _settle(store: Store, run: RunRow, reason: str) -> None:
    store.mark_trials(run.experiment_id, ("queued", "running"), "stopped", reason, stopped_by="person")
    status = store.finish_experiment(run.experiment_id, reason)
    store.runs.end(run.experiment_id, run.run, status, reason)
