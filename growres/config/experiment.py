"""The experiment file as frozen models: what is allowed, what is the default, what each key means.

These models know types and ranges. What spans several keys, or needs the zoo (a model's name and its arguments, sweeps,
a variant laid over the file's defaults), is checked in `growres.config.loading`, which also knows lines and columns.
The docstrings below the fields are what `growres schema` shows in an editor.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeGuard

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    model_validator,
)
from pydantic import PositiveInt as PositiveInt

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
LONGEST_NAME = 64
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=LONGEST_NAME)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveFraction = Annotated[float, Field(gt=0.0, le=1.0)]


class Frozen(BaseModel):
    """Immutable; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


# ---------------------------------------------------------------------------------------------------------- data


class LimitConfig(Frozen):
    """At most this many images of a split, drawn class by class from `split_seed`."""

    train: PositiveInt | None = None
    validation: PositiveInt | None = None
    test: PositiveInt | None = None


Portion = Annotated[float, Field(gt=0.0, lt=1.0)] | PositiveInt
"""A fraction of the images, or their number."""


class DatasetConfig(Frozen):
    """Where the images come from, how they are converted, and how they are split."""

    source: Literal["digits", "hub", "parquet", "imagefolder"]
    """digits: 1,797 8x8 images bundled with scikit-learn; hub: a Hugging Face data set by name, or a local folder laid
    out like one; parquet: a file or folder of parquet files; imagefolder: a folder with one folder a class."""
    path: str | None = None
    """The hub data set's name, or the file or folder to read. Not used by digits."""
    subset: str | None = None
    """The configuration of a hub data set that has several."""
    revision: str | None = None
    """The revision of a hub data set: a branch, a tag or a commit."""
    image_column: str | None = None
    """The column that holds the images; found by its type where it is not named."""
    label_column: str | None = None
    """The column that holds the labels; found by its type or name where it is not named."""
    train_split: str = "train"
    test_split: str = "test"
    """The source's own test split. Where the source has no split of this name, `test` is carved out of train."""
    channels: Literal[1, 3] | None = None
    """1: convert to grey; 3: convert to RGB. By default what the source's images are."""
    image_size: Annotated[int, Field(ge=4, le=1024)] | None = None
    """Resize to this many pixels a side. By default the images' own size, when all have the same."""
    validation: Portion = 0.2
    """The share of the training images that decisions are taken on: a fraction, or a number of images."""
    test: Portion = 0.2
    """The share of all images that is sealed as the test split, where the source has none of its own."""
    split_seed: NonNegativeInt = 0
    limit: LimitConfig = LimitConfig()
    label_noise: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """The fraction of training and validation labels that are changed to another class. The test labels stay."""


class VariantDatasetConfig(Frozen):
    """What of the data set a variant may have otherwise than the file."""

    label_noise: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None
    """In place of the file's dataset.label_noise."""


# ------------------------------------------------------------------------------------------------------ training


class SgdConfig(Frozen):
    name: Literal["sgd"]
    lr: PositiveFloat
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 0.0


DecayRate = Annotated[float, Field(ge=0.0, lt=1.0)]
"""How much of a running mean stays at each step; with 1 nothing would ever enter it."""


class AdamWConfig(Frozen):
    name: Literal["adamw"]
    lr: PositiveFloat
    betas: tuple[DecayRate, DecayRate] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.01


class RmsPropConfig(Frozen):
    """Gradients divided by the root of a running mean of their squares, as the later Inception networks train."""

    name: Literal["rmsprop"]
    lr: PositiveFloat
    alpha: DecayRate = 0.9
    """How much of the running mean of squares stays at each step; the papers call it the decay."""
    eps: PositiveFloat = 1e-8
    """Added to the root, so that rare gradients are not blown up; Inception v3 has 1.0."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    weight_decay: NonNegativeFloat = 0.0


class SdlmConfig(Frozen):
    """Stochastic diagonal Levenberg-Marquardt: each weight's step divided by mu plus its own curvature, which is
    estimated anew before each epoch (LeCun et al. 1998, appendix C). It wants small batches, the paper has one image.
    """

    name: Literal["sdlm"]
    lr: PositiveFloat
    mu: PositiveFloat = 0.02
    """What keeps the step finite where the loss is flat."""
    samples: PositiveInt = 500
    """Training images on which the curvature is estimated."""


OptimizerConfig = Annotated[SgdConfig | AdamWConfig | RmsPropConfig | SdlmConfig, Field(discriminator="name")]


class ScheduleBase(Frozen):
    warmup_epochs: NonNegativeFloat = 0.0
    """Epochs over which the learning rate rises linearly to the optimiser's."""


