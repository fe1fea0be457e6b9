"""When growth ends: the first rule that has a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, takewhile
from typing import Protocol

from growres.analysis.decay import fit_decay_laws
from growres.analysis.gain import lacking_to_stop, noise_floor_reached
from growres.analysis.points import SeedSpread, error_variance, seed_spread, seeds_in_words
from growres.analysis.power import detectable_drop
from growres.config.experiment import NoiseFloorConfig, StopConfig
from growres.events import GrowthStepDecided


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthProgress:
    """How far a growth has come, between two rounds."""

    val_error: float
    num_blocks: int
    epochs_trained: int
    """All arms, rejected proposals too."""
    epochs_of_next_round: int
    """At most."""
    train_flops: int = 0
    wall_s: float = 0.0
    history: Sequence[GrowthStepDecided]
    num_validation: int = 1
    """Images of the validation split."""
    measured: Sequence[tuple[int, float]] = ()
    """Blocks and validation error of the shallow network and of every candidate that did not diverge."""
    replicates: Sequence[Sequence[float]] = ()
    """Of each proposal that was tried with several seeds, the validation error with each of them."""


class StopRule(Protocol):
    """Knows one reason to stop."""

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Why the growth ends here, or None."""
        ...


@dataclass(frozen=True, slots=True)
class TargetError:
    """The validation error is what the user wants."""

    target: float

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Reached or not."""
        if progress.val_error > self.target:
            return None
        return f"target_error: val_error {progress.val_error:.4f} is at most {self.target:g}"


@dataclass(frozen=True, slots=True)
class NoiseFloor:
    """Nothing that is left can be told from noise.

    The decay laws are fitted to the shallow network and all candidates, accepted or not: the accepted ones alone only
    ever fall. A growth knows of seeds only by its own replicates, where it has any.
    """

    config: NoiseFloorConfig
    label_noise: float

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """The noise of the labels first, for it needs no forecast."""
        if progress.val_error == 0.0:
            return f"noise_floor: none of the {progress.num_validation:,} validation images is wrong"
        return self._label_noise_explains(progress) or self._next_block_is_lost_in_noise(progress)

    def _label_noise_explains(self, progress: GrowthProgress) -> str | None:
        if self.label_noise == 0.0:
            return None
        from scipy.stats import binomtest  # as in growres.analysis.paired

        num_images = progress.num_validation
        test = binomtest(round(progress.val_error * num_images), num_images)
        lower = float(test.proportion_ci(self.config.confidence, method="wilson").low)
        if lower > self.label_noise:
            return None
        return (
            f"noise_floor: val_error {progress.val_error:.4f} on {num_images:,} images (from {lower:.4f} at "
            f"{self.config.confidence:.0%}) cannot be told from the {100 * self.label_noise:g} % that wrong labels "
            f"explain"
        )

    def lacks(self, measured: Sequence[tuple[int, float]]) -> str | None:
        """What there are too few of for a forecast to be concluded from, in words; None where there are enough."""
        return lacking_to_stop(len(measured), len({blocks for blocks, _ in measured}), self.config.min_points)

    def seed_spread(self, progress: GrowthProgress) -> SeedSpread | None:
        """Between the replicates; None where no proposal has several."""
        return seed_spread(
            progress.replicates, lambda error: error_variance(error, progress.num_validation), source="replicates"
        )

    def _next_block_is_lost_in_noise(self, progress: GrowthProgress) -> str | None:
        if self.lacks(progress.measured) or progress.val_error == 1.0:
            return None  # where nothing is right yet, no drop is too small to be seen
        blocks, errors = zip(*progress.measured, strict=True)
        variances = [error_variance(error, progress.num_validation) for error in errors]
        spread = self.seed_spread(progress)
        analysis = fit_decay_laws(
            blocks,
            errors,
            variances if spread is None else spread.widened(variances),
            series="all proposals",
            level=self.config.confidence,
        )
        drop = detectable_drop(
            progress.num_validation, progress.val_error, alpha=self.config.alpha, power=self.config.power
        )
        reason = noise_floor_reached(
            analysis.next_gain(after=progress.num_blocks),
            detectable_drop=drop,
            num_validation_images=progress.num_validation,
            error=progress.val_error,
            min_points=self.config.min_points,
        )
        return None if reason is None else f"{reason}; {seeds_in_words(spread)}"


@dataclass(frozen=True, slots=True)
class Patience:
    """The noise floor, simply: so many rounds in a row in which nothing was accepted."""

    rounds: int

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Counts from the newest round back to the last that kept a block."""
        by_round = [list(steps) for _, steps in groupby(progress.history, key=lambda step: step.round)]
        fruitless = list(takewhile(lambda steps: all(step.verdict != "accepted" for step in steps), reversed(by_round)))
        if len(fruitless) < self.rounds:
            return None
        num_rounds, num_proposals = len(fruitless), sum(map(len, fruitless))
        rounds = "" if num_rounds == num_proposals else f", in {num_rounds} rounds,"
        return f"patience: the last {num_proposals} proposals{rounds} were not accepted"


@dataclass(frozen=True, slots=True)
class MaxBlocks:
    """The network is as deep as it may become."""

    blocks: int

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Compares with the blocks that are there, the first ones included."""
        if progress.num_blocks < self.blocks:
            return None
        return f"max_blocks: the network has {progress.num_blocks} blocks"


@dataclass(frozen=True, slots=True)
class MaxEpochs:
    """The budget would not pay for one more round."""

    epochs: int

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Compares with what would be spent after the next round."""
        if progress.epochs_trained + progress.epochs_of_next_round <= self.epochs:
            return None
        left = self.epochs - progress.epochs_trained
        return f"max_epochs: {left} of {self.epochs} epochs are left, and a step takes {progress.epochs_of_next_round}"


@dataclass(frozen=True, slots=True)
class MaxFlops:
    """The work that was allowed is done."""

    flops: float

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Compares with what was spent."""
        if progress.train_flops < self.flops:
            return None
        return f"max_flops: {progress.train_flops:.3g} FLOPs are spent, and {self.flops:.3g} were allowed"


@dataclass(frozen=True, slots=True)
class MaxSeconds:
    """The time that was allowed is over: of training, validating and deciding, whatever machine it was."""

    seconds: float

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Compares with what was spent."""
        if progress.wall_s < self.seconds:
            return None
        return f"max_seconds: {progress.wall_s:.1f} s are spent, and {self.seconds:g} s were allowed"


def make_stop_rules(config: StopConfig, *, label_noise: float = 0.0) -> tuple[StopRule, ...]:
    """The rules that the configuration sets, in the order in which they are asked.

    Args:
        label_noise: of the data set, where growth.stop.noise_floor does not name one.
    """
    floor = config.noise_floor
    rules: list[StopRule | None] = [
        None if config.target_error is None else TargetError(config.target_error),
        None if floor is None else NoiseFloor(floor, label_noise if floor.label_noise is None else floor.label_noise),
        None if config.max_blocks is None else MaxBlocks(config.max_blocks),
        None if config.patience is None else Patience(config.patience),
        None if config.max_epochs is None else MaxEpochs(config.max_epochs),
        None if config.max_flops is None else MaxFlops(config.max_flops),
        None if config.max_seconds is None else MaxSeconds(config.max_seconds),
    ]
    return tuple(rule for rule in rules if rule is not None)


def reason_to_stop(rules: Sequence[StopRule], progress: GrowthProgress) -> str | None:
    """The first rule's reason, or None while growth may go on."""
    return next((reason for rule in rules if (reason := rule.reason_to_stop(progress)) is not None), None)
