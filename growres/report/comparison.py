"""What a comparison of an experiment's variants is made of: the trials in the store, and their answers on the test
images, which stand in files beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from growres.analysis.comparison import TrialResult
from growres.errors import AnalysisError, CheckpointError, ConfigError
from growres.report.outputs import read_outputs, recorded_digests
from growres.store import Store, TrialRow
from growres.training.checkpoint import outputs_folder
from growres.training.outputs import ImageOutputs


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinPair:
    """Two variants: one that grew its networks, and one that trained them from scratch."""

    parent: str
    variant: str
    twin: str
    """What they have in common: same_epochs or same_flops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentResults:
    """The trials of an experiment that can be compared, and what is missing of the others.

    A point of a sweep is a variant of its own here, named like `resnet14 lr=0.05`.
    """

    trials: tuple[TrialResult, ...]
    """Those that succeeded, in the order of the file."""
    twins: tuple[TwinPair, ...]
    growing: tuple[str, ...]
    """The variants whose procedure is growth."""
    points: Mapping[str, tuple[str, ...]]
    """The variants here, by the file's name for them."""
    left_out: Mapping[str, Counter[str]]
    """By variant, the trials that did not succeed (yet), by status."""
    without_images: Mapping[str, str]
    """By trial, why it is not known which test images it got right."""

    def baseline(self, asked: str | None = None) -> str:
        """The variant to compare the others with: the one asked for, else the first that grows, else the first.

        Args:
            asked: a name from here, or from the file where that has a single point here.
        Returns:
            A name; one asked for that nothing has as it was.
        Raises:
            AnalysisError: if there are no trials.
            ConfigError: if the variant asked for has several points.
        """
        if not self.trials:
            raise AnalysisError(
                "Cannot compare variants: no trial has succeeded yet. Wait for the first, or see: growres status"
            )
        if asked is None:
            return self.growing[0] if self.growing else self.trials[0].variant
        points = self.points.get(asked, (asked,))
        if asked in points or len(points) == 1:
            return asked if asked in points else points[0]
        raise ConfigError(
            f"Cannot compare with {asked}: it sweeps over settings. Name one of its points: "
            f"{', '.join(repr(point) for point in points)}."
        )

    def why_baseline(self, default: str) -> str:
        """What makes this variant the default baseline, in words."""
        return "the first variant that grows" if default in self.growing else "the first variant: none grows"


def read_results(store: Store, experiment_id: str, run_folder: Path) -> ExperimentResults:
    """The results of an experiment's trials, each with the test images that it got right where its file is unharmed.

    Args:
        run_folder: the experiment's, where the files of its trials are.
    Raises:
        StoreError: if the store cannot be read.
    """
    rows = store.trials(experiment_id)
    names = _names(rows)
    left_out: dict[str, Counter[str]] = {}
    for row in rows:
        if row.status != "succeeded":
            left_out.setdefault(names[row.id], Counter())[row.status] += 1
    finished = _once_each([row for row in rows if row.status == "succeeded"], names)
    images = _TestImages(store, run_folder)
    trials = tuple(_result(store, row, names[row.id], images.correct(row)) for row in finished)
    compared = {trial.variant for trial in trials}
    return ExperimentResults(
        trials=trials,
        twins=tuple(pair for pair in _twins(rows, names) if {pair.parent, pair.variant} <= compared),
        growing=tuple(dict.fromkeys(names[row.id] for row in finished if row.procedure == "growth")),
        points=_points(finished, names),
        left_out=left_out,
        without_images=images.unknown,
    )


def _result(store: Store, row: TrialRow, variant: str, correct: NDArray[np.bool_] | None) -> TrialResult:
    assert row.test_error is not None and row.num_params is not None and row.wall_s is not None, "it has succeeded"
    # The sum of a very long training is more than the store's 64 bits hold, and then absent; that of an epoch is not.
    flops = row.train_flops or sum(epoch["train_flops"] or 0 for epoch in store.epochs(row.id))
    return TrialResult(
        variant=variant,
        seed=row.seed,
        test_error=row.test_error,
        num_params=row.num_params,
        train_flops=float(flops),
        wall_s=row.wall_s,
        correct=correct,
    )


# ------------------------------------------------------------------------------------------------------------- names


def _names(rows: Sequence[TrialRow]) -> dict[str, str]:
    """By trial, the variant with its point of the sweep, each number as short as tells the points apart."""
    short = {row.id: _name(row, digits=4) for row in rows}
    meanings: dict[str, set[str]] = {}
    for row in rows:
        meanings.setdefault(short[row.id], set()).add(json.dumps(row.sweep_point, sort_keys=True))
    return {row.id: short[row.id] if len(meanings[short[row.id]]) == 1 else _name(row, digits=17) for row in rows}


def _name(row: TrialRow, *, digits: int) -> str:
    # By the keys' order: PostgreSQL does not keep that in which they were written.
    settings = (f"{key.rpartition('.')[2]}={_value(value, digits)}" for key, value in sorted(row.sweep_point.items()))
    return " ".join([row.variant, *settings])


def _value(value: Any, digits: int) -> str:
    if isinstance(value, float):
        return f"{value:.{digits}g}"
    return value if isinstance(value, str) else json.dumps(value)


def _points(rows: Sequence[TrialRow], names: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    points: dict[str, dict[str, None]] = {}
    for row in rows:
        points.setdefault(row.variant, {})[names[row.id]] = None
    return {variant: tuple(of_variant) for variant, of_variant in points.items()}


def _once_each(rows: Sequence[TrialRow], names: Mapping[str, str]) -> list[TrialRow]:
    """The trials without repetitions: a sweep that draws may draw a point twice, which is the same trial again."""
    first: dict[tuple[str, int], TrialRow] = {}
    for row in rows:
        first.setdefault((names[row.id], row.seed), row)
    return list(first.values())


def _twins(rows: Sequence[TrialRow], names: Mapping[str, str]) -> list[TwinPair]:
    pairs = [
        TwinPair(parent=names[row.twin_of], variant=names[row.id], twin=row.twin or "")
        for row in rows
        if row.twin_of is not None
    ]
    return list(dict.fromkeys(pairs))


# ------------------------------------------------------------------------------------------------------- test images


@dataclass(slots=True)
class _TestImages:
    """Reads which test images trials got right, as long as all were tested on the same ones."""

    store: Store
    run_folder: Path
    unknown: dict[str, str] = field(default_factory=dict)
    """By trial, why not."""
    _labels: NDArray[np.int64] | None = None
    """Of the first trial read."""

    def correct(self, row: TrialRow) -> NDArray[np.bool_] | None:
        try:
            outputs = self._outputs(row)
        except CheckpointError as error:
            self.unknown[row.id] = str(error)
            return None
        if self._labels is None:
            self._labels = outputs.labels
        if not np.array_equal(outputs.labels, self._labels):
            self.unknown[row.id] = f"The test images of trial {row.id} have other labels than those of the first trial."
            return None
        return ~outputs.wrong

    def _outputs(self, row: TrialRow) -> ImageOutputs:
        path = outputs_folder(self.run_folder, row.id) / "test.npz"
        if not path.is_file():
            raise CheckpointError(f"There is no {path} on this machine.")
        return read_outputs(path, row.id, recorded_digests(self.store, row.id))
