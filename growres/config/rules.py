"""What must hold between the keys of a file: the rules that no single model can know.

A rule is asked only of what could be read; what it finds names the keys that it concerns, the most telling first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import zoo
from growres.config.budget import most_rounds
from growres.config.experiment import (
    AcceptBase,
    AlwaysConfig,
    BestOfConfig,
    BoostResNetConfig,
    DatasetConfig,
    GrowthConfig,
    LayerwiseConfig,
    ModelConfig,
    MultiStepSchedule,
    NewStageConfig,
    PeriodicConfig,
    PlateauConfig,
    Procedure,
    RoundRobinConfig,
    SgdConfig,
    StepSchedule,
    TestedBase,
    TrainingConfig,
    Twin,
    VariantDatasetConfig,
    VersusControlConfig,
    is_tested,
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
    layerwise: LayerwiseConfig | None = None
    has_layerwise: bool = False
    dataset: VariantDatasetConfig | None = None
    twins: tuple[Twin, ...] = ()
    boostresnet: BoostResNetConfig | None = None
    has_boostresnet: bool = False


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
    sections = (
        ("growth", point.has_growth),
        ("layerwise", point.has_layerwise),
        ("boostresnet", point.has_boostresnet),
    )
    for section, is_there in sections:
        if point.procedure not in (None, section) and is_there:
            wrong = f"the procedure {point.procedure} takes no {section}; remove it, or write procedure: {section}"
            yield Violation(((section,),), wrong)
        if point.procedure == section and not is_there:
            yield Violation(((section,),), f"missing key {section!r}: the procedure {section} needs it")


def _twins_have_a_parent(point: VariantPoint) -> Iterator[Violation]:
    if point.procedure == "end_to_end" and point.twins:
        wrong = "the procedure end_to_end takes no twins: its network is trained from scratch already; remove them"
        yield Violation((("twins",),), wrong, of_key=True)
    for twin, indices in _repeated(point.twins):
        for index in indices:
            yield Violation((("twins", index),), f"{twin} stands in the list twice")


def _twins_have_a_schedule(point: VariantPoint) -> Iterator[Violation]:
    """A twin's epochs are known when its parent is done: a schedule has to fit whatever they are."""
    schedule = point.training.schedule if point.training else None
    if point.twins and isinstance(schedule, StepSchedule | MultiStepSchedule):
        wrong = (
            f"twins train for as many epochs as their parent took, which schedule: {schedule.name} cannot know: give "
            f"schedule: {{name: cosine}} or constant, or remove the twins"
        )
        yield Violation((("training", "schedule"), ("twins",)), wrong)


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
    if point.procedure in ("growth", "boostresnet") and point.model and entry and not entry.grows:
        growing = [name for name in zoo.list_models() if zoo.describe(name).grows]
        yield Violation(
            (("model", "name"), ("procedure",)),
            f"{point.model.name} has no residual stages to grow; models that do: {listed(growing)}",
        )


def _model_has_layers(point: VariantPoint) -> Iterator[Violation]:
    if point.procedure == "layerwise" and point.model and _entry(point.model) and not _is_residual(point.model):
        residual = [name for name in zoo.list_models() if _is_residual(ModelConfig(name=name))]
        yield Violation(
            (("model", "name"), ("procedure",)),
            f"{point.model.name} has no residual stages to train in turn; models that do: {listed(residual)}",
        )


def _the_initialiser_fits_the_block(point: VariantPoint) -> Iterator[Violation]:
    entry = _entry(point.model)
    if point.growth is None or point.model is None or entry is None or not entry.grows:
        return
    initialiser, settings = point.growth.initialiser.name, entry.settings(point.model.kwargs)
    keeps_the_function = initialiser in ("zero_branch", "zero_gamma", "skip_init", "gradmax")
    for key, spoiling in _SPOILS_A_ZERO_BRANCH.items() if keeps_the_function else ():
        if settings.get(key) in spoiling:
            wrong = (
                f"with {key}: {settings[key]}, {spoiling[settings[key]]}; the initialiser {initialiser} needs a block "
                f"that can be the identity and learn: choose another {key}, or initialiser: kaiming"
            )
            yield Violation((("model", key), ("growth", "initialiser"), ("model", "name")), wrong)
    # The form preact_resnet is one order of layers, so that it has no argument f.
    order = settings.get("f", "full_pre")
    ends_in_norm = order in ("original", "relu_only_pre", "relu_before")
    at = (("growth", "initialiser"), ("model", "f"), ("model", "name"))
    if initialiser in _NEEDS_A_LAST_NORM and not ends_in_norm:
        yield Violation(at, f"the initialiser {initialiser} {_NEEDS_A_LAST_NORM[initialiser]}")
    if initialiser == "gradmax" and ends_in_norm:
        wrong = (
            "the initialiser gradmax chooses what reaches the last convolution, and here a batch norm follows that: "
            "take preact_resnet, or initialiser: zero_branch"
        )
        yield Violation(at, wrong)
    if initialiser == "skip_init" and not settings.get("skip_init"):
        wrong = "the initialiser skip_init sets a number that only blocks with skip_init have: add skip_init: true here"
        yield Violation((("model", "skip_init"), ("growth", "initialiser"), ("model", "name")), wrong)
    if settings.get("skip_init") and initialiser not in ("skip_init", "copy_previous"):
        # Behind a gain of zero a zero branch never learns, and no other beginning of the branch is ever seen.
        wrong = (
            f"with skip_init: true a number that starts at zero hides what the initialiser {initialiser} does to a new "
            f"block's branch: take initialiser: skip_init, or remove skip_init"
        )
        yield Violation((("growth", "initialiser"), ("model", "skip_init"), ("model", "name")), wrong)


