"""When the next block comes: how long each arm trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from growres.config.experiment import EpochsPerStepConfig, PeriodicConfig, PlateauConfig, WhenConfig
from growres.training.arm import never


@dataclass(frozen=True, slots=True)
class Plateau:
    """An arm is over when its validation error has not improved for so many epochs.

    The error after the last epoch is the one that counts, not the lowest on the way: the minimum of many looks at one
    validation split is too good to be true.
    """

    patience: int

    def __call__(self, val_errors: Sequence[float]) -> bool:
        """Whether the last `patience` errors are all no lower than the best before them."""
        before, recent = val_errors[: -self.patience], val_errors[-self.patience :]
        return bool(before) and min(recent) >= min(before)


def make_timing(config: WhenConfig) -> Callable[[Sequence[float]], bool]:
    """Whether an arm is over before its epochs are, given its validation errors so far."""
    match config:
        case EpochsPerStepConfig() | PeriodicConfig():
            return never
        case PlateauConfig(patience=patience):
            return Plateau(patience)
