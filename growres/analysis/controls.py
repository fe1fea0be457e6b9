"""Whether blocks are worth more than the epochs that they were trained for: candidates against their control arms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from growres.analysis.paired import Interval, mean_test
from growres.errors import AnalysisError


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlComparison:
    """Blocks against the same epochs without them, pair by pair."""

    num_steps: int
    num_better: int
    """Candidates with a lower error than their control."""
    num_equal: int
    num_worse: int
    difference: float
    """Mean error of the control less that of the candidate: positive where blocks helped."""
    interval: Interval | None
    """Student's, of the difference over the steps; None of a single step, or where all differ by the same."""
    p_value_two_sided: float | None
    """None of a single step."""
    confidence: float

    @property
    def sentence(self) -> str:
        """How many blocks were worth their epochs, and what the difference can be told from."""
        blocks = "block" if self.num_steps == 1 else "blocks"
        counts = (
            f"Of {self.num_steps} {blocks}, {self.num_better} beat the control arm, {self.num_equal} did as well and "
            f"{self.num_worse} worse."
        )
        return f"{counts} On average the error with the block is {self._difference_in_words}."

    @property
    def _difference_in_words(self) -> str:
        direction = "lower" if self.difference >= 0 else "higher"
        measured = f"{100 * abs(self.difference):.2f} pp {direction} than that of the control"
        if self.p_value_two_sided is None:
            return f"{measured}; a single step has no interval"
        if self.interval is None:
            return f"{measured}, the same at every step; the sign test gives p = {self.p_value_two_sided:.2g}"
        lower, upper = self.interval
        told = "told from none" if self.p_value_two_sided < 1 - self.confidence else "not told from none"
        return (
            f"{measured} ({self.confidence:.0%} interval of the drop over the steps {100 * lower:.2f} to "
            f"{100 * upper:.2f} pp): {told}"
        )


def compare_with_controls(
    candidates: Sequence[float], controls: Sequence[float], *, confidence: float = 0.95
) -> ControlComparison:
    """Candidates against the control arms of the same steps, by Student's paired t test over the steps.

    The steps are the sample: what is asked is what one block more is worth in this growth, not on these images. The
    steps of one growth follow from each other, so the interval is a guide rather than a guarantee.

    Args:
        candidates, controls: validation errors of the same steps, fractions; the same control may stand beside several.
    Raises:
        AnalysisError: if there is no pair, one has no partner, or an error is not finite.
    """
    if len(candidates) != len(controls) or not candidates:
        raise AnalysisError(
            f"Cannot compare {len(candidates)} candidates with {len(controls)} controls: give a control for each, and "
            f"one pair at least. A growth trains them with growth.control: true."
        )
    drops = np.asarray(controls, dtype=np.float64) - np.asarray(candidates, dtype=np.float64)
    if not np.isfinite(drops).all():
        raise AnalysisError("Cannot compare errors that are not finite. Leave out the steps where an arm diverged.")
    test = mean_test(drops, confidence=confidence) if len(drops) > 1 else None
    return ControlComparison(
        num_steps=len(drops),
        num_better=int((drops > 0).sum()),
        num_equal=int((drops == 0).sum()),
        num_worse=int((drops < 0).sum()),
        difference=float(drops.mean()),
        interval=None if test is None or math.isnan(test.interval[0]) else test.interval,
        p_value_two_sided=None if test is None else test.p_value_two_sided,
        confidence=confidence,
    )
