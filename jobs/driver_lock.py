"""One driver an experiment: a lock in its run folder, which the kernel gives back when its holder dies."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from growres.errors import BusyError
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
    folder.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder / _NAME, blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise BusyError(
            f"Experiment {experiment_id} is being run by another process. "
            f"Watch it with: growres status {experiment_id} --watch"
        ) from error
    try:
        yield
    finally:
        lock.release()


def driver_is_gone(run: RunRow, folder: Path) -> bool:
    """Whether a run's driver is known to be gone, without waiting for its heartbeat to be missed.

    That is known of this machine's processes only. A number may name another process by now, so it is the lock that
    tells; a lock that is not there tells nothing, for the driver may keep its runs elsewhere.

    Args:
        folder: the experiment's run folder.
    """
    if not run.is_open or run.pid is None or run.host != socket.gethostname():
        return False
    return not _exists(run.pid) or _is_free(folder / _NAME)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is somebody else's
        return True
    return True


def _is_free(lock: Path) -> bool:
    if not lock.exists():
        return False
    try:
        with filelock.FileLock(lock, blocking=False):
            return True
    except filelock.Timeout:
        return False
