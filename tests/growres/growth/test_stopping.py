"""When growth ends: each rule over plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from growres.analysis.points import error_variance, seed_spread, seeds_in_words
from growres.config.experiment import StopConfig
from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent, TrialFinished
from growres.growth.procedure import Growth
from growres.growth.stopping import GrowthProgress, make_stop_rules, reason_to_stop
from tests.growres.growth.constructed import decided
from tests.replaying import through_a_file

NUM_VALIDATION = 60
"""In the images that make_context gives."""


def why(
    config: dict[str, Any], *, history: Sequence[GrowthStepDecided] = (), label_noise: float = 0.0, **progress: Any
) -> str | None:
    defaults: dict[str, Any] = {"val_error": 0.1, "num_blocks": 4, "epochs_trained": 20, "epochs_of_next_round": 5}
    rules = make_stop_rules(StopConfig.model_validate(config), label_noise=label_noise)
    return reason_to_stop(rules, GrowthProgress(history=history, **(defaults | progress)))


# ------------------------------------------------------------------------------------------------------ the simple ones


def test_patience_counts_rounds_and_not_their_proposals() -> None:
    first = [decided("rejected", round=1, stage=stage) for stage in range(3)]
    second = [decided("rejected", round=2, stage=stage) for stage in range(3)]
    assert why({"patience": 2}, history=first) is None
    assert "the last 6 proposals" in str(why({"patience": 2}, history=[*first, *second]))


def test_one_block_kept_among_a_rounds_proposals_makes_it_fruitful() -> None:
    for place in range(3):
        steps = [decided("accepted" if place == stage else "rejected", round=1, stage=stage) for stage in range(3)]
        later = [decided("rejected", round=2, stage=stage) for stage in range(3)]
        assert why({"patience": 1}, history=steps) is None
        assert why({"patience": 2}, history=[*steps, *later]) is None


@pytest.mark.parametrize(("key", "spent"), [("max_flops", "train_flops"), ("max_seconds", "wall_s")])
def test_a_round_is_begun_only_below_the_budget_of_flops_or_seconds(key: str, spent: str) -> None:
    assert why({key: 1000}, **{spent: 999}) is None
    assert str(why({key: 1000}, **{spent: 1000})).startswith(f"{key}: ")
    assert str(why({key: 1000}, **{spent: 5000})).startswith(f"{key}: ")


def test_a_reached_goal_is_told_before_an_exhausted_budget() -> None:
    assert str(why({"max_epochs": 20, "target_error": 0.1})).startswith("target_error")


# ------------------------------------------------------------------------------------------------------ the noise floor


def test_where_nothing_is_wrong_there_is_nothing_to_gain() -> None:
    assert "none of the 500 validation images is wrong" in str(
        why({"noise_floor": {}}, val_error=0.0, num_validation=500)
    )


def test_an_error_that_the_wrong_labels_explain_ends_the_growth() -> None:
    # Of 1,000 images 100 are labelled wrongly; Wilson's 90 % interval of 115 wrong ones reaches down to 0.0994.
    def stops(num_wrong: int, **noise: Any) -> bool:
        reason = why({"noise_floor": noise}, val_error=num_wrong / 1000, num_validation=1000, label_noise=0.1)
        share = 100 * noise.get("label_noise", 0.1)
        return reason is not None and f"cannot be told from the {share:g} % that wrong labels explain" in reason

    assert stops(80) and stops(100) and stops(115)
    assert not stops(117) and not stops(200)
    assert stops(117, confidence=0.99)
    assert not stops(80, label_noise=0.0)  # what the user knows goes before what the data set was given
    assert stops(200, label_noise=0.2)


def test_the_same_error_on_more_images_is_no_longer_explained() -> None:
    noisy: dict[str, Any] = {"val_error": 0.12, "label_noise": 0.1}
    assert why({"noise_floor": {}}, num_validation=300, **noisy) is not None
    assert why({"noise_floor": {}}, num_validation=3000, **noisy) is None


def decay(blocks: Sequence[int], *, floor: float, height: float, rate: float, num_images: int) -> list[Any]:
    """Blocks with errors that fall exponentially, measured on so many images."""
    generator = np.random.default_rng(0)
    errors = floor + height * np.exp(-rate * (np.asarray(blocks) - 3))
    return list(zip(blocks, generator.binomial(num_images, errors) / num_images, strict=True))


@pytest.mark.parametrize("num_images", [500, 5000])
def test_a_curve_that_has_long_been_flat_is_at_the_noise_floor(num_images: int) -> None:
    measured = decay(range(3, 16), floor=0.06, height=0.1, rate=1.0, num_images=num_images)
    reason = why({"noise_floor": {}}, val_error=0.06, num_blocks=15, num_validation=num_images, measured=measured)
    assert reason is not None and f"{num_images:,} validation images can tell from noise" in reason
    assert "one more step (block 16 and its epochs) is expected to lower it" in reason
    assert reason.endswith("; seed variance unknown: one seed")


def test_growth_goes_on_while_the_split_could_see_the_drop_that_is_expected() -> None:
    def reason(num_images: int) -> str | None:
        measured = decay(range(3, 12), floor=0.0, height=0.6, rate=0.12, num_images=num_images)
        error = measured[-1][1]
        return why({"noise_floor": {}}, val_error=error, num_blocks=11, num_validation=num_images, measured=measured)

    assert reason(5000) is None and reason(20_000) is None
    assert reason(500) is not None  # two points of a hundred, which 500 images cannot tell from noise


def test_a_flat_curve_of_few_points_ends_no_growth() -> None:
    measured = decay([3, *range(4, 10)], floor=0.06, height=0.0, rate=1.0, num_images=5000)
    progress = {"val_error": 0.06, "num_blocks": 9, "num_validation": 5000}
    assert why({"noise_floor": {}}, measured=measured, **progress) is None
    assert why({"noise_floor": {"min_points": 7}}, measured=measured, **progress) is not None


@pytest.mark.parametrize(("num_block_counts", "stops"), [(2, False), (3, False), (4, True)])
def test_points_at_fewer_than_four_numbers_of_blocks_end_no_growth_however_many(
    num_block_counts: int, stops: bool
) -> None:
    # A parent that refuses every candidate: how the error falls on with more blocks, none of them has shown.
    depths = range(3, 3 + num_block_counts)
    measured = [(blocks, 0.06) for blocks in depths] + [(depths[-1], 0.06 + 1 / 5000)] * (12 - num_block_counts)
    progress = {"val_error": 0.06, "num_blocks": 3, "num_validation": 5000, "measured": measured}
    assert (why({"noise_floor": {}}, **progress) is not None) == stops


def test_replicates_that_scatter_widely_leave_room_for_a_gain() -> None:
    measured = decay(range(3, 14), floor=0.0, height=0.6, rate=0.3, num_images=2000)
    progress = {"val_error": measured[-1][1], "num_blocks": 13, "num_validation": 2000, "measured": measured}
    alike = [[0.1, 0.1 + 1 / 2000]] * 4
    wide = [[0.1, 0.2], [0.12, 0.05]]
    assert "seed variance unknown" in str(why({"noise_floor": {}}, **progress))
    reason = str(why({"noise_floor": {}}, replicates=alike, **progress))
    assert reason.endswith(" times that of the images, from 4 proposals with up to 2 replicates")
    assert why({"noise_floor": {}}, replicates=wide, **progress) is None


def test_a_growth_gives_its_rule_the_replicates_that_it_trained_also_when_resumed(make_trial, make_context) -> None:
    trial = make_trial(
        procedure="growth",
        model={"name": "preact_resnet", "blocks": [1, 1], "widths": [2, 4]},
        training={"batch_size": 48},
        growth={
            "seed_epochs": 1,
            "epochs_per_step": 1,
            "control": False,
            "accept": {"name": "always", "replicates": 2},
            "stop": {"noise_floor": {"min_points": 4}, "max_blocks": 6},
        },
    )
    events: list[ProcedureEvent] = []
    state: dict[str, Any] | None = None
    while not (events and isinstance(events[-1], TrialFinished)):
        growth = Growth(trial, make_context(trial))
        if state is not None:
            growth.load_state_dict(state)
        events.append(next(growth.run()))
        state = through_a_file(growth.state_dict())
    assert events[-1].reason.startswith("noise_floor: ")
    ends = [event.val_error for event in events if isinstance(event, EpochFinished) and event.arm == "candidate"]
    replicates = [ends[place : place + 2] for place in range(0, len(ends), 2)]  # an epoch each, in their order
    spread = seed_spread(replicates, lambda error: error_variance(error, NUM_VALIDATION), source="replicates")
    assert events[-1].reason.endswith(f"; {seeds_in_words(spread)}")


def test_a_network_that_gets_everything_wrong_has_no_forecast_to_stop_by() -> None:
    measured = [(blocks, 1.0) for blocks in range(3, 13)]
    progress = {"val_error": 1.0, "num_blocks": 12, "num_validation": 60, "measured": measured}
    assert why({"noise_floor": {}}, **progress) is None


def test_a_validation_split_that_could_show_no_drop_at_all_is_told_in_words() -> None:
    measured = [(blocks, 1 / 60) for blocks in range(3, 13)]
    progress = {"val_error": 1 / 60, "num_blocks": 12, "num_validation": 60, "measured": measured}
    reason = str(why({"noise_floor": {}}, **progress))
    assert reason.startswith("noise_floor") and "inf" not in reason
