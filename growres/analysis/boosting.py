"""What boosting theory says of the networks of a growth: edges, the weak-learning condition, bounds and margins.

Huang, Ash, Langford and Schapire, Learning Deep ResNet Blocks Sequentially using Boosting Theory, ICML 2018
(arXiv:1706.04964), in the form for several classes. There the softmax o_t of the network after step t is a hypothesis
module, and h_t = alpha_{t+1} o_{t+1} - alpha_t o_t is what its next block adds: a weak module classifier. Their sum
telescopes, so that the boosted classifier is the network itself, and all that is measured here comes from o_1, o_2, ...
on the training images. With the margins M_t(i, l) = o_t(i, y_i) - o_t(i, l) of a label over each other class l:

    weights   D_t(i, l) in proportion to exp(-alpha_t M_t(i, l)); equal before the first network, where alpha_0 o_0 = 0
    edge      e_{t+1} = the mean of M_{t+1} under D_t
    gamma_t   the root of (e_{t+1}^2 - e_t^2) / (1 - e_t^2), and with the sign of that where it is negative
    alpha     alpha_{t+1} = ln((1 + e_{t+1}) / (1 - e_{t+1})) / 2
    Z_t / m   the mean over the images of the sum over l of exp(-alpha_t M_t(i, l))
    bound     (K - 1) times the product of sqrt(1 - gamma^2)

The theory holds while earlier blocks stay as they are. Where a growth trains all weights on, the figures are those of
the networks that there were, and a diagnostic, not a proof that the next block will help.

Dimension key: N images, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from growres.analysis.points import listed
from growres.errors import AnalysisError

Features = Literal["fixed", "shifted", "moved"]
"""Of earlier blocks while later ones were trained. fixed: each stayed as it was, and saw what it saw, as the theory has
it; shifted: their weights stayed, but a block was put before some of them; moved: their weights were trained on."""

Probabilities = NDArray[np.floating]
Labels = NDArray[np.integer]

MARGIN_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# An edge of 1, which probabilities stored in half precision do reach, would make alpha infinite and the next gamma 0/0.
_LARGEST_EDGE = 1.0 - 1e-12
_LARGEST_ALPHA = 30.0  # where every margin is positive, Z falls with alpha without end
_ROUNDING = 1e-12  # what float64 may leave of a covariance that is zero, for a product of means of one
_SUM_TOLERANCE = 0.01  # of a row of half precision
_ENTRIES_AT_ONCE = 1 << 20
_MOST_STEPS_NAMED = 8
_WHY_DIAGNOSTIC: dict[Features, str] = {
    "moved": "all weights moved, and the theory assumes that earlier blocks do not",
    "shifted": "a block at the end of its stage changes what the blocks behind it see, and the theory puts each on top",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostingStep:
    """What one network adds to those before it, on the training images."""

    step: int
    """0 is the first network, which has none before it."""
    edge: float
    """Mean margin of the label over the other classes, weighted by what the network before got wrong; in [-1, 1]."""
    gamma: float
    """Negative where the edge has shrunk. The first network's is its edge."""
    alpha: float
    """Of this network, in closed form: it minimises the bound, not Z. Negative where the edge is."""
    covariance: float
    """Of exp(-M_{t+1}) and exp(M_t) under D_t: the second half of the weak-learning condition asks for 0 or less."""
    bound_covariance: float
    """The same with the alphas before the margins, which is what the bound's proof needs. Its sign may differ."""
    weak_learning: bool
    """Whether the condition held: gamma above the threshold from a positive edge, and a covariance of 0 or less."""
    z: float
    """Z/m at alpha."""
    best_alpha: float
    """The alpha >= 0 that minimises Z/m, found by line search; at most 30."""
    best_z: float
    """Z/m there. It bounds the training error whatever held."""
    bound: float
    """The theory's bound of the training error, as the running product."""
    train_error: float
    margins: tuple[float, ...]
    """Quantiles, at MARGIN_QUANTILES, of the label's probability less the largest other one."""

    @property
    def bound_is_proved(self) -> bool:
        """Whether error <= Z/m <= bound follows for this network. What held at earlier steps has no part in it.

        Under D_t, the mean of the product of exp(-alpha_{t+1} M_{t+1}) and exp(alpha_t M_t) is Z_{t+1} / Z_t. A
        covariance of at most 0 puts it below the product of the means, of which the second is (K - 1) m / Z_t, and the
        first, by convexity, at most sqrt(1 - e^2). A negative alpha would bound the error of the classifier's opposite.
        """
        return self.edge >= 0.0 and self.bound_covariance <= 0.0

    @property
    def bound_is_vacuous(self) -> bool:
        """Whether the bound allows every error."""
        return self.bound >= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BoostingAnalysis:
    """The steps of one growth, and what they amount to."""

    steps: tuple[BoostingStep, ...]
    num_images: int
    num_classes: int
    gamma_threshold: float
    features: Features

    @property
    def why_diagnostic(self) -> str | None:
        """What keeps the figures from being a proof, in words; None where earlier blocks are as the theory has them."""
        return _WHY_DIAGNOSTIC.get(self.features)

    @property
    def num_holding(self) -> int:
        """Steps at which the weak-learning condition held, the first network's among them."""
        return sum(step.weak_learning for step in self.steps)

    @property
    def failed_steps(self) -> tuple[int, ...]:
        """The steps at which it did not."""
        return tuple(step.step for step in self.steps if not step.weak_learning)

    @property
    def sentence(self) -> str:
        """For how many steps the condition held, what the bound is worth, and what may be concluded."""
        return f"{_held_in_words(self)} {_bound_in_words(self.steps[-1])} {_standing_in_words(self)}"


