"""Which columns of a table hold the images and the labels, and what the labels mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growres.errors import DataError, nearest

Labels = NDArray[np.int64]

_LABEL_NAMES = ("label", "labels", "fine_label")


def find_image_column(features: Mapping[str, Any], configured: str | None) -> str:
    """The column of images: the configured one, else the only one of type Image, else the only one of bytes.

    Raises:
        DataError: if there is none, several, or the configured one does not hold images.
    """
    import datasets

    typed = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    encoded = [name for name, feature in features.items() if _holds_bytes(feature)]
    if configured is not None:
        return _configured(features, configured, typed + encoded, "image")
    candidates = typed or encoded
    if len(candidates) != 1:
        raise DataError(_not_one("image", candidates, features))
    return candidates[0]


def find_label_column(features: Mapping[str, Any], configured: str | None, image_column: str) -> str:
    """The column of labels: the configured one, else the only ClassLabel, else the one that is named like labels.

    Raises:
        DataError: if there is none, several, or the configured one does not exist.
    """
    import datasets

    others = [name for name in features if name != image_column]
    if configured is not None:
        return _configured(features, configured, others, "label")
    typed = [name for name in others if isinstance(features[name], datasets.ClassLabel)]
    named = [name for name in others if name in _LABEL_NAMES]
    for candidates in (typed, named):
        if len(candidates) == 1:
            return candidates[0]
    raise DataError(_not_one("label", typed or named, features))


def labels_of(
    splits: Mapping[str, Any], column: str, split_names: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, Labels]]:
    """(class names, labels of each split): numbers as they are where the column says what they mean (ClassLabel),
    else the distinct values of all splits, sorted.

    Args:
        split_names: what the source calls each split, for messages.
    Raises:
        DataError: if a label is missing, out of range, or neither a whole number nor a text; the row is named.
    """
    import datasets

    values = {role: list(rows.select_columns([column])[:][column]) for role, rows in splits.items()}
    feature = splits["train"].features[column]
    places = {role: f"split {split_names[role]}, column {column}" for role in splits}
    if isinstance(feature, datasets.ClassLabel) and feature.names:
        for role, labels in values.items():
            _check_range(labels, len(feature.names), places[role])
        return tuple(feature.names), {role: np.array(labels, dtype=np.int64) for role, labels in values.items()}
    for role, labels in values.items():
        _check_kind(labels, places[role])
    classes = sorted({label for labels in values.values() for label in labels})
    number_of = {label: number for number, label in enumerate(classes)}
    return tuple(str(label) for label in classes), {
        role: np.array([number_of[label] for label in labels], dtype=np.int64) for role, labels in values.items()
    }


def _holds_bytes(feature: Any) -> bool:
    if isinstance(feature, Mapping):
        return "bytes" in feature and _holds_bytes(feature["bytes"])
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def _configured(features: Mapping[str, Any], name: str, allowed: Sequence[str], kind: str) -> str:
    if name in allowed:
        return name
    if name in features:
        raise DataError(f"Column {name!r} holds no {kind}s: it is of type {features[name]}. Set dataset.{kind}_column.")
    meant = nearest(name, allowed)
    hint = f" The nearest is {meant!r}." if meant else ""
    raise DataError(
        f"There is no column {name!r} for the {kind}s; there are {_listed(features)}.{hint} Set dataset.{kind}_column."
    )


def _not_one(kind: str, candidates: Sequence[str], features: Mapping[str, Any]) -> str:
    found = f"{' and '.join(candidates)} could be it" if candidates else "none looks like it"
    return (
        f"Cannot tell which column holds the {kind}s: {found}. The columns are {_listed(features)}. "
        f"Set dataset.{kind}_column."
    )


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items())


def _check_range(labels: Sequence[Any], num_classes: int, place: str) -> None:
    for row, label in enumerate(labels):
        if label is None:
            raise DataError(
                f"Row {row} of {place} has no label. Remove the row, or name another column in dataset.label_column."
            )
        if not 0 <= label < num_classes:
            hint = " Where a whole split is unlabelled, name another in dataset.test_split." if label == -1 else ""
            raise DataError(
                f"Row {row} of {place} has label {label}, and the {num_classes} classes are 0 to {num_classes - 1}. "
                f"Correct or remove the row.{hint}"
            )


def _check_kind(labels: Sequence[Any], place: str) -> None:
    kind = str if labels and isinstance(labels[0], str) else int
    for row, label in enumerate(labels):
        if not isinstance(label, kind) or (isinstance(label, int) and label < 0):
            raise DataError(
                f"Row {row} of {place} has label {label!r}: labels are whole numbers from 0, or texts. "
                f"Correct or remove the row, or name another column in dataset.label_column."
            )
