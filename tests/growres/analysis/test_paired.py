import math

import numpy as np
import pytest
from scipy import stats

from growres.analysis.paired import mcnemar, paired_loss
from growres.errors import AnalysisError


def wrongs(num_images: int, *, won: int, lost: int, both: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two networks: the one after wins `won` images and loses `lost`; both get `both` others wrong."""
    before, after = np.zeros((2, num_images), dtype=bool)
    before[: won + both] = True
    after[won : won + both + lost] = True
    return before, after


def test_mcnemar_is_the_binomial_test_of_the_discordant_images():
    test = mcnemar(*wrongs(1000, won=15, lost=5, both=40))
    # By hand: P(15 or more of 20 tosses) = 21700 / 2^20.
    assert test.p_value == pytest.approx(21700 / 2**20)
    assert test.p_value_two_sided == pytest.approx(2 * test.p_value)
    assert (test.num_better, test.num_worse, test.num_images, test.num_replicates) == (15, 5, 1000, 1)
    assert test.difference == pytest.approx(0.010)


def test_images_on_which_both_networks_agree_change_no_p_value():
    few, many = mcnemar(*wrongs(50, won=9, lost=2)), mcnemar(*wrongs(5000, won=9, lost=2, both=700))
    assert few.p_value == many.p_value and few.p_value_two_sided == many.p_value_two_sided


def test_a_worse_network_has_a_large_one_sided_and_a_small_two_sided_p_value():
    test = mcnemar(*wrongs(1000, won=2, lost=30))
    assert test.p_value > 0.999 and test.p_value_two_sided < 1e-5 and test.difference < 0


def test_equal_networks_show_nothing_but_keep_an_interval():
    test = mcnemar(*wrongs(200, won=0, lost=0, both=10))
    assert (test.p_value, test.p_value_two_sided, test.difference) == (1.0, 1.0, 0.0)
    low, high = test.interval
    assert low < 0 < high  # that 200 images show no difference does not say that there is none


def test_one_replicate_is_the_same_with_and_without_its_axis():
    before, after = wrongs(300, won=12, lost=4, both=9)
    assert mcnemar(before[None], after[None]) == mcnemar(before, after)


def test_replicates_that_repeat_each_other_are_no_further_evidence():
    before, after = wrongs(300, won=12, lost=4, both=9)
    once, five_times = mcnemar(before, after), mcnemar(np.tile(before, (5, 1)), np.tile(after, (5, 1)))
    assert five_times.p_value == once.p_value and five_times.interval == pytest.approx(once.interval)
    assert (five_times.num_images, five_times.num_replicates) == (300, 5)


def test_an_image_counts_by_the_balance_of_its_replicates():
    before = np.array([[1, 1, 0, 1], [1, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    after = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=bool)  # won by 3, a draw, lost by 1, won by 1
    test = mcnemar(before, after)
    assert (test.num_better, test.num_worse) == (2, 1)
    assert test.difference == pytest.approx((3 + 0 - 1 + 1) / 12)


@pytest.mark.parametrize("num_replicates", [1, 3])
def test_false_alarms_of_mcnemar_stay_below_alpha(num_replicates):
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(800):
        hard = rng.random(400) < 0.15  # images that any network may get wrong, whatever its seed
        wrong = hard & (rng.random((2, num_replicates, 400)) < 0.5)
        p_values.append(mcnemar(wrong[0], wrong[1]).p_value)
    assert 0.01 < np.mean(np.array(p_values) <= 0.05) <= 0.065


def test_the_interval_of_the_error_covers_the_true_drop_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(800):
        draw = rng.random(500)
        before, after = draw < 0.05, (draw >= 0.035) & (draw < 0.07)  # wins 3.5 %, loses 2 %
        low, high = mcnemar(before, after).interval
        covered.append(low <= 0.015 <= high)
    assert 0.925 < np.mean(covered) < 0.985


def test_paired_loss_is_the_paired_t_test():
    rng = np.random.default_rng(2)
    before = rng.exponential(size=400)
    after = before - 0.02 + 0.2 * rng.normal(size=400)
    test = paired_loss(before, after)
    expected = stats.ttest_rel(before, after, alternative="greater")
    assert test.p_value == pytest.approx(expected.pvalue)
    assert test.p_value_two_sided == pytest.approx(stats.ttest_rel(before, after).pvalue)
    assert test.interval == pytest.approx(stats.ttest_rel(before, after).confidence_interval(0.95))
    assert test.difference == pytest.approx((before - after).mean())
    assert test.num_better + test.num_worse == test.num_images == 400


def test_replicates_are_averaged_over_each_image_before_losses_are_compared():
    rng = np.random.default_rng(3)
    before, after = rng.exponential(size=(2, 4, 100))
    assert paired_loss(before, after).p_value == pytest.approx(paired_loss(before.mean(0), after.mean(0)).p_value)
    assert paired_loss(before, after).num_images == 100


def test_single_precision_losses_are_summed_in_double():
    before = np.full(20_000, 1000.0, dtype=np.float32)
    after = before - np.tile(np.float32([0.25, -0.125]), 10_000)
    assert paired_loss(before, after).difference == pytest.approx(0.0625, rel=1e-9)


def test_losses_see_what_errors_cannot():
    rng = np.random.default_rng(4)
    before = rng.exponential(scale=0.2, size=2000)
    after = before * 0.97
    assert mcnemar(before > 1, after > 1).p_value > 0.05
    assert paired_loss(before, after).p_value < 1e-6


def test_losses_that_all_changed_alike_are_tested_by_their_signs():
    before = np.ones(10)
    assert paired_loss(before, before).p_value == paired_loss(before, before).p_value_two_sided == 1.0
    assert paired_loss(before, before - 0.5).p_value == pytest.approx(2.0**-10)
    assert paired_loss(before, before + 0.5).p_value == 1.0


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_candidate_that_diverged_is_never_better(broken):
    after = np.zeros(50)
    after[7] = broken
    test = paired_loss(np.ones(50), after)
    assert (test.p_value, test.p_value_two_sided) == (1.0, 1.0)
    assert math.isnan(test.difference) and (test.num_better, test.num_worse) == (49, 1)


def test_a_parent_that_diverged_is_refused():
    with pytest.raises(AnalysisError, match="1 of 50 before the change are not finite"):
        paired_loss(np.append(np.ones(49), math.nan), np.ones(50))


@pytest.mark.parametrize(
    ("shape_before", "shape_after"), [((5,), (6,)), ((2, 5), (5,)), ((0,), (0,)), ((1, 2, 5), (1, 2, 5))]
)
def test_arrays_that_are_no_pairs_are_refused_by_their_shapes(shape_before, shape_after):
    for test, kind in ((mcnemar, bool), (paired_loss, float)):
        with pytest.raises(AnalysisError, match="of the same images"):
            test(np.zeros(shape_before, dtype=kind), np.zeros(shape_after, dtype=kind))


def test_what_is_no_error_no_spread_or_no_confidence_is_refused():
    with pytest.raises(AnalysisError, match="must be boolean"):
        mcnemar(np.array([3, 1]), np.array([3, 2]))
    with pytest.raises(AnalysisError, match="2 or more"):
        paired_loss(np.ones(1), np.ones(1))
    with pytest.raises(AnalysisError, match="between 0 and 1"):
        mcnemar(*wrongs(10, won=1, lost=0), confidence=95)
