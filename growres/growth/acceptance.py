"""Whether a new block earned its place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from growres.analysis.paired import mcnemar, paired_loss
from growres.analysis.spending import AlphaSpending, OnlineHolm, Spending, Unspent
from growres.config.experiment import (
    AcceptConfig,
    AlwaysConfig,
    ErrorDropConfig,
    McNemarConfig,
    PairedLossConfig,
    TestedBase,
    VersusControlConfig,
    is_tested,
)
from growres.events import Verdict
from growres.training.outputs import ImageOutputs

ROUNDING = 1e-9
"""Errors are counts over images: two that differ by less differ by the rounding of a subtraction, 0.1 - 0.08 > 0.02."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a verdict may rest on: outputs over the whole validation split, in evaluation mode.

    Dimension key: R replicates, one of each sequence's outputs for each; N images.
    """

    befores: Sequence[ImageOutputs]
    """What the candidates are held against: R times the parent, as it was when the step began."""
    candidates: Sequence[ImageOutputs]
    controls: Sequence[ImageOutputs] = ()
    """The parent trained for the candidate's epochs without the block; empty without control arms."""
    round: int = 1
    """Counts from 1; rounds in which nothing was accepted count."""
    num_accepted: int = 0
    """Of the rounds before."""
    num_proposals: int = 1
    """In this round, those included that were screened out: the same images chose among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """A verdict with the figures that it rests on, in words. Undecided: more replicates could tell."""

    verdict: Verdict
    reason: str
    p_value: float | None = None


class Acceptance(Protocol):
    """Judges a candidate."""

    def judge(self, comparison: Comparison) -> Judgement:
        """The verdict on the candidate."""
        ...


class Always:
    """Every block is kept: growth without a question, as AutoGrow's, whose stages stop where it shows no gain."""

    def judge(self, comparison: Comparison) -> Judgement:
        """Accepted, with the change that came of it."""
        return Judgement(verdict="accepted", reason=f"{_change(comparison)}: every block is kept")


@dataclass(frozen=True, slots=True)
class ErrorDrop:
    """Accepted when the validation error fell by more than `min_drop`: step 2 of the Simons procedure, as it stands.

    It asks whether the network got better than its parent, not whether the block is the cause: see the control arm.
    """

    min_drop: float

    def judge(self, comparison: Comparison) -> Judgement:
        """Accepted or rejected; never undecided."""
        drop = mean_error(comparison.befores) - mean_error(comparison.candidates)
        return _by_drop(drop, self.min_drop, _change(comparison))


@dataclass(frozen=True, slots=True)
class McNemar:
    """Accepted when more validation images were put right than wrong, beyond chance: McNemar's exact, one-sided."""

    levels: Levels

    def judge(self, comparison: Comparison) -> Judgement:
        """By the p-value of the candidate against its parent."""
        test = mcnemar(_wrong(comparison.befores), _wrong(comparison.candidates))
        balance = f"{test.num_better} images put right, {test.num_worse} put wrong"
        return self.levels.judge(comparison, test.p_value, f"{_change(comparison)}, {balance}")


@dataclass(frozen=True, slots=True)
class PairedLoss:
    """Accepted when the loss of the validation images fell beyond chance, and the error did not rise.

    The loss says something of every image, and so sees smaller gains than the error does. The guard is there because a
    network that only grows more certain of what it knows has a lower loss, and is no better.
    """

    levels: Levels
    max_error_rise: float

    def judge(self, comparison: Comparison) -> Judgement:
        """By the p-value of the candidate against its parent, and by the guard."""
        test = paired_loss(_losses(comparison.befores), _losses(comparison.candidates))
        moved = "fell" if test.difference >= 0 else "rose"
        told = f"{_change(comparison)}, val_loss {moved} by {abs(test.difference):.4f}"
        rise = mean_error(comparison.candidates) - mean_error(comparison.befores)
        if rise > self.max_error_rise + ROUNDING:
            return Judgement(verdict="rejected", reason=f"{told}, but the error rose", p_value=test.p_value)
        return self.levels.judge(comparison, test.p_value, told)


