"""How small a drop in error one step of growth can detect, and how many images a given drop takes.

The step is McNemar's exact, one-sided test on N images, as in `growres.analysis.paired`. What decides is not the error
but the *discordant* fraction, the images that one of the two networks gets right and the other wrong: of these the
better network wins (discordant + drop) / 2 and loses (discordant - drop) / 2 of all images. The less two networks
disagree where neither is better, the smaller the drop that shows.

No approximation by a normal: the power is summed over the number of discordant images that may come up, binomial in N,
and the number won among them. An exact test on few images is more timid than the usual formula says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from growres.analysis.spending import check_level
from growres.errors import AnalysisError

_DISCORDANT_SHARE = 0.05 / (2 * 0.06 * 0.94)
_TAILS = 1e-9
_MOST_COUNTS = 200
_MOST_IMAGES = 10**9


def usual_discordant(error: float) -> float:
    """The discordant fraction assumed for a network and the same network one growth step later.

    Two unrelated networks of one error would disagree on 2 error (1 - error) of the images; the parent and the child of
    a growth step disagree less. Assumed is the share of it (44 %) that makes 5 % of the images discordant at an error
    of 6 %, the middle of the 4 % to 6 % that we reckon with. An assumption: a growth that has run shows its own. On
    digits (3 growths, 29 steps, 575 validation images) parent and candidate were 1.2 times as discordant in the mean;
    candidate and control, which see the same batches, a quarter as much as those.
    """
    return _DISCORDANT_SHARE * unrelated_discordant(error)


def most_discordant(error: float) -> float:
    """What two networks of one error disagree on at most: no mistake, or no right answer, is common to both."""
    _check_error(error)
    return 2 * min(error, 1 - error)


def unrelated_discordant(error: float) -> float:
    """What two networks of one error disagree on whose mistakes have nothing to do with each other."""
    _check_error(error)
    return 2 * error * (1 - error)


def detectable_drop(
    num_images: int, error: float, *, alpha: float = 0.05, power: float = 0.8, discordant: float | None = None
) -> float:
    """The smallest true drop in error that one paired test on so many images detects with the given power.

    Args:
        num_images: of the split that decides.
        error: of the network before the step, a fraction.
        alpha: the step's level, one-sided: its share, where alpha is spent over the steps of a growth.
        power: the chance that a drop of this size passes the test.
        discordant: the fraction of images on which exactly one of the two networks is right; `usual_discordant(error)`
            where None. A large drop bends it: no fewer images can be discordant than the drop itself, and no more
            than the two networks get wrong together.
    Returns:
        A fraction, at most the error; infinity where not even a drop to an error of 0 would be detected so.
    Raises:
        AnalysisError: if an argument is outside its range, or the networks cannot be so discordant at that error.
    """
    task = _Task(error=error, alpha=alpha, power=power, discordant=discordant)
    _check_num_images(num_images)
    if task.lack(num_images, error) > 0:
        return math.inf
    from scipy import optimize  # as in growres.analysis.paired

    return float(optimize.brentq(lambda drop: task.lack(num_images, drop), 0, error, rtol=1e-6, xtol=1e-9))


def images_needed(
    drop: float, error: float, *, alpha: float = 0.05, power: float = 0.8, discordant: float | None = None
) -> int:
    """The fewest images on which one paired test detects a true drop in error with the given power.

    The power of an exact test does not rise evenly with the images; the answer is exact to within that ripple.

    Raises:
        AnalysisError: as `detectable_drop`; if the drop is not above 0 and at most the error, or makes more images
            discordant than are given; or if more than a thousand million images would be needed.
    """
    task = _Task(error=error, alpha=alpha, power=power, discordant=discordant)
    if not 0 < drop <= error:
        raise AnalysisError(
            f"Cannot detect a drop of {drop:g}: from an error of {error:g} it is above 0 and at most {error:g}. Name "
            f"such a one, as a fraction: 0.3 percentage points are 0.003."
        )
    if discordant is not None and drop > discordant:
        raise AnalysisError(
            f"Cannot detect a drop of {drop:g} where {discordant:g} of the images are discordant: a drop makes as many "
            f"images discordant itself. Name a drop of at most {discordant:g}, or a larger discordant fraction."
        )
    enough = task.usual_images(drop)
    too_few = enough // 2
    while too_few > 0 and task.lack(too_few, drop) <= 0:
        too_few //= 2
    while task.lack(enough, drop) > 0:
        too_few, enough = enough, 1 + enough * 17 // 16
        if enough > _MOST_IMAGES:
            raise AnalysisError(f"Cannot detect a drop of {drop:g} on {_MOST_IMAGES:,} images. Name a larger one.")
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (middle, enough) if task.lack(middle, drop) > 0 else (too_few, middle)
    return enough


def mcnemar_power(num_images: int, drop: float, discordant: float, *, alpha: float = 0.05) -> float:
    """The chance that McNemar's exact one-sided test on so many images detects a true drop in error.

    Args:
        drop: in [0, discordant], a fraction of the images; at 0 the chance is that of a false detection, below alpha.
        discordant: the fraction of images on which exactly one network is right, in [0, 1].
    Raises:
        AnalysisError: if an argument is outside its range.
    """
    check_level(alpha)
    _check_num_images(num_images)
    if not 0 <= drop <= discordant <= 1 or discordant == 0:
        raise AnalysisError(
            f"Cannot detect a drop of {drop:g} with {discordant:g} of the images discordant: the discordant fraction "
            f"is above 0, at most 1, and no smaller than the drop. Raise it, or name a smaller drop."
        )
    from scipy import stats

    lowest, highest = stats.binom.ppf([_TAILS, 1 - _TAILS], num_images, discordant)
    # Of very many counts an odd stride takes a sample of both odd and even ones, whose critical values differ by turns.
    stride = int(highest - lowest) // _MOST_COUNTS | 1
    counts = np.arange(int(lowest), int(highest) + 1, stride)
    weights = stats.binom.pmf(counts, num_images, discordant)
    needed = stats.binom.isf(alpha, counts, 0.5) + 1  # the fewest won for which P(as many or more | 1/2) <= alpha
    passed = stats.binom.sf(needed - 1, counts, (discordant + drop) / (2 * discordant))
    return float(weights @ passed / weights.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is asked of a test, apart from the images and the drop."""

    error: float
    alpha: float
    power: float
    discordant: float | None

    def __post_init__(self) -> None:
        _check_error(self.error)
        check_level(self.alpha)
        check_power(self.power, self.alpha)
        if self.discordant is not None and not 0 < self.discordant < most_discordant(self.error):
            raise AnalysisError(
                f"Cannot have {self.discordant:g} of the images discordant: at an error of {self.error:g} it is a "
                f"fraction above 0 and below {most_discordant(self.error):g}. {usual_discordant(self.error):.2g} is "
                f"usual."
            )

    def discordant_at(self, drop: float) -> float:
        """The discordant fraction asked for or assumed, as far as a drop leaves room: it makes as many images
        discordant itself, and no more can be than both networks get wrong together."""
        assumed = usual_discordant(self.error) if self.discordant is None else self.discordant
        return max(drop, min(assumed, 2 * self.error - drop))

    def usual_images(self, drop: float) -> int:
        """The images needed by the usual formula (Connor 1987), which takes the binomial for a normal."""
        discordant = self.discordant_at(drop)
        from scipy import stats

        level, chance = (float(stats.norm.ppf(p)) for p in (1 - self.alpha, self.power))
        spread = level * math.sqrt(discordant) + chance * math.sqrt(discordant - drop**2)
        return math.ceil(min(math.sqrt(0.9 * _MOST_IMAGES), spread / drop) ** 2)

    def lack(self, num_images: int, drop: float) -> float:
        """By how much the power falls short."""
        return self.power - mcnemar_power(num_images, drop, self.discordant_at(drop), alpha=self.alpha)


def check_power(power: float, alpha: float) -> None:
    """Returns if a test at the level alpha can be asked for this power.

    Raises:
        AnalysisError: it is not between alpha and 1.
    """
    if not alpha < power < 1:
        raise AnalysisError(
            f"Cannot ask for a power of {power:g}: it must lie between alpha, {alpha:g}, and 1. 0.8 is usual."
        )


def _check_error(error: float) -> None:
    if not 0 < error < 1:
        raise AnalysisError(
            f"Cannot find drops from an error of {error:g}: it is a fraction between 0 and 1. Six per cent are 0.06."
        )


def _check_num_images(num_images: int) -> None:
    if not 1 <= num_images <= _MOST_IMAGES:
        raise AnalysisError(f"Cannot test on {num_images:,} images: name from 1 to {_MOST_IMAGES:,}.")
