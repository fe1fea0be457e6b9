from __future__ import annotations

import zoo
from zoo.history import HUMAN_TOP5_ERROR, WINNERS


def test_the_record_falls_year_by_year_and_below_the_person_in_2015():
    assert [winner.year for winner in WINNERS] == list(range(2010, 2018))
    errors = [winner.top5_error for winner in WINNERS]
    assert errors == sorted(errors, reverse=True) and all(0 < error < 1 for error in errors)
    assert min(winner.year for winner in WINNERS if winner.top5_error < HUMAN_TOP5_ERROR) == 2015


def test_the_networks_that_won_are_in_the_zoo_with_the_depth_that_is_told():
    from zoo.counted import totals

    known = [winner for winner in WINNERS if winner.network]
    assert [winner.network for winner in known] == ["alexnet", "googlenet", "resnet152"]
    for winner in known:
        counts = totals(zoo.describe(winner.network))
        assert counts is not None and counts.depth == winner.depth
