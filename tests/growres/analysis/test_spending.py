import numpy as np
import pytest

from growres.analysis.spending import AlphaSpending, OnlineHolm, Spending, Unspent, holm_adjusted
from growres.errors import AnalysisError


def any_useless_passes(spending: Spending, *, useful: list[bool], num_proposals: int, rng: np.random.Generator) -> bool:
    """Whether one passes in a growth whose rounds have one useful block at most, which always does.

    The p values of the others are uniform. One of those that pass in a round is accepted.
    """
    accepted = 0
    for round_, has_useful in enumerate(useful, start=1):
        level = spending.level(round_, accepted, num_proposals)
        if (rng.random(num_proposals - has_useful) < level).any():
            return True
        accepted += has_useful
    return False


def family_wise_rate(spending: Spending, useful: list[bool], *, num_proposals: int = 1) -> float:
    rng = np.random.default_rng(0)
    passes = [
        any_useless_passes(spending, useful=useful, num_proposals=num_proposals, rng=rng) for _growth in range(3000)
    ]
    return float(np.mean(passes))


def test_unspent_alpha_is_the_same_in_every_round():
    assert {Unspent(0.05).level(round_, round_ - 1, 1) for round_ in range(1, 50)} == {0.05}


def test_spent_alpha_sums_to_alpha_over_an_endless_growth():
    spending = AlphaSpending(0.05)
    total = sum(spending.level(round_, 0, 1) for round_ in range(1, 20_001))
    assert 0.04999 < total < 0.05
    assert spending.level(1, 0, 1) > spending.level(2, 1, 1) > spending.level(3, 0, 1)


def test_online_holm_begins_as_bonferroni_and_gains_with_every_acceptance():
    spending = OnlineHolm(0.05, num_rounds=10)
    assert spending.level(1, 0, 1) == pytest.approx(0.005)
    assert spending.level(5, 0, 1) == pytest.approx(0.005)
    assert spending.level(5, 4, 1) == pytest.approx(0.05 / 6)
    assert spending.level(10, 9, 1) == pytest.approx(0.05)
    assert spending.level(5, 4, 3) == pytest.approx(0.05 / 26)  # ten rounds of three, less the four that were kept


def test_online_holm_accepts_nothing_beyond_its_rounds():
    assert OnlineHolm(0.05, num_rounds=10).level(11, 10, 1) == 0.0
    assert OnlineHolm(0.05, num_rounds=10).level(11, 0, 1) == 0.0


@pytest.mark.parametrize("spending", [Unspent(0.06), AlphaSpending(0.06)], ids=["unspent", "spent"])
def test_the_proposals_of_a_round_share_its_level(spending):
    assert spending.level(2, 1, 3) == pytest.approx(spending.level(2, 1, 1) / 3)


PLANS = {
    "all useful": [True] * 12,
    "all useless": [False] * 12,
    "useful ones first": [True] * 6 + [False] * 6,
    "useful ones last": [False] * 6 + [True] * 6,
    "by turns": [True, False] * 6,
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("num_proposals", [1, 4])
@pytest.mark.parametrize("spending", [AlphaSpending(0.1), OnlineHolm(0.1, num_rounds=12)], ids=["spent", "holm"])
def test_a_useless_block_passes_in_a_growth_no_more_often_than_alpha(spending, plan, num_proposals):
    assert family_wise_rate(spending, PLANS[plan], num_proposals=num_proposals) <= 0.1 + 0.015


def test_a_growth_with_unspent_alpha_keeps_useless_blocks_far_more_often():
    assert family_wise_rate(Unspent(0.1), PLANS["all useless"]) > 0.6


def test_holm_stops_at_the_first_that_fails_its_step():
    # Sorted: 0.01 <= 0.05/4, 0.013 <= 0.05/3, 0.03 > 0.05/2; 0.04 would pass alone, but comes after it.
    adjusted = holm_adjusted([0.03, 0.01, 0.04, 0.013])
    assert adjusted == pytest.approx([0.06, 0.04, 0.06, 0.04])
    assert [p_value <= 0.05 for p_value in adjusted] == [False, True, False, True]


def test_one_test_needs_no_correction_and_none_gives_none():
    assert holm_adjusted([0.04]) == [0.04] and holm_adjusted([]) == []


def test_holm_holds_its_level_over_many_comparisons():
    rng = np.random.default_rng(1)
    false = [min(holm_adjusted(list(rng.random(10)))) <= 0.1 for _ in range(3000)]
    assert 0.07 < np.mean(false) < 0.12


@pytest.mark.parametrize("alpha", [0.0, 1.0, 5.0])
def test_a_level_that_is_none_is_refused(alpha):
    for make in (Unspent, AlphaSpending, lambda alpha: OnlineHolm(alpha, 5)):
        with pytest.raises(AnalysisError, match="between 0 and 1"):
            make(alpha)


def test_rounds_and_p_values_that_cannot_be_are_refused():
    for round_, accepted in ((0, 0), (3, 3), (3, -1)):
        with pytest.raises(AnalysisError, match="rounds count from 1"):
            AlphaSpending(0.05).level(round_, accepted, 1)
    with pytest.raises(AnalysisError, match="a round has 1 or more"):
        Unspent(0.05).level(1, 0, 0)
    with pytest.raises(AnalysisError, match="1 or more"):
        OnlineHolm(0.05, num_rounds=0)
    with pytest.raises(AnalysisError, match=r"not in \[0, 1\]"):
        holm_adjusted([0.1, float("nan")])