class ConstantSchedule(ScheduleBase):
    name: Literal["constant"]


class CosineSchedule(ScheduleBase):
    name: Literal["cosine"]
    final_lr_fraction: Fraction = 0.0
    """The last learning rate, as a fraction of the optimiser's."""


Factor = Annotated[float, Field(gt=0.0, le=1.0)]


class StepSchedule(ScheduleBase):
    name: Literal["step"]
    every_epochs: PositiveInt
    factor: Factor = 0.1


class MultiStepSchedule(ScheduleBase):
    name: Literal["multistep"]
    milestones: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
    """The epochs, rising, after which the learning rate is multiplied by `factor`."""
    factor: Factor | tuple[Factor, ...] = 0.1
    """One factor for all milestones, or one for each."""


ScheduleConfig = Annotated[
    ConstantSchedule | CosineSchedule | StepSchedule | MultiStepSchedule, Field(discriminator="name")
]


class CropConfig(Frozen):
    """Pad with zeros and cut back to the size at a random place."""

    name: Literal["crop"] = "crop"
    padding: PositiveInt | None = None
    """Pixels a side; by default an eighth of the image's size (4 at 32x32, 1 at 8x8)."""


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the first bound ({bounds[0]:g}) must not be greater than the second ({bounds[1]:g})")
    return bounds


class ResizedCropConfig(Frozen):
    """Cut out a part of random size, shape and place, and stretch it to the image's size."""

    name: Literal["resized_crop"] = "resized_crop"
    area: Annotated[tuple[PositiveFraction, PositiveFraction], AfterValidator(_in_order)] = (0.08, 1.0)
    """The part's share of the image, between these two."""
    aspect: Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_in_order)] = (0.75, 4 / 3)
    """The part's width over its height, between these two."""


class FlipConfig(Frozen):
    """Mirror left to right, with probability one half."""

    name: Literal["flip"] = "flip"


class CutoutConfig(Frozen):
    """Blank one square at a random place (DeVries & Taylor, arXiv:1708.04552)."""

    name: Literal["cutout"] = "cutout"
    size: PositiveInt | None = None
    """Pixels a side; by default a quarter of the image's size, at least 1."""


class AffineConfig(Frozen):
    """Shift and scale at random."""

    name: Literal["affine"] = "affine"
    shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.1
    """Largest shift along each axis, as a fraction of the image's size."""
    scale: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.1
    """Largest relative change of size: 0.1 draws from 0.9 to 1.1."""


class LightingConfig(Frozen):
    """AlexNet's noise along the principal components of the training pixels (Krizhevsky et al. 2012, section 4.1)."""

    name: Literal["lighting"] = "lighting"
    std: PositiveFloat = 0.1


