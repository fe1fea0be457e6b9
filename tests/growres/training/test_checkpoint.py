from __future__ import annotations

import builtins
import errno
import multiprocessing
import os
import pickle
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from growres.errors import CheckpointError, DiskError
from growres.training.checkpoint import (
    PREVIOUS,
    disk_trouble,
    encode,
    go_back_to_previous,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)

STATE = {"weights": {"a": torch.arange(6).reshape(2, 3)}, "history": [{"verdict": "rejected", "p": None}], "epochs": 3}


def damaged(content: bytes, at: int) -> bytes:
    """The content with one bit of one byte turned round."""
    return content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :]


def test_a_checkpoint_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "trial" / "checkpoint.pt"
    save_checkpoint(path, STATE)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["weights"]["a"], STATE["weights"]["a"])
    assert loaded["history"] == STATE["history"] and loaded["epochs"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


def test_torch_reads_the_file_as_any_other_of_its_own(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "checkpoint.pt", STATE)
    loaded = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert torch.equal(loaded["weights"]["a"], STATE["weights"]["a"])


def test_a_checkpoint_from_before_there_were_digests_is_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "checkpoint.pt")
    assert load_checkpoint(tmp_path / "checkpoint.pt")["epochs"] == 3


def test_a_checkpoint_with_one_bit_changed_anywhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    content = encode(STATE)
    for at in range(len(content)):
        path.write_bytes(damaged(content, at))
        with pytest.raises(CheckpointError, match="checkpoint.pt: it is damaged"):
            load_checkpoint(path)


def test_a_checkpoint_cut_anywhere_or_added_to_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    content = encode(STATE)
    for size in range(len(content)):
        path.write_bytes(content[:size])
        with pytest.raises(CheckpointError, match="checkpoint.pt: it is damaged"):
            load_checkpoint(path)
    for added in (b"\0", b"\n", content[-1:], content):
        path.write_bytes(added + content if added == b"\n" else content + added)
        if added != content:  # two whole files, one after the other, end in neither's digest
            with pytest.raises(CheckpointError, match="it is damaged"):
                load_checkpoint(path)


# --------------------------------------------------------------------------------------- data, never code


