"""Whether one network is better than another on the same images, and by how much: tests on image pairs.

Two networks measured on the same images agree on most of them, so the difference of their errors is known far better
than either error. Arrays are (N,) for one pair of networks, or (R, N) for R paired seeds (replicates) of the same
comparison: row r of both arrays has the same seed, column i the same image.

Images are the sample. Replicates that see one image are not independent of each other, so they are averaged over each
image and never counted as more images: R replicates make the answer steadier, not the validation split larger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from growres.errors import AnalysisError

Interval = tuple[float, float]

_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedTest:
    """What a test on the same images says of the network after a change against the one before it."""

    p_value: float
    """One-sided: how often a drop at least this clear comes about by chance where the change brings none."""
    p_value_two_sided: float
    difference: float
    """Mean of before less after, in the unit measured: positive is a drop, so the change helped."""
    interval: Interval
    """Of the difference, two-sided, at `confidence`."""
    confidence: float
    num_better: int
    """Images on which the network after is better, on balance over the replicates."""
    num_worse: int
    num_images: int
    num_replicates: int


def mcnemar(wrong_before: NDArray[np.bool_], wrong_after: NDArray[np.bool_], *, confidence: float = 0.95) -> PairedTest:
    """McNemar's exact test of the error, from which images each network gets wrong.

    Only the discordant images count, those that one network gets right and the other wrong: where the change does
    nothing, each is as likely to have been won as lost. With replicates an image counts once, as won, lost or neither
    by the balance of its replicates, and the test is the sign test on those that are not neither; for one replicate
    that is McNemar's. With replicates it therefore asks whether more images are won than lost, which need not be the
    sign of the difference: one image won by all replicates weighs as much as one won by a single one.

    The interval is Bonett and Price's adjusted Wald: Wald's after two images more, one won and one lost (by all
    replicates). It never has width zero, and it is somewhat wide for few images.

    Args:
        wrong_before: (N,) or (R, N), true where the network before the change is wrong.
        wrong_after: the same shape, for the network after it.
    Returns:
        The difference is a drop in error, a fraction. Without any discordant image both p values are 1.
    Raises:
        AnalysisError: if the arrays are not boolean, are empty, or differ in shape.
    Source: McNemar 1947, exact as in Fagerland, Lydersen and Laake 2013 (not their mid-p, which nothing
        guarantees to hold its level); interval: Bonett and Price 2012.
    """
    _check_shapes("error", wrong_before.shape, wrong_after.shape)
    before, after = np.atleast_2d(wrong_before), np.atleast_2d(wrong_after)
    _check_confidence(confidence)
    for wrong in (before, after):
        if wrong.dtype != np.bool_:
            raise AnalysisError(
                f"Cannot compare errors of type {wrong.dtype}: the arrays must be boolean, true where the network is "
                f"wrong. Compare predictions with labels first, or use paired_loss for losses."
            )
    net = before.sum(axis=0, dtype=np.int64) - after.sum(axis=0, dtype=np.int64)
    num_replicates, num_images = before.shape
    num_better, num_worse = int((net > 0).sum()), int((net < 0).sum())
    one_sided, two_sided = _sign_test(num_better, num_worse)
    drops = net / num_replicates
    return PairedTest(
        p_value=one_sided,
        p_value_two_sided=two_sided,
        difference=float(drops.mean()),
        interval=_adjusted_wald(drops, confidence),
        confidence=confidence,
        num_better=num_better,
        num_worse=num_worse,
        num_images=num_images,
        num_replicates=num_replicates,
    )


def paired_loss(
    loss_before: NDArray[np.floating], loss_after: NDArray[np.floating], *, confidence: float = 0.95
) -> PairedTest:
    """Student's paired t test of the loss: finer than errors, since every image has something to say.

    A lower loss is not a lower error: a network that only grows more certain of what it knows passes this test. Let a
    look at the error stand beside it.

    Args:
        loss_before: (N,) or (R, N), N > 1, the loss on each image before the change, in nats.
        loss_after: the same shape, after it. One that is not finite (a network that diverged) makes both p values 1,
            the difference and its interval NaN.
    Returns:
        The difference is a drop in mean loss. Where every image changed by the same amount there is no spread to
        measure the mean against: the p values are those of the sign test, and the interval is NaN.
    Raises:
        AnalysisError: if the arrays are empty, of a single image, differ in shape, or the losses before the change
            are not finite.
    """
    _check_shapes("loss", loss_before.shape, loss_after.shape)
    before, after = np.atleast_2d(loss_before), np.atleast_2d(loss_after)
    _check_confidence(confidence)
    num_replicates, num_images = before.shape
    if num_images < 2:
        raise AnalysisError("Cannot compare the losses on 1 image: a spread needs 2 or more. Use more images.")
    if not np.isfinite(before).all():
        raise AnalysisError(
            f"Cannot compare losses: {int((~np.isfinite(before)).sum())} of {before.size} before the change are not "
            f"finite. The network that the change began from is broken; start from one that is not."
        )
    drops = (before.astype(np.float64) - after.astype(np.float64)).mean(axis=0)
    test = mean_test(drops, confidence=confidence)
    num_better = int((drops > 0).sum())
    return PairedTest(
        p_value=test.p_value,
        p_value_two_sided=test.p_value_two_sided,
        difference=test.mean,
        interval=test.interval,
        confidence=confidence,
        num_better=num_better,
        num_worse=num_images - num_better - int((drops == 0).sum()),
        num_images=num_images,
        num_replicates=num_replicates,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanTest:
    """What Student's t test says of the mean of independent drops."""

    p_value: float
    """One-sided: that the mean is above 0."""
    p_value_two_sided: float
    mean: float
    interval: Interval
    """NaN where all drops are equal: there is no spread to reckon with."""


