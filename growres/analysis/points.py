"""What a decay law is fitted to: values against numbers of blocks, and how well each value is known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


def error_variance(error: float, num_images: int) -> float:
    """The variance of an error measured on `num_images` images, over such images; `SeedSpread` adds that over seeds.

    The binomial p (1 - p) / n, with two wrong and two right images added (Agresti and Coull 1998): an error of 0 on 100
    images is not known exactly, and would otherwise have infinite weight in a fit.

    Points of one growth share their validation images, so that their errors move together and *differences* between
    them are known better than this says: a fit with it claims too little rather than too much.

    Args:
        error: fraction in [0, 1].
    Raises:
        AnalysisError: if the error is no fraction, or there is no image.
    """
    if not 0 <= error <= 1 or num_images < 1:
        raise AnalysisError(
            f"Cannot tell the variance of error {error} on {num_images} images: the error is a fraction in [0, 1], of "
            f"one image at least."
        )
    smoothed = (error * num_images + 2) / (num_images + 4)
    return smoothed * (1 - smoothed) / (num_images + 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedSpread:
    """How widely networks scatter that differ by their seed alone, as a multiple of what their images explain."""

    source: Literal["seeds", "replicates"]
    """Whole growths with other seeds; or, within one growth, candidates of one parent, which have its luck in common,
    so that they scatter less."""
    ratio: float
    """The variance between seeds over that of the images, pooled over the groups."""
    num_seeds: int
    """In the largest group."""
    num_groups: int
    """Of two networks at least."""

    def widened(self, variances: Column) -> list[float]:
        """The variances of the images, and those of the seeds on top."""
        return [(1 + self.ratio) * variance for variance in variances]


def seed_spread(
    groups: Iterable[Sequence[float]],
    image_variance: Callable[[float], float],
    *,
    source: Literal["seeds", "replicates"],
) -> SeedSpread | None:
    """The spread between seeds, or None where no group has two of them.

    All seeds see the same validation images. What is hard or easy for every seed is therefore in the variance of the
    images alone, and what the seeds disagree on is in both: summed, as `widened` does, it counts twice. Errors do not
    tell how large each part is, and to subtract the whole of one from the other would claim too much; the sum claims
    too little rather than too much, by at most the variance of the images.

    A few seeds at each number of blocks say little of the variance there. So one multiple is pooled over all of them,
    each in units of its own image variance: the seeds are taken to scatter more where more images are wrong.

    Args:
        groups: errors or losses of networks that are alike but for their seed.
        image_variance: of a value, over such images.
    """
    compared = [np.asarray(group, dtype=np.float64) for group in groups if len(group) > 1]
    if not compared:
        return None
    squares = [((group - group.mean()) ** 2).sum() / image_variance(float(group.mean())) for group in compared]
    return SeedSpread(
        source=source,
        ratio=float(sum(squares)) / sum(len(group) - 1 for group in compared),
        num_seeds=max(map(len, compared)),
        num_groups=len(compared),
    )


def seeds_in_words(spread: SeedSpread | None) -> str:
    """What is known of the variance over seeds, and from where."""
    if spread is None:
        return "seed variance unknown: one seed"
    source = f"{spread.num_seeds} seeds of this variant"
    if spread.source == "replicates":
        proposals = "1 proposal" if spread.num_groups == 1 else f"{spread.num_groups} proposals"
        source = f"{proposals} with up to {spread.num_seeds} replicates"
    return f"seed variance {spread.ratio:.2g} times that of the images, from {source}"


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
