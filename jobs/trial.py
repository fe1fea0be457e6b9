"""One attempt at one trial: its events, each yielded when the checkpoint that goes on from it is on the disk.

Ray-free, so that the inline driver and Ray's workers run the same code.
"""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from growres import events
from growres.config.experiment import ResourcesConfig, TrialConfig
from growres.data.images import describe_images
from growres.data.loading import load_images
from growres.errors import CheckpointError, ConfigError
from growres.events import (
    ArtifactWritten,
    AttemptStarted,
    EpochFinished,
    Event,
    GrowthStepDecided,
    ProcedureEvent,
    TrialFinished,
)
from growres.growth.boostresnet import BoostResNet
from growres.growth.layerwise import Layerwise
from growres.growth.procedure import Growth
from growres.training.checkpoint import (
    PREVIOUS,
    Found,
    checkpoint_path,
    go_back_to_previous,
    newest_checkpoint,
    outputs_folder,
    save_checkpoint,
)
from growres.training.context import TrainingContext
from growres.training.memory import is_out_of_memory, memory_of
from growres.training.outputs import ImageOutputs
from growres.training.procedure import EndToEnd, Procedure

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTask:
    """What a worker is handed: plain data, and paths that it shares with the driver."""

    trial_id: str
    config: dict[str, Any]
    """A TrialConfig as JSON."""
    run_folder: str
    """The experiment's folder; the trial's checkpoint stands in a folder of its own below it."""
    home: str
    """GROWRES_HOME, where the data cache is."""

    @property
    def checkpoint(self) -> Path:
        """Where the trial's checkpoint stands, across attempts."""
        return checkpoint_path(Path(self.run_folder), self.trial_id)

    @property
    def outputs(self) -> Path:
        """The folder of what its networks say of whole splits."""
        return outputs_folder(Path(self.run_folder), self.trial_id)

    def describe(self, path: Path) -> ArtifactWritten:
        """One of the two kinds of files as an event."""
        content = path.read_bytes()
        return ArtifactWritten(
            kind="checkpoint" if path == self.checkpoint else "outputs",
            path=path.relative_to(self.run_folder).as_posix(),
            sha256=hashlib.sha256(content).hexdigest(),
            num_bytes=len(content),
        )


def run_attempt(task: TrialTask) -> Iterator[Event]:
    """Trains the trial from its last event, or from the start.

    Yields:
        AttemptStarted; then, where a checkpoint was found, every event of the earlier attempts again, since the last of
        them may never have reached the store; then the new events; and ArtifactWritten after a growth step and at
        the end. When a procedure's event is yielded, the checkpoint that goes on from it is on the disk.
    Raises:
        GrowresError: what stopped the trial, such as a NonFiniteLossError or an OutOfMemoryError.
    """
    _forget_the_trial_before()
    config = TrialConfig.model_validate(task.config)
    with memory_of(config):
        yield from _train(task, config)


def _forget_the_trial_before() -> None:
    """Frees what a trial before this one, in the same process, has left in reference cycles.

    The first trial of a process does: modules that are imported on the way keep frames, and these its networks and
    images, until Python looks for cycles. It does so when many objects have been made, however large the old ones are,
    and cannot know that they fill a GPU.
    """
    gc.collect()
    torch.cuda.empty_cache()  # and other trials on the same GPU may have it; does nothing where there is none


