import itertools
import math

import numpy as np
import pytest

from growres.analysis.pareto import pareto_front
from growres.errors import AnalysisError


def test_the_front_is_what_no_other_point_beats():
    rng = np.random.default_rng(0)
    for _ in range(50):
        costs, errors = rng.integers(0, 8, size=(2, 12)).tolist()
        beaten = {
            i
            for i, j in itertools.permutations(range(12), 2)
            if costs[j] <= costs[i] and errors[j] <= errors[i] and (costs[j], errors[j]) != (costs[i], errors[i])
        }
        front = pareto_front(costs, errors)
        assert set(front) == set(range(12)) - beaten and len(set(front)) == len(front)
        assert [costs[i] for i in front] == sorted(costs[i] for i in front)


def test_the_cheapest_and_the_best_are_always_on_the_front():
    assert pareto_front([3, 1, 2, 4], [0.1, 0.3, 0.4, 0.1]) == (1, 0)
    assert pareto_front([5.0], [0.2]) == (0,) and pareto_front([], []) == ()


def test_a_point_without_a_number_is_refused():
    for costs, errors in (([1.0, 2.0], [0.1]), ([1.0], [math.nan])):
        with pytest.raises(AnalysisError, match="each point needs both"):
            pareto_front(costs, errors)
