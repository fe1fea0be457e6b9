"""Which images are for training, for decisions and for the end: stratified, and a function of the seed alone.

Every draw has a stream of its own, keyed by the seed and by what it is for, so that the test split stays as it is
when the share of validation changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from growres.config.experiment import DatasetConfig
from growres.errors import DataError

Rows = NDArray[np.int64]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRows:
    """Row numbers of each split, ascending. Those of test count in the source's own test split, where it has one."""

    train: Rows
    validation: Rows
    test: Rows


def split_rows(
    config: DatasetConfig, class_names: Sequence[str], train_labels: Labels, test_labels: Labels | None
) -> SplitRows:
    """Disjoint splits that together hold every image of the source, before each split's limit is applied.

    The classes' shares of a split are those of what it is drawn from, to within one image, and every class
    keeps at least one image in each split.

    Args:
        test_labels: of the source's own test split; None where it has none, and one is carved out of train.
    Raises:
        DataError: if a class has too few images, or a share leaves some class without any.
    """
    num_parts = 2 if test_labels is not None else 3
    _check_classes_can_be_split(class_names, train_labels, num_parts)
    if test_labels is not None:
        _check_test_classes_are_trained(class_names, train_labels, test_labels)
    train = np.arange(len(train_labels))
    if test_labels is None:
        train, test = _carve(train, train_labels, config.test, config.split_seed, "test", num_kept=2)
    else:
        test = np.arange(len(test_labels))
    train, validation = _carve(train, train_labels, config.validation, config.split_seed, "validation", num_kept=1)
    limit, seed = config.limit, config.split_seed
    return SplitRows(
        train=_limited(train, train_labels, limit.train, seed, "train"),
        validation=_limited(validation, train_labels, limit.validation, seed, "validation"),
        test=_limited(test, train_labels if test_labels is None else test_labels, limit.test, seed, "test"),
    )


def with_label_noise(labels: Labels, fraction: float, num_classes: int, seed: int, purpose: str) -> Labels:
    """A copy in which exactly round(fraction * N) labels are another class, each other class as likely as the next."""
    chosen = _shuffled(np.arange(len(labels)), seed, f"{purpose} label noise")[: round(fraction * len(labels))]
    steps = 1 + (_raw_stream(seed, f"{purpose} noisy classes", len(chosen)) % (num_classes - 1)).astype(np.int64)
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + steps) % num_classes
    return noisy


def apportion(counts: NDArray[np.int64], total: int, *, at_least: int, num_kept: int) -> NDArray[np.int64]:
    """How many of each class to take so that they are exactly `total`: largest remainders, within what is allowed.

    Of a class that has any, at least `at_least` are taken and at least `num_kept` are left.
    """
    quotas = counts * (total / counts.sum())
    lowest = np.where(counts > 0, at_least, 0)
    highest = np.where(counts > 0, counts - num_kept, 0)
    taken: NDArray[np.int64] = np.clip(np.floor(quotas).astype(np.int64), lowest, highest)
    while (missing := total - int(taken.sum())) != 0:
        step = 1 if missing > 0 else -1
        allowed = taken < highest if step > 0 else taken > lowest
        assert allowed.any(), "the caller checks that the total can be reached"
        taken[np.argmax(np.where(allowed, step * (quotas - taken), -np.inf))] += step
    return taken


def _carve(
    rows: Rows, labels: Labels, portion: float | int, seed: int, name: str, *, num_kept: int
) -> tuple[Rows, Rows]:
    """(what is left, the part drawn), both ascending; `num_kept` images of each class at least are left."""
    total = round(portion * len(rows)) if isinstance(portion, float) else portion
    num_classes = len(np.unique(labels[rows]))
    most = len(rows) - num_kept * num_classes
    if not num_classes <= total <= most:
        raise DataError(
            f"Cannot carve {name} = {portion} out of {len(rows):,} images: that is {total:,} images, and with "
            f"{num_classes} classes, each in every split, it must be {num_classes:,} to {most:,}. "
            f"Change dataset.{name}."
        )
    part = _draw(rows, labels, total, seed, name, num_kept=num_kept)
    return np.setdiff1d(rows, part, assume_unique=True), part


def _limited(rows: Rows, labels: Labels, limit: int | None, seed: int, name: str) -> Rows:
    if limit is None or limit >= len(rows):
        return rows
    num_classes = len(np.unique(labels[rows]))
    if limit < num_classes:
        raise DataError(
            f"Cannot limit the {name} split to {limit} images: it has {num_classes} classes and keeps at least one "
            f"image of each. Set dataset.limit.{name} to {num_classes} or more."
        )
    return _draw(rows, labels, limit, seed, f"{name} limit", num_kept=0)


def _draw(rows: Rows, labels: Labels, total: int, seed: int, purpose: str, *, num_kept: int) -> Rows:
    """`total` of the rows, ascending, stratified by their labels."""
    row_labels = labels[rows]
    taken = apportion(np.bincount(row_labels), total, at_least=1, num_kept=num_kept)
    order = _shuffled(np.arange(len(rows)), seed, purpose)
    of_class = [order[row_labels[order] == label][:count] for label, count in enumerate(taken)]
    return np.sort(rows[np.concatenate(of_class)])


def _shuffled(values: Rows, seed: int, purpose: str) -> Rows:
    return values[np.argsort(_raw_stream(seed, purpose, len(values)), kind="stable")]


def _raw_stream(seed: int, purpose: str, count: int) -> NDArray[np.uint64]:
    # The bit generator's own output: numpy keeps it the same for ever, while Generator's methods may change between
    # versions, and then two machines of one cluster would split the same data differently.
    words = np.random.PCG64(np.random.SeedSequence([seed, *purpose.encode()])).random_raw(count)
    return np.asarray(words, dtype=np.uint64)


def _check_classes_can_be_split(class_names: Sequence[str], labels: Labels, num_parts: int) -> None:
    counts = np.bincount(labels, minlength=len(class_names))
    if np.count_nonzero(counts) < 2:
        raise DataError(
            f"Cannot learn to classify: all {len(labels):,} training images are of the class "
            f"{class_names[int(np.argmax(counts))]!r}. At least two classes are needed."
        )
    # A class that no image bears is only a name (some sets number their classes from 1).
    few = (counts > 0) & (counts < num_parts)
    scarce = [f"{class_names[label]!r} has {counts[label]}" for label in np.flatnonzero(few).tolist()]
    if scarce:
        splits = "train, validation and test" if num_parts == 3 else "train and validation"
        raise DataError(
            f"Cannot split the training images: class {_some(scarce)}, and each class needs at least {num_parts}, "
            f"one for each of {splits}. Add images of it, or take the class out."
        )


def _check_test_classes_are_trained(class_names: Sequence[str], train_labels: Labels, test_labels: Labels) -> None:
    untrained = [repr(class_names[label]) for label in np.setdiff1d(test_labels, train_labels).tolist()]
    if untrained:
        raise DataError(
            f"Cannot test on classes that have no training image: {_some(untrained)}. Add training images of them, "
            f"or name another split in dataset.test_split."
        )


def _some(items: Sequence[str], at_most: int = 5) -> str:
    more = f" and {len(items) - at_most} more" if len(items) > at_most else ""
    return ", ".join(items[:at_most]) + more
