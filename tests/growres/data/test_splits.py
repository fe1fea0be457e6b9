from __future__ import annotations

import numpy as np
import pytest

from growres.config.experiment import DatasetConfig, LimitConfig
from growres.data.splits import SplitRows, apportion, split_rows, with_label_noise
from growres.errors import DataError

NAMES = ("ant", "bee", "cat", "dog")
# Uneven on purpose, and in no order.
LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [400, 91, 33, 7]))


def split(labels: np.ndarray = LABELS, own_test: np.ndarray | None = None, **settings: object) -> SplitRows:
    return split_rows(DatasetConfig(source="digits", **settings), NAMES, labels, own_test)


@pytest.mark.parametrize("seed", [0, 1, 2**40])
@pytest.mark.parametrize(("validation", "test"), [(0.2, 0.2), (0.1, 0.35), (17, 0.5), (100, 200), (0.013, 4)])
def test_splits_are_disjoint_and_hold_every_image(seed, validation, test):
    rows = split(split_seed=seed, validation=validation, test=test)
    everything = np.concatenate([rows.train, rows.validation, rows.test])
    np.testing.assert_array_equal(np.sort(everything), np.arange(len(LABELS)))


@pytest.mark.parametrize("seed", range(3))
def test_every_split_has_the_classes_in_proportion_to_within_one_image(seed):
    rows = split(split_seed=seed, validation=0.25, test=0.2)
    carved_from = np.bincount(LABELS)
    for part, share in ((rows.test, 0.2), (rows.validation, 0.8 * 0.25)):
        assert len(part) == pytest.approx(share * len(LABELS), abs=1)
        assert np.abs(np.bincount(LABELS[part]) - share * carved_from).max() <= 1 + share


def test_a_share_is_rounded_and_a_number_is_exact():
    rows = split(test=0.2, validation=50)
    assert len(rows.test) == round(0.2 * len(LABELS))
    assert len(rows.validation) == 50


def test_each_class_keeps_an_image_in_each_split_however_rare_it_is():
    rare = np.repeat([0, 1, 2, 3], [500, 300, 3, 3])
    rows = split(rare, validation=0.05, test=0.05)
    for part in (rows.train, rows.validation, rows.test):
        assert set(rare[part]) == {0, 1, 2, 3}


def test_the_test_split_does_not_depend_on_the_share_of_validation():
    np.testing.assert_array_equal(split(validation=0.1).test, split(validation=0.4).test)


def test_another_seed_gives_other_splits():
    assert not np.array_equal(split(split_seed=0).test, split(split_seed=1).test)


def test_the_draw_stays_the_same_whatever_the_numpy_version():
    assert split(np.arange(40) % 4, test=8, validation=8).test.tolist() == [2, 8, 13, 14, 16, 23, 31, 33]


def test_a_source_with_its_own_test_split_keeps_all_of_its_train_for_train_and_validation():
    own_test = np.array([3, 2, 1, 0])
    rows = split(own_test=own_test, test=0.5)
    assert len(rows.train) + len(rows.validation) == len(LABELS)
    assert rows.test.tolist() == [0, 1, 2, 3]


def test_a_limit_is_stratified_and_one_above_the_size_takes_all():
    unlimited = split()
    rows = split(limit=LimitConfig(train=60, validation=10**6, test=4))
    assert len(rows.train) == 60 and set(rows.train) <= set(unlimited.train)
    proportional = 60 * np.bincount(LABELS[unlimited.train]) / len(unlimited.train)
    assert np.abs(np.bincount(LABELS[rows.train]) - proportional).max() <= 1
    np.testing.assert_array_equal(rows.validation, unlimited.validation)
    assert sorted(LABELS[rows.test]) == [0, 1, 2, 3]


def test_apportion_takes_exactly_the_total_within_its_bounds():
    generator = np.random.default_rng(0)
    for _ in range(200):
        counts = generator.integers(2, 60, size=generator.integers(2, 12))
        total = int(generator.integers(len(counts), counts.sum() - len(counts) + 1))
        taken = apportion(counts, total, at_least=1, num_kept=1)
        assert taken.sum() == total
        assert (taken >= 1).all() and (taken <= counts - 1).all()


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.333, 0.99])
def test_label_noise_changes_exactly_its_fraction_each_to_another_class(fraction):
    noisy = with_label_noise(LABELS, fraction, 4, seed=3, purpose="train")
    assert np.count_nonzero(noisy != LABELS) == round(fraction * len(LABELS))
    assert set(noisy) <= {0, 1, 2, 3}
    np.testing.assert_array_equal(noisy, with_label_noise(LABELS, fraction, 4, seed=3, purpose="train"))


def test_label_noise_chooses_each_other_class_equally_often():
    labels = np.full(30_000, 2)
    noisy = with_label_noise(labels, 0.9, 4, seed=0, purpose="train")
    counts = np.bincount(noisy, minlength=4)
    assert counts[2] == 3_000
    np.testing.assert_allclose(counts[[0, 1, 3]], 9_000, rtol=0.05)


def test_two_classes_swap_under_label_noise():
    noisy = with_label_noise(np.array([0, 1] * 50), 0.5, 2, seed=0, purpose="train")
    assert set(noisy) == {0, 1}


def test_classes_with_too_few_images_are_named_with_their_counts():
    with pytest.raises(DataError, match=r"'cat' has 2, 'dog' has 1, and each class needs at least 3, one for each of"):
        split(np.repeat([0, 1, 2, 3], [30, 30, 2, 1]))


def test_two_images_of_a_class_are_enough_where_the_source_has_its_own_test_split():
    labels = np.repeat([0, 1, 2, 3], [30, 30, 2, 2])
    assert set(labels[split(labels, own_test=np.arange(4)).validation]) == {0, 1, 2, 3}


def test_a_class_that_no_image_bears_is_only_a_name():
    rows = split(np.repeat([1, 2, 3], 20))
    assert len(rows.train) + len(rows.validation) + len(rows.test) == 60


def test_one_class_only_is_refused():
    with pytest.raises(DataError, match="all 9 training images are of the class 'bee'. At least two"):
        split(np.full(9, 1))


def test_a_class_that_is_only_tested_is_refused():
    with pytest.raises(DataError, match="no training image: 'dog'"):
        split(np.repeat([0, 1, 2], 10), own_test=np.array([0, 3]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation": 500}, r"validation = 500 out of 425 images.* it must be 4 to 421. Change dataset.validation"),
        ({"test": 0.001}, r"test = 0.001 out of 531 images: that is 1 images.* it must be 4 to 523"),
        (
            {"limit": LimitConfig(train=3)},
            r"limit the train split to 3 images: it has 4 classes.*dataset.limit.train to 4",
        ),
    ],
)
def test_a_share_or_limit_that_leaves_a_class_without_images_is_refused(settings, message):
    with pytest.raises(DataError, match=message):
        split(**settings)
