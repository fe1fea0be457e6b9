import math
import time
from dataclasses import asdict

import numpy as np
import pytest
from scipy import stats

from growres.analysis.comparison import TrialResult, VariantDifference, compare_variants
from growres.analysis.paired import mcnemar
from growres.errors import AnalysisError

NUM_IMAGES = 2000


def result(variant: str, seed: int, error: float, **more) -> TrialResult:
    costs = {"num_params": 1000, "train_flops": 1e9, "wall_s": 10.0}
    return TrialResult(variant=variant, seed=seed, test_error=error, **{**costs, **more})


def simulated(errors: dict[str, float], *, seeds=(0, 1, 2), num_images=NUM_IMAGES, spread=0.002, rng_seed=0):
    """Trials whose networks find the same images hard, each seed a little better or worse than its variant."""
    rng = np.random.default_rng(rng_seed)
    hardness = rng.random(num_images)
    trials = []
    for variant, error in errors.items():
        for seed in seeds:
            noisy = hardness + 0.02 * rng.normal(size=num_images)
            correct = noisy > error + spread * rng.normal()
            trials.append(result(variant, seed, float(1 - correct.mean()), correct=correct))
    return trials


def test_a_variant_is_summed_up_over_its_seeds():
    trials = [result("a", 0, 0.1, wall_s=5.0), result("a", 1, 0.2, wall_s=15.0), result("b", 0, 0.3)]
    a, b = compare_variants(trials).variants
    assert (a.variant, a.num_trials, a.seeds) == ("a", 2, (0, 1))
    assert a.mean_test_error == pytest.approx(0.15) and a.std_test_error == pytest.approx(0.1 / math.sqrt(2))
    assert (a.wall_s, a.num_params, a.train_flops) == (10.0, 1000.0, 1e9)
    assert b.std_test_error is None


def test_a_large_difference_is_found_in_its_direction_by_both_tests():
    [one] = compare_variants(simulated({"lenet5": 0.12, "resnet14": 0.05})).differences
    assert (one.baseline, one.variant, one.verdict) == ("lenet5", "resnet14", "better")
    assert one.difference == pytest.approx(0.07, abs=0.02)
    assert one.p_value == max(one.p_value_over_seeds, one.p_value_over_images) < 0.05
    for low, high in (one.interval_over_seeds, one.interval_over_images):
        assert 0 < low < one.difference < high
    assert one.smallest_detectable < one.difference
    assert "percentage points less test error than lenet5 (3 seeds, 2,000 images, p = " in one.sentence


def test_equal_variants_show_no_difference_and_say_what_would_have_shown():
    [one] = compare_variants(simulated({"a": 0.08, "b": 0.08})).differences
    assert one.verdict == "no difference found"
    assert 0.001 < one.smallest_detectable < 0.1
    assert one.sentence.startswith("No difference found: ")
    assert one.sentence.endswith(" percentage points would have been found 80% of the time.")


def with_errors(variant: str, num_wrong: list[int], *, num_images: int = NUM_IMAGES) -> list[TrialResult]:
    """A trial for each seed, wrong on the first so many images."""
    trials = []
    for seed, number in enumerate(num_wrong):
        trials.append(result(variant, seed, number / num_images, correct=np.arange(num_images) >= number))
    return trials


def test_a_difference_within_the_noise_of_the_seeds_is_none_though_the_images_show_it():
    trials = with_errors("a", [200, 200, 200]) + with_errors("b", [150, 100, 190])
    [one] = compare_variants(trials).differences
    assert one.p_value_over_images < 0.01 and one.p_value_over_seeds > 0.05
    assert one.verdict == "no difference found"


def test_a_difference_within_the_noise_of_the_images_is_none_though_the_seeds_show_it():
    trials = with_errors("a", [4, 4, 4, 3]) + with_errors("b", [1, 1, 1, 1])
    [one] = compare_variants(trials).differences
    assert one.p_value_over_seeds < 0.01 and one.p_value_over_images > 0.05
    assert one.verdict == "no difference found"


def test_seeds_are_paired_before_they_are_compared():
    hard_and_easy = [0.05, 0.15, 0.25, 0.35]  # seeds differ far more than variants do
    trials = [result("a", seed, error) for seed, error in enumerate(hard_and_easy)]
    trials += [result("b", seed, error - 0.01 - 0.001 * seed) for seed, error in enumerate(hard_and_easy)]
    [one] = compare_variants(trials).differences
    assert one.verdict == "better" and one.num_images == 0 and one.p_value_over_images is None


