from __future__ import annotations

from typing import Any

from growres.report.lineage import Ancestor, ancestors


def step(number: int, verdict: str, **more: Any) -> dict[str, Any]:
    return {
        "step": number,
        "kind": "append",
        "round": number,
        "stage": 0,
        "block": number,
        "train_error_candidate": 0.05,
        "val_error_before": 0.2,
        "val_error_candidate": 0.1,
        "val_error_control": None,
        "p_value": None,
        "verdict": verdict,
        "reason": "",
        "num_params_after": 100 + number,
        **more,
    }


def tree(steps: list[dict[str, Any]]) -> list[Ancestor]:
    states = [
        {"step": number, "num_blocks": 2, "num_params": 100, "val_error": 0.2} for number in range(len(steps) + 1)
    ]
    return ancestors(states, steps)


def shape(trunk: list[Ancestor]) -> list[tuple[int, list[int]]]:
    return [
        (ancestor.accepted.step if ancestor.accepted else 0, [declined.step for declined in ancestor.declined])
        for ancestor in trunk
    ]


def test_accepted_steps_are_the_trunk_and_the_others_hang_from_their_parents() -> None:
    trunk = tree([step(1, "rejected"), step(2, "accepted"), step(3, "undecided"), step(4, "accepted")])
    assert shape(trunk) == [(0, [1]), (2, [3]), (4, [])]
    assert trunk[1].accepted is not None and trunk[1].accepted.parent_step == 0
    assert trunk[1].declined[0].parent_step == 2


def test_proposals_of_one_round_have_the_same_parent_whichever_won() -> None:
    verdicts = ("rejected", "accepted", "rejected", "rejected")
    steps = [step(number, verdict, round=(1, 1, 1, 2)[number - 1]) for number, verdict in enumerate(verdicts, start=1)]
    assert shape(tree(steps)) == [(0, [1, 3]), (2, [4])]


def test_a_network_that_grew_nothing_yet_is_a_trunk_of_one() -> None:
    assert shape(tree([])) == [(0, [])]
