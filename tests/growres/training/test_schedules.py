from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from growres.config.experiment import ScheduleConfig
from growres.training.schedules import Schedule

EPOCHS, STEPS = 10, 7


def schedule(**config: object) -> Schedule:
    parsed: ScheduleConfig = TypeAdapter(ScheduleConfig).validate_python(config)
    return Schedule(config=parsed, base_lr=0.4, epochs=EPOCHS, steps_per_epoch=STEPS)


def lrs(made: Schedule) -> list[float]:
    return [made.lr(step) for step in range(EPOCHS * STEPS)]


@pytest.mark.parametrize("name", ["constant", "cosine"])
def test_warm_up_rises_in_equal_parts_from_above_zero_to_the_optimisers_rate(name: str) -> None:
    rates = lrs(schedule(name=name, warmup_epochs=2))
    rises = [after - before for before, after in zip(rates[: 2 * STEPS], rates[1 : 2 * STEPS + 1], strict=True)]
    assert 0 < rates[0] == pytest.approx(rises[0])
    assert rises == pytest.approx([rises[0]] * len(rises))
    assert rates[2 * STEPS] == pytest.approx(0.4)


def test_cosine_falls_all_the_way_to_its_final_fraction() -> None:
    rates = lrs(schedule(name="cosine", final_lr_fraction=0.1))
    assert rates[0] == 0.4
    assert all(after < before for before, after in zip(rates[:-1], rates[1:], strict=True))
    assert rates[EPOCHS * STEPS // 2] == pytest.approx(0.4 * 0.55)
    assert 0.04 < rates[-1] < 0.041


def test_steps_and_milestones_multiply_by_their_factor() -> None:
    by_steps = lrs(schedule(name="step", every_epochs=4, factor=0.5))
    by_milestones = lrs(schedule(name="multistep", milestones=[4, 8], factor=0.5))
    assert by_steps == pytest.approx([0.4] * 4 * STEPS + [0.2] * 4 * STEPS + [0.1] * 2 * STEPS)
    assert by_milestones == pytest.approx(by_steps)


def test_each_milestone_may_have_a_factor_of_its_own() -> None:
    rates = lrs(schedule(name="multistep", milestones=[2, 5], factor=[0.4, 0.5]))
    assert rates == pytest.approx([0.4] * 2 * STEPS + [0.16] * 3 * STEPS + [0.08] * 5 * STEPS)
