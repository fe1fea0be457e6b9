"""The experiment file on the command line: where it is, `growres validate`, `growres schema`, the plan of a dry run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from growres.cli import figures
from growres.cli.experiments import sweep_point, without_empty
from growres.cli.tables import Column, Format, figure, print_json, print_rows
from growres.cli.talk import say, say_what_did_not_fit
from growres.errors import NotFoundError, nearest

if TYPE_CHECKING:
    from growres.config.experiment import DatasetConfig
    from growres.config.loading import LoadedExperiment
    from growres.data import ImageData

SpecArgument = Annotated[
    str, typer.Argument(metavar="SPEC", help="An experiment file, or the name of a preset such as digits.")
]
OverridesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change a key of the file, as in training.epochs=3. That wins over recipes; a variant's own keys win over "
        "it, and are set by variants.NAME.training.epochs=3. Repeatable.",
    ),
]


def find_spec(spec: str) -> Path:
    """The file that SPEC means: a path, or the bare name of a preset.

    Raises:
        NotFoundError: if it is neither; the message names the presets and the nearest.
    """
    path = Path(os.path.expanduser(spec))
    if os.path.isfile(path):  # false, where Path would raise, for a name that is too long for a file
        return path
    presets = preset_files()
    if spec in presets:
        return presets[spec]
    raise NotFoundError(_not_found(spec, path, list(presets)))


def preset_files() -> dict[str, Path]:
    """The experiments that ship with growres, by name."""
    import jobs

    folder = Path(next(iter(jobs.__path__))) / "presets"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _not_found(spec: str, path: Path, presets: list[str]) -> str:
    what = f"{spec} is a folder" if os.path.isdir(path) else f"There is no experiment file {spec}"
    like = nearest(path.stem, presets)
    guess = f" The nearest preset is {like}." if like else ""
    return f"{what}, and no preset has that name.{guess} Name a YAML file, or one of the presets: {', '.join(presets)}."


def validate(spec: SpecArgument, overrides: OverridesOption = None) -> None:
    """Check an experiment file: every error at once, with its line and column. Runs nothing."""
    from growres.config.loading import load_experiment
    from growres.data import known_facts

    path = find_spec(spec)
    loaded = load_experiment(path, overrides or [])
    experiment = loaded.experiment
    if facts := known_facts(experiment.dataset):
        loaded.check_models(num_classes=facts.num_classes, in_channels=facts.channels, image_size=facts.image_size)
    variants = {trial.variant for trial in experiment.trials if trial.twin is None}
    counts = f"{figures.number_of(len(variants), 'variant')}, {figures.number_of(len(experiment.trials), 'trial')}"
    print(f"{figures.text(spec)}: experiment {experiment.name} is valid: {counts}")
    _say_beside(path, spec, loaded)


def _say_beside(path: Path, spec: str, loaded: LoadedExperiment) -> None:
    """What a person may want to know before running it: surprises, and where a preset's lab note can be read."""
    for note in loaded.notes:
        say(f"Note: {note}.")
    if path == preset_files().get(spec):
        say(f"The preset, with its lab note (what it shows, what it costs, what to expect) at its head: {path}")


def schema() -> None:
    """Print the JSON Schema of an experiment file, for an editor that completes and checks YAML."""
    from growres.config.schema import experiment_schema

    print_json(experiment_schema())


# ------------------------------------------------------------------------------------------------------- the plan

_PLAN_COLUMNS = (
    Column(key="variant", min_width=8),
    Column(key="sweep_point", title="sweep point", show=sweep_point, min_width=12),
    figure("seed"),
    Column(key="procedure", leave_out=2),
    Column(key="model", min_width=8, leave_out=1),
    figure("epochs", show=figures.text),
    figure("images", title="images to train on", leave_out=3),
)


_TWINS_EPOCHS = {"same_epochs": "as many epochs as its parent", "same_flops": "as many FLOPs as its parent"}


def print_plan(spec: str, overrides: Sequence[str], output: Format) -> None:
    """Prints the trials that an experiment file expands to, and what they cost at least and at most; runs nothing."""
    from growres.cli import detection
    from growres.config.expansion import describe_plan
    from growres.config.loading import load_experiment

    path = find_spec(spec)
    loaded = load_experiment(path, overrides)
    experiment = loaded.experiment
    if experiment.dataset.source in ("parquet", "imagefolder"):
        from growres.data import pin_source

        pin_source(experiment.dataset)  # a path that leads nowhere is said now
    images = _images_at_hand(experiment.dataset)
    if images is not None:
        loaded.check_models(num_classes=images.num_classes, in_channels=images.channels, image_size=images.image_size)
    plan = describe_plan(experiment, None if images is None else len(images.train))
    num_validation = None if images is None else len(images.validation)
    powers = detection.step_powers(experiment.trials, experiment.dataset, num_validation)
    rows = [
        asdict(trial) | {"step_detects": None if power is None else power.row}
        for trial, power in zip(plan.trials, powers, strict=True)
    ]
    if output in (Format.JSON, Format.CSV):
        print_rows(rows, (), output)
    else:
        shown = [_shown(row) for row in rows]
        say_what_did_not_fit(print_rows(shown, without_empty(_PLAN_COLUMNS, shown, "sweep_point"), output))
    epochs, to_train_on = _span(plan.epochs_min, plan.epochs_max), _span(plan.images_min, plan.images_max)
    trials = figures.number_of(len(plan.trials), "trial")
    say(f"\n{experiment.name}: {trials}, {epochs} epochs, {to_train_on} images to train on")
    _say_beside(path, spec, loaded)
    for sentence in detection.sentences(powers):
        say(sentence)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return row | {
        "epochs": _TWINS_EPOCHS.get(row["twin"]) or _span(row["epochs_min"], row["epochs_max"]),
        "images": _span(row["images_min"], row["images_max"]),
    }


def _span(least: int | None, most: int | None) -> str:
    """`1,200`, `100..900`, `at least 100`, or `unknown`."""
    if least is None:
        return "unknown"
    if most is None:
        return f"at least {least:,}"
    return f"{least:,}" if least == most else f"{least:,}..{most:,}"


def _images_at_hand(config: DatasetConfig) -> ImageData | None:
    """The data set, where its source is decoded on this machine already; else None."""
    from growres.data import cached_sources, load_images

    path = config.path
    if path is not None and os.path.exists(os.path.expanduser(path)):
        path = str(Path(os.path.expanduser(path)).resolve())
    known = {(row["source"], row["path"]) for row in cached_sources()}
    if not {(config.source, config.path), (config.source, path)} & known:
        return None
    return load_images(config)
