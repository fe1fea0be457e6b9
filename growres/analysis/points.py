"""What a decay law is fitted to: values against numbers of blocks, and how well each value is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from growres.analysis.laws import FloatArray
from growres.errors import AnalysisError

MIN_POINTS = 4
"""Fewer leave AICc undefined for every law that falls, and the constant one alone would have to be believed."""
MIN_BLOCK_COUNTS_FOR_FAMILY = 8
"""Fewer different numbers of blocks cannot choose between exponential and power law, however small their noise."""

Column = Sequence[float] | FloatArray
Series = Literal["all proposals", "accepted only"]
Quantity = Literal["error", "loss"]


def error_variance(error: float, num_images: int, seed_variance: float = 0.0) -> float:
    """The variance of an error measured on `num_images` images, of the sample and of the seeds together.

    The binomial p (1 - p) / n, with two wrong and two right images added (Agresti and Coull 1998): an error of 0 on 100
    images is not known exactly, and would otherwise have infinite weight in a fit.

    Points of one growth share their validation images, so that their errors move together and *differences* between
    them are known better than this says: a fit with it claims too little rather than too much.

    Args:
        error: fraction in [0, 1].
        seed_variance: of the error over seeds; 0 where there is one seed and it is not known.
    Raises:
        AnalysisError: if the error is no fraction, there is no image, or the variance is negative.
    """
    if not 0 <= error <= 1 or num_images < 1 or not 0 <= seed_variance < math.inf:
        raise AnalysisError(
            f"Cannot tell the variance of error {error} on {num_images} images with seed variance {seed_variance}: "
            "the error is a fraction in [0, 1], of one image at least, and a variance is not negative."
        )
    smoothed = (error * num_images + 2) / (num_images + 4)
    return smoothed * (1 - smoothed) / (num_images + 4) + seed_variance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Checked points in the order of blocks, each column (n,)."""

    num_blocks: FloatArray
    values: FloatArray
    variances: FloatArray
    series: Series
    quantity: Quantity

    def __len__(self) -> int:
        return len(self.values)

    @property
    def num_block_counts(self) -> int:
        """Different numbers of blocks: what a law's shape is seen by, however often each was tried."""
        return len(np.unique(self.num_blocks))


def checked_points(
    num_blocks: Column, values: Column, variances: Column, *, series: Series, quantity: Quantity
) -> Points:
    """The points, sorted by blocks.

    Raises:
        AnalysisError: if they are too few, all at one number of blocks, or hold a number that no law can be fitted to.
    """
    columns = [np.asarray(column, dtype=np.float64) for column in (num_blocks, values, variances)]
    if len({column.shape for column in columns}) > 1 or columns[0].ndim != 1:
        shapes = ", ".join(str(column.shape) for column in columns)
        raise AnalysisError(
            f"Cannot fit points of shapes {shapes}: give one number of blocks, one value and one variance for each."
        )
    blocks, measured, spread = columns
    if len(blocks) < MIN_POINTS:
        raise AnalysisError(
            f"Cannot fit a decay law to {len(blocks)} points: {MIN_POINTS} are the fewest, and "
            f"{MIN_BLOCK_COUNTS_FOR_FAMILY} the fewest that can choose a family. Grow further first."
        )
    _refuse(~((blocks > 0) & np.isfinite(blocks)), blocks, "number of blocks", "count from 1")
    _refuse(~np.isfinite(measured), measured, "value", "leave out the points of networks that diverged")
    _refuse(measured < 0, measured, "value", "an error or a loss is not negative")
    _refuse(~((spread > 0) & np.isfinite(spread)), spread, "variance", "it is positive: see error_variance")
    if blocks.min() == blocks.max():
        raise AnalysisError(
            f"Cannot fit a decay law: all {len(blocks)} points have {blocks[0]:g} blocks. "
            "Give points at two numbers of blocks at least."
        )
    order = np.argsort(blocks, kind="stable")
    return Points(
        num_blocks=blocks[order], values=measured[order], variances=spread[order], series=series, quantity=quantity
    )


def _refuse(bad: NDArray[np.bool_], column: FloatArray, what: str, allowed: str) -> None:
    if bad.any():
        index = int(bad.argmax())
        raise AnalysisError(f"Cannot fit a decay law: the {what} of point {index} is {column[index]:g}; {allowed}.")


def unit_of(quantity: Quantity) -> tuple[float, str]:
    """The factor and the unit that a difference of two values is printed with: percentage points of error."""
    return (100.0, " pp") if quantity == "error" else (1.0, "")


def listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
