"""Checkpoints: after a kill at any moment the old one or the new one stands; read as data, never as code.

A file is torch.save's zip, and the zip's comment is the sha256 of all that goes before it:

    PK.. entries, directory, end of directory | sha256= | 64 hexadecimal digits

torch.load reads it as any other. One that was cut or altered anywhere is told by its digest, before it is read. The
checkpoint before stands beside it, in case.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import pickle
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from growres.errors import CheckpointError, DiskError
from growres.training.memory import is_out_of_memory

CHECKPOINT = "checkpoint.pt"
PREVIOUS = "checkpoint.previous.pt"

_END_OF_DIRECTORY = b"PK\5\6"
_END_SIZE = 22
"""Bytes of a zip's end where there is no comment; the last two are the length of the comment."""
_LABEL = b"sha256="
_DIGITS = 64
_COMMENT_SIZE = len(_LABEL) + _DIGITS

_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN})
"""What a disk, a network's above all, may say now and not say in a minute, or on another machine."""


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


# ------------------------------------------------------------------------------------------------------- writing


def encode(state: dict[str, Any]) -> bytes:
    """The state (tensors, numbers, strings, and lists and dicts of them) as a file that carries its own digest."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with buffer.getbuffer() as content:
        assert content[-_END_SIZE:-18] == _END_OF_DIRECTORY, "torch.save writes a zip without a comment"
    buffer.seek(-2, io.SEEK_END)
    buffer.write(_COMMENT_SIZE.to_bytes(2, "little") + _LABEL)
    with buffer.getbuffer() as content:
        digest = hashlib.sha256(content).hexdigest()
    buffer.write(digest.encode())
    return buffer.getvalue()


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """The state, as `encode` takes it, stands at the path, on the disk; what stood there stands beside it, as PREVIOUS.

    Raises:
        CheckpointError: if the disk refuses; what stood at `path` before still stands.
        DiskError: if it may not refuse another attempt.
    """
    content = encode(state)
    temporary = path.with_name(f".{path.name}.unfinished")  # one writer a trial: a killed one's is written over
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            _keep_as_previous(path)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where no folder could be made, there is no file to take away
            temporary.unlink(missing_ok=True)
        raise disk_trouble(
            error,
            f"Cannot write the checkpoint {path} ({len(content)} bytes): {error.strerror}. The one before it stands. "
            f"Free some space or set GROWRES_HOME to another disk, then go on: growres resume EXPERIMENT --failed",
        ) from error


def disk_trouble(error: OSError, message: str) -> CheckpointError:
    """The error to raise where a disk fails: a DiskError where another attempt may fare better."""
    return DiskError(message) if error.errno in _PASSING else CheckpointError(message)


def _keep_as_previous(path: Path) -> None:
    """Gives the file at the path its second name, without a moment at which either name has no whole file."""
    previous = path.with_name(PREVIOUS)
    link = path.with_name(f".{PREVIOUS}.unfinished")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # no hard links here: for a moment the previous one stands alone, and is found
        path.replace(previous)
        return
    link.replace(previous)
    link.unlink(missing_ok=True)  # where both names were of one file already, POSIX renames nothing


# ------------------------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A trial's newest checkpoint that is whole."""

    state: dict[str, Any]
    note: str | None
    """Why it is not the newest of all; None where it is."""


def newest_checkpoint(path: Path, *, device: torch.device | None = None) -> Found | None:
    """What stands at the path or, where that cannot be used, what stood there before; None where nothing ever stood.

    Raises:
        CheckpointError: if there is something, and neither can be used.
    """
    previous = path.with_name(PREVIOUS)
    if not path.exists() and not previous.exists():
        return None
    try:
        return Found(state=_load(path, device), note=None)
    except _UnusableError as unusable:
        wrong = unusable
    if not previous.exists():
        raise _refusal(path, wrong) from wrong
    try:
        state = _load(previous, device)
    except _UnusableError as worse:
        raise _refusal(path, wrong, f"{previous.name}, the one before it, neither: {worse}. ") from worse
    return Found(state=state, note=f"{path.name} cannot be used ({wrong}); went on from the one before it")


def go_back_to_previous(path: Path) -> None:
    """The checkpoint before takes the place of one that cannot be used.

    Before anything is saved: saving would keep the useless one as the previous.
    """
    path.with_name(PREVIOUS).replace(path)


def load_checkpoint(path: Path, *, device: torch.device | None = None) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote, its tensors on the device (default: the CPU).

    Raises:
        CheckpointError: if the file is truncated, altered, or holds anything but data.
    """
    try:
        return _load(path, device)
    except _UnusableError as unusable:
        raise _refusal(path, unusable) from unusable


class _UnusableError(Exception):
    """In words, why a checkpoint cannot be used."""


def _refusal(path: Path, unusable: _UnusableError, more: str = "") -> CheckpointError:
    message = (
        f"Cannot use the checkpoint {path}: {unusable}. {more}Restore it from a backup, or remove it, and "
        f"{PREVIOUS} beside it, to train its trial from the start."
    )
    cause = unusable.__cause__
    return disk_trouble(cause, message) if isinstance(cause, OSError) else CheckpointError(message)


def _load(path: Path, device: torch.device | None) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            _check_digest(file)
            file.seek(0)
            state = torch.load(file, map_location=device or torch.device("cpu"), weights_only=True)
    except _UnusableError:
        raise
    except OSError as error:
        raise _UnusableError(error.strerror or str(error)) from error
    except pickle.UnpicklingError as error:
        # Its own message advises to read the file in a way that runs what it holds.
        raise _UnusableError("it holds something other than data, which is not read, or is damaged") from error
    except Exception as error:  # a zip, a pickle or a text that is none of them fails in a way of its own each
        if is_out_of_memory(error):
            raise
        raise _UnusableError(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
    if not isinstance(state, dict):
        raise _UnusableError(f"it holds a {type(state).__name__}, not a dict")
    return state


def _check_digest(file: BinaryIO) -> None:
    """Returns if the file's content has the digest that the file carries.

    A zip without a comment, which an older growres wrote, has none and is left to torch.load. Nothing that is cut off
    or altered in one place can make such a file of a newer one: its end would still announce a comment.

    Raises:
        _UnusableError: if it has another, or the file is no zip.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - _END_SIZE))
    end = file.read()
    if end.startswith(_END_OF_DIRECTORY) and end[-2:] == b"\0\0":
        return
    file.seek(0)
    digest = hashlib.sha256()
    left = max(0, size - _DIGITS)
    while left and (chunk := file.read(min(left, 1 << 20))):
        digest.update(chunk)
        left -= len(chunk)
    if file.read() != digest.hexdigest().encode():
        raise _UnusableError("it is damaged: its sha256 is not the one that it carries")
