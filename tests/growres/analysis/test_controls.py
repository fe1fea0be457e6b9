from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from growres.analysis.controls import compare_with_controls
from growres.errors import AnalysisError

CANDIDATES, CONTROLS, ROUNDS = [0.10, 0.08, 0.07, 0.07], [0.12, 0.08, 0.08, 0.06], [1, 2, 3, 4]


def test_the_interval_and_p_value_are_those_of_the_paired_t_test_over_the_rounds() -> None:
    compared = compare_with_controls(CANDIDATES, CONTROLS, ROUNDS, confidence=0.9)
    reference = stats.ttest_rel(CONTROLS, CANDIDATES)
    assert compared.p_value_two_sided == pytest.approx(reference.pvalue)
    assert compared.interval == pytest.approx(tuple(reference.confidence_interval(0.9)))
    assert compared.difference == pytest.approx(np.mean(CONTROLS) - np.mean(CANDIDATES))


def test_every_block_is_counted_once_as_better_equal_or_worse() -> None:
    compared = compare_with_controls(CANDIDATES, CONTROLS, ROUNDS)
    assert (compared.num_better, compared.num_equal, compared.num_worse) == (2, 1, 1)
    assert "2 beat the control arm, 1 did as well and 1 worse" in compared.sentence
    assert ": not told from none at the level 0.05 (" in compared.sentence


def test_a_clear_difference_is_told_from_none_in_either_direction() -> None:
    better = compare_with_controls([0.050, 0.051, 0.049], [0.08, 0.082, 0.081], [1, 2, 3])
    worse = compare_with_controls([0.08, 0.082, 0.081], [0.050, 0.051, 0.049], [1, 2, 3], confidence=0.9)
    assert "lower than" in better.sentence and ": told from none at the level 0.05 (" in better.sentence
    assert better.sentence.endswith("a guide, for later rounds depend on earlier ones).")
    assert "higher than" in worse.sentence and ": told from none at the level 0.1 (" in worse.sentence


def test_a_single_round_and_equal_differences_have_no_interval() -> None:
    single = compare_with_controls([0.05, 0.04], [0.06, 0.06], [3, 3])
    assert single.interval is None and single.p_value_two_sided is None and single.num_rounds == 1
    equal = compare_with_controls([0.05, 0.07], [0.05, 0.07], [1, 2])
    assert equal.interval is None and equal.p_value_two_sided == 1.0
    assert "no interval" in single.sentence and "sign test" in equal.sentence


def test_the_candidates_of_a_round_are_averaged_and_count_once() -> None:
    best_of = compare_with_controls([0.10, 0.08, 0.06, 0.07], [0.12, 0.12, 0.10, 0.06], [1, 1, 2, 3], confidence=0.9)
    averaged = compare_with_controls([0.09, 0.06, 0.07], [0.12, 0.10, 0.06], [1, 2, 3], confidence=0.9)
    assert best_of.difference == pytest.approx(averaged.difference)
    assert best_of.interval == pytest.approx(averaged.interval)
    assert best_of.p_value_two_sided == pytest.approx(averaged.p_value_two_sided)
    assert (best_of.num_steps, best_of.num_rounds, best_of.num_better, best_of.num_worse) == (4, 3, 3, 1)
    assert "Of 4 blocks, 3 beat the control arm" in best_of.sentence
    assert "On average over 3 rounds the error" in best_of.sentence


def test_three_proposals_beside_one_control_are_told_from_none_as_seldom_as_the_level_says() -> None:
    """Blocks worth nothing, in growths of four rounds with three proposals each, at a level of 10 %."""
    random = np.random.default_rng(0)
    told = 0
    for _ in range(400):
        controls = np.repeat(0.1 + 0.01 * random.standard_normal(4), 3)
        candidates = 0.1 + 0.01 * random.standard_normal(12)
        rounds = np.repeat(np.arange(4), 3).tolist()
        compared = compare_with_controls(candidates.tolist(), controls.tolist(), rounds, confidence=0.9)
        told += ": told from none" in compared.sentence
    assert 0.06 <= told / 400 <= 0.14  # taken for 12 independent pairs they were told in more than 0.2


@pytest.mark.parametrize(
    ("candidates", "controls", "rounds"),
    [([], [], []), ([0.1], [0.1, 0.2], [1]), ([0.1], [0.1], []), ([float("nan")], [0.1], [1])],
)
def test_what_cannot_be_paired_is_refused(candidates: list[float], controls: list[float], rounds: list[int]) -> None:
    with pytest.raises(AnalysisError, match="Cannot compare"):
        compare_with_controls(candidates, controls, rounds)
