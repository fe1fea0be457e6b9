"""What one more step is expected to bring, a block and its epochs, and whether anyone could see it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from growres.analysis.laws import FloatArray
from growres.analysis.points import MIN_BLOCK_COUNTS_FOR_FAMILY, Quantity, listed, unit_of
from growres.errors import AnalysisError

MIN_POINTS_TO_STOP = 8
"""Fewer end no growth: they seldom tell an error that has levelled off from one that falls on."""
MIN_BLOCK_COUNTS_TO_STOP = 4
"""Nor do points at fewer different numbers of blocks, however many: a law with a floor has three parameters, and goes
through the means of any three. Only a fourth can gainsay it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """How much one more step is expected to lower the error (or loss): never negative, since no law rises.

    A step is a block and the epochs that it is trained for: along a growth both increase together, and what the block
    alone is worth only control arms tell.
    """

    quantity: Quantity
    after: float
    """Number of blocks before the one that is asked about."""
    expected: float
    lower: float
    upper: float
    level: float
    num_points: int
    num_block_counts: int
    """Different numbers of blocks among the points."""
    laws: dict[str, float]
    """The label of each law that it is averaged over, and its weight; they sum to 1."""

    @property
    def sentence(self) -> str:
        """The gain with its interval, and what it rests on."""
        scale, unit = unit_of(self.quantity)
        laws = listed([f"{label} ({weight:.2f})" for label, weight in self.laws.items()])
        few = " So few numbers of blocks cannot choose a law, and the interval may be too narrow."
        return (
            f"One more step (block {self.after + 1:g} and its epochs) is expected to lower the {self.quantity} by "
            f"{scale * self.expected:.2g}{unit} ({self.level:.0%} interval {scale * self.lower:.2g} to "
            f"{scale * self.upper:.2g}), going by {self.num_points} points and these laws, with their weights: {laws}."
            f"{few if self.num_block_counts < MIN_BLOCK_COUNTS_FOR_FAMILY else ''}"
        )


def noise_floor_reached(
    gain: Gain,
    *,
    detectable_drop: float,
    num_validation_images: int,
    error: float,
    min_points: int = MIN_POINTS_TO_STOP,
) -> str | None:
    """Why growth is at the noise floor, or None while one more step may still bring a drop that can be seen.

    It is there when even the upper end of the gain's interval is less than what one paired test can tell from noise.
    From fewer than `min_points` points, or from points at fewer than four numbers of blocks, nothing is concluded:
    growth would end before it began.

    Args:
        gain: of the error.
        detectable_drop: the smallest drop in error that one step's test finds on the validation split, a fraction.
        error: of the network as it stands, for the words only.
    Raises:
        AnalysisError: if the gain is one in loss, which cannot be compared with a drop in error.
    """
    if gain.quantity != "error":
        raise AnalysisError(
            f"Cannot compare a gain in {gain.quantity} with a detectable drop in error: fit the laws to errors."
        )
    if lacking_to_stop(gain.num_points, gain.num_block_counts, min_points) or gain.upper >= detectable_drop:
        return None
    expected = (
        f"noise_floor: at an error of {100 * error:.2f}%, one more step (block {gain.after + 1:g} and its epochs) is "
        f"expected to lower it by {100 * gain.expected:.2g} pp ({gain.level:.0%} interval up to {100 * gain.upper:.2g})"
    )
    if detectable_drop == math.inf:
        return f"{expected}; {num_validation_images:,} validation images cannot tell even a drop to 0 from noise"
    return (
        f"{expected}, less than the {100 * detectable_drop:.2g} pp that {num_validation_images:,} validation images "
        f"can tell from noise"
    )


def lacking_to_stop(num_points: int, num_block_counts: int, min_points: int) -> str | None:
    """What there are too few of for the noise floor to be told, in words; None where there are enough."""
    if num_points < min_points:
        return f"{min_points} measured networks, and there are {num_points}"
    if num_block_counts < MIN_BLOCK_COUNTS_TO_STOP:
        return f"networks of {MIN_BLOCK_COUNTS_TO_STOP} different numbers of blocks, and there are {num_block_counts}"
    return None


def tails(level: float) -> tuple[float, float]:
    """The two probabilities between which a central interval of this level lies."""
    return (1 - level) / 2, (1 + level) / 2


def weighted_interval(values: FloatArray, weights: FloatArray, level: float) -> tuple[float, float]:
    """The central interval of weighted samples, both (n,)."""
    order = np.argsort(values)
    below = np.cumsum(weights[order])
    found = np.searchsorted(below, np.array(tails(level)) * below[-1])
    lower, upper = values[order][found]
    return float(lower), float(upper)