_OF_GAMMA = "sets the gamma of the batch norm that ends a branch, and here a convolution ends it: take {}"
_NEEDS_A_LAST_NORM = {
    "zero_gamma": "zeroes the gamma of the batch norm that ends a branch; here a convolution ends it, and a gamma "
    "before it at zero would leave the whole block without a gradient for ever: take initialiser: zero_branch",
    "gaussian_gamma": _OF_GAMMA.format("model: {name: resnet}, or initialiser: kaiming"),
    "uniform_gamma": _OF_GAMMA.format("model: {name: resnet}, or initialiser: kaiming"),
    "adam_gamma": _OF_GAMMA.format("model: {name: resnet}, or initialiser: kaiming"),
}

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
    if point.growth is None or blocks is None:
        return
    placement = point.growth.placement
    for index, stage in enumerate(getattr(placement, "stages", None) or ()):
        if stage >= len(blocks):
            yield Violation(
                (("growth", "placement", "stages", index), ("model", "blocks"), ("model", "name")),
                f"there is no stage {stage}; the model's stages are 0 to {len(blocks) - 1}",
            )
    if isinstance(placement, NewStageConfig) and placement.max_stages <= len(blocks):
        yield Violation(
            (("growth", "placement", "max_stages"), ("model", "blocks"), ("model", "name")),
            f"max_stages ({placement.max_stages}) must be more than the {len(blocks)} stages that the model has",
        )


def _what_is_never_undone_is_always_accepted(point: VariantPoint) -> Iterator[Violation]:
    growth = point.growth
    if growth is None or isinstance(growth.accept, AlwaysConfig):
        return
    needs = {
        "when: periodic": isinstance(growth.when, PeriodicConfig),
        "placement.freeze": isinstance(growth.placement, RoundRobinConfig) and growth.placement.freeze is not None,
    }
    for key in (key for key, asked in needs.items() if asked):
        wrong = f"{key} belongs to growth that never takes a block back: give accept: {{name: always}}"
        yield Violation((("growth", "accept"), ("growth",)), wrong)


def _a_control_is_there_to_compare_with(point: VariantPoint) -> Iterator[Violation]:
    growth = point.growth
    if growth is not None and isinstance(growth.accept, VersusControlConfig) and not growth.control:
        wrong = "accept: versus_control compares with control arms: give control: true"
        yield Violation((("growth", "control"), ("growth", "accept")), wrong)


def _a_control_is_as_long_as_its_candidate(point: VariantPoint) -> Iterator[Violation]:
    growth = point.growth
    if growth is None or not growth.control or not isinstance(growth.when, PlateauConfig):
        return
    if isinstance(growth.placement, BestOfConfig) and growth.placement.screen == "none":
        wrong = (
            "the candidates of a round share one control arm, and with when: plateau they differ in length: give "
            "when: {name: epochs_per_step}, or the placement one proposal a round"
        )
        yield Violation((("growth", "control"), ("growth", "when"), ("growth", "placement")), wrong)


def _a_test_has_a_p_value(point: VariantPoint) -> Iterator[Violation]:
    accept = point.growth.accept if point.growth else None
    if accept is None or not isinstance(accept, TestedBase) or is_tested(accept):
        return
    for key in TestedBase.model_fields:
        if key in accept.model_fields_set and key not in AcceptBase.model_fields:
            wrong = f"test: error_drop has no p-value, and takes no {key}: remove it, or give test: mcnemar"
            yield Violation((("growth", "accept", key), ("growth", "accept", "test")), wrong, of_key=True)


