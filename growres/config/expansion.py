"""What an experiment costs before it has begun: the epochs and images of each trial, at least and at most."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from growres.config.experiment import (
    AdamGammaConfig,
    AlwaysConfig,
    BestOfConfig,
    Experiment,
    GrowthConfig,
    Procedure,
    TestedBase,
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


def _trial_plan(trial: TrialConfig, experiment: Experiment, num_train: int | None) -> TrialPlan:
    least, most = _epochs(trial, experiment)
    scheduler = experiment.scheduler
    if scheduler is not None:
        least = min(least, scheduler.grace_epochs)
        most = _least([most, scheduler.max_epochs])
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
    rounds = most_rounds(trial.growth, blocks)
    least = trial.growth.seed_epochs + trial.growth.tail_epochs
    return least, None if rounds is None else least + rounds * epochs_of_a_round(trial.growth, len(blocks))


def epochs_of_a_round(growth: GrowthConfig, num_stages: int) -> int:
    """Epochs that one round takes at most: all proposals, replicates and arms together.

    Args:
        num_stages: of the network, for a round may have a proposal in each.
    """
    accept, placement, initialiser = growth.accept, growth.placement, growth.initialiser
    replicates = (accept.max_replicates if isinstance(accept, TestedBase) else None) or accept.replicates
    candidates, screening = judged_proposals(growth, num_stages), 0
    if isinstance(placement, BestOfConfig) and placement.screen != "none":
        screening = len(placement.stages or range(num_stages)) * placement.screen_epochs
    beginning = initialiser.max_epochs if isinstance(initialiser, AdamGammaConfig) else 0
    arms = candidates + (1 if growth.control else 0)
    return screening + replicates * (arms * growth.epochs_per_step + candidates * beginning)


def judged_proposals(growth: GrowthConfig, num_stages: int) -> int:
    """Proposals that a verdict is given on in one round, at most: those that screening leaves.

    Args:
        num_stages: of the network, for a round may have a proposal in each.
    """
    placement = growth.placement
    if not isinstance(placement, BestOfConfig) or placement.screen != "none":
        return 1
    return len(placement.stages or range(num_stages))


def most_rounds(growth: GrowthConfig, blocks: Sequence[int]) -> int | None:
    """Rounds in the longest run of verdicts that the stop rules allow; None where they set no bound.

    With room for A more blocks and a patience of P, the worst is P - 1 rejections before each acceptance: A * P rounds.
    Either rule alone sets no bound: rejections need not end, nor acceptances. A budget of epochs always does.

    Args:
        blocks: residual blocks in each stage before the first round.
    """
    stop = growth.stop
    num_blocks = sum(blocks)
    bounds: list[int] = []
    if stop.max_blocks is not None:
        room = max(stop.max_blocks - num_blocks, 0)
        if room == 0 or isinstance(growth.accept, AlwaysConfig):
            bounds.append(room)
        elif stop.patience is not None:
            bounds.append(room * stop.patience)
    if stop.max_epochs is not None:
        bounds.append(max(stop.max_epochs - growth.seed_epochs, 0) // epochs_of_a_round(growth, len(blocks)))
    return _least(bounds)


def _least(bounds: Iterable[int | None]) -> int | None:
    return min((bound for bound in bounds if bound is not None), default=None)


def _sum(parts: Iterable[int | None]) -> int | None:
    known = list(parts)
    numbers = [part for part in known if part is not None]
    return sum(numbers) if len(numbers) == len(known) else None