def test_only_common_seeds_are_compared():
    trials = [result("a", seed, 0.1 + 0.01 * seed) for seed in (0, 1, 2)]
    trials += [result("b", seed, 0.2 + 0.02 * seed) for seed in (1, 2, 7)]
    [one] = compare_variants(trials).differences
    assert one.seeds == (1, 2) and one.difference == pytest.approx(-0.115)


def test_variants_without_a_common_seed_are_not_compared():
    [one] = compare_variants([result("a", 0, 0.1), result("b", 1, 0.9)]).differences
    assert one.difference is None and one.p_value is None and one.verdict == "no difference found"
    assert "no seed in common" in one.sentence


def test_a_single_seed_is_a_claim_about_two_networks():
    trials = simulated({"a": 0.12, "b": 0.05}, seeds=(4,))
    [one] = compare_variants(trials).differences
    assert one.verdict == "better" and one.interval_over_seeds is None
    assert "the networks of seed 4 only" in one.sentence
    expected = mcnemar(~trials[0].correct, ~trials[1].correct)
    assert one.p_value == expected.p_value_two_sided and one.num_better == expected.num_better


def test_a_single_seed_without_its_images_shows_nothing():
    [one] = compare_variants([result("a", 0, 0.9), result("b", 0, 0.1)]).differences
    assert (one.verdict, one.p_value, one.smallest_detectable) == ("no difference found", None, None)
    assert "nothing to test" in one.sentence and one.difference == pytest.approx(0.8)


def test_seeds_that_differ_alike_but_for_rounding_are_no_certainty():
    # 0.3 - 0.2 and 0.2 - 0.1 differ in the last bit; a t test of them finds p = 1e-16.
    trials = [result("a", 0, 0.3), result("a", 1, 0.2), result("b", 0, 0.2), result("b", 1, 0.1)]
    [one] = compare_variants(trials).differences
    assert one.p_value == pytest.approx(0.5) and one.verdict == "no difference found"
    assert one.interval_over_seeds is None and one.smallest_detectable is None
    assert "cannot be told" in one.sentence


def test_images_that_point_the_other_way_than_the_means_are_no_evidence():
    wrong = np.zeros((2, 3, 100), dtype=bool)
    wrong[0, :, :10] = True  # ten images that the variant wins with all three seeds,
    wrong[1, 0, 20:45] = True  # twenty-five that it loses with one of them: it errs less, but loses more images
    trials = [
        result(name, seed, float(wrong[i, seed].mean()), correct=~wrong[i, seed])
        for i, name in enumerate(("a", "b"))
        for seed in range(3)
    ]
    [one] = compare_variants(trials).differences
    assert one.difference > 0 and one.num_better < one.num_worse and one.p_value_over_images == 1.0


def test_more_comparisons_raise_the_p_values_and_widen_the_intervals():
    errors = {"a": 0.09, "b": 0.07, "c": 0.08, "d": 0.085}
    [alone] = compare_variants(simulated({"a": 0.09, "b": 0.07})).differences
    among = compare_variants(simulated(errors)).differences
    assert len(among) == among[0].num_comparisons == 6
    assert among[0].p_value == pytest.approx(alone.p_value) and among[0].p_value_adjusted > alone.p_value_adjusted
    assert among[0].smallest_detectable > alone.smallest_detectable
    for key in ("interval_over_seeds", "interval_over_images"):
        assert np.ptp(getattr(among[0], key)) > np.ptp(getattr(alone, key))


def test_a_baseline_chosen_beforehand_costs_fewer_comparisons():
    trials = simulated({"a": 0.09, "b": 0.07, "c": 0.08, "d": 0.085})
    differences = compare_variants(trials, baseline="c").differences
    assert [(one.baseline, one.variant) for one in differences] == [("c", "a"), ("c", "b"), ("c", "d")]
    assert differences[0].num_comparisons == 3


def test_a_comparison_is_told_against_any_variant_of_it():
    comparison = compare_variants(simulated({"a": 0.12, "b": 0.05, "c": 0.20}))
    against = {one.variant: one for one in comparison.against("b")}
    assert {name: one.verdict for name, one in against.items()} == {"a": "worse", "c": "worse"}
    assert all(one.baseline == "b" and one.difference < 0 for one in against.values())
    original = comparison.differences[0]  # b against a
    assert against["a"].interval_over_seeds == (-original.interval_over_seeds[1], -original.interval_over_seeds[0])
    assert against["a"].p_value_adjusted == original.p_value_adjusted
    assert against["a"].swapped() == original


def test_the_bootstrap_is_that_of_resampled_images():
    trials = simulated({"a": 0.12, "b": 0.10}, num_images=400)
    low, high = compare_variants(trials).differences[0].interval_over_images
    drops = np.mean([~a.correct for a in trials[:3]], axis=0) - np.mean([~b.correct for b in trials[3:]], axis=0)
    rng = np.random.default_rng(1)
    resampled = [rng.choice(drops, size=len(drops)).mean() for _ in range(4000)]
    assert (low, high) == pytest.approx(np.quantile(resampled, [0.025, 0.975]), abs=0.0015)


