from __future__ import annotations

from typing import Any

from growres.report.growth import grown_networks

SHALLOW = {"step": 0, "num_blocks": 2, "val_error": 0.5, "train_flops_total": 100}


def step(number: int, round_: int, verdict: str, error: float | None, **more: Any) -> dict[str, Any]:
    row = {
        "step": number,
        "kind": "append",
        "round": round_,
        "stage": 0,
        "verdict": verdict,
        "val_error_before": 0.5,
        "val_error_candidate": error,
        "val_error_control": None,
        "val_loss_before": 1.5,
        "val_loss_candidate": 1.0,
        "train_error_candidate": 0.1,
    }
    return row | more


def curve(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [SHALLOW, *({"step": row["step"], "train_flops_total": 100 + 10 * row["step"]} for row in steps)]


def test_proposals_of_one_round_have_one_block_more_than_the_parent_that_they_share() -> None:
    steps = [
        step(1, 1, "accepted", 0.3),
        step(2, 1, "rejected", 0.4),
        step(3, 2, "rejected", 0.35),
        step(4, 2, "rejected", 0.36),
        step(5, 3, "accepted", 0.2),
    ]
    networks = grown_networks(curve(steps), steps)
    assert [one.num_blocks for one in networks] == [2, 3, 3, 4, 4, 4]
    assert [one.train_flops_total for one in networks] == [100, 110, 120, 130, 140, 150]


def test_a_block_taken_away_is_one_less_and_counts_for_no_law() -> None:
    steps = [step(1, 1, "accepted", 0.3), step(2, 2, "accepted", 0.3, kind="remove"), step(3, 3, "rejected", 0.3)]
    networks = grown_networks(curve(steps), steps)
    assert [one.num_blocks for one in networks] == [2, 3, 2, 3]
    assert [one.is_grown for one in networks] == [True, True, False, True]


def test_what_diverged_or_was_only_screened_counts_for_no_law() -> None:
    steps = [
        step(1, 1, "rejected", None, val_loss_candidate=None),
        step(2, 1, "rejected", 0.3, train_error_candidate=None),
        step(3, 1, "rejected", float("nan")),
    ]
    networks = grown_networks(curve(steps), steps)
    assert [one.is_grown for one in networks] == [True, False, False, False]
    assert networks[3].val_error is None


def test_where_the_first_blocks_are_not_known_no_later_ones_are() -> None:
    steps = [step(1, 1, "accepted", 0.3)]
    networks = grown_networks([SHALLOW | {"num_blocks": None}, *curve(steps)[1:]], steps)
    assert [one.num_blocks for one in networks] == [None, None]


def test_the_shallow_networks_loss_is_the_one_that_the_first_step_began_with() -> None:
    assert grown_networks(curve([step(1, 1, "rejected", 0.6)]), [step(1, 1, "rejected", 0.6)])[0].val_loss == 1.5
    assert grown_networks([SHALLOW], [])[0].val_loss is None
