"""What a procedure and its driver tell the world: frozen events, made of plain numbers and strings.

A procedure yields EpochFinished, GrowthStepDecided and, last, TrialFinished. The driver adds what it alone knows:
AttemptStarted, ArtifactWritten and AttemptEnded. `to_dict` and `from_dict` carry any of them through Ray, a checkpoint
or the recorder's spool.

Errors are fractions in [0, 1], times seconds, FLOPs those of forward and backward passes over training images.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

Arm = Literal["network", "candidate", "control", "screen"]
"""What an epoch trained: the network itself, before or after all growth steps, or an arm of a step; screen: a candidate
whose new block alone is tried, to choose among the proposals of a round."""

Verdict = Literal["accepted", "rejected", "undecided"]

StepKind = Literal["append", "remove"]
"""What a growth step proposes: one block more, or, when a grown network is pruned, one block less."""

AttemptStatus = Literal["succeeded", "failed", "stopped", "interrupted"]
"""failed: by the trial's own fault; interrupted: it lost its worker, its machine or its driver, and can go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochFinished:
    """One pass over the training split; `growth_step` is 0 before any growth, `epoch` counts from 1 within an arm."""

    growth_step: int
    arm: Arm
    epoch: int
    replicate: int = 0
    """Which of the paired seeds of one proposal; 0 is the trial's own."""
    train_loss: float
    """Mean over the epoch's batches as they were trained on: augmented, in training mode, before each update."""
    train_error: float
    val_loss: float
    val_error: float
    lr: float
    """The learning rate of the epoch's last step."""
    train_flops: int
    images_per_s: float
    epoch_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthStepDecided:
    """One proposal with its verdict. Its errors are measured in evaluation mode over the whole split."""

    step: int
    kind: StepKind = "append"
    round: int
    """Proposals of one round grew from the same parent, and at most one of them is accepted."""
    stage: int
    """0 is nearest the stem."""
    block: int
    """Index of the block within its stage."""
    initialiser: str | None
    """None where a block is removed."""
    train_error_before: float
    train_error_candidate: float | None
    """None where the candidate diverged."""
    val_error_before: float
    val_error_candidate: float | None
    val_error_control: float | None
    """None without a control arm, where it diverged, or where the candidate did and the control was spared."""
    val_loss_before: float | None = None
    val_loss_candidate: float | None = None
    val_loss_control: float | None = None
    num_replicates: int = 1
    """Paired seeds that the verdict rests on; errors and losses are of the first, the trial's own."""
    p_value: float | None
    verdict: Verdict
    reason: str
    num_params_before: int
    num_params_after: int
    """Of the candidate, accepted or not."""
    epochs: int
    """Trained for this step, all arms together."""
    train_flops: int
    wall_s: float
    max_logit_change: float | None
    """Largest absolute difference that appending the block made to the logits of a fixed batch, before any training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFinished:
    """The trial's result; only now has the test split been looked at."""

    val_error: float
    test_error: float
    num_params: int
    num_blocks: int | None
    """Residual blocks; None for a network that has none."""
    train_flops: int
    epochs: int
    wall_s: float
    """Seconds of training, validating and deciding, rejected proposals included; what a kill threw away is not."""
    reason: str
    """Why the procedure ended, as in 'trained 20 epochs' or 'patience: 3 proposals in a row were rejected'."""
    architecture: dict[str, Any]
    """What rebuilds the final network: the name and arguments that growres.training.networks.build_network takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptStarted:
    """A machine began, or went on with, a trial."""

    host: str
    device: str
    pid: int
    epochs_before: int = 0
    """Of earlier attempts, which this one goes on from; their events are told again before any new one."""
    growth_steps_before: int = 0
    note: str | None = None
    """What was wrong with what it found, such as a damaged checkpoint, and what it did about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactWritten:
    """A file that belongs to the trial, such as its checkpoint; `path` is relative to the run's folder."""

    kind: str
    path: str
    sha256: str
    num_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptEnded:
    """The attempt is over, and with it, until another begins, its trial."""

    status: AttemptStatus
    reason: str
    stopped_by: Literal["person", "scheduler"] | None = None
    """Where it was stopped."""


ProcedureEvent = EpochFinished | GrowthStepDecided | TrialFinished
Event = ProcedureEvent | AttemptStarted | ArtifactWritten | AttemptEnded

_EVENT_TYPES: dict[str, type[Event]] = {
    event_type.__name__: event_type
    for event_type in (EpochFinished, GrowthStepDecided, TrialFinished, AttemptStarted, ArtifactWritten, AttemptEnded)
}


def to_dict(event: Event) -> dict[str, Any]:
    """The event as JSON-ready values; its type stands under 'event'."""
    return {"event": type(event).__name__, **dataclasses.asdict(event)}


def from_dict(values: dict[str, Any]) -> Event:
    """The event that `to_dict` wrote.

    Raises:
        KeyError: if no event type has the name under 'event'.
    """
    fields = {key: value for key, value in values.items() if key != "event"}
    return _EVENT_TYPES[values["event"]](**fields)
