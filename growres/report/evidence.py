"""What one growth is evidence of: its decay laws, its noise floor, boosting, control arms, and what it cost.

Every part is there, or an `Omitted` says why not: too few points, files of another machine, no control arms.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from growres.analysis.boosting import BoostingAnalysis, Features, analyze_boosting
from growres.analysis.controls import ControlComparison, compare_with_controls
from growres.analysis.decay import DecayAnalysis, fit_decay_laws
from growres.analysis.gain import Gain
from growres.analysis.points import Quantity, SeedSpread, Series, error_variance, seed_spread, seeds_in_words
from growres.analysis.power import detectable_drop
from growres.config.experiment import NoiseFloorConfig
from growres.errors import AnalysisError, CheckpointError
from growres.growth.stopping import GrowthProgress, NoiseFloor
from growres.report.growth import GrownNetwork, StoredGrowth, grown_networks, value_of

if TYPE_CHECKING:
    from growres.store import Store
    from growres.training.outputs import ImageOutputs

ALL: Series = "all proposals"
ACCEPTED: Series = "accepted only"
_FIXED_FEATURES = ("layerwise", "boostresnet")


@dataclass(frozen=True, slots=True)
class Omitted:
    """A part that cannot be had, and why."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decay:
    """The laws that one series of a growth's networks may follow."""

    series: Series
    quantity: Quantity
    networks: list[GrownNetwork]
    """That they were fitted to."""
    variances: list[float]
    """Of each network's value: of the images, and of the seeds where those are known."""
    seed_spread: SeedSpread | None
    """None where nothing is known of other seeds."""
    analysis: DecayAnalysis
    gain: Gain
    """Of one more step on top of the network as grown."""

    @property
    def weighting(self) -> str:
        """What the points were weighted by, and what is not in it."""
        images = "binomial variance" if self.quantity == "error" else "the variance of the images"
        if self.seed_spread is None:
            return f"Weighted by {images} alone; {seeds_in_words(None)}."
        return (
            f"Weighted by {images} and that over seeds; {seeds_in_words(self.seed_spread)}. All see the same images, "
            f"so that what the seeds disagree on counts in both: rather too much than too little."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorReport:
    """What one more step could show, and whether the rule `noise_floor` would end the growth here."""

    num_validation_images: int
    val_error: float
    """Of the network as grown, before any pruning or last epochs."""
    alpha: float
    power: float
    detectable_drop: float | None
    """None where not even a drop to an error of 0 would be detected, or the error is 0 or 1 already."""
    reached: bool | None
    """None where the rule asks for more networks, or other numbers of blocks, before it says anything."""
    seed_spread: SeedSpread | None
    """What the rule knows of seeds: by the replicates of this growth alone."""
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Boosting:
    """The boosting figures of the accepted networks, and which networks they are."""

    analysis: BoostingAnalysis
    networks: list[GrownNetwork]
    """One for each step of the analysis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Controls:
    """Blocks against the same epochs without them."""

    every: ControlComparison
    """All candidates that have a control arm."""
    accepted: ControlComparison | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostShare:
    """What a part of the trial took, of all that it took."""

    part: str
    epochs: int
    train_flops: int
    share_of_flops: float | None
    wall_s: float
    share_of_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All parts of one growth's analysis."""

    decay: dict[tuple[Quantity, Series], Decay | Omitted]
    floor: FloorReport | Omitted
    boosting: Boosting | Omitted
    controls: Controls | Omitted
    costs: list[CostShare]
    """The last one is the whole trial."""


def gather_evidence(
    growth: StoredGrowth, *, level: float = 0.9, other_seeds: Sequence[Sequence[GrownNetwork]] = ()
) -> Evidence:
    """Analyses a growth as far as it is.

    Args:
        level: of all intervals.
        other_seeds: the networks of each growth that differs by its seed alone; see `grown_with_other_seeds`.
    Raises:
        AnalysisError: if the level is not between 0 and 1.
    """
    quantities: tuple[Quantity, ...] = ("error", "loss")
    return Evidence(
        decay={
            (quantity, series): decay_of(growth, quantity, series, level=level, other_seeds=other_seeds)
            for quantity in quantities
            for series in (ALL, ACCEPTED)
        },
        floor=floor_of(growth),
        boosting=boosting_of(growth),
        controls=controls_of(growth, level=level),
        costs=costs_of(growth),
    )


def grown_with_other_seeds(store: Store, growth: StoredGrowth) -> list[list[GrownNetwork]]:
    """The networks of the other trials of its variant, at its point of the sweep, each trial's as far as it is."""
    trial = growth.trial
    alike = [
        other
        for other in store.trials(trial.experiment_id)
        if (other.variant, other.sweep_point) == (trial.variant, trial.sweep_point) and other.seed != trial.seed
    ]
    grown = ((store.growth_curve(other.id), store.growth_steps(other.id)) for other in alike)
    return [grown_networks(curve, steps) for curve, steps in grown if curve and curve[0]["val_error"] is not None]


# ---------------------------------------------------------------------------------------------------------- decay


def decay_of(
    growth: StoredGrowth,
    quantity: Quantity,
    series: Series,
    *,
    level: float,
    other_seeds: Sequence[Sequence[GrownNetwork]] = (),
) -> Decay | Omitted:
    """The decay laws of one series, weighted by what its values are known to."""
    num_images = growth.num_validation_images
    networks = growth.series(series, quantity)
    points = [(one.num_blocks, value_of(one, quantity)) for one in networks]
    if series == ACCEPTED and len(networks) > 1 and networks == growth.series(ALL, quantity):
        return Omitted("every proposal was accepted, so that these are the same networks")
    if not networks:
        return Omitted(f"a {growth.trial.procedure} trial stores no validation {quantity} with its steps")
    if num_images is None:
        return Omitted("the store does not say how many validation images there were, so the noise is unknown")
    if any(blocks is None for blocks, _ in points):
        return Omitted("how many blocks the growth began with is known when the trial has finished")
    blocks = [float(number) for number, _ in points if number is not None]
    values = [value for _, value in points if value is not None]
    try:
        image_variance = _image_variance(growth, quantity, num_images)
        spread = _seed_spread(growth, quantity, image_variance, other_seeds)
        variances = [image_variance(value) for value in values]
        variances = variances if spread is None else spread.widened(variances)
        analysis = fit_decay_laws(blocks, values, variances, series=series, quantity=quantity, level=level)
    except (AnalysisError, CheckpointError) as error:
        return Omitted(str(error))
    after = growth.accepted[-1].num_blocks
    return Decay(
        series=series,
        quantity=quantity,
        networks=networks,
        variances=variances,
        seed_spread=spread,
        analysis=analysis,
        gain=analysis.next_gain(after=after),
    )


def _image_variance(growth: StoredGrowth, quantity: Quantity, num_images: int) -> Callable[[float], float]:
    """Binomial for errors. The losses of images spread about their mean as widely, in proportion to it, as those of
    the final network do, which alone are kept: its coefficient of variation stands for all networks."""
    if quantity == "error":
        return lambda error: error_variance(error, num_images)
    losses = _outputs(growth, "validation").losses
    variation = float(losses.std(ddof=1) / losses.mean())
    return lambda loss: (variation * loss) ** 2 / num_images


def _seed_spread(
    growth: StoredGrowth,
    quantity: Quantity,
    image_variance: Callable[[float], float],
    other_seeds: Sequence[Sequence[GrownNetwork]],
) -> SeedSpread | None:
    """By other seeds, which hold all that a seed decides; else by the replicates, whose parent is the same."""
    by_blocks: defaultdict[int, list[float]] = defaultdict(list)
    for networks in (growth.networks, *other_seeds):
        for blocks, value in _first_values(networks, quantity).items():
            by_blocks[blocks].append(value)
    replicates = _replicates(growth, quantity)
    return seed_spread(by_blocks.values(), image_variance, source="seeds") or seed_spread(
        replicates, image_variance, source="replicates"
    )


def _first_values(networks: Sequence[GrownNetwork], quantity: Quantity) -> dict[int, float]:
    """At each number of blocks that of the first network: whether more were tried, and which was kept, depended on
    the values."""
    first: dict[int, float] = {}
    for network in networks:
        value = value_of(network, quantity)
        if network.is_grown and network.num_blocks is not None and value is not None:
            first.setdefault(network.num_blocks, value)
    return first


def _replicates(growth: StoredGrowth, quantity: Quantity) -> list[list[float]]:
    """Of each proposal that was tried with several seeds, what each seed's candidate ended with."""
    column = f"val_{quantity}"
    last: dict[int, dict[int, float]] = {one.step: {} for one in growth.networks if one.is_grown and one.step > 0}
    for row in growth.epochs:  # of an arm in their order
        if row["arm"] == "candidate" and row["growth_step"] in last:
            last[row["growth_step"]][row["replicate"]] = row[column]
    return [list(values.values()) for values in last.values() if len(values) > 1]


# ---------------------------------------------------------------------------------------------------- noise floor


def floor_of(growth: StoredGrowth) -> FloorReport | Omitted:
    """What the rule `noise_floor` says of the network as grown: with the trial's own settings, or the default ones."""
    num_images, current = growth.num_validation_images, growth.accepted[-1]
    if num_images is None or current.num_blocks is None or current.val_error is None:
        return Omitted("how many validation images, or blocks, there were is not known yet")
    config = NoiseFloorConfig.model_validate(growth.setting("growth", "stop", "noise_floor") or {})
    measured = [
        (one.num_blocks, one.val_error)
        for one in growth.series(ALL, "error")
        if one.num_blocks is not None and one.val_error is not None
    ]
    progress = GrowthProgress(
        val_error=current.val_error,
        num_blocks=current.num_blocks,
        epochs_trained=0,
        epochs_of_next_round=0,
        history=(),
        num_validation=num_images,
        measured=measured,
        replicates=_replicates(growth, "error"),
    )
    label_noise = growth.setting("dataset", "label_noise") or 0.0
    rule = NoiseFloor(config, label_noise if config.label_noise is None else config.label_noise)
    reason, lacks = rule.reason_to_stop(progress), rule.lacks(measured)
    drop = _detectable(num_images, current.val_error, config)
    return FloorReport(
        num_validation_images=num_images,
        val_error=current.val_error,
        alpha=config.alpha,
        power=config.power,
        detectable_drop=drop,
        reached=True if reason else False if lacks is None else None,
        seed_spread=rule.seed_spread(progress),
        sentence=f"{_detectable_in_words(drop, progress, config)} {_floor_in_words(reason, lacks, config)}",
    )


def _detectable(num_images: int, error: float, config: NoiseFloorConfig) -> float | None:
    if not 0 < error < 1:
        return None
    drop = detectable_drop(num_images, error, alpha=config.alpha, power=config.power)
    return drop if math.isfinite(drop) else None


def _detectable_in_words(drop: float | None, progress: GrowthProgress, config: NoiseFloorConfig) -> str:
    where = f"On {progress.num_validation:,} validation images, at an error of {100 * progress.val_error:.2f}%,"
    how = f"{config.power:.0%} of the time (McNemar's test, alpha {config.alpha:g}, the usual discordance assumed)"
    if drop is None:
        return f"{where} no single step can be shown to help, not even a drop to 0, {how}."
    return f"{where} one step detects a drop of {100 * drop:.2f} pp {how}."


def _floor_in_words(reason: str | None, lacks: str | None, config: NoiseFloorConfig) -> str:
    if reason:
        return f"The noise floor is reached: {reason.removeprefix('noise_floor: ')}."
    if lacks:
        return f"Whether the noise floor is reached cannot be said yet: the rule asks for {lacks}."
    return f"The noise floor is not reached: at {config.confidence:.0%} one more step may bring more than that."


# -------------------------------------------------------------------------------------------------------- boosting


def boosting_of(growth: StoredGrowth) -> Boosting | Omitted:
    """The boosting figures of the accepted networks, from what they said of the un-augmented training images."""
    networks = growth.accepted
    if growth.setting("growth", "keep_outputs") is False:
        return Omitted("growth.keep_outputs is false: what the networks said of the training images was not kept")
    try:
        first = _outputs(growth, _training_outputs(networks[0]))
        analysis = analyze_boosting(
            first.labels,
            _probabilities(growth, first, networks),
            gamma_threshold=growth.setting("boostresnet", "min_gamma") or 0.0,
            features=_features(growth),
        )
    except (AnalysisError, CheckpointError) as error:
        return Omitted(str(error))
    return Boosting(analysis=analysis, networks=networks)


def _features(growth: StoredGrowth) -> Features:
    if growth.trial.procedure in _FIXED_FEATURES:
        return "fixed"
    return "shifted" if growth.setting("growth", "train") == "new_block" else "moved"


def _probabilities(
    growth: StoredGrowth, first: ImageOutputs, networks: Sequence[GrownNetwork]
) -> Iterator[NDArray[np.float16]]:
    """Network by network, so that two of them at most are held in memory."""
    yield first.probabilities
    for network in networks[1:]:
        name = _training_outputs(network)
        outputs = _outputs(growth, name)
        if not np.array_equal(outputs.labels, first.labels):
            raise AnalysisError(
                f"Cannot follow the networks: {name}.npz is of other images than that of the shallow network. "
                f"Restore {growth.outputs} as the trial wrote it."
            )
        yield outputs.probabilities


def _training_outputs(network: GrownNetwork) -> str:
    return f"train-{network.step:04d}"


def _outputs(growth: StoredGrowth, name: str) -> ImageOutputs:
    """What a network said of a split.

    Raises:
        AnalysisError: if the file is not on this machine.
        CheckpointError: if it is damaged, or not the one that the trial wrote.
    """
    from growres.report.outputs import read_outputs

    path = growth.outputs / f"{name}.npz"
    if path.is_file():
        return read_outputs(path, growth.trial.id, growth.digests)
    if name == "validation" and not growth.is_finished:
        raise AnalysisError(f"there is no {path} before the trial ends")
    there = f" The trial ran on {growth.host}: copy its outputs from there." if growth.host else ""
    raise AnalysisError(f"there is no {path} on this machine.{there}")


# -------------------------------------------------------------------------------------------------------- controls


def controls_of(growth: StoredGrowth, *, level: float) -> Controls | Omitted:
    """Candidates against the control arms that trained the same epochs on the same batches without the block."""
    paired = [one for one in growth.networks if one.is_grown and one.val_error_control is not None]
    if not paired:
        return Omitted(_why_no_controls(growth))
    accepted = [one for one in paired if one.verdict == "accepted"]
    return Controls(
        every=_compared(growth, paired, level=level),
        accepted=_compared(growth, accepted, level=level) if accepted else None,
    )


def _why_no_controls(growth: StoredGrowth) -> str:
    if growth.trial.procedure != "growth":
        return f"a {growth.trial.procedure} trial trains none"
    if not growth.setting("growth", "control"):
        return "the growth trained none; growth.control: true trains one for each round"
    return "no step has one"


def _compared(growth: StoredGrowth, networks: Sequence[GrownNetwork], *, level: float) -> ControlComparison:
    round_of_step = {row["step"]: row["round"] for row in growth.growth_steps}
    return compare_with_controls(
        [one.val_error for one in networks if one.val_error is not None],
        [one.val_error_control for one in networks if one.val_error_control is not None],
        [round_of_step[one.step] for one in networks],
        confidence=level,
    )


# ------------------------------------------------------------------------------------------------------------ cost


def costs_of(growth: StoredGrowth) -> list[CostShare]:
    """FLOPs and seconds by what they were spent on; the parts that there were, and last their sum.

    What a control arm took besides its epochs, a copy of the network, counts with its proposal.
    """
    spent: dict[str, tuple[int, int, float]] = {}

    def add(part: str, epochs: int, train_flops: int, wall_s: float, *, less: bool = False) -> None:
        sign = -1 if less else 1
        before = spent.get(part, (0, 0, 0.0))
        spent[part] = (before[0] + sign * epochs, before[1] + sign * train_flops, before[2] + sign * wall_s)

    part_of_step = {row["step"]: _part_of(row["kind"], row["verdict"]) for row in growth.growth_steps}
    for row in growth.growth_steps:
        add(part_of_step[row["step"]], row["epochs"], row["train_flops"] or 0, row["wall_s"] or 0.0)
    for row in growth.epochs:
        amount = (1, row["train_flops"] or 0, row["epoch_s"] or 0.0)
        step = row["growth_step"]
        if row["arm"] == "network":
            add("shallow network" if step == 0 else "last epochs", *amount)
        elif step not in part_of_step:
            add("step under way", *amount)
        elif row["arm"] == "control":  # a step's own figures hold those of all its arms
            add("control arms", *amount)
            add(part_of_step[step], *amount, less=True)
    return _shares(spent)


def _part_of(kind: str, verdict: str) -> str:
    if kind == "remove":
        return "pruning"
    return "accepted proposals" if verdict == "accepted" else "rejected proposals"


_PARTS = (
    "shallow network",
    "accepted proposals",
    "rejected proposals",
    "control arms",
    "step under way",
    "pruning",
    "last epochs",
)


def _shares(spent: dict[str, tuple[int, int, float]]) -> list[CostShare]:
    epochs, flops, seconds = (sum(column) for column in zip(*spent.values(), strict=True))
    spent = {part: spent[part] for part in _PARTS if part in spent} | {"the whole trial": (epochs, flops, seconds)}
    return [
        CostShare(
            part=part,
            epochs=part_epochs,
            train_flops=part_flops,
            share_of_flops=part_flops / flops if flops else None,
            wall_s=part_s,
            share_of_seconds=part_s / seconds if seconds else None,
        )
        for part, (part_epochs, part_flops, part_s) in spent.items()
    ]
