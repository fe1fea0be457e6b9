"""What must hold between the keys of a file: the rules that no single model can know.

A rule is asked only of what could be read; what it finds names the keys that it concerns, the most telling first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import zoo
from growres.config.experiment import (
    DatasetConfig,
    GrowthConfig,
    ModelConfig,
    MultiStepSchedule,
    Procedure,
    RoundRobinConfig,
    SgdConfig,
    StepSchedule,
    TrainingConfig,
    ZeroBranchConfig,
)
from growres.config.experiment_file import ExperimentFile
from growres.config.problems import did_you_mean, listed
from growres.config.tree import Path

RESERVED_NAME = "latest"
"""What a person calls the newest experiment."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that is broken: the keys that it concerns, and what is wrong, in words."""

    paths: tuple[Path, ...]
    wrong: str
    of_key: bool = False
    """That the key is there is wrong, not its value."""
    remedy: str = ""
    """What to write instead, in words that follow the name of a key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantPoint:
    """A variant at one point of its sweep; a section is None where it is absent or could not be read."""

    procedure: Procedure | None
    model: ModelConfig | None
    recipe: str | None
    training: TrainingConfig | None
    growth: GrowthConfig | None
    has_growth: bool
    """The section is there, readable or not."""


def variant_violations(point: VariantPoint) -> Iterator[Violation]:
    """Every broken rule of one variant; paths begin at the variant."""
    for rule in _VARIANT_RULES:
        yield from rule(point)


def file_violations(file: ExperimentFile) -> Iterator[Violation]:
    """Every broken rule of what the variants share; paths begin at the file's root."""
    if file.name == RESERVED_NAME:
        wrong = f"the name {RESERVED_NAME} is reserved: it stands for the newest experiment; choose another"
        yield Violation((("name",),), wrong)
    yield from _source_and_its_keys(file.dataset)
    for seed, indices in _repeated(file.seeds):
        for index in indices:
            yield Violation((("seeds", index),), f"the seed {seed} stands in the list twice")
    scheduler = file.scheduler
    if scheduler is not None and scheduler.grace_epochs > scheduler.max_epochs:
        yield Violation(
            (("scheduler", "grace_epochs"), ("scheduler", "max_epochs")),
            f"grace_epochs ({scheduler.grace_epochs}) must not be greater than max_epochs ({scheduler.max_epochs})",
        )


def _source_and_its_keys(dataset: DatasetConfig) -> Iterator[Violation]:
    source = dataset.source
    if source != "digits" and dataset.path is None:
        what = "the name of a hub data set" if source == "hub" else "a file or a folder"
        yield Violation((("dataset", "path"),), f"missing key 'path': the source {source} reads {what}")
    only_hub = ("subset", "revision")
    unused = {"digits": ("path", *only_hub, "image_column", "label_column"), "hub": ()}.get(source, only_hub)
    for key in unused:
        if getattr(dataset, key) is not None:
            wrong = f"the source {source} takes no {key}; remove it"
            yield Violation((("dataset", key), ("dataset", "source")), wrong, of_key=True)


# ------------------------------------------------------------------------------------------------ procedure, growth


def _procedure_has_its_keys(point: VariantPoint) -> Iterator[Violation]:
    if point.procedure == "end_to_end" and point.training is not None and point.training.epochs is None:
        yield Violation((("training", "epochs"),), "the procedure end_to_end needs the key 'epochs' here")
    if point.procedure == "end_to_end" and point.has_growth:
        wrong = "the procedure end_to_end takes no growth; remove it, or write procedure: growth"
        yield Violation((("growth",),), wrong)
    if point.procedure == "growth" and not point.has_growth:
        yield Violation((("growth",),), "missing key 'growth': the procedure growth needs it")


def _growth_can_end(point: VariantPoint) -> Iterator[Violation]:
    if point.growth is not None and not point.growth.stop.model_dump(exclude_none=True):
        keys = listed(type(point.growth.stop).model_fields)
        yield Violation((("growth", "stop"),), f"needs at least one of its keys, or the growth never ends: {keys}")


def _seed_epochs_are_in_the_budget(point: VariantPoint) -> Iterator[Violation]:
    if point.growth is None:
        return
    most, seed_epochs = point.growth.stop.max_epochs, point.growth.seed_epochs
    if most is not None and most < seed_epochs:
        yield Violation(
            (("growth", "stop", "max_epochs"), ("growth", "seed_epochs")),
            f"max_epochs ({most}) must not be less than growth.seed_epochs ({seed_epochs}), which it includes",
        )


def _model_can_grow(point: VariantPoint) -> Iterator[Violation]:
    entry = _entry(point.model)
    if point.procedure == "growth" and point.model and entry and not entry.grows:
        growing = [name for name in zoo.list_models() if zoo.describe(name).grows]
        yield Violation(
            (("model", "name"), ("procedure",)),
            f"{point.model.name} has no residual stages to grow; models that do: {listed(growing)}",
        )


