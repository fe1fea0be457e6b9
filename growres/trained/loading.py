"""A trained model from the store's trial and the checkpoint beside it, or from a file that was exported."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

from growres.errors import CheckpointError, GrowresWarning, NotFoundError
from growres.home import growres_home
from growres.store import Store, TrialRow
from growres.trained.model import TrainedModel
from growres.training.checkpoint import checkpoint_path, load_checkpoint

EXPORTED = ".pt"


def load_model(reference: str | Path) -> TrainedModel:
    """The network of a trial, or of an exported checkpoint, ready to be used, on the CPU.

    Of a trial that has not succeeded it is the network of its last checkpoint; a GrowresWarning says so.

    Args:
        reference: a trial's id, such as `k3f9xa-3`, `digits-3` or `latest-1`, or the path of an exported `.pt` file.
    Raises:
        NotFoundError: if there is no such trial or file, or the trial has no checkpoint on this machine.
        CheckpointError: if the checkpoint is damaged, is not the one that the trial wrote, or is of an older growres.
        StoreError: if the store cannot be read.
    """
    if isinstance(reference, Path) or reference.endswith(EXPORTED):
        return _load_file(Path(reference))
    with Store.open() as store:
        trial = store.find_trial(reference)
        written = [artifact for artifact in store.artifacts(trial.id) if artifact["kind"] == "checkpoint"]
        host = store.find_experiment(trial.experiment_id).host
    path = checkpoint_path(growres_home() / "runs" / trial.experiment_id, trial.id)
    if not path.is_file():
        raise NotFoundError(_why_absent(trial, path, host))
    if trial.status == "succeeded":
        _check_digest(path, trial, {artifact["sha256"] for artifact in written})
    else:
        warnings.warn(
            f"trial {trial.id} is {trial.status}, not finished: this is its network as of its last checkpoint",
            GrowresWarning,
            stacklevel=3,
        )
    return _model_of(load_checkpoint(path), path, source=trial.id)


def _load_file(path: Path) -> TrainedModel:
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}. Write one with: growres export TRIAL -o {path.name}")
    try:
        state = load_checkpoint(path)
    except CheckpointError as error:  # its advice is for a trial's checkpoint
        raise CheckpointError(f"Cannot read {path}: it is damaged, or no file of growres. Export it again.") from error
    return _model_of(state, path, source=str(path))


def _model_of(state: dict[str, Any], path: Path, *, source: str) -> TrainedModel:
    if not state.keys() >= {"network", "images"}:
        raise CheckpointError(
            f"Cannot use the network in {path}: nothing there says which classes and preprocessing it was trained "
            f"with. An older growres wrote it, or another program. Train it again: growres submit"
        )
    try:
        return TrainedModel.from_state(state, source=source)
    except (KeyError, TypeError, RuntimeError) as error:  # RuntimeError: load_state_dict, of weights that do not fit
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"Cannot use the network in {path}: its architecture, weights and class names do not belong together "
            f"({type(error).__name__}: {reason}). Export it again, or train it again: growres submit"
        ) from error


def _why_absent(trial: TrialRow, path: Path, host: str | None) -> str:
    where = f" It ran on {host}: copy the file from there, or set GROWRES_HOME to the folder it is in." if host else ""
    if trial.attempt == 0:
        where = f" It has not begun. Go on with: growres resume {trial.experiment_id}"
    return f"Trial {trial.id} ({trial.status}) has no checkpoint: there is no {path}.{where}"


def _check_digest(path: Path, trial: TrialRow, recorded: set[str]) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest not in recorded:
        known = ", ".join(sorted(sha256[:12] for sha256 in recorded)) or "none"
        raise CheckpointError(
            f"Refusing {path}: its sha256 begins {digest[:12]}, and the store recorded {known} for trial {trial.id}. "
            f"The file was changed after training. Restore it from a backup, or train again: growres submit"
        )
