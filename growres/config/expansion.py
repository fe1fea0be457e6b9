"""What an experiment costs before it has begun: the epochs and images of each trial, at least and at most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from growres.config.budget import epochs_of_a_round, fewest_epochs, least_of, most_rounds
from growres.config.experiment import (
    AshaConfig,
    Experiment,
    GrowthConfig,
    Procedure,
    TrialConfig,
    Twin,
)
from growres.config.rules import initial_blocks, residual_blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPlan:
    """One trial and what it may take. A most of None has no bound, or depends on an unknown number of images."""

    variant: str
    seed: int
    sweep_point: dict[str, Any]
    procedure: Procedure
    model: str
    epochs_min: int
    """Of a growth: its seed epochs, as when the target error is met at once; of boostresnet: its first block's."""
    epochs_max: int | None
    """Of a growth: every arm of the longest run of verdicts that its stop rules allow."""
    images_min: int | None
    """Images to train on: epochs times the training split."""
    images_max: int | None
    twin: Twin | None = None
    """A twin's epochs are known when its parent is done. Those of same_epochs are its parent's; same_flops, whose final
    network is about the dearest that the parent trained, is taken to have one at least, and its parent's at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPlan:
    """Every trial, and the sums. A sum is None where one of its parts is."""

    trials: tuple[TrialPlan, ...]
    epochs_min: int
    epochs_max: int | None
    images_min: int | None
    images_max: int | None


def describe_plan(experiment: Experiment, num_train: int | None = None) -> ExperimentPlan:
    """What the experiment would train.

    Args:
        num_train: images in the training split; None where it is not known, as before a download.
    """
    trials = tuple(_trial_plan(trial, experiment, num_train) for trial in experiment.trials)
    return ExperimentPlan(
        trials=trials,
        epochs_min=sum(trial.epochs_min for trial in trials),
        epochs_max=_sum(trial.epochs_max for trial in trials),
        images_min=_sum(trial.images_min for trial in trials),
        images_max=_sum(trial.images_max for trial in trials),
    )


def most_epochs(trial: TrialConfig, scheduler: AshaConfig | None = None) -> int | None:
    """The epochs that a trial trains at most; None where nothing bounds them, or a twin's parent will tell them."""
    is_told_by_parent = trial.procedure == "end_to_end" and trial.training.epochs is None
    most = None if is_told_by_parent else _own_epochs(trial)[1]
    return least_of([most, scheduler.max_epochs]) if scheduler else most


def _trial_plan(trial: TrialConfig, experiment: Experiment, num_train: int | None) -> TrialPlan:
    least, most = _epochs(trial, experiment)
    scheduler = experiment.scheduler
    if scheduler is not None:
        least = min(least, scheduler.grace_epochs)
        most = least_of([most, scheduler.max_epochs])
    return TrialPlan(
        variant=trial.variant,
        seed=trial.seed,
        sweep_point=trial.sweep_point,
        procedure=trial.procedure,
        model=trial.model.name,
        epochs_min=least,
        epochs_max=most,
        images_min=None if num_train is None else least * num_train,
        images_max=None if num_train is None or most is None else most * num_train,
        twin=trial.twin,
    )


def _epochs(trial: TrialConfig, experiment: Experiment) -> tuple[int, int | None]:
    if trial.twin_of is not None:
        least, most = _epochs(experiment.trials[trial.twin_of - 1], experiment)
        return (least if trial.twin == "same_epochs" else 1), most
    return _own_epochs(trial)


def _own_epochs(trial: TrialConfig) -> tuple[int, int | None]:
    if trial.layerwise is not None:
        layers = residual_blocks(trial.model)
        assert layers is not None, "loading requires a model that has residual stages"
        return (epochs := sum(layers) * trial.layerwise.epochs_per_layer), epochs
    if trial.boostresnet is not None:
        blocks = initial_blocks(trial.model)
        assert blocks is not None, "loading requires a model that has residual blocks"
        each, refine = trial.boostresnet.epochs_per_block, trial.boostresnet.refine_epochs
        return each + refine, sum(blocks) * each + refine
    if trial.growth is None:
        assert trial.training.epochs is not None, "loading requires training.epochs of end_to_end"
        return trial.training.epochs, trial.training.epochs
    blocks = initial_blocks(trial.model)
    assert blocks is not None, "loading requires a model that grows"
    return _epochs_of_a_growth(trial.growth, blocks)


def _epochs_of_a_growth(growth: GrowthConfig, blocks: Sequence[int]) -> tuple[int, int | None]:
    rounds, budget, tail = most_rounds(growth, blocks), growth.stop.max_epochs, growth.tail_epochs
    longest = None if rounds is None else growth.seed_epochs + rounds * epochs_of_a_round(growth, len(blocks)) + tail
    least = fewest_epochs(growth, growth.seed_epochs) + tail
    return least, least_of([longest, None if budget is None else budget + tail])


def _sum(parts: Iterable[int | None]) -> int | None:
    known = list(parts)
    numbers = [part for part in known if part is not None]
    return sum(numbers) if len(numbers) == len(known) else None
