from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from growres.analysis.controls import compare_with_controls
from growres.errors import AnalysisError

CANDIDATES, CONTROLS = [0.10, 0.08, 0.07, 0.07], [0.12, 0.08, 0.08, 0.06]


def test_the_interval_and_p_value_are_those_of_the_paired_t_test_over_the_steps() -> None:
    compared = compare_with_controls(CANDIDATES, CONTROLS, confidence=0.9)
    reference = stats.ttest_rel(CONTROLS, CANDIDATES)
    assert compared.p_value_two_sided == pytest.approx(reference.pvalue)
    assert compared.interval == pytest.approx(tuple(reference.confidence_interval(0.9)))
    assert compared.difference == pytest.approx(np.mean(CONTROLS) - np.mean(CANDIDATES))


def test_every_block_is_counted_once_as_better_equal_or_worse() -> None:
    compared = compare_with_controls(CANDIDATES, CONTROLS)
    assert (compared.num_better, compared.num_equal, compared.num_worse) == (2, 1, 1)
    assert "2 beat the control arm, 1 did as well and 1 worse" in compared.sentence
    assert "not told from none" in compared.sentence


def test_a_clear_difference_is_told_from_none_in_either_direction() -> None:
    better = compare_with_controls([0.050, 0.051, 0.049], [0.08, 0.082, 0.081])
    worse = compare_with_controls([0.08, 0.082, 0.081], [0.050, 0.051, 0.049])
    assert "lower than" in better.sentence and better.sentence.endswith(": told from none.")
    assert "higher than" in worse.sentence and worse.sentence.endswith(": told from none.")


def test_a_single_step_and_equal_differences_have_no_interval() -> None:
    single = compare_with_controls([0.05], [0.06])
    assert single.interval is None and single.p_value_two_sided is None
    equal = compare_with_controls([0.05, 0.07], [0.05, 0.07])
    assert equal.interval is None and equal.p_value_two_sided == 1.0
    assert "no interval" in single.sentence and "sign test" in equal.sentence


@pytest.mark.parametrize(("candidates", "controls"), [([], []), ([0.1], [0.1, 0.2]), ([float("nan")], [0.1])])
def test_what_cannot_be_paired_is_refused(candidates: list[float], controls: list[float]) -> None:
    with pytest.raises(AnalysisError, match="Cannot compare"):
        compare_with_controls(candidates, controls)