@pytest.mark.slow
def test_equal_variants_are_told_apart_no_more_often_than_alpha():
    found = 0
    for rng_seed in range(80):
        trials = simulated({"a": 0.08, "b": 0.08, "c": 0.08}, num_images=300, rng_seed=rng_seed)
        found += any(one.verdict != "no difference found" for one in compare_variants(trials, alpha=0.1).differences)
    assert found / 80 < 0.1


class Population:
    """Two variants whose errors are known, and experiments on them: test images and seeds are drawn anew for each.

    Args:
        error: the mean of the two; b has less by half of the drop, and a more.
        own: the share of images on which the variants' difficulties have nothing to do with each other.
        spread: from seed to seed, of all errors of a network, relative to them.
    """

    def __init__(self, *, error: float, own: float, spread: float, num_seeds: int, num_images: int) -> None:
        self.error, self.own, self.spread = error, own, spread
        self.num_seeds, self.num_images = num_seeds, num_images
        self.rng = np.random.default_rng(0)

    def experiment(self, drop: float) -> list[TrialResult]:
        hard = self.difficulties()
        other = np.where(self.rng.random(self.num_images) < self.own, self.difficulties(), hard)
        change = drop / 2 / self.error
        return [
            result(variant, seed, float(1 - correct.mean()), correct=correct)
            for variant, difficulties in (("a", hard * (1 + change)), ("b", other * (1 - change)))
            for seed in range(self.num_seeds)
            for correct in [self.network(difficulties)]
        ]

    def difficulties(self) -> np.ndarray:
        """The chance of a mistake, image by image; most are easy, and some hard for every network."""
        return 0.8 * self.error / 0.3 * (self.rng.random(self.num_images) < 0.3) + 0.2 * self.error

    def network(self, difficulties: np.ndarray) -> np.ndarray:
        luck = 1 + self.spread * self.rng.normal()
        return self.rng.random(self.num_images) >= difficulties * luck


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_seeds", "error", "own", "spread"),
    [(1, 0.04, 0.3, 0.0), (5, 0.08, 0.5, 0.02), (5, 0.08, 0.2, 0.15)],
    ids=["1 seed", "5 seeds, images decide", "5 seeds, seeds decide"],
)
def test_the_smallest_detectable_difference_is_found_as_often_as_it_says(num_seeds, error, own, spread):
    population = Population(error=error, own=own, spread=spread, num_seeds=num_seeds, num_images=359)
    sizes = [compare_variants(population.experiment(0.0)).differences[0].smallest_detectable for _ in range(20)]
    # Each is told from the spread of one experiment: the root of the mean square is what they vary about.
    drop = float(np.sqrt(np.mean(np.square(sizes))))
    found = [compare_variants(population.experiment(drop)).differences[0].verdict == "better" for _ in range(120)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.09)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("num_discordant", [0, 2, 6, 10, 40])
def test_for_one_seed_it_is_that_of_the_exact_test_on_the_images(power, num_discordant):
    wrong = np.zeros((2, 359), dtype=bool)
    wrong[np.arange(num_discordant) % 2, np.arange(num_discordant)] = True
    trials = [result(name, 0, float(row.mean()), correct=~row) for name, row in zip("ab", wrong, strict=True)]
    [one] = compare_variants(trials, power=power).differences
    drop, rng = one.smallest_detectable, np.random.default_rng(0)
    discordant = max(drop, num_discordant / 359)
    chances = [(discordant + drop) / 2, (discordant - drop) / 2, 1 - discordant]
    won, lost, _ = rng.multinomial(359, chances, size=4000).T
    found = 2 * stats.binom.cdf(lost, won + lost, 0.5) <= 0.05
    assert found.mean() == pytest.approx(power, abs=0.03)
    assert one.power == power and f"would have been found {100 * power:g}% of the time" in one.sentence


def test_for_seeds_without_images_it_is_found_as_often_as_it_says():
    rng = np.random.default_rng(0)

    def experiment(drop: float) -> VariantDifference:
        errors = 0.2 + 0.01 * rng.normal(size=(5, 2)) - [0, drop]
        trials = [result(name, seed, errors[seed, i]) for seed in range(5) for i, name in enumerate("ab")]
        return compare_variants(trials).differences[0]

    drop = float(np.sqrt(np.mean([experiment(0.0).smallest_detectable ** 2 for _ in range(100)])))
    found = [experiment(drop).verdict == "better" for _ in range(200)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.08)


