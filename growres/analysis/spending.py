"""How the chance of a false acceptance, alpha, is shared out: over the steps of a growth, over compared variants.

A growth that tests every block at 5 % keeps, after twenty useless blocks, one of them on average. To hold the chance of
keeping *any* useless block below alpha, each round gets a share of it.

The growth decides on the same validation images in every round, and each parent was chosen on them. The guarantees
below want each round's p values to be valid given the rounds before, which reused images give only approximately: a
parent that was lucky on them makes the next drop harder to see, not easier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from growres.errors import AnalysisError


class Spending(Protocol):
    """Says at which level a proposal of a growth is tested."""

    def level(self, round_: int, num_accepted: int, num_proposals: int) -> float:
        """The level of each proposal of a round: it may be accepted where p < level.

        Args:
            round_: 1 is the first; rounds in which nothing was accepted count.
            num_accepted: blocks accepted by a test in the rounds before, one a round at most.
            num_proposals: in each round, from one parent.
        """
        ...


@dataclass(frozen=True, slots=True)
class Unspent:
    """Every round at the full alpha: it bounds each round's chance of a false acceptance, not that of the growth."""

    alpha: float

    def __post_init__(self) -> None:
        check_level(self.alpha)

    def level(self, round_: int, num_accepted: int, num_proposals: int) -> float:
        """Alpha, whatever the round, shared evenly among its proposals (Bonferroni)."""
        _check_round(round_, num_accepted, num_proposals)
        return self.alpha / num_proposals


@dataclass(frozen=True, slots=True)
class AlphaSpending:
    """Round t at alpha * 6 / (pi^2 t^2), which sums to alpha over an endless growth: no limit need be known.

    By the union bound, the chance that any useless block of the growth is accepted is at most alpha. Late rounds pay
    for it: round 5 is tested at 2.4 % of alpha.

    Source: alpha spending (Lan and DeMets 1983), here over one hypothesis after the other rather than over looks at a
        single one; Euler's 1 + 1/4 + 1/9 + ... = pi^2 / 6 makes the shares sum to alpha.
    """

    alpha: float

    def __post_init__(self) -> None:
        check_level(self.alpha)

    def level(self, round_: int, num_accepted: int, num_proposals: int) -> float:
        """The share of round t, evenly among its proposals; what was accepted changes nothing."""
        _check_round(round_, num_accepted, num_proposals)
        return self.alpha * 6 / (math.pi * round_) ** 2 / num_proposals


@dataclass(frozen=True, slots=True)
class OnlineHolm:
    """Each proposal at alpha / (all that there can be - accepted so far), for a growth of at most `num_rounds` rounds.

    Until a useless block is accepted, all accepted ones, say k in the end, were useful, so that of the n proposals that
    there can be at most n - k are useless, and each of those was tested at alpha / (n - k) or less. Their levels
    therefore sum to at most alpha, which by the union bound is the chance that any of them passes. Of a round's
    proposals only one is accepted, so that n counts them all: a round that keeps a useful block tests the others too.

    Source: the argument of Holm 1979, which needs no sorting of the p values; sorting only makes his rule accept more.
    """

    alpha: float
    num_rounds: int

    def __post_init__(self) -> None:
        check_level(self.alpha)
        if self.num_rounds < 1:
            raise AnalysisError(f"Cannot spend alpha over {self.num_rounds} rounds: the growth's limit is 1 or more.")

    def level(self, round_: int, num_accepted: int, num_proposals: int) -> float:
        """The level of each proposal; 0, so that nothing more is accepted, beyond `num_rounds`, which were promised."""
        _check_round(round_, num_accepted, num_proposals)
        if round_ > self.num_rounds:
            return 0.0
        return self.alpha / (self.num_rounds * num_proposals - num_accepted)


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


def _check_round(round_: int, num_accepted: int, num_proposals: int) -> None:
    if not 0 <= num_accepted < round_:
        raise AnalysisError(
            f"Cannot give a level to round {round_} after {num_accepted} accepted: rounds count from 1, and no more "
            f"blocks were accepted than rounds went before."
        )
    if num_proposals < 1:
        raise AnalysisError(f"Cannot share a level among {num_proposals} proposals: a round has 1 or more.")
