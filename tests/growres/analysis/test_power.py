import math

import numpy as np
import pytest

from growres.analysis.paired import mcnemar
from growres.analysis.power import (
    detectable_drop,
    images_needed,
    mcnemar_power,
    most_discordant,
    unrelated_discordant,
    usual_discordant,
)
from growres.errors import AnalysisError


def simulated_power(num_images: int, drop: float, discordant: float, *, alpha: float, num_tests: int) -> float:
    """How often McNemar's test on images drawn at random finds the drop."""
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(num_tests):
        draw = rng.random(num_images)
        before = draw < (discordant + drop) / 2
        after = (draw > 0.5) & (draw < 0.5 + (discordant - drop) / 2)
        found += mcnemar(before, after).p_value <= alpha
    return found / num_tests


@pytest.mark.parametrize(
    ("num_images", "discordant", "drop"),
    [(5_000, 0.04, 0.0070), (5_000, 0.06, 0.0086), (10_000, 0.04, 0.0050), (10_000, 0.06, 0.0061)],
)
def test_what_a_step_can_detect_is_what_the_usual_formula_says_for_many_images(num_images, discordant, drop):
    assert detectable_drop(num_images, 0.06, discordant=discordant) == pytest.approx(drop, rel=0.05)


@pytest.mark.parametrize(("drop", "num_images"), [(0.003, 27_000), (0.0012, 172_000), (0.0006, 687_000)])
def test_small_drops_take_as_many_images_as_the_usual_formula_says(drop, num_images):
    assert images_needed(drop, 0.06, discordant=0.04) == pytest.approx(num_images, rel=0.05)


@pytest.mark.parametrize(
    ("num_images", "drop", "discordant", "alpha"),
    [(2_000, 0.012, 0.05, 0.05), (300, 0.03, 0.04, 0.05), (1_000, 0.02, 0.03, 0.005), (1_000, 0.0, 0.05, 0.05)],
)
def test_the_power_is_that_of_simulated_tests(num_images, drop, discordant, alpha):
    simulated = simulated_power(num_images, drop, discordant, alpha=alpha, num_tests=700)
    assert mcnemar_power(num_images, drop, discordant, alpha=alpha) == pytest.approx(simulated, abs=0.05)


def test_the_detectable_drop_is_detected_with_just_the_power_asked_for():
    drop = detectable_drop(1_500, 0.1, alpha=0.01, power=0.9)
    assert mcnemar_power(1_500, drop, usual_discordant(0.1), alpha=0.01) == pytest.approx(0.9, abs=1e-3)


def test_the_images_needed_are_the_fewest():
    needed = images_needed(0.01, 0.06)
    assert mcnemar_power(needed, 0.01, usual_discordant(0.06)) >= 0.8
    assert mcnemar_power(int(0.98 * needed), 0.01, usual_discordant(0.06)) < 0.8


def test_images_needed_and_detectable_drop_answer_each_other():
    assert detectable_drop(images_needed(0.004, 0.08), 0.08) == pytest.approx(0.004, rel=1e-3)


def test_more_images_a_laxer_level_and_quieter_networks_detect_smaller_drops():
    usual = detectable_drop(2_000, 0.06)
    assert detectable_drop(4_000, 0.06) < usual
    assert detectable_drop(2_000, 0.06, alpha=0.2) < usual < detectable_drop(2_000, 0.06, alpha=0.005)
    assert detectable_drop(2_000, 0.06, power=0.5) < usual
    assert detectable_drop(2_000, 0.06, discordant=0.02) < usual < detectable_drop(2_000, 0.06, discordant=0.1)


def test_a_false_detection_is_never_likelier_than_alpha():
    for num_images in (5, 20, 100, 1_000, 30_000):
        assert mcnemar_power(num_images, 0.0, 0.1, alpha=0.05) <= 0.05


def test_too_few_images_detect_not_even_a_drop_to_zero():
    # Fewer than five discordant images cannot pass a test at 5 %: 1/2^4 > 0.05.
    assert detectable_drop(20, 0.06) == math.inf
    assert mcnemar_power(4, 1.0, 1.0) == 0.0 and mcnemar_power(5, 1.0, 1.0) == 1.0


def test_a_drop_of_most_of_the_error_brings_its_own_discordant_images():
    drop = detectable_drop(120, 0.06)
    assert usual_discordant(0.06) < drop <= 0.06


def test_more_than_a_hundred_thousand_discordant_images_are_reckoned_quickly_and_as_the_formula_has_it():
    # (z_95 sqrt(d) + z_80 sqrt(d - drop^2))^2 / drop^2, where an exact test differs no more.
    assert images_needed(0.0003, 0.06, discordant=0.05) == pytest.approx(6.1826 * 0.05 / 0.0003**2, rel=0.01)


def test_the_usual_discordance_is_five_per_cent_at_six_and_possible_at_every_error():
    assert usual_discordant(0.06) == pytest.approx(0.05)
    for error in np.linspace(0.001, 0.999, 50):
        assert 0 < usual_discordant(error) < unrelated_discordant(error) < most_discordant(error)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"error": 6.0}, "Six per cent are 0.06"),
        ({"error": 0.0}, "between 0 and 1"),
        ({"alpha": 5.0}, "5 % is 0.05"),
        ({"power": 0.01}, "between alpha, 0.05, and 1"),
        ({"discordant": 0.2}, "below 0.12"),
        ({"num_images": 0}, "Cannot test on 0 images"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(arguments, words):
    with pytest.raises(AnalysisError, match=words):
        detectable_drop(**{"num_images": 1_000, "error": 0.06, **arguments})


def test_a_drop_too_small_for_any_split_is_refused():
    for drop in (1e-6, 1e-200):
        with pytest.raises(AnalysisError, match="1,000,000,000 images"):
            images_needed(drop, 0.06)


@pytest.mark.parametrize("drop", [0.0, 0.07])
def test_a_drop_larger_than_the_error_is_refused(drop):
    with pytest.raises(AnalysisError, match="at most 0.06"):
        images_needed(drop, 0.06)
    with pytest.raises(AnalysisError, match="no smaller than the drop"):
        mcnemar_power(100, 0.2, 0.1)