def test_it_takes_a_comparison_of_ten_variants_no_time_that_anyone_waits_for():
    trials = simulated({f"v{number}": 0.08 for number in range(10)}, seeds=range(5), num_images=10_000)
    begun_s = time.process_time()
    compare_variants(trials, baseline="v0")
    assert time.process_time() - begun_s < 5  # about 1 s


def test_the_fronts_are_of_mean_error_against_each_cost():
    trials = [
        result("small", 0, 0.10, num_params=10, train_flops=5e9, wall_s=1.0),
        result("large", 0, 0.05, num_params=90, train_flops=5e9, wall_s=9.0),
        result("beaten", 0, 0.10, num_params=50, train_flops=9e9, wall_s=9.5),
    ]
    fronts = {front.cost: front.variants for front in compare_variants(trials).fronts}
    assert fronts == {"num_params": ("small", "large"), "train_flops": ("large",), "wall_s": ("small", "large")}


def test_a_comparison_is_plain_data_and_the_same_again():
    trials = simulated({"a": 0.12, "b": 0.10})
    once, again = compare_variants(trials), compare_variants(trials)
    assert once == again
    assert all(not isinstance(value, np.generic) for one in once.differences for value in asdict(one).values())


@pytest.mark.parametrize(
    ("trials", "words"),
    [
        ([], "no trial has finished"),
        ([result("a", 0, 0.1), result("a", 0, 0.2)], "two trials of seed 0"),
        ([result("a", 0, 9.1)], r"not in \[0, 1\]"),
        ([result("a", 0, math.nan)], r"not in \[0, 1\]"),
        ([result("a", 0, 0.5, correct=np.ones(10, dtype=bool))], "0.0000 of the images wrong"),
        (
            [result("a", 0, 0.0, correct=np.ones(10, dtype=bool)), result("b", 0, 0.0, correct=np.ones(9, dtype=bool))],
            "9 and 10 images",
        ),
    ],
)
def test_trials_that_cannot_be_compared_are_refused(trials, words):
    with pytest.raises(AnalysisError, match=words):
        compare_variants(trials)


def test_an_unknown_baseline_names_the_nearest():
    with pytest.raises(AnalysisError, match="The nearest is simons"):
        compare_variants([result("simons", 0, 0.1), result("lenet5", 0, 0.2)], baseline="simon")


def test_levels_and_powers_that_cannot_be_are_refused():
    for settings, words in (({"alpha": 5.0}, "5 % is 0.05"), ({"power": 80.0}, "between alpha, 0.05, and 1")):
        with pytest.raises(AnalysisError, match=words):
            compare_variants([result("a", 0, 0.1)], **settings)


def test_further_pairs_are_compared_in_the_same_correction():
    trials = simulated({"a": 0.12, "b": 0.1, "c": 0.08})
    comparison = compare_variants(trials, baseline="a", also=[("b", "c"), ("a", "c")])  # a and c are compared anyhow
    assert [(one.baseline, one.variant) for one in comparison.differences] == [("a", "b"), ("a", "c"), ("b", "c")]
    assert {one.num_comparisons for one in comparison.differences} == {3}
    alone = compare_variants(trials, baseline="a")
    assert alone.between("a", "b").p_value == comparison.between("a", "b").p_value
    narrow, wide = (each.between("a", "b").interval_over_seeds for each in (alone, comparison))
    assert wide[0] < narrow[0] and narrow[1] < wide[1]


def test_a_difference_can_be_told_from_either_side():
    comparison = compare_variants(simulated({"a": 0.12, "b": 0.05, "c": 0.08}), baseline="a", also=[("c", "a")])
    assert comparison.between("c", "a").verdict == "worse" and comparison.between("a", "c").verdict == "better"
    assert comparison.between("a", "c").difference == -comparison.between("c", "a").difference
    with pytest.raises(AnalysisError, match="b and c were not compared"):
        comparison.between("b", "c")


def test_a_further_pair_of_a_name_that_no_trial_has_is_refused():
    with pytest.raises(AnalysisError, match="The nearest is lenet5"):
        compare_variants(simulated({"a": 0.1, "lenet5": 0.1}), baseline="a", also=[("a", "lenet")])


def test_no_interval_and_no_sentence_speaks_of_differences_that_errors_cannot_have():
    trials = with_errors("a", [200, 700]) + with_errors("b", [0, 1200])  # two seeds that disagree
    [one] = compare_variants(trials).differences
    assert one.interval_over_seeds == (-1.0, 1.0) and one.smallest_detectable > 1
    assert "with so few seeds or images, hardly any difference could have been found 80% of the time" in one.sentence
