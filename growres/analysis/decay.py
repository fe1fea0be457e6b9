"""Does the error decay with the number of blocks, by which law, and what will one more step bring?

Growths are short and their errors noisy, so the honest answer is often "cannot tell": every law is fitted, all that the
data leave standing are kept, and the forecast is averaged over them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from growres.analysis.gain import Gain, tails, weighted_interval
from growres.analysis.laws import LAWS, PARAMETERS, FloatArray, Law, fit_law
from growres.analysis.points import (
    MIN_BLOCK_COUNTS_FOR_FAMILY,
    Column,
    Points,
    Quantity,
    Series,
    checked_points,
    listed,
    unit_of,
)
from growres.errors import AnalysisError

PLAUSIBLE_DELTA = 4.0
"""Laws closer to the best than this cannot be told from it."""
NUM_HELD_OUT = 3
"""Numbers of blocks, the largest ones, that a law has to forecast from the points at the others."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecayFit:
    """One law, fitted. `samples` and `intervals` are the bootstrap's, and empty where the law is not plausible."""

    law: Law
    parameters: FloatArray
    """(4,) in the order of laws.PARAMETERS."""
    chi2: float
    """Squared residuals in units of the given variances."""
    dof: int
    aicc: float
    delta_aicc: float
    delta_aic: float
    """The same without the correction for few points, which `weight` follows."""
    weight: float
    """Akaike weight exp(-delta_aic / 2) among the plausible laws, 0 for the others."""
    forecast_rmse: float | None
    """Of the points at the last three numbers of blocks, predicted from the others, in the unit of the values; None
    where those are at no more numbers of blocks than the law has parameters."""
    samples: FloatArray
    """(num_samples, 4), each a fit to values drawn anew around this curve."""
    intervals: dict[str, tuple[float, float]]

    @property
    def plausible(self) -> bool:
        """It cannot be told from the best."""
        return _is_plausible(self.delta_aicc, self.delta_aic)

    def curve(self, num_blocks: FloatArray) -> FloatArray:
        """The fitted values, shaped as `num_blocks` (n,)."""
        return self.law.values(self.parameters, num_blocks)

    def band(self, num_blocks: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
        """Lower and upper end of the curve's pointwise bootstrap interval; of a plausible law only."""
        lower, upper = np.quantile(self.law.values(self.samples, num_blocks), tails(level), axis=0)
        return lower, upper

    def named_parameters(self) -> dict[str, float]:
        """The law's own parameters by name."""
        return {name: float(self.parameters[PARAMETERS.index(name)]) for name in self.law.parameters}


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A law that the points are too few for, and why."""

    law: Law
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DecayAnalysis:
    """All laws fitted to one series of points, best AICc first."""

    points: Points
    fits: tuple[DecayFit, ...]
    left_out: tuple[LeftOut, ...]
    dispersion: float
    """By how much the variances had to be multiplied, at least 1; see `fit_decay_laws`."""
    level: float

    @property
    def best(self) -> DecayFit:
        """The law of the lowest AICc, which need not be the true one: see `plausible`."""
        return self.fits[0]

    @property
    def plausible(self) -> tuple[DecayFit, ...]:
        """The laws that the data cannot tell apart.

        Within 4 of the best by AICc, or by plain AIC: its correction is made for variances that were estimated from the
        residuals; ours are known, and on few points it alone would rule out a law that fits just as well.
        """
        return tuple(fit for fit in self.fits if fit.plausible)

    @property
    def family(self) -> str | None:
        """constant, exponential or power, where the points suffice and leave one family only."""
        families = {fit.law.family for fit in self.plausible}
        return (
            families.pop()
            if len(families) == 1 and self.points.num_block_counts >= MIN_BLOCK_COUNTS_FOR_FAMILY
            else None
        )

    @property
    def sentence(self) -> str:
        """What the data can and cannot tell, in plain English."""
        points = self.points
        where = f" at {points.num_block_counts} numbers of blocks" if points.num_block_counts < len(points) else ""
        parts = [f"{points.quantity.capitalize()} against blocks, {len(points)} points{where} ({points.series}):"]
        parts += [_verdict(self), _forecast(self), _shortage(self), _scatter(self), _selection(self)]
        parts.append("Epochs increase with the blocks: what the blocks alone are worth, only control arms tell.")
        return " ".join(part for part in parts if part)

    def next_gain(self, *, after: float | None = None, level: float | None = None) -> Gain:
        """The expected drop from one step more: a block, and the epochs that a step of this growth has.

        Averaged over the plausible laws by their Akaike weights, and the interval is that of their bootstrap samples
        together: where the laws disagree about what comes next, one of them alone would be too sure. The weights are
        those of AIC, for the reason given at `plausible`: of 100 simulated growths of 8 points by each law with a fall,
        90 % intervals held the true gain in 88 to 95 so, and in 66 to 93 where AICc alone chose and weighed the laws.

        Args:
            after: the number of blocks before that step; the largest of the points where it is not given, which is
                one more than the network has where the last proposal was rejected.
            level: of the interval; the analysis's own where it is not given.
        """
        after = float(self.points.num_blocks.max()) if after is None else after
        level = self.level if level is None else level
        step = np.array([after, after + 1])
        expected, drops, shares = 0.0, [], []
        for fit in self.plausible:
            now, then = fit.curve(step)
            expected += fit.weight * (now - then)
            curves = fit.law.values(fit.samples, step)
            drops.append(curves[:, 0] - curves[:, 1])
            shares.append(np.full(len(curves), fit.weight / len(curves)))
        lower, upper = weighted_interval(np.concatenate(drops), np.concatenate(shares), level)
        return Gain(
            quantity=self.points.quantity,
            after=after,
            expected=float(expected),
            lower=lower,
            upper=upper,
            level=level,
            num_points=len(self.points),
            num_block_counts=self.points.num_block_counts,
            laws={fit.law.label: fit.weight for fit in self.plausible},
        )

    def rows(self) -> list[dict[str, str | float | bool | None]]:
        """One row for each fitted law, with stable columns, for a table or JSON; None where there is no such thing."""
        return [_row(fit) for fit in self.fits]


def fit_decay_laws(
    num_blocks: Column,
    values: Column,
    variances: Column,
    *,
    series: Series,
    quantity: Quantity = "error",
    level: float = 0.9,
    num_samples: int = 200,
    seed: int = 0,
) -> DecayAnalysis:
    """Fits every law by weighted least squares and says which the data can tell apart.

    AICc is that of Gaussian noise of known variance: chi2 + 2k + 2k(k+1)/(n-k-1), less a constant. Where every law
    leaves residuals larger than the variances say, chi2 is first divided by the smallest chi2/dof of all laws, and the
    bootstrap's noise is as much larger. Intervals are percentiles of a parametric bootstrap of the plausible laws.

    Source: AICc and overdispersion, Burnham and Anderson 2002, sections 2.4 and 2.5. There the factor is that of the
    most general model, and counts as a parameter. Here no law has all others as special cases, and the smallest of
    their factors is taken, which is rather too small than too large. It is not counted: in AIC that would add the same
    to every law, and in AICc it would leave out laws for want of points.

    Args:
        num_blocks: blocks of each point's network (or steps, from 1), positive, in any order; repeats are allowed.
        values: errors as fractions, or losses; never negative.
        variances: of each value, positive; see `error_variance`.
        series: growths that keep only improving blocks are monotone by construction, so the result says which points
            it was fitted to.
        level: of all intervals.
    Raises:
        AnalysisError: if the numbers cannot be fitted: fewer than four, not finite, or a variance of 0.
    """
    if not 0 < level < 1 or num_samples < 1:
        raise AnalysisError(
            f"Cannot bootstrap {num_samples} samples for intervals of level {level}: "
            "take one sample at least, and a level between 0 and 1, such as 0.9."
        )
    points = checked_points(num_blocks, values, variances, series=series, quantity=quantity)
    reasons = {law: _reason_to_leave_out(law, points) for law in LAWS}
    fitted = [_Fitted(law, points) for law, reason in reasons.items() if reason is None]
    dispersion = max(1.0, min(one.chi2 / one.dof for one in fitted))
    noisy = replace(points, variances=dispersion * points.variances)
    fits = [_with_intervals(fit, noisy, num_samples, level, seed) for fit in _compared(fitted, points, dispersion)]
    left_out = tuple(LeftOut(law=law, reason=reason) for law, reason in reasons.items() if reason is not None)
    return DecayAnalysis(points=points, fits=tuple(fits), left_out=left_out, dispersion=dispersion, level=level)


class _Fitted:
    """A law's point estimate, before it is compared with the others."""

    def __init__(self, law: Law, points: Points) -> None:
        self.law = law
        self.parameters = fit_law(law, points.num_blocks, points.values[None], points.variances)[0]
        residuals = points.values - law.values(self.parameters, points.num_blocks)
        self.chi2 = float((residuals**2 / points.variances).sum())
        self.dof = len(points) - law.num_parameters

    def aic(self, dispersion: float) -> float:
        return self.chi2 / dispersion + 2 * self.law.num_parameters

    def aicc(self, dispersion: float) -> float:
        k = self.law.num_parameters
        return self.aic(dispersion) + 2 * k * (k + 1) / (self.dof - 1)


def _compared(fitted: list[_Fitted], points: Points, dispersion: float) -> list[DecayFit]:
    """Best AICc first, without intervals yet."""
    fitted = sorted(fitted, key=lambda one: one.aicc(dispersion))
    lowest_aicc = fitted[0].aicc(dispersion)
    lowest_aic = min(one.aic(dispersion) for one in fitted)
    deltas = [(one.aicc(dispersion) - lowest_aicc, one.aic(dispersion) - lowest_aic) for one in fitted]
    weights = [math.exp(-aic / 2) if _is_plausible(aicc, aic) else 0.0 for aicc, aic in deltas]
    return [
        DecayFit(
            law=one.law,
            parameters=one.parameters,
            chi2=one.chi2,
            dof=one.dof,
            aicc=one.aicc(dispersion),
            delta_aicc=delta_aicc,
            delta_aic=delta_aic,
            weight=weight / sum(weights),
            forecast_rmse=_forecast_rmse(one.law, points),
            samples=np.empty((0, len(PARAMETERS))),
            intervals={},
        )
        for one, (delta_aicc, delta_aic), weight in zip(fitted, deltas, weights, strict=True)
    ]


def _with_intervals(fit: DecayFit, points: Points, num_samples: int, level: float, seed: int) -> DecayFit:
    """The fit with its bootstrap, if plausible; each law has a stream of its own, whichever others are plausible."""
    if not fit.plausible:
        return fit
    random = np.random.default_rng([seed, LAWS.index(fit.law)])
    noise = random.standard_normal((num_samples, len(points))) * np.sqrt(points.variances)
    samples = fit_law(fit.law, points.num_blocks, fit.curve(points.num_blocks) + noise, points.variances)
    lower, upper = np.quantile(samples, tails(level), axis=0)
    columns = {name: PARAMETERS.index(name) for name in fit.law.parameters}
    intervals = {name: (float(lower[column]), float(upper[column])) for name, column in columns.items()}
    return replace(fit, samples=samples, intervals=intervals)


def _is_plausible(delta_aicc: float, delta_aic: float) -> bool:
    # A law that has the best one as a special case may be behind by exactly its parameters: rounding must not decide.
    return min(delta_aicc, delta_aic) < PLAUSIBLE_DELTA - 1e-6


def _reason_to_leave_out(law: Law, points: Points) -> str | None:
    k, num_counts = law.num_parameters, points.num_block_counts
    if k + 1 >= len(points):
        return f"its {k} parameters need {k + 2} points, and there are {len(points)}"
    if num_counts < k:
        return f"its {k} parameters need as many numbers of blocks, and there are {num_counts}"
    return None


def _forecast_rmse(law: Law, points: Points) -> float | None:
    """Needs one number of blocks more than parameters: a curve through the mean at each of them forecasts nothing.

    Whole numbers of blocks are held out, not points: where one was tried several times, a law that has seen some of
    its points has nothing left to forecast there.
    """
    blocks, values = points.num_blocks, points.values
    if points.num_block_counts - NUM_HELD_OUT <= law.num_parameters:
        return None
    held_out = blocks >= np.unique(blocks)[-NUM_HELD_OUT]
    known = ~held_out
    parameters = fit_law(law, blocks[known], values[None, known], points.variances[known])[0]
    return float(np.sqrt(np.mean((values[held_out] - law.values(parameters, blocks[held_out])) ** 2)))


_WITHIN = f" (within {PLAUSIBLE_DELTA:g} of the best by AIC or by AICc)"


def _verdict(analysis: DecayAnalysis) -> str:
    plausible = [fit.law.label for fit in analysis.plausible]
    if analysis.points.num_block_counts < MIN_BLOCK_COUNTS_FOR_FAMILY:
        takes = f"which takes {MIN_BLOCK_COUNTS_FOR_FAMILY} numbers of blocks"
        found = f"too few to choose a law, {takes}; not excluded{_WITHIN}: {listed(plausible)}"
    elif len(plausible) == 1:
        found = f"the data leave one law, {plausible[0]}{_WITHIN}"
    elif analysis.family is not None:
        found = f"the data choose the {analysis.family} family but not among its members{_WITHIN}: {listed(plausible)}"
    else:
        found = f"the data cannot tell these laws apart{_WITHIN}: {listed(plausible)}"
    return f"{found}{_excluded(analysis)}.{_no_fall(analysis)}"


def _excluded(analysis: DecayAnalysis) -> str:
    others = [fit for fit in analysis.fits if not fit.plausible]
    if not others:
        return ""
    gap = min(min(fit.delta_aicc, fit.delta_aic) for fit in others)
    behind = f"{gap:.1f}{' or more' if len(others) > 1 else ''}"
    return f"; worse, by {behind} in both: {listed([fit.law.label for fit in others])}"


def _no_fall(analysis: DecayAnalysis) -> str:
    if all(fit.law.family != "constant" for fit in analysis.plausible):
        return ""
    return f" A constant {analysis.points.quantity} is among them: no fall with the number of blocks is shown."


def _forecast(analysis: DecayAnalysis) -> str:
    known = [(fit.forecast_rmse, fit.law.label) for fit in analysis.fits if fit.forecast_rmse is not None]
    counts, needed = analysis.points.num_block_counts, NUM_HELD_OUT + 1 + max(law.num_parameters for law in LAWS)
    if len(known) < len(LAWS):  # the simple laws alone would win by default
        return (
            f"No forecasts are compared: with the last {NUM_HELD_OUT} numbers of blocks held out, that takes {needed} "
            f"of them, and there are {counts}."
        )
    rmse, label = min(known)
    scale, unit = unit_of(analysis.points.quantity)
    return (
        f"The points at the last {NUM_HELD_OUT} numbers of blocks are forecast best by: {label} "
        f"(off by {scale * rmse:.2g}{unit}, RMS)."
    )


def _shortage(analysis: DecayAnalysis) -> str:
    if not analysis.left_out:
        return ""
    return f"Left out for too few points: {listed([left_out.law.label for left_out in analysis.left_out])}."


def _scatter(analysis: DecayAnalysis) -> str:
    scatter = math.sqrt(analysis.dispersion)
    if scatter < 1.05:
        return ""
    return f"The points scatter {scatter:.1f} times as widely as their variances say; the figures allow for that."


def _selection(analysis: DecayAnalysis) -> str:
    if analysis.points.series == "all proposals":
        return ""
    return "Accepted steps fall by construction, since only improving blocks are kept: compare with all proposals."


def _row(fit: DecayFit) -> dict[str, str | float | bool | None]:
    row: dict[str, str | float | bool | None] = {"law": fit.law.name, "formula": fit.law.formula}
    named = fit.named_parameters()
    for name in PARAMETERS:
        lower, upper = fit.intervals.get(name, (None, None))
        row |= {name: named.get(name), f"{name}_lower": lower, f"{name}_upper": upper}
    return row | {
        "chi2": fit.chi2,
        "dof": fit.dof,
        "aicc": fit.aicc,
        "delta_aicc": fit.delta_aicc,
        "delta_aic": fit.delta_aic,
        "weight": fit.weight,
        "forecast_rmse": fit.forecast_rmse,
        "plausible": fit.plausible,
    }