def _a_zero_branch_keeps_the_function(point: VariantPoint) -> Iterator[Violation]:
    entry = _entry(point.model)
    if point.growth is None or point.model is None or entry is None or not entry.grows:
        return
    if not isinstance(point.growth.initialiser, ZeroBranchConfig):
        return
    settings = entry.settings(point.model.kwargs)
    for key, spoiling in _SPOILS_A_ZERO_BRANCH.items():
        if settings.get(key) in spoiling:
            wrong = (
                f"with {key}: {settings[key]}, {spoiling[settings[key]]}; the initialiser zero_branch needs a block "
                f"that can be the identity and learn: choose another {key}, or initialiser: kaiming"
            )
            yield Violation((("model", key), ("growth", "initialiser"), ("model", "name")), wrong)


_SPOILS_A_ZERO_BRANCH: dict[str, dict[str, str]] = {
    "shortcut": {"option_c": "a new block's shortcut is a convolution"},
    "h": {
        "constant_scaling": "a new block scales what comes through its shortcut",
        "exclusive_gating": "a new block's gate holds back a part of what comes through its shortcut",
        "shortcut_only_gating": "a new block's gate holds back a part of what comes through its shortcut",
        "conv1x1": "a new block's shortcut is a convolution",
        "dropout": "a new block drops a part of what comes through its shortcut",
    },
    "f": {
        "bn_after": "a new block normalises what comes through its shortcut",
        "relu_before": "a branch of zeros ends in a relu that lets no gradient through",
    },
}


def _halves_of_a_step_exist(point: VariantPoint) -> Iterator[Violation]:
    if point.growth and point.growth.train == "new_block_then_all" and point.growth.epochs_per_step < 2:
        yield Violation(
            (("growth", "epochs_per_step"), ("growth", "train")),
            f"epochs_per_step ({point.growth.epochs_per_step}) must be at least 2 for train: new_block_then_all, "
            "which gives each half of them to one part",
        )


def _stages_exist(point: VariantPoint) -> Iterator[Violation]:
    blocks = initial_blocks(point.model) if point.model else None
    if point.growth is None or blocks is None or not isinstance(point.growth.placement, RoundRobinConfig):
        return
    for index, stage in enumerate(point.growth.placement.stages or ()):
        if stage >= len(blocks):
            yield Violation(
                (("growth", "placement", "stages", index), ("model", "blocks"), ("model", "name")),
                f"there is no stage {stage}; the model's stages are 0 to {len(blocks) - 1}",
            )


# -------------------------------------------------------------------------------------------------------- training


def _nesterov_has_momentum(point: VariantPoint) -> Iterator[Violation]:
    optimizer = point.training.optimizer if point.training else None
    if isinstance(optimizer, SgdConfig) and optimizer.nesterov and optimizer.momentum == 0:
        keys = ("training", "optimizer")
        yield Violation(((*keys, "nesterov"), (*keys, "momentum")), "nesterov needs a momentum greater than 0")


def _warmup_ends(point: VariantPoint) -> Iterator[Violation]:
    if point.training is None:
        return
    warmup = point.training.schedule.warmup_epochs
    for path, epochs in _epochs_of_a_schedule(point):
        if epochs <= warmup > 0:
            yield Violation(
                (("training", "schedule", "warmup_epochs"), path),
                f"warmup_epochs ({warmup:g}) must be less than {'.'.join(path)} ({epochs})",
            )


def _epochs_of_a_schedule(point: VariantPoint) -> Iterator[tuple[tuple[str, str], int]]:
    """Every length that a schedule runs over: each arm of a growth runs it anew."""
    if point.growth is not None and point.procedure == "growth":
        yield ("growth", "seed_epochs"), point.growth.seed_epochs
        yield ("growth", "epochs_per_step"), point.growth.epochs_per_step
    elif point.training is not None and point.training.epochs is not None and point.procedure == "end_to_end":
        yield ("training", "epochs"), point.training.epochs


def _milestones_rise(point: VariantPoint) -> Iterator[Violation]:
    schedule = point.training.schedule if point.training else None
    if not isinstance(schedule, MultiStepSchedule):
        return
    pairs = zip(schedule.milestones, schedule.milestones[1:], strict=False)
    for index, (earlier, later) in enumerate(pairs, start=1):
        if later <= earlier:
            yield Violation(
                (("training", "schedule", "milestones", index),),
                f"milestones must rise: {later} comes after {earlier}",
            )


def _milestones_have_factors(point: VariantPoint) -> Iterator[Violation]:
    schedule = point.training.schedule if point.training else None
    if not isinstance(schedule, MultiStepSchedule) or not isinstance(schedule.factor, tuple):
        return
    num_factors, num_milestones = len(schedule.factor), len(schedule.milestones)
    if num_factors != num_milestones:
        key = ("training", "schedule")
        wrong = f"there are {num_factors} factors and {num_milestones} milestones; give one each, or one for all"
        yield Violation(((*key, "factor"), (*key, "milestones")), wrong)


