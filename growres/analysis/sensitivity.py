"""How large a difference between two variants a comparison over seeds and test images finds.

A comparison calls a difference one only where each test that it can make finds it. So its power is that of both tests
together, which is less than either's. Over one seed it is McNemar's alone, and its power is summed exactly. Over
several seeds without images it is the t test's, exact as well. With both the experiment is simulated: both tests see
the same mean difference, so that their powers cannot be multiplied.

In a simulated experiment as many images differ as were seen to: so many by one seed, so many by two, and so on. The
true difference decides how many of these are won rather than lost: the odds rise with each seed more, as those do of
two Poisson numbers of mistakes (Skellam 1946). A difference larger than all of these together makes further images be
won, by all seeds. The seeds are spread as they were seen to be, and what of that spread the images do not account for
moves all images of an experiment alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from growres.analysis.paired import is_without_spread
from growres.analysis.power import mcnemar_power

_NUM_SIMULATED = 2000
"""Experiments for each difference that is tried: the power is known to 0.01, and so the difference to about 2 %."""
_ACCURACY = 0.005
_RNG_SEED = 0


def smallest_detectable(
    drops: NDArray[np.float64], image_drops: NDArray[np.int64] | None, *, level: float, power: float
) -> float | None:
    """The smallest true difference that a comparison with this spread of seeds and images finds with this power.

    Found is what each test that can be made finds in that direction, two-sided at the level. The spread is that of the
    seeds and images at hand; of few seeds it is badly known, and the answer no better.

    Args:
        drops: (S,), error of the one variant less that of the other, by seed.
        image_drops: (S, N), 1 where the first alone is wrong, -1 where the other alone is, else 0; None if not known.
        level: of one comparison: alpha over the number of comparisons.
    Returns:
        A fraction. None where there is nothing to test, or the seeds show no spread; infinity where no difference that
        errors can have would be found with this power.
    """
    if len(drops) == 1:
        return None if image_drops is None else _over_images(image_drops[0], level, power)
    if is_without_spread(drops):
        return None
    if image_drops is None:
        return _over_seeds(drops, level, power)
    experiment = _Experiment.like(drops, image_drops)
    # Begun where the seeds alone would find it: a search through all that errors can differ by takes thrice as long.
    begin = min(1.0, _over_seeds(drops, level, power))
    return _least(lambda difference: experiment.power(difference, level), power, begin=begin)


def _over_images(image_drops: NDArray[np.int64], level: float, power: float) -> float:
    """Of McNemar's test. A difference makes as many images discordant as it is large, if not so many are already."""
    discordant = float(np.count_nonzero(image_drops)) / len(image_drops)

    def power_at(difference: float) -> float:
        return mcnemar_power(len(image_drops), difference, max(discordant, difference), alpha=level / 2)

    return _least(power_at, power, begin=max(discordant, 1 / len(image_drops)))


def _over_seeds(drops: NDArray[np.float64], level: float, power: float) -> float:
    """Of the paired t test, from the noncentral t distribution."""
    degrees = len(drops) - 1
    critical = float(stats.t.isf(level / 2, degrees))
    standard_errors = optimize.brentq(
        lambda mean: float(stats.nct.sf(critical, degrees, mean)) - power, 0, 100 * critical, xtol=1e-3
    )
    difference = float(standard_errors) * float(drops.std(ddof=1)) / math.sqrt(len(drops))
    return difference if difference <= 1 else math.inf


