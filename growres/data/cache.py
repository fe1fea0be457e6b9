"""Folders of arrays on disk, each built once however many processes ask for it at the same time.

An entry is built in a folder beside its own, under a lock, and renamed when it is whole: a process that is killed
while it builds leaves nothing that could be taken for an entry. `meta.json` names every array with its size in
bytes; an entry whose files differ from that is built again.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from growres.data.content import read_json, write_json
from growres.errors import DataError

logger = logging.getLogger(__name__)

FORMAT = 1
"""Part of every fingerprint. Raise it with any change to what an entry holds or to how images are converted."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """A whole entry: its folder, and what its builder said of it."""

    path: Path
    meta: dict[str, Any]

    def images(self, split: str) -> NDArray[np.uint8]:
        """uint8 (N, C, H, W), memory-mapped. Writing to it changes this process's copy, never the file."""
        return np.load(self.path / split / "images.npy", mmap_mode="c")  # type: ignore[no-any-return]

    def labels(self, split: str) -> NDArray[np.int64]:
        """int64 (N,)."""
        return np.load(self.path / split / "labels.npy")  # type: ignore[no-any-return]

    @property
    def num_bytes(self) -> int:
        return sum(self.meta["files"].values())


def open_entry(path: Path) -> CacheEntry | None:
    """The entry in this folder, or None where there is none or it is damaged."""
    meta = read_json(path / "meta.json")
    if not isinstance(meta, dict) or meta.get("format") != FORMAT or _array_sizes(path) != meta.get("files"):
        return None
    return CacheEntry(path, meta)


def open_or_build(path: Path, build: Callable[[Path], dict[str, Any]]) -> CacheEntry:
    """The entry in this folder, built first where it is missing or damaged.

    Args:
        build: fills the empty folder it is given with arrays, and returns what to keep in meta.json beside them.
    Raises:
        DataError: if the folder cannot be written, and whatever `build` raises.
    """
    entry = open_entry(path)
    if entry is not None:
        return entry
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(path):
            return open_entry(path) or _build(path, build)
    except OSError as error:
        raise DataError(
            f"Cannot write the data cache {path}: {error}. Free some space there, "
            f"or set GROWRES_HOME to a folder that can be written."
        ) from error


def write_array(path: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """A new uint8 array on disk, memory-mapped, to be filled.

    Raises:
        DataError: if the disk has no room for it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    free_bytes = shutil.disk_usage(path.parent).free
    # Checked beforehand: a memory-mapped write to a full disk is no exception but a SIGBUS that kills the process.
    if math.prod(shape) > free_bytes:
        raise DataError(
            f"Cannot cache {shape[0]:,} images in {path.parent}: they take {math.prod(shape) / 1e9:.2f} GB and the "
            f"disk has {free_bytes / 1e9:.2f} GB left. Free some, set GROWRES_HOME to another disk, or set a smaller "
            f"dataset.image_size."
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Alone with the entry, among all processes; says so where that means waiting."""
    lock = FileLock(path.with_name(f"{path.name}.lock"))
    try:
        lock.acquire(timeout=1)
    except Timeout:
        logger.info("waiting for another process to build %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _build(path: Path, build: Callable[[Path], dict[str, Any]]) -> CacheEntry:
    started = time.monotonic()
    # A fixed name, safe under the lock: what a killed build left behind goes with the next one.
    unfinished = path.with_name(f"{path.name}.building")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        meta = build(unfinished)
        meta |= {"format": FORMAT, "files": _array_sizes(unfinished), "created_at": datetime.now(UTC).isoformat()}
        write_json(unfinished / "meta.json", meta)
        shutil.rmtree(path, ignore_errors=True)
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("built %s in %.1f s (process %d)", path, time.monotonic() - started, os.getpid())
    return CacheEntry(path, meta)


def _array_sizes(path: Path) -> dict[str, int]:
    return {file.relative_to(path).as_posix(): file.stat().st_size for file in sorted(path.glob("*/*.npy"))}
