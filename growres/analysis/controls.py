"""Whether blocks are worth more than the epochs that they were trained for: candidates against their control arms."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from growres.analysis.paired import Interval, mean_test
from growres.errors import AnalysisError


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlComparison:
    """Blocks against the same epochs without them, round by round."""

    num_steps: int
    num_rounds: int
    """Fewer than steps where several proposals of a round stand beside one control."""
    num_better: int
    """Candidates with a lower error than their control."""
    num_equal: int
    num_worse: int
    difference: float
    """Mean over the rounds of the control's error less the mean of its candidates': positive where blocks helped."""
    interval: Interval | None
    """Student's, of the difference over the rounds; None of a single one, or where all differ by the same."""
    p_value_two_sided: float | None
    """None of a single round."""
    confidence: float

    @property
    def sentence(self) -> str:
        """How many blocks were worth their epochs, and what the difference can be told from."""
        blocks = "block" if self.num_steps == 1 else "blocks"
        counts = (
            f"Of {self.num_steps} {blocks}, {self.num_better} beat the control arm, {self.num_equal} did as well and "
            f"{self.num_worse} worse."
        )
        rounds = "" if self.num_rounds == self.num_steps else f" over {self.num_rounds} rounds"
        return f"{counts} On average{rounds} the error with the block is {self._difference_in_words}."

    @property
    def _difference_in_words(self) -> str:
        direction = "lower" if self.difference >= 0 else "higher"
        measured = f"{100 * abs(self.difference):.2f} pp {direction} than that of the control"
        if self.p_value_two_sided is None:
            return f"{measured}; a single round has no interval"
        if self.interval is None:
            return f"{measured}, the same in every round; the sign test gives p = {self.p_value_two_sided:.2g}"
        lower, upper = self.interval
        told = "told from none" if self.p_value_two_sided < 1 - self.confidence else "not told from none"
        return (
            f"{measured} ({self.confidence:.0%} interval of the drop {100 * lower:.2f} to {100 * upper:.2f} pp): "
            f"{told} at the level {1 - self.confidence:.2g} (Student's t test: a guide, for later rounds depend on "
            f"earlier ones)"
        )


def compare_with_controls(
    candidates: Sequence[float], controls: Sequence[float], rounds: Sequence[Hashable], *, confidence: float = 0.95
) -> ControlComparison:
    """Candidates against the control arms of the same rounds, by Student's paired t test over the rounds.

    The rounds are the sample: what is asked is what one block more is worth in this growth, not on these images. The
    candidates of a round share its parent and its control, whose luck is theirs together, so that they are averaged and
    count once. The rounds of one growth follow from each other, so the interval is a guide rather than a guarantee.

    Args:
        candidates, controls: validation errors of the same steps, fractions; the same control may stand beside several.
        rounds: to which each step belongs.
    Raises:
        AnalysisError: if there is no pair, one has no partner or no round, or an error is not finite.
    """
    if not len(candidates) == len(controls) == len(rounds) or not candidates:
        raise AnalysisError(
            f"Cannot compare {len(candidates)} candidates with {len(controls)} controls in {len(rounds)} rounds: give "
            f"a control and a round for each, one pair at least. A growth trains controls with growth.control: true."
        )
    drops = np.asarray(controls, dtype=np.float64) - np.asarray(candidates, dtype=np.float64)
    if not np.isfinite(drops).all():
        raise AnalysisError("Cannot compare errors that are not finite. Leave out the steps where an arm diverged.")
    by_round = {one: [drop for drop, of in zip(drops, rounds, strict=True) if of == one] for one in rounds}
    means = np.array([np.mean(of_one) for of_one in by_round.values()])
    test = mean_test(means, confidence=confidence) if len(means) > 1 else None
    return ControlComparison(
        num_steps=len(drops),
        num_rounds=len(means),
        num_better=int((drops > 0).sum()),
        num_equal=int((drops == 0).sum()),
        num_worse=int((drops < 0).sum()),
        difference=float(means.mean()),
        interval=None if test is None or math.isnan(test.interval[0]) else test.interval,
        p_value_two_sided=None if test is None else test.p_value_two_sided,
        confidence=confidence,
    )