def _least(power_at: Callable[[float], float], power: float, *, begin: float) -> float:
    """Where the power, which rises with the difference, reaches the one asked for; the search begins at `begin`."""
    power_at = cache(power_at)
    low = high = begin
    while power_at(low) >= power:
        low, high = low / 2, low
    while power_at(high) < power:
        if high == 1:
            return math.inf
        low, high = high, min(1.0, 2 * high)
    return float(optimize.brentq(lambda difference: power_at(difference) - power, low, high, rtol=_ACCURACY))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Experiment:
    """Two variants that differ from seed to seed and from image to image as two that were measured did.

    Dimension key: S seeds, N images, E simulated experiments.
    """

    num_seeds: int
    num_images: int
    shares: NDArray[np.float64]
    """(S,): of images on which the one variant was ahead by 1, 2, ... S seeds, whichever it was."""
    spread: float
    """Standard deviation of the drops from seed to seed."""
    common_spread: float
    """The part of it that all images have in common, not the sum of what each image does for itself."""

    @classmethod
    def like(cls, drops: NDArray[np.float64], image_drops: NDArray[np.int64]) -> Self:
        num_seeds, num_images = image_drops.shape
        leads = np.bincount(np.abs(image_drops.sum(axis=0)), minlength=num_seeds + 1)
        variance = float(drops.var(ddof=1))
        of_images = float(image_drops.var(axis=0, ddof=1).mean()) / num_images
        return cls(
            num_seeds=num_seeds,
            num_images=num_images,
            shares=leads[1:] / num_images,
            spread=math.sqrt(variance),
            common_spread=math.sqrt(max(0.0, variance - of_images)),
        )

    def power(self, difference: float, level: float) -> float:
        """How often both tests find a true difference; of the same random numbers for every difference."""
        rng = np.random.default_rng(_RNG_SEED)
        common_E = self.common_spread / math.sqrt(self.num_seeds) * rng.standard_normal(_NUM_SIMULATED)
        scatter_E = np.sqrt(rng.chisquare(self.num_seeds - 1, _NUM_SIMULATED) / (self.num_seeds - 1))
        images_ES = rng.multinomial(self.num_images, self._chances(np.clip(difference + common_E, -1, 1)))
        leads_S = np.arange(-self.num_seeds, self.num_seeds + 1)
        drops_E = images_ES @ leads_S / (self.num_seeds * self.num_images)
        standard_errors_E = self.spread * scatter_E / math.sqrt(self.num_seeds)
        over_seeds_E = drops_E >= stats.t.isf(level / 2, self.num_seeds - 1) * standard_errors_E
        better_E, worse_E = images_ES[:, leads_S > 0].sum(axis=1), images_ES[:, leads_S < 0].sum(axis=1)
        over_images_E = 2 * stats.binom.sf(better_E - 1, better_E + worse_E, 0.5) <= level
        return float((over_seeds_E & over_images_E).mean())

    def _chances(self, differences_E: NDArray[np.float64]) -> NDArray[np.float64]:
        """(E, 2 S + 1): of an image's lead being -S, ... 0, ... S, so that the mean lead is S times the difference."""
        leads_S = np.arange(1, self.num_seeds + 1)
        room = float(self.shares @ leads_S) / self.num_seeds
        balance_ES = np.tanh(self._tilts(differences_E)[:, None] * leads_S)  # won less lost, of those that are either
        won_ES, lost_ES = self.shares * (1 + balance_ES) / 2, self.shares * (1 - balance_ES) / 2
        equal_E1 = np.full((len(differences_E), 1), max(0.0, 1 - float(self.shares.sum())))
        further_E = np.clip((np.abs(differences_E) - room) / max(1 - room, 1e-9), 0, 1)
        chances_ES: NDArray[np.float64] = np.hstack([lost_ES[:, ::-1], equal_E1, won_ES]) * (1 - further_E[:, None])
        chances_ES[:, -1] += np.where(differences_E > 0, further_E, 0)
        chances_ES[:, 0] += np.where(differences_E < 0, further_E, 0)
        return chances_ES

    def _tilts(self, differences_E: NDArray[np.float64]) -> NDArray[np.float64]:
        """(E,): half the logarithm of the odds of winning an image by one seed; at most that of a certain win."""
        leads_S = np.arange(1, self.num_seeds + 1)
        tilts = np.concatenate([[0.0], np.geomspace(1e-4, 20, 200)])
        differences = np.tanh(tilts[:, None] * leads_S) @ (self.shares * leads_S) / self.num_seeds
        tilts_E: NDArray[np.float64] = np.sign(differences_E) * np.interp(np.abs(differences_E), differences, tilts)
        return tilts_E