def _augmentation_by_name(value: Any) -> Any:
    """`crop` is short for `{name: crop}`."""
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict):  # past a function of ours a list is Python's, which no longer passes for a tuple
        return {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return value


_Augmentation = Annotated[
    CropConfig | ResizedCropConfig | FlipConfig | CutoutConfig | AffineConfig | LightingConfig,
    Field(discriminator="name"),
]
AugmentConfig = Annotated[
    _Augmentation,
    BeforeValidator(
        _augmentation_by_name,
        json_schema_input_type=Literal["crop", "resized_crop", "flip", "cutout", "affine", "lighting"] | _Augmentation,
    ),
]


class TrainingConfig(Frozen):
    """How a network is trained; the file's top level gives defaults, a variant may override any key."""

    epochs: PositiveInt | None = None
    """Required by the procedure end_to_end; growth has `seed_epochs` and `epochs_per_step` instead, layerwise
    `epochs_per_layer`, boostresnet `epochs_per_block`."""
    batch_size: PositiveInt = 128
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ConstantSchedule(name="constant")
    """In a growth, `schedule_at_growth` says how the arms lie in it."""
    augment: tuple[AugmentConfig, ...] = ()
    """Applied in the order of the list: crop, resized_crop, flip, cutout, affine and lighting, by name or as
    {name: crop, padding: 4}."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    clip_grad_norm: PositiveFloat | None = None
    """Gradients whose joint norm is larger are scaled down to it."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast where it pays (images of 16 pixels and more, on a device with bf16), fp32 elsewhere."""
    channels_last: Literal["auto"] | bool = "auto"
    """auto: wherever precision auto would choose bf16 by size."""
    compile: Literal["never", "block"] = "never"
    """block: torch.compile for each residual block, so that an appended block of a known shape costs nothing."""


# -------------------------------------------------------------------------------------------------------- growth

Stages = Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None
"""The stages that may grow, 0 nearest the stem; by default all."""


class EpochsPerStepConfig(Frozen):
    """Each arm trains `epochs_per_step` epochs."""

    name: Literal["epochs_per_step"]


class PlateauConfig(Frozen):
    """An arm trains until its validation error has not improved for `patience` epochs, `epochs_per_step` at most.

    So does the shallow network, `seed_epochs` at most. What is judged is the network after the last epoch, not the best
    one; a control arm trains as long as the candidate did.
    """

    name: Literal["plateau"]
    patience: PositiveInt = 3


class PeriodicConfig(Frozen):
    """A block every `epochs_per_step` epochs, never undone, as in AutoGrow (Wen et al., arXiv:1906.02909)."""

    name: Literal["periodic"]


WhenConfig = Annotated[EpochsPerStepConfig | PlateauConfig | PeriodicConfig, Field(discriminator="name")]


class FreezeConfig(Frozen):
    """AutoGrow's end: the stage that grew last is frozen when the best validation error has not fallen enough."""

    window_epochs: PositiveInt
    """Before this many epochs nothing is frozen; the fall is over the last so many."""
    min_drop: Fraction = 0.0005
    """What counts as a fall; AutoGrow has 0.05 percentage points."""


class RoundRobinConfig(Frozen):
    """The stages in turn."""

    name: Literal["round_robin"]
    stages: Stages = None
    """The stages that may grow, 0 nearest the stem; by default all."""
    freeze: FreezeConfig | None = None
    """Take a stage out of the turn when growing it has stopped paying; the growth ends when all are out."""


class LastStageConfig(Frozen):
    """Always the stage nearest the head."""

    name: Literal["last_stage"]


class WidestGapConfig(Frozen):
    """The stage with the largest gradient norm, among those in which no block was refused since the last was kept."""

    name: Literal["widest_gap"]
    stages: Stages = None
    """The stages that may grow, 0 nearest the stem; by default all."""
    images: PositiveInt = 1024
    """Training images whose mean gradient is looked at."""


class BestOfConfig(Frozen):
    """A proposal for each stage, all from one parent; of those that pass, the one with the lowest error is kept."""

    name: Literal["best_of"]
    stages: Stages = None
    """The stages that may grow, 0 nearest the stem; by default all."""
    screen: Literal["none", "cached_features"] = "none"
    """cached_features: first train each new block alone on the frozen trunk's features, then the best one as usual."""
    screen_epochs: PositiveInt = 2
    """Epochs of that first training."""


class NewStageConfig(Frozen):
    """The stages in turn; when none of them wants a block, a new stage of half the size and twice the width."""

    name: Literal["new_stage"]
    max_stages: PositiveInt
    """No more stages than this, those it started with included."""


PlacementConfig = Annotated[
    RoundRobinConfig | LastStageConfig | WidestGapConfig | BestOfConfig | NewStageConfig, Field(discriminator="name")
]


class ZeroBranchConfig(Frozen):
    """The branch's last convolution (post-activation: its last batch norm's gamma) at zero: the function is kept."""

    name: Literal["zero_branch"]


class ZeroGammaConfig(Frozen):
    """The last batch norm's gamma at zero, in post-activation blocks: the function is kept."""

    name: Literal["zero_gamma"]


class KaimingConfig(Frozen):
    """The zoo's ordinary initialisation (He et al. 2015): the new block disturbs the network's function."""

    name: Literal["kaiming"]


class GaussianGammaConfig(Frozen):
    """AutoGrow's best: gamma and beta of the last batch norm drawn from a normal distribution."""

    name: Literal["gaussian_gamma"]
    std: PositiveFloat = 1.0


class UniformGammaConfig(Frozen):
    """Gamma and beta of the last batch norm drawn evenly between 0 and `high`."""

    name: Literal["uniform_gamma"]
    high: PositiveFloat = 1.0


class AdamGammaConfig(Frozen):
    """Gamma and beta of the last batch norm trained alone, by Adam, until the training error is back where it was."""

    name: Literal["adam_gamma"]
    lr: PositiveFloat = 1e-3
    max_epochs: PositiveInt = 10
    tolerance: Fraction = 0.005
    """How far above the parent's the training error may still be."""


class CopyPreviousConfig(Frozen):
    """The weights of the block before it, as in FRAGrow and LipGrow; as kaiming after a block whose convolutions have
    other shapes, such as the one that opens a stage."""

    name: Literal["copy_previous"]


class SkipInitConfig(Frozen):
    """The branch times a learned number that starts at zero (De and Smith 2020); wants model: {skip_init: true}."""

    name: Literal["skip_init"]


class GradMaxConfig(Frozen):
    """The last convolution at zero, the one before such that the last gets a large gradient (Evci et al. 2022)."""

    name: Literal["gradmax"]
    images: Annotated[int, Field(ge=2)] = 1024
    """Training images whose gradients are looked at."""


InitialiserConfig = Annotated[
    ZeroBranchConfig
    | ZeroGammaConfig
    | KaimingConfig
    | GaussianGammaConfig
    | UniformGammaConfig
    | AdamGammaConfig
    | CopyPreviousConfig
    | SkipInitConfig
    | GradMaxConfig,
    Field(discriminator="name"),
]


class CarryConfig(Frozen):
    """Every arm begins with the parent's optimiser state; that of the new block is empty."""

    name: Literal["carry"]


class ResetConfig(Frozen):
    """Every arm begins with an empty optimiser state."""

    name: Literal["reset"]


class ShrinkAndPerturbConfig(Frozen):
    """Every arm begins with the parent's weights shrunk and a little noise added, and an empty optimiser state.

    Ash and Adams 2020 (arXiv:1910.08475), whose remedy it is for networks that were trained before and generalise worse
    for it. The new block is left as it was made.
    """

    name: Literal["shrink_and_perturb"]
    shrink: PositiveFraction = 0.6
    perturb: NonNegativeFloat = 0.01
    """Standard deviation of the noise, in standard deviations of each layer's weights."""


OptimizerAtGrowthConfig = Annotated[CarryConfig | ResetConfig | ShrinkAndPerturbConfig, Field(discriminator="name")]


class AcceptBase(Frozen):
    replicates: PositiveInt = 1
    """Seeds with which each proposal is tried; the errors and losses of an image are averaged over them. The network
    that is kept is the one of the trial's own seed, whose error may be above the mean."""


class AlwaysConfig(AcceptBase):
    """Accept every block, as AutoGrow does."""

    name: Literal["always"]


class ErrorDropConfig(AcceptBase):
    """Accept when the validation error fell by more than `min_drop` below the parent's."""

    name: Literal["error_drop"]
    min_drop: Fraction = 0.0


class TestedBase(AcceptBase):
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    """The chance that a growth, or without `spend` a step, accepts a block that changes nothing."""
    spend: Literal["none", "alpha_spending", "holm"] = "none"
    """How alpha is shared among the steps: not at all, by a series that never ends, or by Holm's rule."""
    max_replicates: PositiveInt | None = None
    """Where the test cannot tell yet, try again with one seed more, up to so many; by default `replicates`."""
    reject_above: Annotated[float, Field(gt=0.0, le=1.0)] = 0.5
    """Above this p-value a proposal is rejected at once, however many replicates are left."""


class McNemarConfig(TestedBase):
    """Accept when the images put right outnumber those put wrong by more than chance: McNemar's exact test."""

    name: Literal["mcnemar"]


class PairedLossConfig(TestedBase):
    """Accept when the loss of the validation images fell, by a paired test, and the error did not rise."""

    name: Literal["paired_loss"]
    max_error_rise: Fraction = 0.0


class VersusControlConfig(TestedBase):
    """Accept when the candidate is better than the control arm, by a test between the two.

    The parent is not asked: where both arms end above it, as after a learning rate that began anew, the error rises.
    """

    name: Literal["versus_control"]
    test: Literal["error_drop", "mcnemar", "paired_loss"] = "mcnemar"
    """error_drop asks for any drop, without a p-value, so that it takes no alpha, spend, max_replicates, reject_above.
    """


AcceptConfig = Annotated[
    ErrorDropConfig | AlwaysConfig | McNemarConfig | PairedLossConfig | VersusControlConfig,
    Field(discriminator="name"),
]


def is_tested(accept: AcceptConfig) -> TypeGuard[TestedBase]:
    """Whether a p-value decides, so that there is an alpha to spend and a verdict `undecided`."""
    return isinstance(accept, TestedBase) and not (
        isinstance(accept, VersusControlConfig) and accept.test == "error_drop"
    )


class NoiseFloorConfig(Frozen):
    """Stop where nothing that is left can be told from noise.

    Either one more step's expected gain, forecast by the decay laws that fit the growth so far, is too small for the
    validation split to detect, or the error is no more than the noise of the labels explains.
    """

    min_points: Annotated[int, Field(ge=4)] = 8
    """Networks measured before a law is fitted, with four numbers of blocks: the shallow one and the proposals."""
    alpha: Annotated[float, Field(gt=0.0, lt=0.5)] = 0.05
    power: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.8
    """A drop counts as detectable that a paired test at this alpha finds with this probability. Where `accept` spends
    its own alpha over the steps, the late ones detect less than that."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.9
    """Of the interval of the expected gain, whose upper end counts, and of that of the error."""
    label_noise: Fraction | None = None
    """The share of wrong labels, where it is known or estimated; by default that of the data set's label_noise."""


class StopConfig(Frozen):
    """The first of these that holds ends the growth. At least one is needed.

    Blocks and errors alone need never be reached, so that a patience of 3 holds where neither `patience` nor a budget
    of epochs, FLOPs or seconds is set.
    """

    target_error: Fraction | None = None
    """The validation error that is good enough."""
    noise_floor: NoiseFloorConfig | None = None
    """Stop where one more step's gain could not be told from noise; {} takes its defaults."""
    patience: PositiveInt | None = None
    """Rounds in a row in which nothing was accepted. By default 3, or without limit where a budget is set."""
    max_blocks: PositiveInt | None = None
    """Residual blocks in the network, those it started with included."""
    max_epochs: PositiveInt | None = None
    """Epochs trained in all, rejected proposals and control arms included, `tail_epochs` not; a step that would pass it
    is not begun."""
    max_flops: PositiveFloat | None = None
    """FLOPs trained in all; a step is begun only below this."""
    max_seconds: PositiveFloat | None = None
    """Seconds of training in all; a step is begun only below this. Not the same on another machine."""

    @model_validator(mode="before")
    @classmethod
    def _let_it_end(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not any(value is not None for value in values.values()):
            return values
        ends = any(values.get(key) is not None for key in ("patience", *BUDGETS))
        return values if ends else {**values, "patience": 3}


BUDGETS = ("max_epochs", "max_flops", "max_seconds")
"""The keys of StopConfig that a growth exhausts, whatever the verdicts."""


class GrowthConfig(Frozen):
    """The Simons procedure: train shallow, append a block, fine-tune, keep it only if the error drops, repeat."""

    seed_epochs: PositiveInt
    """Step 1: epochs of the shallow network, end to end."""
    epochs_per_step: PositiveInt
    """Step 2: epochs of each arm of a growth step."""
    when: WhenConfig = EpochsPerStepConfig(name="epochs_per_step")
    placement: PlacementConfig = RoundRobinConfig(name="round_robin")
    initialiser: InitialiserConfig = ZeroBranchConfig(name="zero_branch")
    train: Literal["all", "new_block", "new_block_then_all"] = "all"
    """What a candidate trains; new_block_then_all: the new block alone for the first half of the epochs."""
    old_lr_factor: PositiveFraction = 1.0
    """The learning rate of a candidate's old parameters, as a fraction of the new block's."""
    cache_features: Literal["auto", "never"] | PositiveInt = "auto"
    """While the new block alone trains, what the frozen trunk makes of the images is computed once and kept. auto: only
    where that changes nothing, without augmentation. A number: that many augmented copies, used in turn."""
    optimizer_at_growth: OptimizerAtGrowthConfig = CarryConfig(name="carry")
    schedule_at_growth: Literal["restart", "constant", "whole_run"] = "restart"
    """restart: every arm runs training.schedule anew; constant: the optimiser's learning rate throughout, and the
    schedule in `tail_epochs`; whole_run: the schedule once, over the longest run that the stop rules allow."""
    accept: AcceptConfig = ErrorDropConfig(name="error_drop")
    control: bool = False
    """Also train the parent for the same epochs on the same batches without the block. While the new block alone learns
    (`train`), nothing of the parent does: with new_block the control is the parent as it was. The epochs that the
    initialiser adam_gamma takes before the step have no counterpart."""
    stop: StopConfig
    prune: bool = False
    """At the end, take away every block, newest first, without which the network is not detectably worse."""
    tail_epochs: NonNegativeInt = 0
    """At the very end, train the network that was grown so many epochs more, with the optimiser's state as it is."""
    keep_outputs: bool = True
    """Keep what every accepted network says of the training images, for the boosting analysis."""


class LayerwiseConfig(Frozen):
    """Greedy layer-wise training: block by block, each under a head of its own, then frozen (arXiv:1812.11446)."""

    epochs_per_layer: PositiveInt
    """Epochs of each block; the first one learns together with the stem."""
    depth: Literal[1, 2, 3] = 3
    """The paper's k: the head that a block learns under has k - 1 hidden convolutions. 3 is its strongest."""


Twin = Literal["same_epochs", "same_flops"]
"""What a twin has in common with the trial whose final network it trains from scratch."""


class BoostResNetConfig(Frozen):
    """Boosting over features (Huang et al., arXiv:1706.04964): block after block learns under a head of its own, and is
    frozen. The model's `blocks` are the most that are trained."""

    epochs_per_block: PositiveInt
    """Epochs of each block with its head; the first block learns together with the stem."""
    min_gamma: Annotated[float, Field(ge=0.0, lt=1.0)] | None = 0.0
    """What gamma must exceed for a block to be kept; the first block that fails is dropped, and training ends. After a
    block that hardly errs any more none passes, so that weak learners have to be weak: give each few epochs, or write
    null, which keeps every block whatever its gamma."""
    refine_epochs: NonNegativeInt = 0
    """Then train all that was kept together, by the cross-entropy, for so many epochs."""


# ---------------------------------------------------------------------------------------------------- experiment


class ModelConfig(Frozen):
    """A network of the zoo: its name, and any of the keyword arguments that `growres zoo list` shows for it."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]

    @property
    def kwargs(self) -> dict[str, Any]:
        """The arguments beside the name, as zoo.create_model takes them."""
        return dict(self.model_extra or {})


class ResourcesConfig(Frozen):
    cpus_per_trial: PositiveFloat = 1
    gpus_per_trial: NonNegativeFloat = 0
    max_concurrent_trials: PositiveInt | None = None


class AshaConfig(Frozen):
    """Stop trials early that lag behind (Li et al., arXiv:1810.05934). Time is counted in epochs trained, all arms."""

    name: Literal["asha"]
    grace_epochs: PositiveInt = 1
    """No trial is stopped before it has trained this long."""
    max_epochs: PositiveInt = 100
    reduction_factor: Annotated[float, Field(gt=1.0)] = 4


Procedure = Literal["end_to_end", "growth", "layerwise", "boostresnet"]


class TrialConfig(Frozen):
    """What one trial needs to run, wherever it runs: plain data, stored with the trial and handed to its worker."""

    variant: str
    seed: NonNegativeInt
    sweep_point: dict[str, Any] = {}
    """The swept keys with the values that this trial has."""
    dataset: DatasetConfig
    procedure: Procedure
    model: ModelConfig
    recipe: str | None = None
    """The zoo's recipe that `training` was laid over, if one was."""
    training: TrainingConfig
    growth: GrowthConfig | None = None
    layerwise: LayerwiseConfig | None = None
    boostresnet: BoostResNetConfig | None = None
    twin_of: PositiveInt | None = None
    """The number of the trial, from 1 in the order of the experiment's, whose final network this one trains from
    scratch. Until that one has succeeded, `model` is what it began with, and there are no `training.epochs`."""
    twin: Twin | None = None
    resources: ResourcesConfig = ResourcesConfig()


class Experiment(Frozen):
    """A parsed experiment file, expanded: its trials stand in the order of variants, sweep points, seeds."""

    name: Name
    dataset: DatasetConfig
    resources: ResourcesConfig = ResourcesConfig()
    scheduler: AshaConfig | None = None
    max_failures: NonNegativeInt = 2
    trials: tuple[TrialConfig, ...]
