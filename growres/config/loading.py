"""An experiment file read whole: parsed, overridden, checked, expanded into trials, or refused with all its errors."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from growres.config.checking import check
from growres.config.experiment import (
    DatasetConfig,
    Experiment,
    TrainingConfig,
    TrialConfig,
    Twin,
    VariantDatasetConfig,
)
from growres.config.experiment_file import MOST_TRIALS, ExperimentFile
from growres.config.overrides import apply_overrides
from growres.config.problems import Problems, did_you_mean, listed, printable
from growres.config.rules import VariantPoint, data_violations, file_violations
from growres.config.tree import Node, plain
from growres.config.variants import (
    Reported,
    Variant,
    VariantCheck,
    find_recipe,
    hidden_by_recipe,
    read_variant,
    report,
)
from growres.config.yaml_tree import Source, parse
from growres.errors import SpecError

LARGEST_FILE = 1_000_000
"""Bytes."""


@dataclass(frozen=True, slots=True)
class _Point:
    """A variant at one point of its sweep."""

    variant: str
    swept: dict[str, Any]
    node: Node
    sections: VariantPoint


@dataclass(frozen=True, slots=True)
class LoadedExperiment:
    """An experiment, with what it was read from."""

    experiment: Experiment
    text: str
    """The file as it was read."""
    effective: dict[str, Any]
    """The file's values after `--set`, not expanded yet."""
    notes: tuple[str, ...]
    """What is as the file says and may still surprise its writer, a sentence each."""
    _root: Node = field(repr=False, compare=False)
    _points: Sequence[_Point] = field(repr=False, compare=False)

    def check_models(self, *, num_classes: int, in_channels: int, image_size: int) -> None:
        """Returns if every model can be made for the data set's images, which the file alone does not tell.

        Raises:
            SpecError: every model that cannot, one a line, as `load_experiment` writes them.
        """
        facts = {"num_classes": num_classes, "in_channels": in_channels, "image_size": image_size}
        problems = Problems()
        for point in self._points:
            assert point.sections.model is not None, "a variant without problems is complete"
            beside_data = replace(point.node, value={**point.node.entries, "dataset": self._root.entries["dataset"]})
            for violation in data_violations(point.sections.model, facts):
                report(violation, beside_data, Reported(), problems)
        problems.raise_if_any()


def load_experiment(path: Path, overrides: Sequence[str] = ()) -> LoadedExperiment:
    """The experiment of a YAML file, each `KEY=VALUE` of the overrides set in it.

    Raises:
        SpecError: every problem that the file has, one a line, as `file:line:column: path: what is wrong`.
    """
    problems = Problems()
    text = _read(path)
    root = parse(text, Source(str(path)), problems)
    if root.value is None:
        problems.at_key(root, "is empty; an experiment needs the keys name, dataset, training and variants")
        problems.raise_if_any()
    root = apply_overrides(root, overrides, problems)
    expansion = _expand(root, problems)
    problems.raise_if_any()
    assert expansion.file is not None, "a file without problems could be read"
    experiment = _experiment(expansion.file, expansion.points)
    notes = (*_replaced_defaults(root, expansion.points), *_unused_epochs(root, expansion.points))
    return LoadedExperiment(experiment, text, plain(root), notes, root, expansion.points)


