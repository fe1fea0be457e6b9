"""When growth ends: the first rule that has a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Protocol

from growres.config.experiment import StopConfig
from growres.events import GrowthStepDecided


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthProgress:
    """How far a growth has come, between two steps."""

    val_error: float
    num_blocks: int
    epochs_trained: int
    """All arms, rejected proposals too."""
    epochs_of_next_step: int
    history: Sequence[GrowthStepDecided]


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
class Patience:
    """The noise floor, simply: so many proposals in a row were not accepted."""

    proposals: int

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Counts from the newest step back to the last accepted one."""
        fruitless = sum(1 for _ in takewhile(lambda step: step.verdict != "accepted", reversed(progress.history)))
        if fruitless < self.proposals:
            return None
        return f"patience: the last {fruitless} proposals were not accepted"


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
    """The budget would not pay for one more step."""

    epochs: int

    def reason_to_stop(self, progress: GrowthProgress) -> str | None:
        """Compares with what would be spent after the next step."""
        if progress.epochs_trained + progress.epochs_of_next_step <= self.epochs:
            return None
        left = self.epochs - progress.epochs_trained
        return f"max_epochs: {left} of {self.epochs} epochs are left, and a step takes {progress.epochs_of_next_step}"


def make_stop_rules(config: StopConfig) -> tuple[StopRule, ...]:
    """The rules that the configuration sets, in the order in which they are asked."""
    rules: list[StopRule] = []
    if config.target_error is not None:
        rules.append(TargetError(config.target_error))
    if config.max_blocks is not None:
        rules.append(MaxBlocks(config.max_blocks))
    if config.patience is not None:
        rules.append(Patience(config.patience))
    if config.max_epochs is not None:
        rules.append(MaxEpochs(config.max_epochs))
    return tuple(rules)


def reason_to_stop(rules: Sequence[StopRule], progress: GrowthProgress) -> str | None:
    """The first rule's reason, or None while growth may go on."""
    return next((reason for rule in rules if (reason := rule.reason_to_stop(progress)) is not None), None)
