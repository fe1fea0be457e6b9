from __future__ import annotations

import pytest

import zoo
from zoo.counted import _table, count_entry, totals

LISTED = [name for name in zoo.list_models() if zoo.describe(name).min_image_size is not None]


def test_the_table_holds_every_listed_network_and_no_other():
    assert list(_table()) == LISTED


@pytest.mark.parametrize("name", LISTED)
def test_the_table_says_what_the_network_counts(name):
    assert _table()[name] == count_entry(zoo.describe(name)), "run: python -m zoo.counted"


def test_an_unlisted_depth_is_counted_and_an_open_shape_is_not():
    resnet26 = totals(zoo.describe("resnet26"))
    assert resnet26 is not None and resnet26.depth == 26 and resnet26.num_params > 300_000
    assert totals(zoo.describe("resnet")) is None
