"""What the driver tells Prometheus of its trials, through Ray: the only process that sees every event.

Each node of a Ray serves what its processes measured on its metrics port, under these names with `ray_` before them.
`jobs/deploy/grafana/growres.json` is the dashboard that shows them.
"""

from __future__ import annotations

import functools
import logging
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, ParamSpec, get_args

from growres.events import (
    AttemptEnded,
    AttemptStarted,
    AttemptStatus,
    EpochFinished,
    Event,
    GrowthStepDecided,
    TrialFinished,
)

logger = logging.getLogger(__name__)

MAX_LABEL_SETS = 200
"""Pairs of variant and seed that one driver names; the trials beyond them share the pair OTHER, OTHER."""
MAX_LABEL_LENGTH = 64
OTHER = "other"

Status = Literal["queued", "running"] | AttemptStatus
STATUSES: tuple[Status, ...] = ("queued", "running", *get_args(AttemptStatus))

_OF_A_TRIAL = ("experiment", "variant", "seed")


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric: what Prometheus calls it, after Ray's prefix, and by what it is told apart."""

    name: str
    description: str
    labels: tuple[str, ...] = _OF_A_TRIAL
    counts: bool = False

    @property
    def exported_name(self) -> str:
        """As a query has to name it."""
        return f"ray_{self.name}_total" if self.counts else f"ray_{self.name}"


# Sweep points share their variant's and their seed's labels: a gauge shows the one that reported last.
VAL_ERROR = Measure("growres_val_error", "Validation error of the network as accepted so far, a fraction in [0, 1].")
TRAIN_LOSS = Measure("growres_train_loss", "Mean training loss of the last epoch of the network or its candidate.")
EPOCHS = Measure("growres_epochs", "Epochs trained, over all arms and attempts.")
BLOCKS = Measure("growres_blocks", "Residual blocks of the network as accepted so far.")
IMAGES_PER_S = Measure("growres_images_per_s", "Training images a second in the last epoch; 0 once the attempt ended.")
GPU_MEM = Measure("growres_gpu_mem_bytes", "GPU memory that the trial's worker holds; 0 once the attempt ended.")
PROPOSALS: dict[str, Measure] = {
    verdict: Measure(f"growres_proposals_{verdict}", f"Growth steps whose verdict was {verdict}.", counts=True)
    for verdict in ("accepted", "rejected", "undecided")
}
TRIALS = Measure("growres_trials", "Trials of this driver by status.", ("experiment", "status"))
SPOOL_LENGTH = Measure("growres_spool_length", "Events that wait in the spool for the database.", ("experiment",))

MEASURES = (VAL_ERROR, TRAIN_LOSS, EPOCHS, BLOCKS, IMAGES_PER_S, GPU_MEM, *PROPOSALS.values(), TRIALS, SPOOL_LENGTH)


_P = ParamSpec("_P")


