"""What a lower error costs: the Pareto front of error against parameters, FLOPs or seconds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from growres.errors import AnalysisError

Cost = Literal["num_params", "train_flops", "wall_s"]
COSTS: tuple[Cost, ...] = ("num_params", "train_flops", "wall_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The variants that no other one beats in error without costing more, the cheapest first."""

    cost: Cost
    variants: tuple[str, ...]


def pareto_front(costs: Sequence[float], errors: Sequence[float]) -> tuple[int, ...]:
    """The points that no other one beats: none costs as little and errs as little, and one of the two less.

    Returns:
        Their indices, the cheapest first; equal points stand or fall together.
    Raises:
        AnalysisError: if the lengths differ or a number is NaN.
    """
    if len(costs) != len(errors) or any(map(math.isnan, (*costs, *errors))):
        raise AnalysisError(
            f"Cannot draw a front through {len(costs)} costs and {len(errors)} errors: each point needs both, as "
            f"numbers. Leave out trials that did not finish."
        )
    front: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (costs[i], errors[i])):
        last = front[-1] if front else None
        equals_last = last is not None and (costs[index], errors[index]) == (costs[last], errors[last])
        if last is None or equals_last or errors[index] < errors[last]:
            front.append(index)
    return tuple(front)