def evil(folder: Path) -> list[Any]:
    """Objects whose pickles would make a file `owned` there, if anything ran what they hold."""
    command = f"touch {folder}/owned"

    class RunsACommand:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (command,)

    class Evaluates:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return builtins.eval, (f"__import__('os').system({command!r})",)

    class StartsAProcess:
        def __reduce__(self) -> tuple[object, tuple[list[str]]]:
            return subprocess.call, (command.split(),)

    class BuildsItself:
        def __reduce_ex__(self, protocol: Any) -> tuple[object, tuple[object, tuple[str]]]:
            return map, (os.system, (command,))

    return [RunsACommand(), Evaluates(), StartsAProcess(), BuildsItself()]


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_is_data_never_code(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for payload in evil(tmp_path):
        torch.save({"procedure": payload}, tmp_path / "undigested.pt")
        contents = [
            encode({"procedure": payload}),  # its digest is right
            (tmp_path / "undigested.pt").read_bytes(),
            pickle.dumps(payload),
        ]
        for content in contents:
            for name in ("checkpoint.pt", PREVIOUS):
                path.unlink(missing_ok=True)
                (tmp_path / name).write_bytes(content)
                with pytest.raises(CheckpointError) as refused:
                    newest_checkpoint(path)
                assert "weights_only" not in str(refused.value), "no advice to run it"
        with pytest.raises(CheckpointError):
            load_checkpoint(tmp_path / "undigested.pt")
    assert not (tmp_path / "owned").exists()


# ---------------------------------------------------------------------------------------- the one before


def test_the_checkpoint_before_stands_beside_the_newest(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for epochs in range(1, 5):
        save_checkpoint(path, {"epochs": epochs})
        assert load_checkpoint(path)["epochs"] == epochs
        if epochs > 1:
            assert load_checkpoint(tmp_path / PREVIOUS)["epochs"] == epochs - 1
    assert sorted(file.name for file in tmp_path.iterdir()) == [PREVIOUS, "checkpoint.pt"]
    found = newest_checkpoint(path)
    assert found is not None and (found.state["epochs"], found.note) == (4, None)


@pytest.mark.parametrize("harm", [lambda path: path.write_bytes(damaged(path.read_bytes(), 200)), Path.unlink])
def test_the_one_before_is_used_where_the_newest_cannot_be_and_it_is_said(
    tmp_path: Path, harm: Callable[[Path], object]
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epochs": 1})
    save_checkpoint(path, {"epochs": 2})
    harm(path)
    found = newest_checkpoint(path)
    assert found is not None and found.state == {"epochs": 1}
    assert found.note is not None and "checkpoint.pt cannot be used" in found.note and "the one before" in found.note


def test_going_on_from_the_one_before_never_keeps_the_damaged_one_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epochs": 1})
    save_checkpoint(path, {"epochs": 2})
    path.write_bytes(b"")
    go_back_to_previous(path)
    assert load_checkpoint(path)["epochs"] == 1
    save_checkpoint(path, {"epochs": 2})
    assert load_checkpoint(tmp_path / PREVIOUS)["epochs"] == 1


def test_where_neither_can_be_used_the_error_names_both_and_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    for epochs in (1, 2):
        save_checkpoint(path, {"epochs": epochs})
    for file in (path, tmp_path / PREVIOUS):
        file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: it is damaged.*previous\.pt.*neither.*remove it"):
        newest_checkpoint(path)
    assert newest_checkpoint(tmp_path / "other" / "checkpoint.pt") is None


def test_without_hard_links_there_is_a_whole_checkpoint_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")  # as exFAT and some network file systems answer

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "checkpoint.pt"
    for epochs in (1, 2, 3):
        save_checkpoint(path, {"epochs": epochs})
    assert load_checkpoint(path)["epochs"] == 3
    assert load_checkpoint(tmp_path / PREVIOUS)["epochs"] == 2


def save_for_ever(path: Path) -> None:
    weights = torch.arange(50_000)
    for epochs in range(1, 1_000_000):
        save_checkpoint(path, {"epochs": epochs, "weights": weights})
        (path.parent / "saved").write_text(str(epochs))


def test_a_kill_at_any_moment_leaves_the_newest_or_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    generator = random.Random(0)
    for _ in range(25):
        process = multiprocessing.get_context("fork").Process(target=save_for_ever, args=(path,))
        (tmp_path / "saved").unlink(missing_ok=True)
        process.start()
        while not (tmp_path / "saved").exists():
            time.sleep(0.001)
        time.sleep(generator.uniform(0, 0.02))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        saved = int((tmp_path / "saved").read_text() or 0)
        found = newest_checkpoint(path)
        assert found is not None and found.note is None and len(found.state["weights"]) == 50_000
        assert found.state["epochs"] >= saved
        if (tmp_path / PREVIOUS).exists():
            load_checkpoint(tmp_path / PREVIOUS)


# ------------------------------------------------------------------------------------------- disk trouble


def test_on_a_full_disk_the_checkpoint_before_stands_and_the_error_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    (tmp_path / ".checkpoint.pt.unfinished").symlink_to("/dev/full")  # every write there: no space left on device
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt \(\d+ bytes\): No space left.*Free some space") as full:
        save_checkpoint(path, {"epochs": 4})
    assert not isinstance(full.value, DiskError), "another attempt would find the disk as full"
    assert load_checkpoint(path)["epochs"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def save_within(path: Path, num_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))
    try:
        save_checkpoint(path, {"weights": torch.zeros(100_000)})
    except CheckpointError as error:
        sys.exit(17 if "File too large" in str(error) else 18)


def test_a_file_that_may_not_become_so_large_is_taken_away_again(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    process = multiprocessing.get_context("fork").Process(target=save_within, args=(path, 100_000))
    process.start()
    process.join()
    assert process.exitcode == 17
    assert load_checkpoint(path)["epochs"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_disk_that_fails_for_now_is_told_from_one_that_will_fail_again() -> None:
    for number in (errno.EIO, errno.ESTALE):
        assert isinstance(disk_trouble(OSError(number, os.strerror(number)), "..."), DiskError)
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        assert not isinstance(disk_trouble(OSError(number, os.strerror(number)), "..."), DiskError)


def test_where_no_folder_can_be_made_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(CheckpointError, match="Cannot write the checkpoint"):
        save_checkpoint(tmp_path / "taken" / "checkpoint.pt", {"weights": torch.ones(2)})
