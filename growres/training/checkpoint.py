"""Checkpoints: after a kill at any moment the old one or the new one stands; read as data, never as code."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from growres.errors import CheckpointError

CHECKPOINT = "checkpoint.pt"


def checkpoint_path(run_folder: Path, trial_id: str) -> Path:
    """Where a trial's checkpoint stands, across its attempts, below the folder of its experiment's run."""
    return run_folder / trial_id / CHECKPOINT


def outputs_folder(run_folder: Path, trial_id: str) -> Path:
    """Where what a trial's networks say of whole splits stands, as .npz files: see growres.training.outputs."""
    return run_folder / trial_id / "outputs"


def check_written(path: Path, trial_id: str, recorded: Collection[str]) -> None:
    """Returns if a file of a trial is, to the last bit, one that the trial wrote.

    Args:
        recorded: the sha256 digests in the store of the files that the trial wrote at this path.
    Raises:
        CheckpointError: if it is another.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest not in recorded:
        known = ", ".join(sorted(sha256[:12] for sha256 in recorded)) or "none"
        raise CheckpointError(
            f"Refusing {path}: its sha256 begins {digest[:12]}, and the store recorded {known} for trial {trial_id}. "
            f"The file was changed after training. Restore it from a backup, or train again: growres submit"
        )


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """The state (tensors, numbers, strings, and lists and dicts of them) stands at the path, on the disk.

    Raises:
        CheckpointError: if the disk refuses; what stood at `path` before still stands.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    temporary = path.with_name(f".{path.name}.unfinished")  # one writer a trial: a killed one's is written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where no folder could be made, there is no file to take away
            temporary.unlink(missing_ok=True)
        raise CheckpointError(
            f"Cannot write the checkpoint {path} ({len(content)} bytes): {error.strerror}. The one before it stands. "
            f"Free some space or set GROWRES_HOME to another disk, then resume."
        ) from error


def load_checkpoint(path: Path, *, device: torch.device | None = None) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, its tensors on the device (default: the CPU).

    Raises:
        CheckpointError: if the file is truncated, altered, or holds anything but data.
    """
    try:
        state = torch.load(path, map_location=device or torch.device("cpu"), weights_only=True)
    except Exception as error:  # a zip, a pickle or a text that is none of them fails in a way of its own each
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"Cannot read the checkpoint {path}: {type(error).__name__}: {reason}. "
            f"Remove the file to train its trial from the start."
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is no checkpoint of growres: it holds a {type(state).__name__}, not a dict.")
    return state