def telescoped_bound(edge: float, num_classes: int) -> float:
    """What the product of all sqrt(1 - gamma^2), times K - 1, comes to: (K - 1) sqrt(1 - edge^2) of the last edge.

    It is below 1 only for an edge above sqrt(1 - 1 / (K - 1)^2): 0.9938 for 10 classes, 0.99995 for 100.
    """
    limited = _limited(edge)
    return (num_classes - 1) * math.sqrt((1.0 - limited) * (1.0 + limited))


def analyze_boosting(
    labels: Labels, outputs: Iterable[Probabilities], *, gamma_threshold: float = 0.0, features: Features = "moved"
) -> BoostingAnalysis:
    """The boosting figures of successive networks, each looked at once, beside the one before it.

    Args:
        labels: (N,), classes of the training images.
        outputs: for each network its softmax (N, K) of the same images without augmentation, in evaluation mode. Any
            float type; a memory-mapped array is read a part at a time.
        gamma_threshold: what gamma must exceed for the weak-learning condition.
        features: what became of earlier blocks.
    Raises:
        AnalysisError: if there is no network, or an array is no softmax for these labels.
    """
    steps: list[BoostingStep] = []
    newest: Probabilities | None = None
    for probabilities in outputs:
        before = None if newest is None else Hypothesis(step=steps[-1], probabilities=newest)
        steps.append(next_step(labels, probabilities, before, gamma_threshold=gamma_threshold))
        newest = probabilities
    if newest is None:
        raise AnalysisError("Cannot analyse the boosting of no network at all. Give the outputs of one at least.")
    return BoostingAnalysis(
        steps=tuple(steps),
        num_images=len(labels),
        num_classes=newest.shape[1],
        gamma_threshold=gamma_threshold,
        features=features,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypothesis:
    """A network that has been looked at: its figures and its softmax (N, K), which weight the images for the next."""

    step: BoostingStep
    probabilities: Probabilities


def next_step(
    labels: Labels, probabilities: Probabilities, before: Hypothesis | None, *, gamma_threshold: float = 0.0
) -> BoostingStep:
    """The figures of one network that follows another; `before` is None for the first.

    Differs from the paper: gamma keeps its sign, as in the authors' code; an edge counts as at most 1 - 1e-12; beside
    the covariance of its definition 4.1 there is the one with the alphas, which the bound rests on.

    Raises:
        AnalysisError: if an array is no softmax (N, K) for these labels.
    """
    _check(labels, probabilities)
    if before is not None and before.probabilities.shape != probabilities.shape:
        raise AnalysisError(
            f"Cannot follow probabilities of shape {before.probabilities.shape} by {probabilities.shape}. "
            f"Give those of the same images and classes."
        )
    pair = _Pair(labels, probabilities, before)
    edge = pair.edge()
    limited, edge_before = _limited(edge), 0.0 if before is None else _limited(before.step.edge)
    alpha = math.atanh(limited)
    left = (1.0 - limited) * (1.0 + limited) / ((1.0 - edge_before) * (1.0 + edge_before))  # 1 - gamma^2
    gamma = math.copysign(math.sqrt(abs(1.0 - left)), 1.0 - left)
    covariance, bound_covariance = pair.covariances(alpha)
    best_alpha, best_z = pair.line_search(alpha)
    margins = pair.image_margins()
    return BoostingStep(
        step=0 if before is None else before.step.step + 1,
        edge=edge,
        gamma=gamma,
        alpha=alpha,
        covariance=covariance,
        bound_covariance=bound_covariance,
        weak_learning=edge > 0.0 and gamma > gamma_threshold and covariance <= 0.0,
        z=pair.z(alpha),
        best_alpha=best_alpha,
        best_z=best_z,
        bound=(probabilities.shape[1] - 1 if before is None else before.step.bound) * math.sqrt(left),
        train_error=pair.error(),
        margins=tuple(float(quantile) for quantile in np.quantile(margins, MARGIN_QUANTILES)),
    )


class _Pair:
    """A network and the one before it over the same images, of which only a part at a time is made float64."""

    def __init__(self, labels: Labels, probabilities: Probabilities, before: Hypothesis | None) -> None:
        self._labels = labels
        self._probabilities = probabilities
        self._before = before
        self._alpha_before = 0.0 if before is None else before.step.alpha

    def edge(self) -> float:
        """The mean of the new margins under the weights that the network before leaves."""
        sum_weights = sum_margins = 0.0
        for new, old, others in self._margins():
            weights = np.exp(-self._alpha_before * old) * others
            sum_weights += float(weights.sum())
            sum_margins += float((weights * new).sum())
        return sum_margins / sum_weights

    def covariances(self, alpha: float) -> tuple[float, float]:
        """Under the same weights, of exp(-M_{t+1}) and exp(M_t), and with the alphas before the margins."""
        if self._before is None:
            return 0.0, 0.0  # of a constant
        plain, scaled = _Covariance(), _Covariance()
        for new, old, others in self._margins():
            weights = np.exp(-self._alpha_before * old) * others
            plain.take(weights, np.exp(-new), np.exp(old))
            scaled.take(weights, np.exp(-alpha * new), np.exp(self._alpha_before * old))
        return plain.value, scaled.value

    def z(self, alpha: float) -> float:
        """Z/m at any alpha."""
        sums = (float((np.exp(-alpha * new) * others).sum()) for new, _, others in self._margins(old=False))
        return sum(sums) / len(self._labels)

    def line_search(self, alpha: float) -> tuple[float, float]:
        """The alpha in [0, 30] with the least Z/m, and that; never more than at the alpha given, where that is one."""
        from scipy.optimize import minimize_scalar  # as in growres.analysis.paired

        found = minimize_scalar(
            lambda alpha: math.log(self.z(alpha)),
            bounds=(0.0, _LARGEST_ALPHA),
            method="bounded",
            options={"xatol": 1e-3},
        )
        candidates = [float(found.x), min(max(alpha, 0.0), _LARGEST_ALPHA)]
        least, best = min((self.z(candidate), candidate) for candidate in candidates)
        return best, least

    def image_margins(self) -> NDArray[np.float64]:
        """For each image, the least margin over another class."""
        return np.concatenate(
            [np.where(others, new, np.inf).min(axis=1) for new, _, others in self._margins(old=False)]
        )

    def error(self) -> float:
        """The share of images whose largest probability is not the label's; of equal ones the first counts."""
        predictions = (self._probabilities[rows].argmax(axis=1) for rows in self._parts())
        wrong = sum(
            int((found != self._labels[rows]).sum()) for found, rows in zip(predictions, self._parts(), strict=True)
        )
        return wrong / len(self._labels)

    def _margins(
        self, *, old: bool = True
    ) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]]:
        """Of each part of the images, (n, K): the new margins, the old ones (zeros for none), which are of others."""
        for rows in self._parts():
            labels = self._labels[rows]
            new = _margins_of(self._probabilities[rows], labels)
            before = self._before if old else None
            others = np.ones(new.shape, dtype=np.bool_)
            others[np.arange(len(labels)), labels] = False
            yield new, np.zeros_like(new) if before is None else _margins_of(before.probabilities[rows], labels), others

    def _parts(self) -> Iterator[slice]:
        at_once = max(1, _ENTRIES_AT_ONCE // self._probabilities.shape[1])
        for start in range(0, len(self._labels), at_once):
            yield slice(start, start + at_once)


class _Covariance:
    """A weighted covariance that is summed up part by part."""

    def __init__(self) -> None:
        self._sums = np.zeros(4)

    def take(self, weights: NDArray[np.float64], left: NDArray[np.float64], right: NDArray[np.float64]) -> None:
        """Takes in the next part of the pairs."""
        weighted = weights * left
        self._sums += (weights.sum(), weighted.sum(), (weights * right).sum(), (weighted * right).sum())

    @property
    def value(self) -> float:
        total, left, right, product = (float(figure) for figure in self._sums)
        of_means = (left / total) * (right / total)
        covariance = product / total - of_means
        return 0.0 if abs(covariance) <= _ROUNDING * of_means else covariance


def _margins_of(probabilities: Probabilities, labels: Labels) -> NDArray[np.float64]:
    exact = probabilities.astype(np.float64)
    return exact[np.arange(len(labels)), labels][:, None] - exact


def _limited(edge: float) -> float:
    return min(max(edge, -_LARGEST_EDGE), _LARGEST_EDGE)


def _check(labels: Labels, probabilities: Probabilities) -> None:
    if labels.ndim != 1 or probabilities.ndim != 2 or len(labels) != len(probabilities) or len(labels) == 0:
        raise AnalysisError(
            f"Cannot take probabilities of shape {probabilities.shape} for labels of shape {labels.shape}. "
            f"Give (N, K) and (N,), with one image at least."
        )
    num_classes = probabilities.shape[1]
    if num_classes < 2 or labels.min() < 0 or labels.max() >= num_classes:
        raise AnalysisError(
            f"Cannot take labels from {labels.min()} to {labels.max()} for {num_classes} classes. "
            f"Give labels from 0 to K - 1, of two classes at least."
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~((probabilities.min(axis=1) >= 0.0) & (np.abs(sums - 1.0) <= _SUM_TOLERANCE))
    if wrong.any():
        row = int(wrong.argmax())
        raise AnalysisError(
            f"Row {row} is no softmax: it sums to {sums[row]:g}, and its least value is {probabilities[row].min():g}. "
            f"Give probabilities, not logits."
        )


def _held_in_words(analysis: BoostingAnalysis) -> str:
    total = len(analysis.steps)
    condition = f"the weak-learning condition (gamma > {analysis.gamma_threshold:g} and a covariance of at most 0)"
    if not analysis.failed_steps:
        return f"At all {total} steps {condition} held." if total > 1 else f"At the one step {condition} held."
    failed = [str(step) for step in analysis.failed_steps]
    if len(failed) > _MOST_STEPS_NAMED:
        failed = [*failed[:_MOST_STEPS_NAMED], f"{len(failed) - _MOST_STEPS_NAMED} more"]
    return f"At {analysis.num_holding} of {total} steps {condition} held; it failed at step {listed(failed)}."


def _bound_in_words(last: BoostingStep) -> str:
    figures = f"training error {last.train_error:.2%}, least Z/m {last.best_z:.3g}, the theory's bound {last.bound:.3g}"
    if last.bound_is_vacuous:
        return f"Of the last network: {figures}, which says nothing: it is not below 1."
    if not last.bound_is_proved:
        return f"Of the last network: {figures}, which is not proved here: {listed(_unproved(last))}."
    return f"Of the last network: {figures}, which is below 1 and holds."


def _unproved(step: BoostingStep) -> list[str]:
    reasons = {"its edge is below 0": step.edge < 0.0, "its covariance term is above 0": step.bound_covariance > 0.0}
    return [reason for reason, holds in reasons.items() if holds]


def _standing_in_words(analysis: BoostingAnalysis) -> str:
    if analysis.why_diagnostic is None:
        return "Earlier blocks stayed as they were, as the theory assumes."
    return f"This is a diagnostic, not a certificate: {analysis.why_diagnostic}."
