"""A trained model from the store's trial and the checkpoint beside it, or from a file that was exported."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from torch import Tensor

from growres.errors import CheckpointError, GrowresWarning, NotFoundError
from growres.home import run_folder
from growres.store import Store, TrialRow
from growres.trained.model import TrainedModel
from growres.training.checkpoint import check_written, checkpoint_path, load_checkpoint, newest_checkpoint

EXPORTED = ".pt"


def load_model(reference: str | Path) -> TrainedModel:
    """The network of a trial, or of an exported checkpoint, ready to be used, on the CPU.

    Of a trial that has not succeeded it is the network of its last checkpoint; a GrowresWarning says so.

    Args:
        reference: a trial's id, such as `k3f9xa-3`, `digits-3` or `latest-1`, or the path of an exported `.pt` file.
    Raises:
        NotFoundError: if there is no such trial or file, or the trial has no checkpoint on this machine.
        CheckpointError: if the checkpoint is damaged, is not the one that the trial wrote, or is of an older growres;
            or if the file is of another kind.
        StoreError: if the store cannot be read.
        TypeError: if the reference is neither text nor a Path.
    """
    if not isinstance(reference, str | Path):
        raise TypeError(
            f"Cannot load the model {reference!r}: give a trial's id as text, as in 'latest-1', or the path of a "
            f"{EXPORTED} file."
        )
    if isinstance(reference, Path) or reference.endswith(EXPORTED):
        return _load_file(Path(reference))
    with Store.open() as store:
        trial = _find_trial(store, reference)
        written = [artifact for artifact in store.artifacts(trial.id) if artifact["kind"] == "checkpoint"]
        host = store.find_experiment(trial.experiment_id).host
    path = checkpoint_path(run_folder(trial.experiment_id), trial.id)
    if trial.status == "succeeded" and path.is_file():
        check_written(path, trial.id, {artifact["sha256"] for artifact in written})
        return _model_of(load_checkpoint(path), path, source=trial.id)
    found = newest_checkpoint(path) if trial.status != "succeeded" else None
    if found is None:
        raise NotFoundError(_why_absent(trial, path, host))
    which = f"; {found.note}" if found.note else ""
    warnings.warn(
        f"trial {trial.id} is {trial.status}, not finished: this is its network as of its last checkpoint{which}",
        GrowresWarning,
        stacklevel=3,
    )
    return _model_of(found.state, path, source=trial.id)


def _find_trial(store: Store, reference: str) -> TrialRow:
    try:
        return store.find_trial(reference)
    except NotFoundError as error:
        if not os.path.isfile(reference):
            raise
        raise CheckpointError(
            f"Cannot load {reference}: it is a file, but none that growres reads back: their names end in {EXPORTED}. "
            f"Name a trial, or write such a file: growres export TRIAL -o net{EXPORTED}"
        ) from error


def _load_file(path: Path) -> TrainedModel:
    if not os.path.isfile(path):
        raise NotFoundError(f"There is no file {path}. Write one with: growres export TRIAL -o {path.name}")
    try:
        state = load_checkpoint(path)
    except CheckpointError as error:  # its advice is for a trial's checkpoint
        raise CheckpointError(f"Cannot read {path}: it is damaged, or no file of growres. Export it again.") from error
    return _model_of(state, path, source=str(path))


class _Images(BaseModel):
    """What describe_images said of the data set."""

    model_config = ConfigDict(frozen=True, strict=True)
    class_names: Annotated[list[str], Field(min_length=2)]
    channels: Literal[1, 3]
    image_size: PositiveInt
    mean: list[FiniteFloat]
    std: list[Annotated[FiniteFloat, Field(gt=0)]]

    @field_validator("mean", "std")
    @classmethod
    def _one_for_each_channel(cls, values: list[float], info: ValidationInfo) -> list[float]:
        channels = info.data.get("channels", len(values))
        if len(values) != channels:
            raise ValueError(f"{len(values)} values for {channels} channels")
        return values


class _Architecture(BaseModel):
    """The zoo checks its own arguments, which are the rest."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    name: str


class _Network(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, arbitrary_types_allowed=True)
    architecture: _Architecture
    weights: dict[str, Tensor]


class _SavedModel(BaseModel):
    """The sections of a checkpoint that a TrainedModel is made of, each of the type that it takes."""

    model_config = ConfigDict(frozen=True, strict=True)
    network: _Network
    images: _Images


def _model_of(state: dict[str, Any], path: Path, *, source: str) -> TrainedModel:
    if not state.keys() >= {"network", "images"}:
        raise CheckpointError(
            f"Cannot use the network in {path}: nothing there says which classes and preprocessing it was trained "
            f"with. An older growres wrote it, or another program. Train it again: growres submit"
        )
    try:
        _SavedModel.model_validate(state)
        return TrainedModel.from_state(state, source=source)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"Cannot use the network in {path}: {where}: {first['msg']}. The file was changed, or another program "
            f"wrote it. Export it again, or train it again: growres submit"
        ) from error
    except (TypeError, ValueError, RuntimeError) as error:  # arguments or weights that are none of such a network
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