def _the_learning_rate_decays(point: VariantPoint) -> Iterator[Violation]:
    schedule = point.training.schedule if point.training else None
    lengths = dict(_epochs_of_a_schedule(point))
    if not lengths:
        return
    most = max(lengths.values())
    in_words = ", ".join(f"{'.'.join(path)} is {epochs}" for path, epochs in lengths.items())
    key = ("training", "schedule")
    if isinstance(schedule, MultiStepSchedule) and schedule.milestones[-1] >= most:
        late = {index: milestone for index, milestone in enumerate(schedule.milestones) if milestone >= most}
        what = "the milestone {} is" if len(late) == 1 else "the milestones {} are"
        wrong = f"{what.format(listed(late.values()))} never passed: {in_words}"
        yield Violation(((*key, "milestones", min(late)), *lengths), wrong, remedy=_SLOWER)
    if isinstance(schedule, StepSchedule) and schedule.every_epochs >= most:
        wrong = f"the learning rate would never fall: every_epochs is {schedule.every_epochs}, {in_words}"
        yield Violation(((*key, "every_epochs"), *lengths), wrong, remedy=_SLOWER)


_SLOWER = "such as {name: constant}"


def _augmentations_differ(point: VariantPoint) -> Iterator[Violation]:
    names = tuple(augmentation.name for augmentation in point.training.augment) if point.training else ()
    for name, indices in _repeated(names):
        for index in indices:
            yield Violation((("training", "augment", index),), f"{name} stands in the list twice")


# ----------------------------------------------------------------------------------------------------------- model


def _zoo_takes_it(point: VariantPoint) -> Iterator[Violation]:
    if point.model is None:
        return
    entry = _entry(point.model)
    if entry is None:
        for wrong in zoo.check(point.model.name, {}):
            yield Violation((("model", "name"),), wrong)
        return
    for wrong in zoo.check(point.model.name, point.model.kwargs):
        culprit = _culprit(wrong, point.model, {})
        path: Path = ("model",) if culprit is None else ("model", culprit)
        yield Violation((path,), wrong, of_key=all(argument.name != culprit for argument in entry.arguments))


def _the_recipe_exists(point: VariantPoint) -> Iterator[Violation]:
    entry = _entry(point.model)
    if point.recipe is None or entry is None or point.recipe in entry.recipes:
        return
    known = f"{entry.name} has the recipes {listed(entry.recipes)}" if entry.recipes else f"{entry.name} has no recipe"
    guess = did_you_mean(point.recipe, entry.recipes)
    yield Violation((("recipe",), ("model", "name")), f"no recipe is named {point.recipe!r}; {known}{guess}")


def data_violations(model: ModelConfig, facts: Mapping[str, int]) -> Iterator[Violation]:
    """Why the zoo cannot make a sound model for these images.

    Paths begin at a variant beside which the file's `dataset` stands.

    Args:
        facts: num_classes, in_channels and image_size.
    """
    at_any_size = zoo.check(model.name, model.kwargs, num_classes=facts["num_classes"])
    for wrong in zoo.check(model.name, model.kwargs, **facts):
        concerned: tuple[Path, ...] = (("model", _culprit(wrong, model, facts) or "name"),)
        yield Violation(concerned if wrong in at_any_size else (*concerned, ("dataset", "image_size")), wrong)


def _culprit(wrong: str, model: ModelConfig, facts: Mapping[str, int]) -> str | None:
    """The first argument without which the problem goes away."""
    for key in model.kwargs:
        others = {name: value for name, value in model.kwargs.items() if name != key}
        if wrong not in zoo.check(model.name, others, **facts):
            return key
    return None


def _entry(model: ModelConfig | None) -> zoo.ModelEntry | None:
    if model is None:
        return None
    try:
        return zoo.describe(model.name)
    except zoo.ModelError:
        return None


def initial_blocks(model: ModelConfig) -> tuple[int, ...] | None:
    """Residual blocks in each stage before any growth; None for a network without, or one that the zoo refuses."""
    entry = _entry(model)
    if entry is None or not entry.grows or zoo.check(model.name, model.kwargs):
        return None
    return tuple(entry.settings(model.kwargs)["blocks"])


def _repeated(values: tuple[object, ...]) -> Iterator[tuple[object, list[int]]]:
    """Each value that stands more than once, with the indices of all but the first."""
    for value, count in Counter(values).items():
        if count > 1:
            yield value, [index for index, other in enumerate(values) if other == value][1:]


_VARIANT_RULES: tuple[Callable[[VariantPoint], Iterator[Violation]], ...] = (
    _procedure_has_its_keys,
    _growth_can_end,
    _seed_epochs_are_in_the_budget,
    _model_can_grow,
    _a_zero_branch_keeps_the_function,
    _halves_of_a_step_exist,
    _stages_exist,
    _nesterov_has_momentum,
    _warmup_ends,
    _milestones_rise,
    _milestones_have_factors,
    _the_learning_rate_decays,
    _augmentations_differ,
    _the_recipe_exists,
    _zoo_takes_it,
)
