"""One driver an experiment: a lock in its run folder, which the kernel gives back when its holder dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from growres.errors import BusyError

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


def driver_is_gone(folder: Path) -> bool:
    """Whether nobody on this machine is running the experiment of this run folder."""
    if not (folder / _NAME).exists():
        return True
    try:
        with filelock.FileLock(folder / _NAME, blocking=False):
            return True
    except filelock.Timeout:
        return False
