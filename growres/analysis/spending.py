"""How the chance of a false acceptance, alpha, is shared out: over the steps of a growth, over compared variants.

A growth that tests every block at 5 % keeps, after twenty useless blocks, one of them on average. To hold the chance of
keeping *any* useless block below alpha, each step gets a share of it.

The growth decides on the same validation images at every step, and each parent was chosen on them. The guarantees below
want each step's p value to be valid given the steps before, which reused images give only approximately: a parent
that was lucky on them makes the next drop harder to see, not easier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from growres.errors import AnalysisError


class Spending(Protocol):
    """Says at which level a step of a growth is tested."""

    def level(self, step: int, num_accepted: int) -> float:
        """The level of a step: its block is accepted where p < level.

        Args:
            step: 1 is the first proposal; rejected ones count.
            num_accepted: blocks accepted by a test in the steps before.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unspent:
    """Every step at the full alpha: it bounds the chance of each step's false acceptance, not that of the growth's."""

    alpha: float

    def __post_init__(self) -> None:
        check_level(self.alpha)

    def level(self, step: int, num_accepted: int) -> float:
        """Alpha, whatever the step."""
        _check_step(step, num_accepted)
        return self.alpha


@dataclass(frozen=True, slots=True)
class AlphaSpending:
    """Step t at alpha * 6 / (pi^2 t^2), which sums to alpha over an endless growth: no limit need be known.

    By the union bound, the chance that any useless block of the growth is accepted is at most alpha. Late steps pay for
    it: step 5 is tested at 2.4 % of alpha.

    Source: alpha spending (Lan and DeMets 1983), here over one hypothesis after the other rather than over looks at a
        single one; Euler's 1 + 1/4 + 1/9 + ... = pi^2 / 6 makes the shares sum to alpha.
    """

    alpha: float

    def __post_init__(self) -> None:
        check_level(self.alpha)

    def level(self, step: int, num_accepted: int) -> float:
        """The share of step t; what was accepted changes nothing."""
        _check_step(step, num_accepted)
        return self.alpha * 6 / (math.pi * step) ** 2


@dataclass(frozen=True, slots=True)
class OnlineHolm:
    """Step t at alpha / (num_steps - accepted so far), for a growth of at most `num_steps` proposals.

    Until a useless block is accepted, all accepted ones, say k in the end, were useful, so that at most num_steps - k
    proposals are useless, and each of those was tested at alpha / (num_steps - k) or less. Their levels therefore sum
    to at most alpha, which by the union bound is the chance that any of them is accepted.

    Source: the argument of Holm 1979, which needs no sorting of the p values; sorting only makes his rule accept more.
    """

    alpha: float
    num_steps: int

    def __post_init__(self) -> None:
        check_level(self.alpha)
        if self.num_steps < 1:
            raise AnalysisError(f"Cannot spend alpha over {self.num_steps} steps: name the growth's limit, 1 or more.")

    def level(self, step: int, num_accepted: int) -> float:
        """The level of a step; 0, so that nothing more is accepted, beyond `num_steps`, which were all promised."""
        _check_step(step, num_accepted)
        return self.alpha / (self.num_steps - num_accepted) if step <= self.num_steps else 0.0


def holm_adjusted(p_values: Sequence[float]) -> list[float]:
    """The p values after Holm's correction, in the order given: each is the smallest alpha at which its test is
    significant, with a chance of at most alpha that any of those that are so is so falsely.

    Raises:
        AnalysisError: if a p value is not in [0, 1].
    Source: Holm 1979, the step-down rule; holds whatever the tests have to do with each other.
    """
    for p_value in p_values:
        if not 0 <= p_value <= 1:
            raise AnalysisError(f"Cannot correct the p value {p_value:g}: it is not in [0, 1]. Leave that test out.")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def check_level(alpha: float) -> None:
    """Returns if alpha is a level to test at.

    Raises:
        AnalysisError: it is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise AnalysisError(f"Cannot test at the level {alpha:g}: it must lie between 0 and 1. 5 % is 0.05.")


def _check_step(step: int, num_accepted: int) -> None:
    if not 0 <= num_accepted < step:
        raise AnalysisError(
            f"Cannot give a level to step {step} after {num_accepted} accepted: steps count from 1, and no more "
            f"blocks were accepted than steps went before."
        )
