"""Which variants of an experiment differ: paired over seeds and over test images, and at what cost.

A difference can be luck in two ways: of the seeds (initial weights, order of the images) and of the test images. Each
has its own test, both paired, and a difference is called one only where every test that can be made finds it: the seeds
from two on, the images where each trial tells which of them it got right. So the claim holds for other seeds *and* for
other images; with a single seed it is a claim about those two networks.

Several comparisons together err with a chance of at most alpha (Holm); the intervals hold together at 1 - alpha
(Bonferroni). An interval may therefore be a little wider than the verdict beside it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from growres.analysis.paired import Interval, PairedTest, mcnemar, mean_test
from growres.analysis.pareto import COSTS, Cost, Front, pareto_front
from growres.analysis.power import check_power
from growres.analysis.sensitivity import smallest_detectable
from growres.analysis.spending import check_level, holm_adjusted
from growres.errors import AnalysisError, nearest

Verdict = Literal["better", "worse", "no difference found"]

_NUM_RESAMPLES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrialResult:
    """What a finished trial gives to a comparison."""

    variant: str
    seed: int
    test_error: float
    num_params: int
    train_flops: float
    wall_s: float
    correct: NDArray[np.bool_] | None = None
    """(N,): which test images it got right, in an order that is the same for all trials."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSummary:
    """A variant over its seeds; costs are means."""

    variant: str
    num_trials: int
    seeds: tuple[int, ...]
    mean_test_error: float
    std_test_error: float | None
    """The sample's standard deviation (n - 1); None of a single trial."""
    num_params: float
    train_flops: float
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantDifference:
    """A variant against a baseline, on the seeds that both have."""

    variant: str
    baseline: str
    seeds: tuple[int, ...]
    num_images: int
    """0 where the trials do not tell which images they got right."""
    difference: float | None
    """Mean test error of the baseline less the variant's: positive where the variant is better. None without a common
    seed."""
    interval_over_seeds: Interval | None
    p_value_over_seeds: float | None
    """Two-sided, of the paired t test; None of fewer than two seeds."""
    interval_over_images: Interval | None
    """Percentile bootstrap over images; None where none differs or they are not known."""
    p_value_over_images: float | None
    """Two-sided, of McNemar's test or, over several seeds, of the sign test on the images."""
    num_better: int
    """Images that the variant gets right more often than the baseline over the seeds."""
    num_worse: int
    p_value: float | None
    """The larger of the two: the claim needs both. None where no test can be made."""
    p_value_adjusted: float | None
    """After Holm's correction for all comparisons made together."""
    verdict: Verdict
    smallest_detectable: float | None
    """The true difference that this many seeds and images, spread as these are, find with the power below; about, and
    at the corrected level of one comparison, which Holm's correction reaches or betters. None where there is no spread
    to tell it from, infinity where no difference is found so often."""
    power: float
    """How often `smallest_detectable` is found."""
    num_comparisons: int
    """Those that the correction is for."""

    @property
    def sentence(self) -> str:
        """The verdict in words, with what it rests on."""
        if self.difference is None:
            return f"{self.variant} and {self.baseline} have no seed in common: nothing can be compared."
        if self.p_value_adjusted is None:
            return (
                f"No difference found between {self.variant} and {self.baseline}: a single seed, and not known which "
                f"images each gets right. There is nothing to test."
            )
        measured = f"{self.variant} has {_points(abs(self.difference))} {_direction(self.difference)} {self.baseline}"
        basis = f"{self._basis}, p = {self.p_value_adjusted:.2g}"
        if self.num_comparisons > 1:
            basis += f" corrected for {self.num_comparisons} comparisons"
        if self.verdict != "no difference found":
            return f"{measured} ({basis})."
        return f"No difference found: {measured} ({basis}); {self._sensitivity}."

    @property
    def _sensitivity(self) -> str:
        if self.smallest_detectable is None:
            return "how large a difference would have been found cannot be told: these show no spread"
        often = f"{100 * self.power:g}% of the time"
        if math.isinf(self.smallest_detectable):  # as of two seeds, whose t distribution has the heaviest tails
            return f"with so few seeds or images, hardly any difference could have been found {often}"
        return f"a true difference of about {_points(self.smallest_detectable)} would have been found {often}"

    @property
    def _basis(self) -> str:
        seeds = f"{len(self.seeds)} seeds" if len(self.seeds) > 1 else f"the networks of seed {self.seeds[0]} only"
        return f"{seeds}, {self.num_images:,} images" if self.num_images else seeds

    def swapped(self) -> VariantDifference:
        """The same comparison, told of the baseline."""
        verdicts: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}
        return replace(
            self,
            variant=self.baseline,
            baseline=self.variant,
            difference=None if self.difference is None else -self.difference,
            interval_over_seeds=_mirrored(self.interval_over_seeds),
            interval_over_images=_mirrored(self.interval_over_images),
            num_better=self.num_worse,
            num_worse=self.num_better,
            verdict=verdicts.get(self.verdict, self.verdict),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantComparison:
    """The variants of an experiment, their differences and their Pareto fronts."""

    variants: tuple[VariantSummary, ...]
    """In the order in which the trials name them."""
    differences: tuple[VariantDifference, ...]
    fronts: tuple[Front, ...]
    """One for each cost, by means over the seeds: a front knows no noise."""
    alpha: float
    power: float

    def against(self, baseline: str) -> tuple[VariantDifference, ...]:
        """The differences that have to do with a variant, told as against it.

        Where all pairs were compared, the correction is for all of them, and so the baseline may be chosen by its
        result.
        """
        turned = (one if one.baseline == baseline else one.swapped() for one in self.differences)
        return tuple(one for one in turned if one.baseline == baseline)

    def between(self, baseline: str, variant: str) -> VariantDifference:
        """The difference of two variants that were compared, told of the second.

        Raises:
            AnalysisError: if they were not.
        """
        for one in self.against(baseline):
            if one.variant == variant:
                return one
        raise AnalysisError(
            f"{baseline} and {variant} were not compared with each other. Name one of them as the baseline."
        )


def compare_variants(
    trials: Sequence[TrialResult],
    *,
    baseline: str | None = None,
    also: Sequence[tuple[str, str]] = (),
    alpha: float = 0.05,
    power: float = 0.8,
    bootstrap_seed: int = 0,
) -> VariantComparison:
    """Every variant summed up, and compared with the baseline, or each pair of variants with one another.

    Args:
        trials: finished ones, one for each variant and seed.
        baseline: the variant to compare the others with, chosen before their results were seen. None compares all
            pairs, the one named first as the baseline, at the price of a correction for all of them.
        also: further pairs, of a baseline of their own and a variant, such as a trial and its twin. The correction is
            for all comparisons together; a pair that is compared anyhow counts once.
        alpha: the chance that any of the differences found is none.
        power: of `smallest_detectable`.
        bootstrap_seed: of the resampled images.
    Raises:
        AnalysisError: if there are no trials, two of one variant and seed, an error outside [0, 1], correctness that
            does not fit the error or the other trials, no variant of a name to compare, or no such level or power.
    """
    check_level(alpha)
    check_power(power, alpha)
    by_variant = _by_variant(trials)
    pairs = [_Pair.of(before, after, by_variant) for before, after in _pairs(list(by_variant), baseline, also)]
    judge = _Judge(num_comparisons=sum(pair.is_testable for pair in pairs), alpha=alpha, power=power)
    rng = np.random.default_rng(bootstrap_seed)
    differences = [judge.measured(pair, rng) for pair in pairs]
    summaries = tuple(_summary(variant, list(by_seed.values())) for variant, by_seed in by_variant.items())
    return VariantComparison(
        variants=summaries,
        differences=judge.judged(differences),
        fronts=tuple(_front(cost, summaries) for cost in COSTS),
        alpha=alpha,
        power=power,
    )


# ------------------------------------------------------------------------------------------------------------- pairs


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """Two variants on their common seeds; (S,) errors, and (S, N) of which images were wrong, where known."""

    baseline: str
    variant: str
    seeds: tuple[int, ...]
    drops: NDArray[np.float64]
    wrong_baseline: NDArray[np.bool_] | None
    wrong_variant: NDArray[np.bool_] | None

    @classmethod
    def of(cls, baseline: str, variant: str, by_variant: Mapping[str, Mapping[int, TrialResult]]) -> _Pair:
        seeds = tuple(sorted(by_variant[baseline].keys() & by_variant[variant].keys()))
        before, after = ([by_variant[name][seed] for seed in seeds] for name in (baseline, variant))
        wrong_baseline, wrong_variant = _wrong(before), _wrong(after)
        return cls(
            baseline=baseline,
            variant=variant,
            seeds=seeds,
            drops=np.array([b.test_error - a.test_error for b, a in zip(before, after, strict=True)]),
            wrong_baseline=wrong_baseline if wrong_variant is not None else None,
            wrong_variant=wrong_variant if wrong_baseline is not None else None,
        )

    @property
    def is_testable(self) -> bool:
        return len(self.seeds) > 1 or self.wrong_variant is not None

    @property
    def image_drops(self) -> NDArray[np.int64] | None:
        """(S, N): 1 where the variant alone is right, -1 where the baseline alone is; None where it is not known."""
        if self.wrong_baseline is None or self.wrong_variant is None:
            return None
        return self.wrong_baseline.astype(np.int64) - self.wrong_variant.astype(np.int64)


def _pairs(variants: Sequence[str], baseline: str | None, also: Sequence[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """Which variants are compared, the baseline of each pair first; no two of them twice."""
    for name in (*([] if baseline is None else [baseline]), *itertools.chain(*also)):
        if name not in variants:
            raise AnalysisError(
                f"Cannot compare with {name}: no finished trial is of that variant. The nearest is "
                f"{nearest(name, variants) or variants[0]}."
            )
    if baseline is None:
        pairs = list(itertools.combinations(variants, 2))
    else:
        pairs = [(baseline, other) for other in variants if other != baseline]
    return {frozenset(pair): pair for pair in (*pairs, *also)}.values()


def _by_variant(trials: Sequence[TrialResult]) -> dict[str, dict[int, TrialResult]]:
    if not trials:
        raise AnalysisError(
            "Cannot compare variants: no trial has finished. Wait for the first, or see: growres status"
        )
    by_variant: dict[str, dict[int, TrialResult]] = {}
    for trial in trials:
        by_seed = by_variant.setdefault(trial.variant, {})
        if trial.seed in by_seed:
            raise AnalysisError(
                f"Cannot compare {trial.variant}: it has two trials of seed {trial.seed}. Where a variant sweeps over "
                f"settings, give each point a name of its own."
            )
        by_seed[trial.seed] = trial
    _check_measurements(trials)
    return by_variant


def _check_measurements(trials: Sequence[TrialResult]) -> None:
    sizes = {len(trial.correct) for trial in trials if trial.correct is not None}
    if len(sizes) > 1:
        raise AnalysisError(
            f"Cannot compare trials over test splits of {' and '.join(map(str, sorted(sizes)))} images: all must be "
            f"tested on the same. Compare trials of one experiment."
        )
    for trial in trials:
        name = f"{trial.variant}, seed {trial.seed}"
        if not 0 <= trial.test_error <= 1:
            raise AnalysisError(f"Cannot compare {name}: its test error, {trial.test_error:g}, is not in [0, 1].")
        if trial.correct is not None and abs(1 - trial.correct.mean() - trial.test_error) > 0.5 / len(trial.correct):
            raise AnalysisError(
                f"Cannot compare {name}: its test error is {trial.test_error:.4f}, but it got "
                f"{1 - trial.correct.mean():.4f} of the images wrong. Test it again, on the whole split."
            )


def _wrong(trials: Sequence[TrialResult]) -> NDArray[np.bool_] | None:
    rows = [trial.correct for trial in trials if trial.correct is not None]
    return ~np.stack(rows) if rows and len(rows) == len(trials) else None


def _summary(variant: str, trials: Sequence[TrialResult]) -> VariantSummary:
    errors = np.array([trial.test_error for trial in trials])
    return VariantSummary(
        variant=variant,
        num_trials=len(trials),
        seeds=tuple(sorted(trial.seed for trial in trials)),
        mean_test_error=float(errors.mean()),
        std_test_error=float(errors.std(ddof=1)) if len(trials) > 1 else None,
        num_params=float(np.mean([trial.num_params for trial in trials])),
        train_flops=float(np.mean([trial.train_flops for trial in trials])),
        wall_s=float(np.mean([trial.wall_s for trial in trials])),
    )


def _front(cost: Cost, summaries: Sequence[VariantSummary]) -> Front:
    costs = [getattr(summary, cost) for summary in summaries]
    front = pareto_front(costs, [summary.mean_test_error for summary in summaries])
    return Front(cost=cost, variants=tuple(summaries[index].variant for index in front))


# ----------------------------------------------------------------------------------------------------------- verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """Measures differences, then judges them together."""

    num_comparisons: int
    alpha: float
    power: float

    @property
    def confidence(self) -> float:
        """Of one interval, so that all of them hold together at 1 - alpha."""
        return 1 - self.alpha / max(1, self.num_comparisons)

    def measured(self, pair: _Pair, rng: np.random.Generator) -> VariantDifference:
        """The difference with its tests, not yet corrected or judged."""
        seeds = mean_test(pair.drops, confidence=self.confidence) if len(pair.seeds) > 1 else None
        images, image_drops = self._test_over_images(pair), pair.image_drops
        over_seeds = seeds.p_value_two_sided if seeds else None
        over_images = _directed_p_value(images) if images else None
        return VariantDifference(
            variant=pair.variant,
            baseline=pair.baseline,
            seeds=pair.seeds,
            num_images=images.num_images if images else 0,
            difference=float(pair.drops.mean()) if pair.seeds else None,
            interval_over_seeds=_known(seeds.interval) if seeds else None,
            p_value_over_seeds=over_seeds,
            interval_over_images=None if image_drops is None else _bootstrap(image_drops, self.confidence, rng),
            p_value_over_images=over_images,
            num_better=images.num_better if images else 0,
            num_worse=images.num_worse if images else 0,
            p_value=max((p for p in (over_seeds, over_images) if p is not None), default=None),
            p_value_adjusted=None,
            verdict="no difference found",
            smallest_detectable=self._smallest_detectable(pair.drops, image_drops),
            power=self.power,
            num_comparisons=self.num_comparisons,
        )

    def judged(self, differences: Sequence[VariantDifference]) -> tuple[VariantDifference, ...]:
        """The differences with their corrected p values and their verdicts."""
        adjusted = iter(holm_adjusted([one.p_value for one in differences if one.p_value is not None]))
        return tuple(one if one.p_value is None else self._with_verdict(one, next(adjusted)) for one in differences)

    def _with_verdict(self, one: VariantDifference, adjusted: float) -> VariantDifference:
        verdict: Verdict = "no difference found"
        if adjusted <= self.alpha and one.difference:
            verdict = "better" if one.difference > 0 else "worse"
        return replace(one, p_value_adjusted=adjusted, verdict=verdict)

    def _test_over_images(self, pair: _Pair) -> PairedTest | None:
        if pair.wrong_baseline is None or pair.wrong_variant is None:
            return None
        return mcnemar(pair.wrong_baseline, pair.wrong_variant, confidence=self.confidence)

    def _smallest_detectable(self, drops: NDArray[np.float64], image_drops: NDArray[np.int64] | None) -> float | None:
        if not len(drops):
            return None
        return smallest_detectable(drops, image_drops, level=1 - self.confidence, power=self.power)


def _directed_p_value(images: PairedTest) -> float:
    """Two-sided, for a difference in the direction of the means: images won and lost may point the other way."""
    points_the_other_way = images.difference * (images.num_better - images.num_worse) < 0
    return 1.0 if points_the_other_way else images.p_value_two_sided


def _bootstrap(image_drops: NDArray[np.int64], confidence: float, rng: np.random.Generator) -> Interval | None:
    """The percentile interval of the mean over resampled images; None where none differs.

    Over S seeds an image's drop has one of 2 S + 1 values: how often a resample draws each is multinomial, which is the
    bootstrap itself and no approximation, without ten thousand times N draws.
    """
    num_seeds, num_images = image_drops.shape
    values, counts = np.unique(image_drops.sum(axis=0), return_counts=True)
    if len(values) == 1:
        return None
    sums = rng.multinomial(num_images, counts / num_images, size=_NUM_RESAMPLES) @ values
    means = sums / (num_seeds * num_images)
    low, high = np.quantile(means, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def _known(interval: Interval) -> Interval | None:
    """Within what errors can differ by, which the interval of two seeds would leave far behind."""
    return None if math.isnan(interval[0]) else (max(-1.0, interval[0]), min(1.0, interval[1]))


def _mirrored(interval: Interval | None) -> Interval | None:
    return None if interval is None else (-interval[1], -interval[0])


def _points(fraction: float) -> str:
    return f"{100 * fraction:.2f} percentage points"


def _direction(difference: float) -> str:
    return "less test error than" if difference >= 0 else "more test error than"
