from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from growres.errors import CheckpointError
from growres.training.checkpoint import load_checkpoint, save_checkpoint

STATE = {"weights": {"a": torch.arange(6).reshape(2, 3)}, "history": [{"verdict": "rejected", "p": None}], "epochs": 3}


def test_a_checkpoint_reads_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "trial" / "checkpoint.pt"
    save_checkpoint(path, STATE)
    loaded = load_checkpoint(path)
    assert torch.equal(loaded["weights"]["a"], STATE["weights"]["a"])
    assert loaded["history"] == STATE["history"] and loaded["epochs"] == 3
    assert [file.name for file in path.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("kept", [0, 10, 500])
def test_a_truncated_checkpoint_is_refused_by_name(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="checkpoint.pt"):
        load_checkpoint(path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_is_data_never_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path}/owned",)

    torch.save({"procedure": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "checkpoint.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError):
        load_checkpoint(tmp_path / "plain.pt")
    assert not (tmp_path / "owned").exists()


def test_a_failed_write_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, STATE)

    def disk_is_full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_is_full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_checkpoint(path, {"epochs": 4})
    assert load_checkpoint(path)["epochs"] == 3
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_where_no_folder_can_be_made_the_error_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(CheckpointError, match="Cannot write the checkpoint"):
        save_checkpoint(tmp_path / "taken" / "checkpoint.pt", {"weights": torch.ones(2)})
