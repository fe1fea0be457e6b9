"""Sweeps: which values a variant's keys take, drawn when the file is read, and the same at each reading."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import AfterValidator, Field, PositiveFloat

from growres.config.checking import check
from growres.config.experiment import (
    BoostResNetConfig,
    Frozen,
    GrowthConfig,
    LayerwiseConfig,
    ModelConfig,
    TrainingConfig,
    VariantDatasetConfig,
)
from growres.config.problems import Problems, did_you_mean, listed
from growres.config.shape import key_paths
from growres.config.tree import Node, plain, with_value

SETTABLE_KEYS: tuple[str, ...] = (
    *("recipe", "training", "growth", "layerwise", "boostresnet", "model"),
    *key_paths(VariantDatasetConfig, "dataset"),
    *key_paths(TrainingConfig, "training"),
    *key_paths(GrowthConfig, "growth"),
    *key_paths(LayerwiseConfig, "layerwise"),
    *key_paths(BoostResNetConfig, "boostresnet"),
    *key_paths(ModelConfig, "model"),
)
"""The keys that can be swept, beside any argument of the model: `model.<argument>`."""

NumberT = TypeVar("NumberT", int, float)


def _rising(bounds: tuple[NumberT, NumberT]) -> tuple[NumberT, NumberT]:
    if bounds[0] >= bounds[1]:
        raise ValueError(f"the first bound ({bounds[0]}) must be less than the second ({bounds[1]})")
    return bounds


class Grid(Frozen):
    """Each of these values, combined with each value of every other grid."""

    kind: ClassVar[str] = "grid"
    grid: Annotated[tuple[Any, ...], Field(min_length=1)]


class Choice(Frozen):
    """One of these values, drawn anew for each sample."""

    kind: ClassVar[str] = "choice"
    choice: Annotated[tuple[Any, ...], Field(min_length=1)]

    def draw(self, share: float, written: Node) -> Node:
        """The item at this share of the list."""
        assert isinstance(written.value, tuple)
        return written.value[int(share * len(written.value))]


class Uniform(Frozen):
    """A number between the two bounds."""

    kind: ClassVar[str] = "uniform"
    uniform: Annotated[tuple[float, float], AfterValidator(_rising)]

    def draw(self, share: float, written: Node) -> Node:
        """The number at this share of the way."""
        low, high = self.uniform
        return replace(written, value=low * (1.0 - share) + high * share)


class LogUniform(Frozen):
    """A number between the two bounds, both greater than 0, whose logarithm is uniform."""

    kind: ClassVar[str] = "loguniform"
    loguniform: Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_rising)]

    def draw(self, share: float, written: Node) -> Node:
        """The number at this share of the way on a logarithmic scale."""
        low, high = self.loguniform
        value = math.exp(math.log(low) * (1.0 - share) + math.log(high) * share)
        return replace(written, value=min(max(value, low), high))


class RandInt(Frozen):
    """A whole number from the first bound up to, but not including, the second."""

    kind: ClassVar[str] = "randint"
    randint: Annotated[tuple[int, int], AfterValidator(_rising)]

    def draw(self, share: float, written: Node) -> Node:
        """The whole number at this share of the way."""
        low, high = self.randint
        return replace(written, value=min(low + int(share * (high - low)), high - 1))


Distribution = Choice | Uniform | LogUniform | RandInt
KINDS: dict[str, type[Grid | Distribution]] = {
    model.kind: model for model in (Grid, Choice, Uniform, LogUniform, RandInt)
}


@dataclass(frozen=True, slots=True)
class Sweep:
    """The swept keys of one variant."""

    grids: dict[str, tuple[Node, ...]] = field(default_factory=dict)
    draws: dict[str, tuple[Distribution, Node]] = field(default_factory=dict)
    """The distributions, each with the node that it was written as."""

    def num_points(self, samples: int) -> int:
        """The combinations of the grids, times the samples where anything is drawn."""
        combinations = math.prod(len(values) for values in self.grids.values())
        return combinations * samples if self.draws else combinations

    def points(self, samples: int, *, experiment: str, variant: str) -> Iterator[dict[str, Node]]:
        """The value of each swept key, point by point; the last grid of the file turns fastest.

        A draw depends on the names, the key and the sample's number alone: each combination of the grids sees the same
        draws, and another key in the sweep changes none.
        """
        for combination in itertools.product(*self.grids.values()):
            point = dict(zip(self.grids, combination, strict=True))
            for sample in range(samples if self.draws else 1):
                drawn = {
                    key: distribution.draw(_share(experiment, variant, key, sample), written)
                    for key, (distribution, written) in self.draws.items()
                }
                yield {**point, **drawn}


def _share(experiment: str, variant: str, key: str, sample: int) -> float:
    """A number in [0, 1). Python promises the same `random()` of a seed in every version, and of no other method."""
    name = json.dumps([experiment, variant, key, sample])
    return random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest())).random()


def read_sweep(node: Node | None, problems: Problems) -> Sweep:
    """The sweep of a variant; keys with a problem are reported and left out."""
    sweep = Sweep()
    for key, entry in node.entries.items() if node else ():
        if not _is_settable(key):
            _refuse_key(key, entry, problems)
        elif overlapping := next((other for other in (*sweep.grids, *sweep.draws) if _overlap(key, other)), None):
            problems.at_key(entry, f"overlaps with the swept key {overlapping}; sweep one of them")
        elif (values := _read_values(key, entry, problems)) is not None:
            written = entry.entries[values.kind]
            if isinstance(values, Grid):
                assert isinstance(written.value, tuple)
                sweep.grids[key] = written.value
            else:
                sweep.draws[key] = (values, written)
    return sweep


def laid_at_point(variant: Node, point: dict[str, Node]) -> Node:
    """The variant with the values of one point laid over it."""
    for key, value in point.items():
        variant = with_value(variant, tuple(key.split(".")), value, merge=True)
    return variant


def _is_settable(key: str) -> bool:
    section, _, argument = key.partition(".")
    return key in SETTABLE_KEYS or (section == "model" and argument != "" and "." not in argument)


def _overlap(key: str, other: str) -> bool:
    return key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.")


def _refuse_key(key: str, entry: Node, problems: Problems) -> None:
    last = key.rpartition(".")[2]
    guess = next((f", did you mean {known!r}?" for known in SETTABLE_KEYS if known.endswith(f".{last}")), "")
    if key.startswith("dataset."):
        why = "the trials of an experiment share its data set; sweeps take keys of the variant"
        guess = ""
    else:
        why = "sweeps take keys of the variant: recipe, training.*, growth.* and model.*"
        guess = guess or did_you_mean(key, SETTABLE_KEYS)
    problems.at_key(entry, f"{key!r} cannot be swept; {why}{guess}")


def _read_values(key: str, entry: Node, problems: Problems) -> Grid | Distribution | None:
    if not isinstance(entry.value, dict):
        return None  # the model of the variant reports it
    kinds = [kind for kind in entry.entries if kind in KINDS]
    if len(kinds) != 1 or len(entry.entries) != 1:
        nested = next((inner for inner in entry.entries if _is_settable(f"{key}.{inner}")), None)
        unknown = next((kind for kind in entry.entries if kind not in KINDS), None)
        guess = did_you_mean(unknown, KINDS)
        if nested and not guess:
            guess = f"; write the whole path as one key, such as {key}.{nested}"
        problems.at_key(entry, f"must hold exactly one of: {listed(KINDS)}{guess}")
        return None
    values = check(KINDS[kinds[0]], entry, problems).sound
    if values is not None:
        _refuse_repetition(entry.entries[values.kind], problems)
    return values


def _refuse_repetition(written: Node, problems: Problems) -> None:
    """A value that stands twice would be the same trial twice."""
    seen: set[str] = set()
    for item in written.value if isinstance(written.value, tuple) else ():
        text = json.dumps(plain(item))
        if text in seen:
            problems.at_value(item, "stands in the list twice")
        seen.add(text)