def mean_test(drops: NDArray[np.floating], *, confidence: float = 0.95) -> MeanTest:
    """Student's t test of two or more independent drops; of equal ones, which have no spread, the sign test.

    One drop that is not finite makes both p values 1 and the rest NaN.
    """
    if not np.isfinite(drops).all():
        return MeanTest(p_value=1.0, p_value_two_sided=1.0, mean=math.nan, interval=(math.nan, math.nan))
    mean, degrees = float(drops.mean()), len(drops) - 1
    if is_without_spread(drops):
        one_sided, two_sided = _sign_test(int((drops > 0).sum()), int((drops < 0).sum()))
        return MeanTest(p_value=one_sided, p_value_two_sided=two_sided, mean=mean, interval=(math.nan, math.nan))
    # Here, and not above: scipy is a third of what a worker imports before it trains, and many trials do without it.
    from scipy import stats

    standard_error = float(drops.std(ddof=1)) / math.sqrt(len(drops))
    t = mean / standard_error
    half_width = float(stats.t.ppf(0.5 + confidence / 2, degrees)) * standard_error
    return MeanTest(
        p_value=float(stats.t.sf(t, degrees)),
        p_value_two_sided=float(2 * stats.t.sf(abs(t), degrees)),
        mean=mean,
        interval=(mean - half_width, mean + half_width),
    )


def is_without_spread(drops: NDArray[np.floating]) -> bool:
    """Whether all drops are equal, but for the rounding of a subtraction, which a t test would take for certainty."""
    return float(np.ptp(drops)) <= _ROUNDING * float(np.abs(drops).max())


def _sign_test(num_better: int, num_worse: int) -> tuple[float, float]:
    """The one-sided and the two-sided exact p value; 1 where there is nothing to count."""
    discordant = num_better + num_worse
    if discordant == 0:
        return 1.0, 1.0
    from scipy import stats

    better = float(stats.binomtest(num_better, discordant, alternative="greater").pvalue)
    worse = float(stats.binomtest(num_worse, discordant, alternative="greater").pvalue)
    return better, min(1.0, 2 * min(better, worse))


def _adjusted_wald(drops: NDArray[np.float64], confidence: float) -> Interval:
    from scipy import stats

    adjusted = np.concatenate([drops, [1.0, -1.0]])
    half_width = float(stats.norm.ppf(0.5 + confidence / 2)) * float(adjusted.std()) / math.sqrt(len(adjusted))
    mean = float(adjusted.mean())
    return max(-1.0, mean - half_width), min(1.0, mean + half_width)


def _check_shapes(measure: str, before: tuple[int, ...], after: tuple[int, ...]) -> None:
    if before != after or len(before) not in (1, 2) or 0 in before:
        raise AnalysisError(
            f"Cannot pair the {measure} of arrays of shapes {before} and {after}: both must be (N,), or (R, N) for R "
            f"replicates, of the same images. Measure both networks on the same split."
        )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise AnalysisError(f"Cannot give an interval at confidence {confidence:g}: name one between 0 and 1: 0.95.")