def _a_growth_has_room(point: VariantPoint) -> Iterator[Violation]:
    blocks = initial_blocks(point.model) if point.model else None
    most = point.growth.stop.max_blocks if point.growth else None
    if blocks is not None and most is not None and most < sum(blocks):
        yield Violation(
            (("growth", "stop", "max_blocks"), ("model", "blocks"), ("model", "name")),
            f"max_blocks ({most}) must not be less than the {sum(blocks)} blocks that the model begins with",
        )


def _a_new_stage_is_tried(point: VariantPoint) -> Iterator[Violation]:
    growth = point.growth
    if growth is None or not isinstance(growth.placement, NewStageConfig):
        return
    if isinstance(growth.accept, AlwaysConfig):
        wrong = "a stage is opened when all others have refused a block, and accept: always refuses none: give a test"
        yield Violation((("growth", "accept"), ("growth", "placement")), wrong)
    patience, most = growth.stop.patience, growth.placement.max_stages
    if patience is not None and patience < most:
        wrong = (
            f"a stage is opened when all others have refused a block, so that patience ({patience}) would end the "
            f"growth before: give at least max_stages ({most})"
        )
        paths = (("growth", "stop", "patience"), ("growth", "stop"), ("growth", "placement", "max_stages"))
        yield Violation(paths, wrong)


def _replicates_rise(point: VariantPoint) -> Iterator[Violation]:
    accept = point.growth.accept if point.growth else None
    most = accept.max_replicates if isinstance(accept, TestedBase) else None
    if accept is not None and most is not None and most < accept.replicates:
        yield Violation(
            (("growth", "accept", "max_replicates"), ("growth", "accept", "replicates")),
            f"max_replicates ({most}) must not be less than replicates ({accept.replicates})",
        )


def _rounds_are_bounded(point: VariantPoint) -> Iterator[Violation]:
    """Where something is shared out over the rounds, there must be a most of them."""
    growth, blocks = point.growth, initial_blocks(point.model) if point.model else None
    if growth is None or blocks is None or most_rounds(growth, blocks) is not None:
        return
    wrong = "needs to know the most rounds that there can be: give growth.stop max_epochs, or max_blocks and patience"
    if is_tested(growth.accept) and growth.accept.spend == "holm":
        yield Violation((("growth", "accept", "spend"), ("growth", "stop")), f"spend: holm {wrong}")
    if growth.schedule_at_growth == "whole_run":
        paths = (("growth", "schedule_at_growth"), ("growth", "stop"))
        yield Violation(paths, f"schedule_at_growth: whole_run {wrong}")


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
        if point.growth.schedule_at_growth == "restart":
            yield ("growth", "seed_epochs"), point.growth.seed_epochs
            yield ("growth", "epochs_per_step"), point.growth.epochs_per_step
        if point.growth.tail_epochs:
            yield ("growth", "tail_epochs"), point.growth.tail_epochs
    elif point.layerwise is not None and point.procedure == "layerwise":
        yield ("layerwise", "epochs_per_layer"), point.layerwise.epochs_per_layer
    elif point.boostresnet is not None and point.procedure == "boostresnet":
        yield ("boostresnet", "epochs_per_block"), point.boostresnet.epochs_per_block
        if point.boostresnet.refine_epochs:
            yield ("boostresnet", "refine_epochs"), point.boostresnet.refine_epochs
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
    return None if entry is None or not entry.grows else residual_blocks(model)


def residual_blocks(model: ModelConfig) -> tuple[int, ...] | None:
    """Blocks in each stage of a residual network or its plain twin; None for another, or one that the zoo refuses."""
    entry = _entry(model)
    if entry is None or not _is_residual(model) or zoo.check(model.name, model.kwargs):
        return None
    return tuple(entry.settings(model.kwargs)["blocks"])


def _is_residual(model: ModelConfig) -> bool:
    entry = _entry(model)
    return entry is not None and entry.factory.startswith("zoo.resnet:")


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
    _model_has_layers,
    _twins_have_a_parent,
    _twins_have_a_schedule,
    _the_initialiser_fits_the_block,
    _halves_of_a_step_exist,
    _stages_exist,
    _what_is_never_undone_is_always_accepted,
    _a_control_is_there_to_compare_with,
    _a_control_is_as_long_as_its_candidate,
    _a_test_has_a_p_value,
    _a_growth_has_room,
    _a_new_stage_is_tried,
    _replicates_rise,
    _rounds_are_bounded,
    _nesterov_has_momentum,
    _warmup_ends,
    _milestones_rise,
    _milestones_have_factors,
    _the_learning_rate_decays,
    _augmentations_differ,
    _the_recipe_exists,
    _zoo_takes_it,
)