@dataclass(frozen=True, slots=True)
class VersusControl:
    """Accepted when the candidate is better than the control arm: then it is the block that helped, not the epochs."""

    test: Acceptance

    def judge(self, comparison: Comparison) -> Judgement:
        """The verdict of the same test with the controls in the parent's place."""
        assert comparison.controls, "the configuration requires control arms"
        judgement = self.test.judge(replace(comparison, befores=comparison.controls))
        parent = f"the parent's was {mean_error(comparison.befores):.4f}"
        return replace(judgement, reason=f"against the control: {judgement.reason}; {parent}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """At which p-value a test accepts, rejects, or asks for more replicates.

    The level of a proposal is shared evenly among the looks that it may get (with `replicates` seeds, one more, ...
    `max_replicates`), so that their number adds no chance of a false acceptance (Bonferroni).
    """

    spending: Spending
    replicates: int
    max_replicates: int
    reject_above: float

    def level(self, round_: int, num_accepted: int, num_proposals: int) -> float:
        """What the p-value of a proposal must stay below, at each look."""
        looks = self.max_replicates - self.replicates + 1
        return self.spending.level(round_, num_accepted, num_proposals) / looks

    def judge(self, comparison: Comparison, p_value: float, told: str) -> Judgement:
        """The verdict on this p-value."""
        level = self.level(comparison.round, comparison.num_accepted, comparison.num_proposals)
        figures = f"{told}; p = {p_value:.3g}, level {level:.3g}"
        if p_value < level:
            return Judgement(verdict="accepted", reason=figures, p_value=p_value)
        if p_value > self.reject_above:
            return Judgement(verdict="rejected", reason=f"{figures}: no sign of a gain", p_value=p_value)
        num_replicates = len(comparison.candidates)
        if num_replicates < self.max_replicates:
            return Judgement(verdict="undecided", reason=figures, p_value=p_value)
        seeds = f" with {num_replicates} replicates" if num_replicates > 1 else ""
        return Judgement(verdict="rejected", reason=f"{figures}: not told from noise{seeds}", p_value=p_value)


def mean_error(replicates: Sequence[ImageOutputs]) -> float:
    """The mean error over replicates."""
    return float(_wrong(replicates).mean())


def _by_drop(drop: float, min_drop: float, change: str) -> Judgement:
    if drop > min_drop + ROUNDING:
        return Judgement(verdict="accepted", reason=f"{change}: a drop of {drop:.4f}, more than {min_drop:g}")
    return Judgement(verdict="rejected", reason=f"{change}: no drop of more than {min_drop:g}")


def _change(comparison: Comparison) -> str:
    return f"val_error {mean_error(comparison.befores):.4f} -> {mean_error(comparison.candidates):.4f}"


def _wrong(replicates: Sequence[ImageOutputs]) -> NDArray[np.bool_]:
    """(R, N)."""
    return np.stack([outputs.wrong for outputs in replicates])


def _losses(replicates: Sequence[ImageOutputs]) -> NDArray[np.float64]:
    """(R, N)."""
    return np.stack([outputs.losses for outputs in replicates])


def make_acceptance(config: AcceptConfig, *, most_rounds: int | None) -> Acceptance:
    """The rule that the configuration names.

    Args:
        most_rounds: the rounds of the longest growth that the stop rules allow; Holm's rule needs to know it.
    """
    match config:
        case ErrorDropConfig(min_drop=min_drop):
            return ErrorDrop(min_drop)
        case AlwaysConfig():
            return Always()
        case McNemarConfig():
            return McNemar(_levels(config, most_rounds))
        case PairedLossConfig(max_error_rise=max_error_rise):
            return PairedLoss(_levels(config, most_rounds), max_error_rise)
        case VersusControlConfig(test="error_drop"):
            return VersusControl(ErrorDrop(0.0))
        case VersusControlConfig(test="mcnemar"):
            return VersusControl(McNemar(_levels(config, most_rounds)))
        case VersusControlConfig(test="paired_loss"):
            return VersusControl(PairedLoss(_levels(config, most_rounds), max_error_rise=0.0))
        case _:
            raise AssertionError(f"no rule for {config}")


def level_of_round(config: AcceptConfig, round_: int, *, most_rounds: int | None, num_proposals: int) -> float | None:
    """What the p-value of a proposal in this round must stay below, where nothing was accepted in the rounds before.

    None of a rule that tests nothing.

    Args:
        round_: counts from 1.
        most_rounds: as in `make_acceptance`.
        num_proposals: in that round, each judged by itself.
    """
    return _levels(config, most_rounds).level(round_, 0, num_proposals) if is_tested(config) else None


def _levels(config: TestedBase, most_rounds: int | None) -> Levels:
    return Levels(
        spending=_spending(config, most_rounds),
        replicates=config.replicates,
        max_replicates=config.max_replicates or config.replicates,
        reject_above=config.reject_above,
    )


def _spending(config: TestedBase, most_rounds: int | None) -> Spending:
    match config.spend:
        case "none":
            return Unspent(config.alpha)
        case "alpha_spending":
            return AlphaSpending(config.alpha)
        case "holm":
            assert most_rounds is not None, "the configuration requires a bound on the rounds"
            return OnlineHolm(config.alpha, max(most_rounds, 1))
