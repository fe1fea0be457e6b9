"""The experiment file as frozen models: what is allowed, what is the default, what each key means.

These models know types and ranges. What spans several keys, or needs the zoo (a model's name and its arguments, sweeps,
a variant laid over the file's defaults), is checked in `growres.config.loading`, which also knows lines and columns.
The docstrings below the fields are what `growres schema` shows in an editor.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

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
    """In a growth, each arm runs the schedule anew over its own epochs."""
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


class RoundRobinConfig(Frozen):
    """The stages in turn."""

    name: Literal["round_robin"]
    stages: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    """The stages that may grow, 0 nearest the stem; by default all."""


class LastStageConfig(Frozen):
    """Always the stage nearest the head."""

    name: Literal["last_stage"]


PlacementConfig = Annotated[RoundRobinConfig | LastStageConfig, Field(discriminator="name")]


class ZeroBranchConfig(Frozen):
    """The branch's last convolution (post-activation: its last batch norm's gamma) at zero: the function is kept."""

    name: Literal["zero_branch"]


class KaimingConfig(Frozen):
    """The zoo's ordinary initialisation (He et al. 2015): the new block disturbs the network's function."""

    name: Literal["kaiming"]


InitialiserConfig = Annotated[ZeroBranchConfig | KaimingConfig, Field(discriminator="name")]


class ErrorDropConfig(Frozen):
    """Accept when the validation error fell by more than `min_drop` below the parent's."""

    name: Literal["error_drop"]
    min_drop: Fraction = 0.0


AcceptConfig = Annotated[ErrorDropConfig, Field()]


class StopConfig(Frozen):
    """The first of these that holds ends the growth. At least one is needed.

    Blocks and errors alone need never be reached, so that a patience of 3 holds where neither `patience` nor
    `max_epochs` is set.
    """

    target_error: Fraction | None = None
    """The validation error that is good enough."""
    patience: PositiveInt | None = None
    """Proposals rejected in a row. By default 3, or without limit where `max_epochs` is set."""
    max_blocks: PositiveInt | None = None
    """Residual blocks in the network, those it started with included."""
    max_epochs: PositiveInt | None = None
    """Epochs trained in all, rejected proposals and control arms included; a step that would pass it is not begun."""

    @model_validator(mode="before")
    @classmethod
    def _let_it_end(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not any(value is not None for value in values.values()):
            return values
        ends = any(values.get(key) is not None for key in ("patience", "max_epochs"))
        return values if ends else {**values, "patience": 3}


class GrowthConfig(Frozen):
    """The Simons procedure: train shallow, append a block, fine-tune, keep it only if the error drops, repeat."""

    seed_epochs: PositiveInt
    """Step 1: epochs of the shallow network, end to end."""
    epochs_per_step: PositiveInt
    """Step 2: epochs of each arm of a growth step."""
    placement: PlacementConfig = RoundRobinConfig(name="round_robin")
    initialiser: InitialiserConfig = ZeroBranchConfig(name="zero_branch")
    train: Literal["all", "new_block", "new_block_then_all"] = "all"
    """What a candidate trains; new_block_then_all: the new block alone for the first half of the epochs."""
    accept: AcceptConfig = ErrorDropConfig(name="error_drop")
    control: bool = False
    """Also train the parent for the same epochs on the same batches without the block."""
    stop: StopConfig


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
