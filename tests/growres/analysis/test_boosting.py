"""Boosting theory's figures on random networks, and on such as a training would leave."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from growres.analysis.boosting import (
    BoostingAnalysis,
    Features,
    Hypothesis,
    analyze_boosting,
    next_step,
    telescoped_bound,
)
from growres.errors import AnalysisError

Array = NDArray[np.float64]


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def random_networks(
    seed: int, *, num_networks: int = 6, num_classes: int = 10
) -> tuple[NDArray[np.int64], list[Array]]:
    """Networks that have nothing to do with each other or with the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=300)
    return labels, [softmax(2 * rng.normal(size=(300, num_classes))) for _ in range(num_networks)]


def trained_networks(
    seed: int, *, num_networks: int = 6, num_classes: int = 10
) -> tuple[NDArray[np.int64], list[Array]]:
    """Networks that share their noise, as a grown one does with its parent, and know more of the labels each time."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(num_classes, size=300)
    shared = rng.normal(size=(300, num_classes))
    known = np.eye(num_classes)[labels]
    return labels, [
        softmax(shared + 0.3 * rng.normal(size=shared.shape) + 1.5 * (number + 1) * known)
        for number in range(num_networks)
    ]


EITHER = pytest.mark.parametrize("networks", [random_networks, trained_networks])
SEEDS = pytest.mark.parametrize("seed", range(5))


@EITHER
@SEEDS
def test_the_surrogate_bounds_the_training_error_whatever_held(networks, seed: int) -> None:
    labels, outputs = networks(seed)
    for step, probabilities in zip(analyze_boosting(labels, outputs).steps, outputs, strict=True):
        assert step.train_error == (probabilities.argmax(axis=1) != labels).mean()
        assert step.train_error <= step.best_z <= len(probabilities[0]) - 1
        assert step.best_z <= step.z or step.alpha < 0


@EITHER
@SEEDS
def test_the_theorys_bound_holds_where_its_covariance_term_does(networks, seed: int) -> None:
    labels, outputs = networks(seed)
    proved = [step for step in analyze_boosting(labels, outputs).steps if step.bound_is_proved]
    assert proved or networks is random_networks
    for step in proved:
        assert step.train_error <= step.z <= step.bound * (1 + 1e-9)


def test_without_it_the_theorys_bound_may_be_broken() -> None:
    # What the network before got wrong is right now, and something that it got right is wrong.
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    outputs = [np.array([right, right, wrong]), np.array([wrong, right, right])]
    _, step = analyze_boosting(np.zeros(3, dtype=np.int64), outputs).steps
    assert step.gamma > 0 and step.bound_covariance > 0
    assert not step.bound_is_proved and not step.weak_learning
    assert step.z > step.bound


@EITHER
@SEEDS
def test_the_product_of_the_gammas_telescopes_to_the_last_edge(networks, seed: int) -> None:
    labels, outputs = networks(seed)
    product = 9.0
    for step in analyze_boosting(labels, outputs).steps:
        product *= math.sqrt(1 - math.copysign(step.gamma**2, step.gamma))
        assert step.bound == pytest.approx(product, rel=1e-9)
        assert step.bound == pytest.approx(telescoped_bound(step.edge, 10), rel=1e-9)


def test_gamma_is_negative_where_the_edge_shrinks() -> None:
    labels, outputs = trained_networks(0, num_networks=3)
    better, worse = analyze_boosting(labels, outputs), analyze_boosting(labels, outputs[::-1])
    assert all(step.gamma > 0 for step in better.steps)
    assert [step.gamma > 0 for step in worse.steps] == [True, False, False]
    assert worse.failed_steps == (1, 2) and worse.num_holding == 1


def test_the_figures_follow_the_definitions_written_out() -> None:
    labels, (first, second) = trained_networks(1, num_networks=2, num_classes=4)
    _, step = analyze_boosting(labels, [first, second]).steps
    before = analyze_boosting(labels, [first]).steps[0]
    cost, margins, old = np.zeros((300, 4)), np.zeros((300, 4)), np.zeros((300, 4))
    for image, label in enumerate(labels):
        for other in range(4):
            old[image, other] = first[image, label] - first[image, other]
            margins[image, other] = second[image, label] - second[image, other]
            if other != label:
                cost[image, other] = math.exp(-before.alpha * old[image, other])
    weights = cost / cost.sum()
    costs_of_labels = cost.copy()
    costs_of_labels[np.arange(300), labels] = -cost.sum(axis=1)
    assert step.edge == pytest.approx(-(costs_of_labels * second).sum() / cost.sum())
    assert step.edge == pytest.approx((weights * margins).sum())
    assert step.gamma == pytest.approx(math.sqrt((step.edge**2 - before.edge**2) / (1 - before.edge**2)))
    assert step.alpha == pytest.approx(0.5 * math.log((1 + step.edge) / (1 - step.edge)))
    assert step.covariance == pytest.approx(covariance_of(weights, np.exp(-margins), np.exp(old)))
    with_alphas = covariance_of(weights, np.exp(-step.alpha * margins), np.exp(before.alpha * old))
    assert step.bound_covariance == pytest.approx(with_alphas)
    assert abs(with_alphas - step.covariance) > 0.1 * abs(step.covariance)  # the two are not mistaken for each other


def covariance_of(weights: Array, left: Array, right: Array) -> float:
    return float((weights * left * right).sum() - (weights * left).sum() * (weights * right).sum())


def test_two_classes_are_the_binary_theory() -> None:
    labels, outputs = trained_networks(2, num_classes=2)
    signs = 1.0 - 2.0 * labels
    weights, edge_before, exponents = np.full(300, 1 / 300), 0.0, np.zeros(300)
    for step, probabilities in zip(analyze_boosting(labels, outputs).steps, outputs, strict=True):
        module = probabilities[:, 0] - probabilities[:, 1]
        edge = float((weights * signs * module).sum())
        assert step.edge == pytest.approx(edge)
        assert step.gamma == pytest.approx(math.sqrt((edge**2 - edge_before**2) / (1 - edge_before**2)))
        assert step.bound == pytest.approx(math.sqrt(1 - edge**2))
        weak = step.alpha * module - exponents  # h_t = alpha_{t+1} o_{t+1} - alpha_t o_t
        weights = weights * np.exp(-signs * weak)
        assert step.z == pytest.approx(np.exp(-signs * step.alpha * module).mean())
        weights, edge_before, exponents = weights / weights.sum(), edge, step.alpha * module


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_perfect_predictions_have_edge_one_and_a_bound_of_nothing(dtype: type) -> None:
    labels = np.arange(30) % 3
    perfect = np.eye(3, dtype=dtype)[labels]
    for step in analyze_boosting(labels, [perfect, perfect]).steps:
        assert step.edge == 1.0 and step.train_error == 0.0 and step.margins == (1.0,) * 5
        assert math.isfinite(step.gamma) and math.isfinite(step.alpha)
        assert step.bound < 1e-5 and step.best_z < 1e-9


def test_uniform_predictions_have_no_edge() -> None:
    labels = np.arange(40) % 4
    uniform = np.full((40, 4), 0.25)
    analysis = analyze_boosting(labels, [uniform, uniform])
    for step in analysis.steps:
        assert step.edge == step.gamma == step.alpha == 0.0
        assert step.bound == step.z == step.best_z == 3.0
    assert analysis.num_holding == 0 and analysis.failed_steps == (0, 1)


def test_a_network_that_votes_against_the_labels_is_no_weak_learner() -> None:
    labels = np.zeros(20, dtype=np.int64)
    (step,) = analyze_boosting(labels, [np.tile([0.1, 0.9], (20, 1))]).steps
    assert step.edge < 0 and step.alpha < 0
    assert not step.weak_learning and not step.bound_is_proved
    assert step.train_error == 1.0 <= step.best_z


def test_it_goes_on_from_the_network_before_as_it_would_have_without_a_stop() -> None:
    labels, outputs = trained_networks(3)
    steps = analyze_boosting(labels, outputs).steps
    assert next_step(labels, outputs[-1], Hypothesis(step=steps[-2], probabilities=outputs[-2])) == steps[-1]


def test_half_precision_in_files_gives_about_the_same_figures_whatever_the_parts(tmp_path: Path, monkeypatch) -> None:
    labels, outputs = trained_networks(4)
    exact = analyze_boosting(labels, outputs)
    monkeypatch.setattr("growres.analysis.boosting._ENTRIES_AT_ONCE", 70)
    for number, probabilities in enumerate(outputs):
        np.save(tmp_path / f"{number}.npy", probabilities.astype(np.float16))
    stored = (np.load(tmp_path / f"{number}.npy", mmap_mode="r") for number in range(len(outputs)))
    for step, close in zip(exact.steps, analyze_boosting(labels, stored).steps, strict=True):
        assert close.edge == pytest.approx(step.edge, abs=1e-3)
        assert close.best_z == pytest.approx(step.best_z, rel=1e-2)
        assert close.margins == pytest.approx(step.margins, abs=2e-3)


def test_the_sentence_says_what_held_and_what_the_bound_is_worth() -> None:
    labels, outputs = trained_networks(5)
    moving = analyze_boosting(labels, outputs[:2] + outputs[:1])
    assert "at 2 of 3 steps" in moving.sentence.lower() and "failed at step 2" in moving.sentence
    assert "says nothing" in moving.sentence and "diagnostic" in moving.sentence
    perfect = np.eye(10)[labels]
    fixed = analyze_boosting(labels, [outputs[0], perfect], features="fixed")
    assert "says nothing" not in fixed.sentence and "diagnostic" not in fixed.sentence
    assert isinstance(fixed, BoostingAnalysis) and fixed.steps[-1].bound_is_vacuous is False


def test_a_bound_that_is_not_proved_is_told_with_what_failed() -> None:
    right, wrong = [1.0, 0.0], [0.0, 1.0]

    def told(*networks: list[list[float]]) -> str:
        analysis = analyze_boosting(np.zeros(3, dtype=np.int64), [np.array(network) for network in networks])
        return analysis.sentence.split("the theory's bound ")[1].partition(", which ")[2]

    assert told([right, right, wrong]).startswith("is below 1 and holds.")
    assert told([wrong, wrong, right]).startswith("is not proved here: its edge is below 0.")
    swapped = [[right, right, wrong], [wrong, right, right]]
    assert told(*swapped).startswith("is not proved here: its covariance term is above 0.")
    worse = [[right, right, wrong], [right, wrong, wrong]]
    assert told(*worse).startswith("is not proved here: its edge is below 0 and its covariance term is above 0.")


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ("moved", "a diagnostic, not a certificate: all weights moved"),
        ("shifted", "a diagnostic, not a certificate: a block at the end of its stage changes what the blocks behind"),
        ("fixed", "Earlier blocks stayed as they were, as the theory assumes."),
    ],
)
def test_why_it_is_no_proof_follows_from_what_became_of_earlier_blocks(features: Features, words: str) -> None:
    labels, outputs = trained_networks(0, num_networks=2)
    analysis = analyze_boosting(labels, outputs, features=features)
    assert words in analysis.sentence
    assert (analysis.why_diagnostic is None) == (features == "fixed")


def test_of_many_failed_steps_the_first_eight_are_named() -> None:
    labels = np.arange(40) % 4
    uniform = np.full((40, 4), 0.25)
    assert "failed at step 0, 1, 2, 3, 4, 5, 6, 7 and 4 more." in analyze_boosting(labels, [uniform] * 12).sentence
    assert "failed at step 0 and 1." in analyze_boosting(labels, [uniform] * 2).sentence


@pytest.mark.parametrize(
    ("labels", "probabilities", "match"),
    [
        (np.array([0, 1]), np.full((3, 2), 0.5), r"\(3, 2\) for labels of shape \(2,\)"),
        (np.array([0, 2]), np.full((2, 2), 0.5), "labels from 0 to 2 for 2 classes"),
        (np.array([0, 1]), np.array([[0.5, 0.5], [3.0, -2.0]]), "Row 1 is no softmax"),
        (np.array([0, 1]), np.array([[np.nan, 0.5], [0.5, 0.5]]), "Row 0 is no softmax"),
    ],
)
def test_what_is_no_softmax_of_these_labels_is_refused(labels, probabilities, match: str) -> None:
    with pytest.raises(AnalysisError, match=match):
        analyze_boosting(labels, [probabilities])


def test_no_network_at_all_is_refused() -> None:
    with pytest.raises(AnalysisError, match="no network"):
        analyze_boosting(np.array([0]), [])


def test_networks_of_other_classes_do_not_follow_each_other() -> None:
    labels = np.array([0, 1])
    with pytest.raises(AnalysisError, match=r"Cannot follow probabilities of shape \(2, 2\) by \(2, 4\)"):
        analyze_boosting(labels, [np.full((2, 2), 0.5), np.full((2, 4), 0.25)])