def _guarded(method: Callable[Concatenate[TrialMetrics, _P], None]) -> Callable[Concatenate[TrialMetrics, _P], None]:
    """The method, whose failure is told to whoever debugs and to nobody else: metrics are no part of a run."""

    @functools.wraps(method)
    def call(metrics: TrialMetrics, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(metrics, *args, **kwargs)
        except Exception:
            logger.debug("a metric was not recorded", exc_info=True)

    return call


class TrialMetrics:
    """Follows the trials of one driver. Needs a Ray that this process is connected to; never raises.

    Args:
        experiment: its name.
        trials: (trial id, variant, seed) of those that the driver will run.
        initial_blocks: residual blocks that a trial begins with; where that is not known, the number of its blocks is
            told only when it has finished.
    """

    def __init__(
        self,
        experiment: str,
        trials: Sequence[tuple[str, str, int]],
        initial_blocks: Mapping[str, int | None] | None = None,
    ) -> None:
        self._experiment = _label(experiment)
        self._instruments: dict[Measure, Any] = {}
        self._trials: dict[str, _Trial] = {}
        named: set[tuple[str, str]] = set()
        for trial_id, variant, seed in trials:
            pair = (_label(variant), _label(str(seed)))
            if pair not in named and len(named) == MAX_LABEL_SETS:
                pair = (OTHER, OTHER)
            else:
                named.add(pair)
            self._trials[trial_id] = _Trial(*pair, initial_blocks=(initial_blocks or {}).get(trial_id))
        self._show_statuses()

    @_guarded
    def event(self, trial_id: str, event: Event, gpu_mem_bytes: float | None = None) -> None:
        """Something happened in a trial, whose worker holds so much of its GPU's memory."""
        trial = self._trials[trial_id]
        status = trial.status
        trial.follow(event)
        if trial.status != status:
            self._show_statuses()
        if isinstance(event, GrowthStepDecided) and trial.is_new(event):
            self._instrument(PROPOSALS[event.verdict]).inc(1, tags=self._labels(trial))
        if trial.tells_again:
            return
        self._show(VAL_ERROR, trial.val_error, trial)
        self._show(TRAIN_LOSS, trial.train_loss, trial)
        self._show(EPOCHS, trial.epochs, trial)
        self._show(BLOCKS, trial.blocks, trial)
        self._show(IMAGES_PER_S, trial.images_per_s, trial)
        self._show(GPU_MEM, 0 if isinstance(event, AttemptEnded) and trial.used_gpu else gpu_mem_bytes, trial)
        trial.used_gpu |= gpu_mem_bytes is not None

    @_guarded
    def spool(self, length: int) -> None:
        """So many events wait for the database."""
        self._instrument(SPOOL_LENGTH).set(length, tags={"experiment": self._experiment})

    @_guarded
    def _show_statuses(self) -> None:
        numbers = Counter(trial.status for trial in self._trials.values())
        for status in STATUSES:
            tags = {"experiment": self._experiment, "status": status}
            self._instrument(TRIALS).set(numbers[status], tags=tags)

    def _show(self, measure: Measure, value: float | None, trial: _Trial) -> None:
        if value is not None and math.isfinite(value):
            self._instrument(measure).set(value, tags=self._labels(trial))

    def _labels(self, trial: _Trial) -> dict[str, str]:
        return {"experiment": self._experiment, "variant": trial.variant, "seed": trial.seed}

    def _instrument(self, measure: Measure) -> Any:
        from ray.util import metrics  # Ray reads its environment when it is imported: jobs.cluster sets that first

        if measure not in self._instruments:
            kind = metrics.Counter if measure.counts else metrics.Gauge
            self._instruments[measure] = kind(measure.name, measure.description, measure.labels)
        return self._instruments[measure]


@dataclass(slots=True)
class _Trial:
    """What is known of one trial; the events move it on."""

    variant: str
    seed: str
    initial_blocks: int | None
    status: Status = "queued"
    epochs: int = 0
    kept_blocks: int = 0
    final_blocks: int | None = None
    val_error: float | None = None
    train_loss: float | None = None
    images_per_s: float | None = None
    used_gpu: bool = False
    epochs_before: int = 0
    """Of earlier attempts, whose events this one tells again."""
    counted_steps: int = 0
    """Growth steps that a counter has seen, in this driver or in one before it."""

    @property
    def tells_again(self) -> bool:
        """Whether more is to come of what an earlier attempt has told: nothing of that is shown a second time."""
        return self.status == "running" and self.epochs < self.epochs_before

    @property
    def blocks(self) -> int | None:
        if self.final_blocks is not None or self.initial_blocks is None:
            return self.final_blocks
        return self.initial_blocks + self.kept_blocks

    def is_new(self, decided: GrowthStepDecided) -> bool:
        """Whether the step has not been counted yet; from now on it has."""
        if decided.step <= self.counted_steps:
            return False
        self.counted_steps = decided.step
        return True

    def follow(self, event: Event) -> None:
        match event:
            case AttemptStarted():
                self.status = "running"
                self.epochs = self.kept_blocks = 0
                self.epochs_before = event.epochs_before
                self.counted_steps = max(self.counted_steps, event.growth_steps_before)
            case EpochFinished():
                self.epochs += 1
                self.images_per_s = event.images_per_s
                if event.arm in ("network", "candidate"):
                    self.train_loss = event.train_loss
                if event.arm == "network":
                    self.val_error = event.val_error
            case GrowthStepDecided(verdict="accepted"):
                self.val_error = event.val_error_candidate
                self.kept_blocks += -1 if event.kind == "remove" else 1
            case TrialFinished():
                self.val_error = event.val_error
                self.final_blocks = event.num_blocks
            case AttemptEnded():
                self.status = event.status
                self.images_per_s = 0 if self.images_per_s is not None else None
            case _:
                pass


def _label(value: str) -> str:
    return value[:MAX_LABEL_LENGTH]
