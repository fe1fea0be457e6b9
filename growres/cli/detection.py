"""What one step of each growth could tell from noise, said in the plan of a dry run."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

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
CONTROL_SHARE = 0.25
"""How discordant a candidate is with its control arm, which saw the same batches, as a share of what it is with its
parent: so measured where `growres.analysis.power.usual_discordant` was."""
_USUAL_ALPHA = 0.05
_LAST_OF_MANY = 10
_USUAL_ERRORS = (0.05, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one step of a growth can detect."""

    number: int
    """Of its round, from 1."""
    alpha: float
    """The level of one proposal; 5 % where nothing is tested."""
    drops: tuple[tuple[float, float | None], ...]
    """Each error of the network before the step, with the drop; None: not even one to an error of 0."""

    @property
    def row(self) -> dict[str, Any]:
        return {
            "step": self.number,
            "alpha": self.alpha,
            "drops": [{"error": error, "drop": drop} for error, drop in self.drops],
        }

    @property
    def found(self) -> str:
        """In words."""
        return " and ".join(
            f"not even a drop to 0 from an error of {100 * error:g}%"
            if drop is None
            else f"drops of {figures.points(drop)} or more at an error of {100 * error:g}%"
            for error, drop in self.drops
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPower:
    """The smallest drops that McNemar's exact test of one proposal finds with the power POWER."""

    variant: str
    accept: str
    """The rule's name."""
    tests: str | None
    """What the rule itself tests: error, or loss, which shows more; None where it tests nothing, and luck passes."""
    against: Literal["parent", "control"]
    """What a candidate is held against."""
    num_images: int | None
    """Of the validation split; None where the data are not here yet."""
    first: Step
    last: Step | None
    """Of the longest growth that the stop rules allow, or the tenth, where they set no bound; None where no step has a
    lower level than the first."""
    is_bounded: bool
    """Whether the stop rules bound the steps."""

    @classmethod
    def of(cls, trial: TrialConfig, num_images: int | None) -> StepPower:
        """For the growth of a trial, whose network begins with an error of 5 % or 20 %, or has come to the target."""
        assert trial.growth is not None
        accept, target = trial.growth.accept, trial.growth.stop.target_error
        errors = (target,) if target is not None and 0 < target < 1 else _USUAL_ERRORS
        share = CONTROL_SHARE if isinstance(accept, VersusControlConfig) else 1.0
        most = most_rounds(trial.growth, _blocks(trial))
        number_of_last = _LAST_OF_MANY if most is None else max(most, 1)

        def step(number: int, level: float | None) -> Step:
            alpha = _USUAL_ALPHA if level is None else level
            drops = () if num_images is None else tuple((one, _drop(num_images, one, alpha, share)) for one in errors)
            return Step(number=number, alpha=alpha, drops=drops)

        first, last = _level(trial, 1, most), _level(trial, number_of_last, most)
        return cls(
            variant=trial.variant,
            accept=accept.name,
            tests=None if first is None else _tested(accept),
            against="control" if isinstance(accept, VersusControlConfig) else "parent",
            num_images=num_images,
            first=step(1, first),
            last=None if first is None or last is None or last >= first else step(number_of_last, last),
            is_bounded=most is not None,
        )

    @property
    def row(self) -> dict[str, Any]:
        """As JSON has it, beside the trial's own fields."""
        return {
            "accept": self.accept,
            "tests": self.tests,
            "against": self.against,
            "power": POWER,
            "validation_images": self.num_images,
            **self.first.row,
            "last_step": None if self.last is None else self.last.row,
        }

    @property
    def sentence(self) -> str:
        """In words."""
        if self.num_images is None:
            return (
                f"{self.variant}: what one step can detect is known with the number of validation images, which are "
                f"not here yet"
            )
        test = "McNemar" if self.against == "parent" else "McNemar against the control"
        where = (
            f"({test}, alpha {self.first.alpha:.3g}) on {self.num_images:,} validation images finds {self.first.found} "
            f"({100 * POWER:g}% power){self._later}"
        )
        step = "one step" if self.last is None else "the first step"
        if self.tests == "error":
            return f"{self.variant}: {step} {where}"
        orientation = f"For orientation: a test of the error in {step} {where}"
        if self.tests == "loss":
            return f"{self.variant}: a step tests the loss, which can detect smaller gains. {orientation}"
        kept = "every block is kept" if self.accept == "always" else "a drop by luck passes like any other"
        return f"{self.variant}: accept {self.accept} tests nothing, {kept}. {orientation}"

    @property
    def _later(self) -> str:
        if self.last is None:
            return ""
        last = "the last that there can be" if self.is_bounded else "no rule bounds them"
        return f"; step {self.last.number} ({last}, alpha {self.last.alpha:.3g}) {self.last.found}"


def step_powers(
    trials: Sequence[TrialConfig], dataset: DatasetConfig, num_validation: int | None
) -> list[StepPower | None]:
    """For each trial what a step of its growth can detect; None of one that does not grow.

    Args:
        num_validation: images in the validation split, where the data are here.
    """
    number = num_validation if num_validation is not None else _promised_images(dataset)
    return [None if trial.growth is None else StepPower.of(trial, number) for trial in trials]


def sentences(powers: Sequence[StepPower | None]) -> list[str]:
    """One for each growth variant, or more where the points of its sweep differ in this; then what they rest on."""
    said = list(dict.fromkeys(power.sentence for power in powers if power is not None))
    if not said:
        return []
    controls = any(power is not None and power.against == "control" for power in powers)
    usual = f", candidate and control {CONTROL_SHARE:g} times as often" if controls else ""
    return [*said, f"Assumed: networks a step apart disagree as is usual{usual}. More: {command()} power"]


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


def _blocks(trial: TrialConfig) -> tuple[int, ...]:
    blocks = initial_blocks(trial.model)
    assert blocks is not None, "loading requires a model that grows"
    return blocks


def _level(trial: TrialConfig, round_: int, rounds: int | None) -> float | None:
    assert trial.growth is not None
    if not isinstance(trial.growth.accept, TestedBase):
        return None
    from growres.growth.acceptance import level_of_round

    num_proposals = proposals_of_a_round(trial.growth, len(_blocks(trial)))
    return level_of_round(trial.growth.accept, round_, most_rounds=rounds, num_proposals=num_proposals)


@functools.cache
def _drop(num_images: int, error: float, alpha: float, share: float) -> float | None:
    """Where networks are `share` times as discordant as is usual for a network and its parent."""
    from growres.analysis.power import detectable_drop, usual_discordant

    drop = detectable_drop(num_images, error, alpha=alpha, power=POWER, discordant=share * usual_discordant(error))
    return drop if math.isfinite(drop) else None
