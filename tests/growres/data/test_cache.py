from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from growres.data import cache
from growres.data.cache import open_entry, open_or_build, write_array
from growres.errors import DataError

# Eight processes that start together, as eight trials do; each says what it got, and the log who built.
EIGHT_PROCESSES = """
import logging, multiprocessing, sys
from pathlib import Path
from growres.config.experiment import DatasetConfig
from growres.data.loading import load_images

logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")

def load(barrier):
    barrier.wait()
    data = load_images(DatasetConfig(source="digits"), Path(sys.argv[1]))
    sys.stdout.write(f"{data.fingerprint} {int(data.train.images.sum())} {len(data.train)}\\n")
    sys.stdout.flush()

fork = multiprocessing.get_context("fork")
barrier = fork.Barrier(8)
processes = [fork.Process(target=load, args=(barrier,)) for _ in range(8)]
for process in processes:
    process.start()
for process in processes:
    process.join()
sys.exit(max(process.exitcode for process in processes))
"""

KILLED_WHILE_IT_BUILDS = """
import os, signal, sys
from pathlib import Path
from growres.data.cache import open_or_build, write_array

def build(folder):
    write_array(folder / "train" / "images.npy", (5, 1, 8, 8))[:2] = 255
    os.kill(os.getpid(), signal.SIGKILL)

open_or_build(Path(sys.argv[1]), build)
"""


class Builder:
    """Counts how often it was needed."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> dict[str, Any]:
        self.calls += 1
        write_array(folder / "train" / "images.npy", (5, 1, 8, 8))[:] = 7
        np.save(folder / "train" / "labels.npy", np.arange(5))
        return {"kind": "source"}


@pytest.fixture
def folder(home):
    return home / "data" / "abc"


def test_eight_processes_that_start_together_build_an_entry_once(home):
    run = subprocess.run(
        [sys.executable, "-c", EIGHT_PROCESSES, str(home)], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    built = [line.split(" in ")[0] for line in run.stderr.splitlines() if line.startswith("built ")]
    assert len(built) == len(set(built)) == 2  # the decoded source and its splits
    seen = run.stdout.splitlines()
    assert len(seen) == 8 and len(set(seen)) == 1


def test_a_killed_build_leaves_nothing_half_done(folder):
    run = subprocess.run([sys.executable, "-c", KILLED_WHILE_IT_BUILDS, str(folder)], timeout=60, check=False)
    assert run.returncode == -9
    assert not folder.exists()
    entry = open_or_build(folder, Builder())
    assert (entry.images("train") == 7).all()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["abc", "abc.lock"]


def test_an_entry_is_built_once_and_then_opened(folder):
    builder = Builder()
    first, second = open_or_build(folder, builder), open_or_build(folder, builder)
    assert builder.calls == 1
    assert first.meta == second.meta
    np.testing.assert_array_equal(second.labels("train"), np.arange(5))


def test_images_are_memory_mapped_and_writing_to_them_leaves_the_file(folder):
    images = open_or_build(folder, Builder()).images("train")
    assert isinstance(images, np.memmap)
    images[:] = 0
    assert (open_or_build(folder, Builder()).images("train") == 7).all()


def truncate(folder: Path) -> None:
    path = folder / "train" / "images.npy"
    path.write_bytes(path.read_bytes()[:-1])


def lose_labels(folder: Path) -> None:
    (folder / "train" / "labels.npy").unlink()


def damage_meta(folder: Path) -> None:
    (folder / "meta.json").write_text('{"format": 1, "files"')


def lose_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


@pytest.mark.parametrize("harm", [truncate, lose_labels, damage_meta, lose_meta, shutil.rmtree])
def test_a_damaged_entry_is_built_again(folder, harm):
    builder = Builder()
    open_or_build(folder, builder)
    harm(folder)
    assert open_entry(folder) is None
    assert (open_or_build(folder, builder).images("train") == 7).all()
    assert builder.calls == 2


def test_a_build_that_fails_leaves_no_entry(folder):
    def build(path: Path) -> dict[str, Any]:
        write_array(path / "train" / "images.npy", (5, 1, 8, 8))
        raise DataError("an image is damaged")

    with pytest.raises(DataError, match="an image is damaged"):
        open_or_build(folder, build)
    assert [path.name for path in folder.parent.iterdir()] == ["abc.lock"]


def test_a_full_disk_is_told_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    with pytest.raises(DataError, match=r"Cannot cache 5 images in .*0.00 GB left. Free some, set GROWRES_HOME"):
        open_or_build(folder, Builder())


def test_a_home_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"Cannot write the data cache .*set GROWRES_HOME"):
        open_or_build(tmp_path / "file" / "abc", Builder())
