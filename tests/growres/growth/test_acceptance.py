"""Whether a block earned its place: the tests, their levels, and what they let through by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from growres.config.experiment import AcceptConfig
from growres.growth.acceptance import Acceptance, Comparison, Judgement, make_acceptance
from growres.training.outputs import ImageOutputs
from tests.growres.growth.constructed import outputs, outputs_of

_ACCEPT: TypeAdapter[AcceptConfig] = TypeAdapter(AcceptConfig)


def acceptance(most_rounds: int | None = None, **config: Any) -> Acceptance:
    return make_acceptance(_ACCEPT.validate_python(config), most_rounds=most_rounds)


def judged(rule: Acceptance, before: ImageOutputs, candidates: Sequence[ImageOutputs], **comparison: Any) -> Judgement:
    return rule.judge(Comparison(befores=[before] * len(candidates), candidates=candidates, **comparison))


def put_right(before: ImageOutputs, num_right: int, num_wrong: int) -> ImageOutputs:
    """Of the images that were wrong so many right, of those that were right so many wrong."""
    wrong = before.wrong.copy()
    wrong[np.flatnonzero(before.wrong)[:num_right]] = False
    wrong[np.flatnonzero(~before.wrong)[:num_wrong]] = True
    return outputs_of(wrong)


PARENT = outputs(0.3)


@pytest.mark.parametrize(
    ("num_right", "num_wrong", "verdict"),
    # P(5 of 5) = 0.031, P(4 of 4) = 0.063, P(15 or more of 20) = 0.021, P(14 or more of 20) = 0.058
    [(5, 0, "accepted"), (4, 0, "rejected"), (15, 5, "accepted"), (14, 6, "rejected"), (5, 15, "rejected")],
)
def test_mcnemar_accepts_at_the_exact_level(num_right: int, num_wrong: int, verdict: str) -> None:
    judgement = judged(acceptance(name="mcnemar"), PARENT, [put_right(PARENT, num_right, num_wrong)])
    assert judgement.verdict == verdict
    assert judgement.p_value is not None
    assert f"{num_right} images put right, {num_wrong} put wrong" in judgement.reason
    assert f"p = {judgement.p_value:.3g}, level 0.05" in judgement.reason


def test_a_loss_that_fell_is_accepted_only_where_the_error_did_not_rise() -> None:
    rule = acceptance(name="paired_loss", max_error_rise=0.01)
    lower = 1.0 - np.random.default_rng(0).uniform(0.0, 0.2, 100)
    same, risen, risen_a_little = (outputs(error, losses=lower) for error in (0.30, 0.32, 0.31))
    assert judged(rule, PARENT, [same]).verdict == "accepted"
    assert judged(rule, PARENT, [risen_a_little]).verdict == "accepted"
    guarded = judged(rule, PARENT, [risen])
    assert guarded.verdict == "rejected" and "the error rose" in guarded.reason
    assert guarded.p_value is not None and guarded.p_value < 0.001
    assert judged(rule, PARENT, [outputs(0.2, losses=2.0 - lower)]).verdict == "rejected"


@pytest.mark.parametrize("test", ["error_drop", "mcnemar", "paired_loss"])
def test_versus_control_asks_whether_the_block_helped_and_not_the_epochs(test: str) -> None:
    rule = acceptance(name="versus_control", test=test)
    drops = np.random.default_rng(0).uniform(0.0, 0.2, 100)
    low, high = outputs(0.1, losses=1.0 - drops), outputs(0.3)
    assert judged(rule, high, [low], controls=[low]).verdict == "rejected"
    assert judged(rule, high, [low], controls=[high]).verdict == "accepted"
    worse_than_parent = outputs(0.3, losses=1.0 - drops)
    assert judged(rule, outputs(0.05), [worse_than_parent], controls=[outputs(0.5, losses=2.0)]).verdict == "accepted"


def test_a_loss_that_rose_is_told_as_a_rise() -> None:
    judgement = judged(acceptance(name="paired_loss"), outputs(0.1, losses=0.5), [outputs(0.1, losses=0.75)])
    assert "val_loss rose by 0.2500" in judgement.reason and judgement.verdict == "rejected"


def test_always_keeps_a_block_that_did_harm() -> None:
    assert judged(acceptance(name="always"), PARENT, [outputs(0.9)]).verdict == "accepted"


@pytest.mark.parametrize(("before", "after", "min_drop"), [(0.10, 0.08, 0.02), (0.30, 0.29, 0.01), (0.57, 0.5, 0.07)])
def test_a_drop_of_just_the_least_that_counts_is_not_more_than_it(before: float, after: float, min_drop: float) -> None:
    rule = acceptance(name="error_drop", min_drop=min_drop)
    assert judged(rule, outputs(before), [outputs(after)]).verdict == "rejected"
    assert judged(rule, outputs(before), [outputs(after - 0.01)]).verdict == "accepted"
    guard = acceptance(name="paired_loss", max_error_rise=min_drop)
    calmer = outputs(before, losses=np.linspace(0.8, 0.9, 100))
    assert judged(guard, outputs(after), [calmer]).verdict == "accepted"


def level_of(judgement: Judgement) -> float:
    return float(judgement.reason.split("level ")[1].split(":")[0].split(" ")[0])


@pytest.mark.parametrize(
    ("spend", "round", "num_accepted", "level"),
    [
        ("none", 1, 0, 0.05),
        ("none", 7, 3, 0.05),
        ("alpha_spending", 1, 0, 0.05 * 6 / np.pi**2),
        ("alpha_spending", 4, 0, 0.05 * 6 / np.pi**2 / 16),
        ("alpha_spending", 4, 3, 0.05 * 6 / np.pi**2 / 16),
        ("holm", 1, 0, 0.05 / 10),
        ("holm", 7, 0, 0.05 / 10),
        ("holm", 7, 4, 0.05 / 6),
        ("holm", 11, 0, 0.0),
    ],
)
def test_alpha_is_spent_by_round_and_by_what_was_accepted(
    spend: str, round: int, num_accepted: int, level: float
) -> None:
    rule = acceptance(most_rounds=10, name="mcnemar", spend=spend)
    judgement = judged(rule, PARENT, [put_right(PARENT, 3, 2)], round=round, num_accepted=num_accepted)
    assert level_of(judgement) == pytest.approx(level, rel=0.01)


def test_the_level_is_shared_among_the_proposals_and_the_looks_of_a_round() -> None:
    candidates = [put_right(PARENT, 3, 2)] * 2
    rule = acceptance(name="mcnemar", replicates=2, max_replicates=5)  # four looks: at 2, 3, 4 and 5
    assert level_of(judged(rule, PARENT, candidates)) == pytest.approx(0.05 / 4, rel=0.01)
    assert level_of(judged(rule, PARENT, candidates, num_proposals=3)) == pytest.approx(0.05 / 12, rel=0.01)


ALPHA = 0.2
USELESS, USEFUL_FIRST, ALL_USEFUL = [False] * 6, [True] * 3 + [False] * 3, [True] * 6
"""Whether a round has a useful block among its proposals."""


@pytest.mark.parametrize(
    ("test", "spend", "plan", "num_proposals"),
    [
        ("paired_loss", "alpha_spending", USELESS, 1),
        ("paired_loss", "alpha_spending", USELESS, 3),
        ("paired_loss", "holm", USELESS, 1),
        ("paired_loss", "holm", USEFUL_FIRST, 1),
        ("paired_loss", "holm", ALL_USEFUL, 6),
        ("mcnemar", "holm", USELESS, 1),
        ("mcnemar", "holm", USEFUL_FIRST, 1),
    ],
)
def test_a_useless_block_passes_in_a_growth_with_at_most_the_chance_alpha(
    test: str, spend: str, plan: list[bool], num_proposals: int
) -> None:
    # A useful block always passes, and is the one of its round that is accepted; the others change images at random.
    generator = np.random.default_rng(0)
    num_images, num_growths = 200, 150 if num_proposals == 1 else 50
    guard = {"max_error_rise": 1.0} if test == "paired_loss" else {}  # the level alone, without the guard's help

    def useless(before: ImageOutputs) -> ImageOutputs:
        if test == "mcnemar":
            return outputs_of(before.wrong ^ (generator.random(num_images) < 0.3))
        return outputs_of(before.wrong, losses=before.losses + generator.normal(0.0, 0.1, num_images))

    def lets_one_pass(rule: Acceptance) -> bool:
        before = outputs_of(generator.random(num_images) < 0.5, losses=generator.exponential(1.0, num_images))
        num_accepted = 0
        for round, has_useful in enumerate(plan, start=1):
            given = {"round": round, "num_accepted": num_accepted, "num_proposals": num_proposals}
            for _ in range(num_proposals - has_useful):
                if judged(rule, before, [useless(before)], **given).verdict == "accepted":
                    return True
            num_accepted += has_useful
        return False

    rule = acceptance(name=test, alpha=ALPHA, spend=spend, most_rounds=len(plan), **guard)
    share = sum(lets_one_pass(rule) for _ in range(num_growths)) / num_growths
    assert 0 < share <= ALPHA + 2 * (ALPHA * (1 - ALPHA) / num_growths) ** 0.5
    unspent = acceptance(name=test, alpha=ALPHA, **guard)  # with which most growths do: the test could have failed
    assert sum(lets_one_pass(unspent) for _ in range(30)) > 10
