"""What one step of each growth could tell from noise, said in the plan of a dry run."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from growres.cli import figures
from growres.cli.talk import command
from growres.config.budget import most_rounds, proposals_of_a_round
from growres.config.experiment import (
    AcceptConfig,
    DatasetConfig,
    PairedLossConfig,
    TestedBase,
    TrialConfig,
    VersusControlConfig,
)
from growres.config.rules import initial_blocks

POWER = 0.8
_USUAL_ALPHA = 0.05
_USUAL_ERRORS = (0.05, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPower:
    """The smallest drops that McNemar's exact test of one proposal finds with the power POWER."""

    variant: str
    accept: str
    """The rule's name."""
    tests: str | None
    """What the rule itself tests: error, or loss, which shows more; None where it tests nothing, and luck passes."""
    alpha: float
    """The level of the first round; 5 % where nothing is tested."""
    num_images: int | None
    """Of the validation split; None where the data are not here yet."""
    drops: tuple[tuple[float, float | None], ...]
    """Each error of the network before the step, with the drop; None: not even one to an error of 0."""

    @classmethod
    def of(cls, trial: TrialConfig, num_images: int | None) -> StepPower:
        """For the growth of a trial, whose network begins with an error of 5 % or 20 %, or has come to the target."""
        assert trial.growth is not None
        accept, target = trial.growth.accept, trial.growth.stop.target_error
        level = _first_level(trial)
        alpha = _USUAL_ALPHA if level is None else level
        errors = (target,) if target is not None and 0 < target < 1 else _USUAL_ERRORS
        return cls(
            variant=trial.variant,
            accept=accept.name,
            tests=None if level is None else _tested(accept),
            alpha=alpha,
            num_images=num_images,
            drops=() if num_images is None else tuple((error, _drop(num_images, error, alpha)) for error in errors),
        )

    @property
    def row(self) -> dict[str, Any]:
        """As JSON has it, beside the trial's own fields."""
        return {
            "accept": self.accept,
            "tests": self.tests,
            "alpha": self.alpha,
            "power": POWER,
            "validation_images": self.num_images,
            "drops": [{"error": error, "drop": drop} for error, drop in self.drops],
        }

    @property
    def sentence(self) -> str:
        """In words."""
        if self.num_images is None:
            return (
                f"{self.variant}: what one step can detect is known with the number of validation images, which are "
                f"not here yet"
            )
        where = f"on {self.num_images:,} validation images {self._found()} ({100 * POWER:g}% power)"
        if self.tests == "error":
            return f"{self.variant}: one step (McNemar, alpha {self.alpha:.3g}) {where}"
        orientation = f"For orientation: McNemar (alpha {self.alpha:.3g}) {where}"
        if self.tests == "loss":
            return f"{self.variant}: one step tests the loss, which shows smaller gains than the error. {orientation}"
        kept = "every block is kept" if self.accept == "always" else "a drop by luck passes like any other"
        return f"{self.variant}: accept {self.accept} tests nothing, {kept}. {orientation}"

    def _found(self) -> str:
        return "finds " + " and ".join(
            f"not even a drop to 0 from an error of {100 * error:g}%"
            if drop is None
            else f"drops of {figures.points(drop)} or more at an error of {100 * error:g}%"
            for error, drop in self.drops
        )


def step_powers(
    trials: Sequence[TrialConfig], dataset: DatasetConfig, num_validation: int | None
) -> list[StepPower | None]:
    """For each trial what a step of its growth can detect; None of one that does not grow.

    Args:
        num_validation: images in the validation split, where the data are here.
    """
    number = num_validation if num_validation is not None else _promised_images(dataset)
    return [None if trial.growth is None else StepPower.of(trial, number) for trial in trials]


def sentences(powers: Iterable[StepPower | None]) -> list[str]:
    """One for each growth variant, or more where the points of its sweep differ in this; then what they rest on."""
    said = list(dict.fromkeys(power.sentence for power in powers if power is not None))
    return [*said, f"Assumed: networks a step apart disagree as is usual. More: {command()} power"] if said else []


def _promised_images(dataset: DatasetConfig) -> int | None:
    """The size of the validation split where the file itself gives it as a number."""
    if isinstance(dataset.validation, float):
        return None
    return min(dataset.validation, dataset.limit.validation or dataset.validation)


def _tested(accept: AcceptConfig) -> str:
    is_of_loss = isinstance(accept, PairedLossConfig) or (
        isinstance(accept, VersusControlConfig) and accept.test == "paired_loss"
    )
    return "loss" if is_of_loss else "error"


def _first_level(trial: TrialConfig) -> float | None:
    assert trial.growth is not None
    if not isinstance(trial.growth.accept, TestedBase):
        return None
    from growres.growth.acceptance import first_level

    blocks = initial_blocks(trial.model)
    assert blocks is not None, "loading requires a model that grows"
    return first_level(
        trial.growth.accept,
        most_rounds=most_rounds(trial.growth, blocks),
        num_proposals=proposals_of_a_round(trial.growth, len(blocks)),
    )


@functools.cache
def _drop(num_images: int, error: float, alpha: float) -> float | None:
    from growres.analysis.power import detectable_drop

    drop = detectable_drop(num_images, error, alpha=alpha, power=POWER)
    return drop if math.isfinite(drop) else None
