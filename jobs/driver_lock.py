"""One driver an experiment: a lock in its run folder, which the kernel gives back when its holder dies."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from growres.errors import BusyError, GrowresError
from growres.store import RunRow

_NAME = "driver.lock"


@contextmanager
def only_driver(folder: Path, experiment_id: str) -> Iterator[None]:
    """The experiment is this process's alone inside.

    Args:
        folder: the experiment's run folder, made if absent.
    Raises:
        BusyError: if another process on this machine is running it.
    """
    lock = filelock.FileLock(folder / _NAME, blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout as error:
        raise BusyError(
            f"Experiment {experiment_id} is being run by another process. "
            f"Watch it with: growres status {experiment_id} --watch"
        ) from error
    except OSError as error:
        raise GrowresError(
            f"Cannot lock {lock.lock_file}: {error.strerror or error}. See that you may write there, and that the file "
            "system of GROWRES_HOME knows locks."
        ) from error
    try:
        yield
    finally:
        lock.release()


def driver_is_gone(run: RunRow, folder: Path) -> bool:
    """Whether a run's driver is known to be gone, without waiting for its heartbeat to be missed.

    That is known of this machine's processes only. A process's number may name another by now, or, in a container, have
    another meaning, so it is the lock that tells, where there is one.

    Args:
        folder: the experiment's run folder.
    """
    if not run.is_open or run.pid is None or run.host != socket.gethostname():
        return False
    lock = folder / _NAME
    return _is_free(lock) if lock.exists() else not _exists(run.pid)


def refuse_if_held(folder: Path, experiment_id: str) -> None:
    """Returns if no process on this machine is running the experiment.

    Raises:
        BusyError: if one is, even if it has given no sign of life for long.
    """
    if (folder / _NAME).exists():
        with only_driver(folder, experiment_id):
            pass


def is_held(folder: Path) -> bool:
    """Whether a process on this machine is running the experiment of this run folder."""
    return (folder / _NAME).exists() and not _is_free(folder / _NAME)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _is_free(lock: Path) -> bool:
    try:
        with filelock.FileLock(lock, blocking=False):
            return True
    except filelock.Timeout:
        return False