def _train(task: TrialTask, config: TrialConfig) -> Iterator[Event]:
    device = choose_device(config.resources)
    limit_threads(config.resources)
    started = AttemptStarted(host=socket.gethostname(), device=describe_device(device), pid=os.getpid())
    try:
        found = newest_checkpoint(task.checkpoint, device=device)
        past = _past_events(task, found)
    except CheckpointError:
        yield started  # an attempt, if a short one
        raise
    note = found.note if found else None
    if note:
        logger.info("trial %s: %s", task.trial_id, note)
        go_back_to_previous(task.checkpoint)
    yield dataclasses.replace(
        started,
        epochs_before=sum(isinstance(event, EpochFinished) for event in past),
        growth_steps_before=sum(isinstance(event, GrowthStepDecided) for event in past),
        note=note,
    )
    images = load_images(config.dataset, Path(task.home))
    procedure = make_procedure(config, TrainingContext.of(config, images, device))
    if found is not None:
        with _meant_for(task):
            procedure.load_state_dict(found.state["procedure"])
        found = None  # the networks have copies of its tensors
        yield from past
        yield from map(task.describe, _files_of(task))
    if past and isinstance(past[-1], TrialFinished):
        return
    for event in procedure.run():
        past.append(event)
        written = [_save_outputs(task, name, outputs) for name, outputs in procedure.take_outputs().items()]
        save_checkpoint(
            task.checkpoint,
            {
                "procedure": procedure.state_dict(),
                "events": [events.to_dict(event) for event in past],
                "network": procedure.network_state(),  # not for resuming, but for using it: growres.trained
                "images": describe_images(images),
            },
        )
        yield event
        yield from map(task.describe, written)
        if isinstance(event, GrowthStepDecided | TrialFinished):
            yield task.describe(task.checkpoint)


def make_procedure(config: TrialConfig, context: TrainingContext) -> Procedure:
    """The procedure that the trial's configuration names, at its beginning."""
    match config.procedure:
        case "end_to_end":
            return EndToEnd(config, context)
        case "growth":
            return Growth(config, context)
        case "layerwise":
            return Layerwise(config, context)
        case "boostresnet":
            return BoostResNet(config, context)


def choose_device(resources: ResourcesConfig) -> torch.device:
    """The GPU that the trial asked for, else the CPU, whatever else the machine has.

    Raises:
        ConfigError: if a GPU was asked for and there is none.
    """
    if resources.gpus_per_trial == 0:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            f"resources.gpus_per_trial is {resources.gpus_per_trial:g}, but PyTorch finds no GPU on "
            f"{socket.gethostname()}. Set resources.gpus_per_trial=0, or see: growres doctor"
        )
    return torch.device("cuda:0")


def limit_threads(resources: ResourcesConfig) -> None:
    """As many threads as the trial has CPUs. More do not wait for each other in peace: two trials of two threads each
    on two cores ran three to five times slower than two of one thread."""
    torch.set_num_threads(max(1, int(resources.cpus_per_trial)))


def describe_device(device: torch.device) -> str:
    """The device for people and the store: 'cpu', or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def past_events(task: TrialTask) -> list[Event]:
    """What the trial's checkpoint tells of its past, and its files; nothing where there is none that can be read."""
    try:
        past = _past_events(task, newest_checkpoint(task.checkpoint))
        return [*past, *map(task.describe, _files_of(task))] if past else []
    except (CheckpointError, OSError):
        return []


def _past_events(task: TrialTask, found: Found | None) -> list[ProcedureEvent]:
    with _meant_for(task):
        past = [events.from_dict(values) for values in found.state["events"]] if found else []
    return [event for event in past if isinstance(event, ProcedureEvent)]


@contextmanager
def _meant_for(task: TrialTask) -> Iterator[None]:
    """A checkpoint that is whole, and whose parts are of other names or shapes, is another program's or trial's."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).partition("\n")[0]
        raise CheckpointError(
            f"Cannot go on from the checkpoint {task.checkpoint}: it is not one of this trial and this growres "
            f"({type(error).__name__}: {reason}). Restore it from a backup, or remove it, and {PREVIOUS} beside it, "
            f"to train the trial from the start."
        ) from error


def _save_outputs(task: TrialTask, name: str, outputs: ImageOutputs) -> Path:
    path = task.outputs / f"{name}.npz"
    outputs.save(path)
    return path


def _files_of(task: TrialTask) -> list[Path]:
    """What earlier attempts wrote; the store may not know of it."""
    return [task.checkpoint, *sorted(task.outputs.glob("[!.]*.npz"))]