def _read(path: Path) -> str:
    """The file's text.

    Raises:
        SpecError: no file, no text, or far too much of it.
    """
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SpecError(f"{name}: cannot be read: {reason}; name an experiment file in YAML") from error
    if len(content) > LARGEST_FILE:
        raise SpecError(f"{name}: is larger than {LARGEST_FILE} bytes; no experiment needs as much")
    if b"\0" in content:
        raise SpecError(f"{name}: is not text but binary; an experiment file is YAML in UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        wrong = f"the byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise SpecError(f"{name}:{line}:{column}: {wrong}") from error


@dataclass(frozen=True, slots=True)
class _Expansion:
    file: ExperimentFile | None
    points: list[_Point]


def _expand(root: Node, problems: Problems) -> _Expansion:
    """Every variant at every point of its sweep, checked."""
    file = check(ExperimentFile, root, problems)
    for violation in file_violations(file.model) if file.model else ():
        report(violation, root, Reported(file.faulty, file.missing), problems)
    defaults = root.get("training")
    if defaults is not None:
        check(TrainingConfig, defaults, problems, partial=True)
    entries = root.entries.get("variants")
    variants = [read_variant(name, node, defaults, problems) for name, node in _written(entries, problems).items()]
    num_seeds = len(file.model.seeds) if file.model else 1
    # One point of each variant is looked at even where there are too many: it shows the other mistakes.
    most = 1 if entries and _are_too_many(variants, num_seeds, entries, problems) else None
    name = str(plain(root.entries["name"])) if "name" in root.entries else ""
    points = [
        _Point(variant.name, swept, node, sections)
        for variant in variants
        for swept, node, sections in itertools.islice(VariantCheck(variant, name, problems).points(), most)
    ]
    _twins_have_names_of_their_own(points, entries, problems)
    return _Expansion(file.model, points)


def _twins_have_names_of_their_own(points: Sequence[_Point], entries: Node | None, problems: Problems) -> None:
    named = entries.entries if entries else {}
    taken = {twin_name(point.variant, twin): point.variant for point in points for twin in point.sections.twins}
    for name in taken.keys() & named.keys():
        problems.at_key(named[name], f"the twins of {taken[name]} have this name; choose another")


def _written(entries: Node | None, problems: Problems) -> dict[str, Node]:
    """The variants, without those of which only a --set speaks that meant another."""
    variants = dict(entries.entries) if entries else {}
    of_the_file = [name for name, node in variants.items() if node.place.order[0] == 0]
    for name, node in list(variants.items()):
        if name not in of_the_file and node.get("procedure") is None and node.get("model") is None:
            guess = did_you_mean(name, of_the_file)
            problems.at_key(node, f"the file has no variant {name!r}; it has {listed(of_the_file)}{guess}")
            del variants[name]
    return variants


def _unused_epochs(root: Node, points: Sequence[_Point]) -> Iterator[str]:
    """training.epochs is the length of end_to_end alone, and many write it for a growth."""
    procedures = {point.sections.procedure for point in points}
    defaults = root.get("training")
    if defaults is not None and "epochs" in defaults.entries and "end_to_end" not in procedures:
        lengths = {
            "growth": "growth.seed_epochs, growth.epochs_per_step",
            "layerwise": "layerwise.epochs_per_layer",
            "boostresnet": "boostresnet.epochs_per_block",
        }
        instead = ", ".join(keys for procedure, keys in lengths.items() if procedure in procedures)
        yield f"training.epochs has no effect: no variant has procedure: end_to_end. These train by {instead}"


def _replaced_defaults(root: Node, points: Sequence[_Point]) -> Iterator[str]:
    """A sentence for each recipe of a variant that puts its own keys in place of the file's."""
    told = set()
    for point in points:
        name, recipe, model = point.variant, point.sections.recipe, point.sections.model
        if model is None or recipe is None or (name, recipe, model.name) in told:
            continue
        told.add((name, recipe, model.name))
        training = find_recipe(model.name, recipe) or {}
        variant = root.entries["variants"].entries[name]
        if hidden := hidden_by_recipe(root.get("training"), variant, training):
            keys = listed(f"training.{key}" for key in hidden)
            yield f"the recipe {recipe} of {model.name} in the variant {name} replaces the file's {keys}"


def _are_too_many(variants: Sequence[Variant], num_seeds: int, entries: Node, problems: Problems) -> bool:
    total = sum(variant.num_points for variant in variants) * num_seeds
    if total > MOST_TRIALS:
        largest = sorted(variants, key=lambda variant: -variant.num_points)[:3]
        shares = listed(f"{variant.name} {variant.num_points * num_seeds}" for variant in largest)
        wrong = f"expand to {total} trials ({shares}); at most {MOST_TRIALS} are allowed: sweep less, or split the file"
        problems.at_key(entries, wrong)
    return total > MOST_TRIALS


def _experiment(file: ExperimentFile, points: Sequence[_Point]) -> Experiment:
    return Experiment(
        name=file.name,
        dataset=file.dataset,
        resources=file.resources,
        scheduler=file.scheduler,
        max_failures=file.max_failures,
        trials=tuple(_with_twins(_trials(file, points), {point.variant: point.sections.twins for point in points})),
    )


def _trials(file: ExperimentFile, points: Sequence[_Point]) -> Iterator[TrialConfig]:
    for point in points:
        sections = point.sections
        assert sections.procedure and sections.model and sections.training, "a variant without problems is complete"
        for seed in file.seeds:
            yield TrialConfig(
                variant=point.variant,
                seed=seed,
                sweep_point=point.swept,
                dataset=_dataset_of(file.dataset, sections.dataset),
                procedure=sections.procedure,
                model=sections.model,
                recipe=sections.recipe,
                training=sections.training,
                growth=sections.growth,
                layerwise=sections.layerwise,
                boostresnet=sections.boostresnet,
                resources=file.resources,
            )


def _dataset_of(dataset: DatasetConfig, own: VariantDatasetConfig | None) -> DatasetConfig:
    """The file's, but for what the variant has otherwise, which was checked when it was read."""
    if own is None or own.label_noise is None:
        return dataset
    return dataset.model_copy(update={"label_noise": own.label_noise})


def _with_twins(trials: Iterator[TrialConfig], twins: Mapping[str, tuple[Twin, ...]]) -> Iterator[TrialConfig]:
    """The trials of each variant, and after them those of its twins, by the names of variants."""
    number = 0
    for variant, group in itertools.groupby(trials, key=lambda trial: trial.variant):
        parents = {number + place: trial for place, trial in enumerate(group, start=1)}
        yield from parents.values()
        for twin in twins[variant]:
            yield from (_twin(trial, twin_of, twin) for twin_of, trial in parents.items())
        number += len(parents) * (1 + len(twins[variant]))


def _twin(parent: TrialConfig, number: int, twin: Twin) -> TrialConfig:
    """Ordinary training of what is not known yet; its model and its epochs are filled in when the parent is done."""
    training = parent.training.model_copy(update={"epochs": None})
    return parent.model_copy(
        update={
            "variant": twin_name(parent.variant, twin),
            "procedure": "end_to_end",
            "training": training,
            "growth": None,
            "layerwise": None,
            "boostresnet": None,
            "twin_of": number,
            "twin": twin,
        }
    )


def twin_name(variant: str, twin: Twin) -> str:
    """The variant that the twins of a variant's trials belong to."""
    return f"{variant}.{twin}"
