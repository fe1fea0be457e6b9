"""The laws by which an error may fall with the number of blocks, and their weighted least-squares fit.

Every law is `y(x) = a exp(-b clock(x)) + c`: the exponential law's clock is x itself, the power law's is log x, the
shifted power law's is log(x + d). Amplitude a and floor c enter linearly and have a closed solution for given (b, d),
so that only one or two numbers are searched: on a grid over all that the points could show, then on ever finer ones
around the best (variable projection; Golub and Pereyra 1973). No start is guessed and no local minimum is taken for
the best, and one call fits hundreds of bootstrap samples at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Clock = Callable[[FloatArray, FloatArray], FloatArray]

PARAMETERS = ("a", "b", "c", "d")
"""Amplitude, rate, floor and shift: the columns of every array of parameters; a law without one has 0 there."""

# Beyond it the second point lies on the floor, to within 0.005 % of the amplitude: no data show a faster fall.
_FASTEST_FALL = 10.0
# exp() of more would overflow when the amplitude is carried back from the first point to clock 0.
_LARGEST_EXPONENT = 600.0
# The rate goes as the fourth power of its axis: 64 values from 0 (exactly: no fall at all) over seven decades.
_RATE_POWER = 4
_NUM_RATES, _NUM_SHIFTS = 64, 16
# A zoom thirds the step of a search for the rate alone; with a shift it halves it, to follow the narrow valley in which
# a larger shift and a larger rate fit all but equally well.
_SHRINK, _SHRINK_WITH_SHIFT = 1 / 3, 1 / 2
_SMALLEST_STEP, _SMALLEST_STEP_OF_SAMPLES = 1e-7, 5e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """One form of decay with non-negative amplitude, rate and floor: a fitted curve never rises."""

    name: str
    label: str
    formula: str
    family: Literal["constant", "exponential", "power"]
    parameters: tuple[str, ...]
    clock: Clock

    @property
    def num_parameters(self) -> int:
        """What AICc counts; the variances are known and cost nothing."""
        return len(self.parameters)

    def values(self, parameters: FloatArray, x: FloatArray) -> FloatArray:
        """The curve at x (n,) for parameters (..., 4) in the order of PARAMETERS: (..., n)."""
        a, b, c, d = np.moveaxis(parameters[..., None], -2, 0)
        values: FloatArray = a * np.exp(-b * self.clock(x, d)) + c
        return values


def _stopped(x: FloatArray, shift: FloatArray) -> FloatArray:
    return np.zeros(np.broadcast_shapes(x.shape, shift.shape))


def _linear(x: FloatArray, shift: FloatArray) -> FloatArray:
    return x + 0 * shift


def _logarithmic(x: FloatArray, shift: FloatArray) -> FloatArray:
    return np.log(x + shift)


CONSTANT = Law(
    name="constant",
    label="constant",
    formula="c",
    family="constant",
    parameters=("c",),
    clock=_stopped,
)
EXPONENTIAL = Law(
    name="exponential",
    label="exponential",
    formula="a exp(-b x)",
    family="exponential",
    parameters=("a", "b"),
    clock=_linear,
)
EXPONENTIAL_FLOOR = Law(
    name="exponential_floor",
    label="exponential with floor",
    formula="a exp(-b x) + c",
    family="exponential",
    parameters=("a", "b", "c"),
    clock=_linear,
)
POWER = Law(
    name="power",
    label="power law",
    formula="a x^-b",
    family="power",
    parameters=("a", "b"),
    clock=_logarithmic,
)
POWER_FLOOR = Law(
    name="power_floor",
    label="power law with floor",
    formula="a x^-b + c",
    family="power",
    parameters=("a", "b", "c"),
    clock=_logarithmic,
)
SHIFTED_POWER = Law(
    name="shifted_power",
    label="shifted power law",
    formula="a (x + d)^-b",
    family="power",
    parameters=("a", "b", "d"),
    clock=_logarithmic,
)
LAWS = (CONSTANT, EXPONENTIAL, EXPONENTIAL_FLOOR, POWER, POWER_FLOOR, SHIFTED_POWER)


def fit_law(law: Law, x: FloatArray, values: FloatArray, variances: FloatArray) -> FloatArray:
    """The parameters of least weighted squares for every row of values.

    The shift d is bounded so that the relative rate b / (x + d) at least halves from the first x to the last: a law
    whose rate is all but the same throughout is an exponential under another name, and nothing could tell them apart.

    Args:
        x: (n,) positive, in any order, repeats allowed; at least as many different ones as the law has parameters.
        values: (m, n), one row for each sample.
        variances: (n,) positive.
    Returns:
        (m, 4) in the order of PARAMETERS.
    """
    if law.family == "constant":
        mean: FloatArray = np.average(values, axis=1, weights=1 / variances)
        return np.stack([0 * mean, 0 * mean, mean, 0 * mean], axis=-1)
    search = _Search(law, x, 1 / variances)
    units = search.best_of_grid(values)
    step = np.array([1 / (_NUM_RATES - 1), 1 / (_NUM_SHIFTS - 1)])
    while step[0] > (_SMALLEST_STEP if len(values) == 1 else _SMALLEST_STEP_OF_SAMPLES):
        units = search.best_around(units, step, values)
        step = step * (_SHRINK_WITH_SHIFT if "d" in law.parameters else _SHRINK)
    return search.parameters(units, values)


class _Search:
    """Knows how the unit square (rate, shift) maps to a law's (b, d), and how well each does."""

    def __init__(self, law: Law, x: FloatArray, weights: FloatArray) -> None:
        self._law, self._x, self._weights = law, x, weights
        distinct = np.unique(x)
        self._ends = distinct[[0, 1, -1]]
        self._shift_bounds = np.log([np.diff(distinct).min() / 2, distinct[-1] - distinct[0]])
        self._has_shift, self._has_floor = "d" in law.parameters, "c" in law.parameters

    def best_of_grid(self, values: FloatArray) -> FloatArray:
        rates = np.linspace(0, 1, _NUM_RATES)
        shifts = np.linspace(0, 1, _NUM_SHIFTS) if self._has_shift else np.zeros(1)
        units = np.stack(np.meshgrid(rates, shifts, indexing="ij"), axis=-1).reshape(1, -1, 2)
        *_, squares = self._solve(units, values)
        best: FloatArray = units[0, squares.argmin(axis=1)]
        return best

    def best_around(self, units: FloatArray, step: FloatArray, values: FloatArray) -> FloatArray:
        """Looks 1.5 steps to each side, so that a best on the rim can still be followed by the next, smaller step."""
        offsets = np.linspace(-1.5, 1.5, 7)
        sideways = np.linspace(-1.5, 1.5, 5) if self._has_shift else np.zeros(1)
        around = np.stack(np.meshgrid(offsets, sideways, indexing="ij"), axis=-1).reshape(1, -1, 2)
        tried = np.clip(units[:, None] + around * step, 0, 1)
        *_, squares = self._solve(tried, values)
        best: FloatArray = tried[np.arange(len(tried)), squares.argmin(axis=1)]
        return best

    def parameters(self, units: FloatArray, values: FloatArray) -> FloatArray:
        amplitude, floor, _ = self._solve(units[:, None], values)
        rate, shift = self._shapes(units)
        first = self._law.clock(self._x.min(keepdims=True), shift[:, None])[:, 0]
        return np.stack([amplitude[:, 0] * np.exp(rate * first), rate, floor[:, 0], shift], axis=-1)

    def _shapes(self, units: FloatArray) -> tuple[FloatArray, FloatArray]:
        low, high = self._shift_bounds
        shift = np.exp(low + (high - low) * units[..., 1]) - self._ends[0] if self._has_shift else 0 * units[..., 1]
        clock = self._law.clock(self._ends, shift[..., None])
        fastest = np.minimum(
            _FASTEST_FALL / (clock[..., 1] - clock[..., 0]), _LARGEST_EXPONENT / np.abs(clock).max(axis=-1)
        )
        return fastest * units[..., 0] ** _RATE_POWER, shift

    def _solve(self, units: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Best amplitude at the first x, floor, and the weighted squares less a constant, for units (m or 1, k, 2)."""
        rate, shift = self._shapes(units)
        clock = self._law.clock(self._x, shift[..., None])
        fall = np.exp(-rate[..., None] * (clock - clock[..., self._x.argmin()][..., None]))
        weighted = fall * self._weights
        fall_fall, fall_one = (weighted * fall).sum(-1), weighted.sum(-1)
        fall_value = (weighted @ values[..., None])[..., 0]
        one_value = (values @ self._weights)[:, None]
        if self._has_floor:
            amplitude, floor = _with_floor(fall_fall, fall_one, self._weights.sum(), fall_value, one_value)
        else:
            amplitude, floor = np.maximum(fall_value / fall_fall, 0), np.zeros_like(fall_value)
        squares = amplitude * (amplitude * fall_fall + 2 * floor * fall_one - 2 * fall_value)
        return amplitude, floor, squares + floor * (floor * self._weights.sum() - 2 * one_value)


def _with_floor(
    fall_fall: FloatArray, fall_one: FloatArray, one_one: float, fall_value: FloatArray, one_value: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Amplitude and floor from the sums of products, neither negative; no fall at all is all floor."""
    determinant = fall_fall * one_one - fall_one**2
    flat = determinant <= 1e-12 * fall_fall * one_one
    determinant = np.where(flat, 1.0, determinant)
    amplitude = (fall_value * one_one - fall_one * one_value) / determinant
    floor = (fall_fall * one_value - fall_one * fall_value) / determinant
    no_floor = floor < 0
    amplitude = np.where(no_floor, np.maximum(fall_value / fall_fall, 0), amplitude)
    no_fall = flat | (amplitude < 0)
    floor = np.where(no_fall, np.maximum(one_value / one_one, 0), np.where(no_floor, 0.0, floor))
    return np.where(no_fall, 0.0, amplitude), floor
