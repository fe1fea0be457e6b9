"""What a stored growth is evidence of, over rows made by hand: the values, and what each part says of them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from growres.analysis.points import error_variance
from growres.analysis.power import detectable_drop
from growres.report.evidence import (
    ACCEPTED,
    ALL,
    Boosting,
    Controls,
    Decay,
    FloorReport,
    Omitted,
    boosting_of,
    controls_of,
    decay_of,
    floor_of,
    grown_with_other_seeds,
)
from growres.report.growth import GrownNetwork, StoredGrowth, grown_networks, read_growth
from growres.store import NewExperiment, NewTrial, Recorder, Store, TrialRow
from growres.training.outputs import ImageOutputs
from tests.growres.cli.conftest import _grown_trial
from tests.growres.growth.constructed import outputs_of

NUM_IMAGES = 1000
FALLING = (0.4, 0.3, 0.23, 0.18, 0.14, 0.11, 0.09, 0.07, 0.06)


def step(number: int, error: float, *, round: int | None = None, **more: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "step": number,
        "kind": "append",
        "round": number if round is None else round,
        "stage": 0,
        "verdict": "accepted",
        "val_error_before": 0.5,
        "val_error_candidate": error,
        "val_error_control": None,
        "val_loss_before": 4 * FALLING[0],
        "val_loss_candidate": 4 * error,
        "train_error_candidate": 0.1,
    }
    return row | more


def networks_of(errors: Sequence[float], steps: Sequence[dict[str, Any]]) -> list[GrownNetwork]:
    curve = [{"step": 0, "num_blocks": 2, "val_error": errors[0], "train_flops_total": 1}]
    return grown_networks([*curve, *({"step": row["step"], "train_flops_total": 1} for row in steps)], steps)


def growth_of(
    errors: Sequence[float] = FALLING,
    steps: Sequence[dict[str, Any]] | None = None,
    *,
    config: dict[str, Any] | None = None,
    epochs: Sequence[dict[str, Any]] = (),
    outputs: Path = Path("nowhere"),
    procedure: str = "growth",
) -> StoredGrowth:
    """A growth with these errors, each block accepted; or with these steps after the first error."""
    steps = [step(number, error) for number, error in enumerate(errors[1:], start=1)] if steps is None else list(steps)
    absent = {field.name: None for field in dataclasses.fields(TrialRow)}
    given = {"id": "abc-1", "seed": 0, "procedure": procedure, "status": "succeeded", "config": config or {}}
    return StoredGrowth(
        trial=TrialRow(**(absent | given)),  # type: ignore[arg-type]
        host=None,
        num_validation_images=NUM_IMAGES,
        networks=networks_of(errors, steps),
        growth_steps=steps,
        epochs=list(epochs),
        outputs=outputs,
        digests={file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in outputs.glob("*.npz")},
    )


def decay(growth: StoredGrowth, quantity: Any = "error", **more: Any) -> Decay:
    found = decay_of(growth, quantity, ALL, level=0.9, **more)
    assert isinstance(found, Decay), found
    return found


def floor(growth: StoredGrowth) -> FloorReport:
    found = floor_of(growth)
    assert isinstance(found, FloorReport), found
    return found


# ---------------------------------------------------------------------------------------------- variances and seeds


def test_an_error_of_one_seed_has_the_variance_of_its_images_alone_and_this_is_said() -> None:
    found = decay(growth_of())
    assert found.variances == [error_variance(error, NUM_IMAGES) for error in FALLING]
    assert len(set(found.variances)) == len(FALLING)
    assert found.seed_spread is None
    assert found.weighting == "Weighted by binomial variance alone; seed variance unknown: one seed."


def test_a_loss_has_the_variance_of_a_mean_over_the_images_in_proportion_to_it(tmp_path: Path) -> None:
    losses = np.array([1.0, 3.0] * (NUM_IMAGES // 2))
    outputs_of(np.zeros(NUM_IMAGES, dtype=np.bool_), losses=losses).save(tmp_path / "validation.npz")
    found = decay(growth_of(outputs=tmp_path), "loss")
    variation = losses.std(ddof=1) / 2.0
    assert found.variances == pytest.approx([(variation * 4 * error) ** 2 / NUM_IMAGES for error in FALLING])


def test_other_seeds_widen_every_variance_by_what_they_differ_at_the_same_number_of_blocks() -> None:
    others = [[error + 0.02 for error in FALLING], [error - 0.02 for error in FALLING[:4]]]
    networks = [networks_of(one, [step(number, error) for number, error in enumerate(one[1:], 1)]) for one in others]
    found = decay(growth_of(), other_seeds=networks)
    squares, dof = 0.0, 0
    for place, own in enumerate(FALLING):
        group = np.array([own, *(one[place] for one in others if place < len(one))])
        squares += ((group - group.mean()) ** 2).sum() / error_variance(float(group.mean()), NUM_IMAGES)
        dof += len(group) - 1
    assert found.seed_spread is not None and found.seed_spread.ratio == pytest.approx(squares / dof)
    assert found.variances == pytest.approx(
        [(1 + squares / dof) * error_variance(error, NUM_IMAGES) for error in FALLING]
    )
    assert "from 3 seeds of this variant. All see the same images" in found.weighting
    assert found.gain.upper - found.gain.lower > decay(growth_of()).gain.upper - decay(growth_of()).gain.lower


def test_of_several_networks_of_a_seed_with_as_many_blocks_the_first_is_compared() -> None:
    other = networks_of(
        [0.4, 0.3, 0.2], [step(1, 0.35, round=1, verdict="rejected"), step(2, 0.2, round=2), step(3, 0.1, round=3)]
    )
    found = decay(growth_of(), other_seeds=[other])
    pairs = [(0.4, 0.4), (0.3, 0.35), (0.23, 0.1)]  # two, three and four blocks
    squares = [((a - b) ** 2 / 2) / error_variance((a + b) / 2, NUM_IMAGES) for a, b in pairs]
    assert found.seed_spread is not None and found.seed_spread.ratio == pytest.approx(sum(squares) / 3)


def epoch(growth_step: int, replicate: int, number: int, error: float, arm: str = "candidate") -> dict[str, Any]:
    return {
        "growth_step": growth_step, "arm": arm, "replicate": replicate, "epoch": number, "val_error": error,
        "val_loss": 4 * error,
    }  # fmt: skip


REPLICATED = [
    epoch(1, 0, 1, 0.9),
    epoch(1, 0, 2, 0.3),
    epoch(1, 0, 1, 0.8, "control"),
    epoch(1, 1, 1, 0.9),
    epoch(1, 1, 2, 0.36),
    epoch(2, 0, 1, 0.23),
]


def test_without_other_seeds_the_replicates_of_a_proposal_tell_of_them() -> None:
    found = decay(growth_of(epochs=REPLICATED))
    assert found.seed_spread is not None
    assert found.seed_spread.ratio == pytest.approx(0.06**2 / 2 / error_variance(0.33, NUM_IMAGES))
    assert "from 1 proposal with up to 2 replicates" in found.weighting
    with_seed = decay(growth_of(epochs=REPLICATED), other_seeds=[networks_of([0.42], [])])
    assert with_seed.seed_spread is not None and with_seed.seed_spread.source == "seeds"


def test_the_noise_floor_knows_of_replicates_as_the_rule_did_and_of_no_other_trial() -> None:
    assert floor(growth_of()).seed_spread is None
    spread = floor(growth_of(epochs=REPLICATED)).seed_spread
    assert spread is not None and spread == decay(growth_of(epochs=REPLICATED)).seed_spread


def test_the_other_seeds_are_those_of_the_variant_at_its_point_of_the_sweep(home: Path) -> None:
    def trial(variant: str, seed: int, point: int) -> NewTrial:
        config = {"sweep_point": {"lr": point}, "model": {"name": "preact_resnet", "blocks": [1, 1]}}
        return NewTrial(variant=variant, seed=seed, procedure="growth", model="preact_resnet", config=config)

    trials = (trial("a", 0, 1), trial("a", 1, 1), trial("a", 2, 1), trial("a", 1, 2), trial("b", 1, 1))
    with Store.open() as store:
        experiment_id = store.add_experiment(NewExperiment(name="e", spec_text="", spec={}, trials=trials))
        recorder = Recorder(None, home / "spool.jsonl")
        for number in (1, 2, 4, 5):  # the third has not begun
            for event in _grown_trial(0.01 * number):
                recorder.record(f"{experiment_id}-{number}", 1, event)
        recorder.close()
        growth = read_growth(store, f"{experiment_id}-1")
        (other,) = grown_with_other_seeds(store, growth)
    assert [network.val_error for network in other] == [0.08, 0.02, 0.09]


# ------------------------------------------------------------------------------------------------------- the series


def test_the_accepted_series_is_the_shallow_network_and_what_was_accepted() -> None:
    verdicts = ["accepted", "rejected", "accepted", "rejected", "accepted"]
    steps = [step(number, FALLING[number], verdict=verdict) for number, verdict in enumerate(verdicts, start=1)]
    found = decay_of(growth_of(FALLING, steps), "error", ACCEPTED, level=0.9)
    assert isinstance(found, Decay)
    assert [network.step for network in found.networks] == [0, 1, 3, 5]
    assert found.gain.after == 5


def test_an_accepted_series_that_is_too_short_or_the_same_as_all_is_left_out_for_that_reason() -> None:
    rejected = [step(1, 0.3), *(step(number, 0.3, verdict="rejected") for number in range(2, 6))]
    short = decay_of(growth_of(FALLING, rejected), "error", ACCEPTED, level=0.9)
    assert isinstance(short, Omitted) and short.reason.startswith("Cannot fit a decay law to 2 points")
    same = decay_of(growth_of(), "error", ACCEPTED, level=0.9)
    assert same == Omitted("every proposal was accepted, so that these are the same networks")


# ------------------------------------------------------------------------------------------------------ noise floor

FLAT = (0.1,) * 9


def test_the_noise_floor_is_told_by_the_trials_own_settings() -> None:
    settings = {"growth": {"stop": {"noise_floor": {"min_points": 12, "alpha": 0.01, "power": 0.9}}}}
    ours, default = floor(growth_of(FLAT, config=settings)), floor(growth_of(FLAT))
    assert (ours.alpha, ours.power, ours.reached) == (0.01, 0.9, None)
    assert ours.detectable_drop == detectable_drop(NUM_IMAGES, 0.1, alpha=0.01, power=0.9)
    assert "cannot be said yet: the rule asks for 12 measured networks, and there are 9" in ours.sentence
    assert (default.alpha, default.power, default.reached) == (0.05, 0.8, True)
    assert default.detectable_drop == detectable_drop(NUM_IMAGES, 0.1)


def test_the_label_noise_of_the_data_set_explains_an_error_unless_the_rule_names_another() -> None:
    def reached(of_data: float, **rule: Any) -> tuple[bool | None, str]:
        config = {"dataset": {"label_noise": of_data}, "growth": {"stop": {"noise_floor": rule}}}
        found = floor(growth_of((0.2, 0.1), config=config))
        return found.reached, found.sentence

    assert reached(0.0)[0] is None
    told, sentence = reached(0.1)
    assert told is True and "cannot be told from the 10 % that wrong labels explain" in sentence
    assert reached(0.1, label_noise=0.0)[0] is None
    assert reached(0.0, label_noise=0.1)[0] is True


def test_many_networks_at_two_numbers_of_blocks_reach_no_noise_floor() -> None:
    refused = [step(number, 0.1, verdict="rejected") for number in range(1, 9)]
    found = floor(growth_of((0.1,), refused))
    assert found.reached is None
    assert "the rule asks for networks of 4 different numbers of blocks, and there are 2." in found.sentence


# --------------------------------------------------------------------------------------- control arms and boosting


def test_the_candidates_of_a_round_share_a_control_and_count_once() -> None:
    steps = [
        step(1, 0.30, round=1, val_error_control=0.36),
        step(2, 0.34, round=1, val_error_control=0.36, verdict="rejected"),
        step(3, 0.25, round=2, val_error_control=0.26),
        step(4, 0.25, round=3, val_error_control=0.23, verdict="rejected"),
    ]
    found = controls_of(growth_of((0.4,), steps), level=0.9)
    assert isinstance(found, Controls) and found.accepted is not None
    assert (found.every.num_steps, found.every.num_rounds) == (4, 3)
    assert found.every.difference == pytest.approx((0.04 + 0.01 - 0.02) / 3)
    assert (found.accepted.num_steps, found.accepted.num_rounds) == (2, 2)


@pytest.mark.parametrize(
    ("procedure", "train", "why"),
    [
        ("growth", "all", "all weights moved"),
        ("growth", "new_block_then_all", "all weights moved"),
        ("growth", "new_block", "a block at the end of its stage changes"),
        ("layerwise", None, None),
        ("boostresnet", None, None),
    ],
)
def test_why_boosting_is_a_diagnostic_follows_from_what_was_trained(
    tmp_path: Path, procedure: str, train: str | None, why: str | None
) -> None:
    two = outputs_of(np.array([False, True, False]))
    for number in (0, 1):
        saved = dataclasses.replace(two, probabilities=np.full((3, 2), 0.5, dtype=np.float16))
        assert isinstance(saved, ImageOutputs)
        saved.save(tmp_path / f"train-{number:04d}.npz")
    config = {"growth": {"train": train}} if train else {}
    found = boosting_of(growth_of((0.4, 0.3), config=config, outputs=tmp_path, procedure=procedure))
    assert isinstance(found, Boosting)
    if why is None:
        assert found.analysis.why_diagnostic is None
    else:
        assert (found.analysis.why_diagnostic or "").startswith(why)
