"""What screening proposals on cached features saves, and how well it foretells what joint training comes to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from scipy.stats import spearmanr

from growres.config.experiment import TrialConfig
from growres.data.images import ImageData
from growres.data.loading import load_images
from growres.growth.arms import Arms, Place
from growres.growth.measured import Measured
from growres.growth.network import growing_network
from growres.growth.placement import Proposal
from growres.training.arm import ArmTraining
from growres.training.context import TrainingContext
from tests.bench.measuring import Row, interleaved, median_ratio
from tests.bench.setups import BATCH_SIZE, random_images

_WIDTHS = [16, 32, 64]


def run(quick: bool) -> list[Row]:
    """Two things: an epoch of each kind at CIFAR's size, stage by stage, and the ranks of proposals on digits."""
    torch.set_num_threads(1)
    return [*_speed(quick), _ranks(quick)]


def _speed(quick: bool) -> list[Row]:
    """The second epoch of a screening, whose features are there, against an epoch of joint training."""
    images = random_images(num_train=2 * BATCH_SIZE if quick else 8 * BATCH_SIZE)
    arms, parent = _growth([3, 3, 3], images, seed=0, augment=[])
    rows = []
    for stage in range(3):
        screening, joint = _begin(arms, parent, stage, step=1)
        _train_one_epoch(screening)  # it pays for the features
        samples = interleaved(
            {
                "joint s": lambda arm=joint: _train_one_epoch(arm),
                "screening s": lambda arm=screening: _train_one_epoch(arm),
            },
            rounds=2 if quick else 5,
        )
        rows.append(
            Row(
                name=f"screening, stage {stage}",
                compares="an epoch of ResNet-20 and a new block: all of it, or the block alone on cached features",
                figure=median_ratio(samples["joint s"], samples["screening s"]),
                figure_unit="x",
                ours=statistics.median(samples["screening s"]),
                theirs=statistics.median(samples["joint s"]),
                unit="s",
                samples=samples,
            )
        )
    return rows


def _ranks(quick: bool) -> Row:
    """Spearman's rank correlation of the two losses of all proposals, less each round's mean, over several growths."""
    screened: list[float] = []
    joint: list[float] = []
    elapsed = {"screening s": [], "joint s": []}  # type: dict[str, list[float]]
    with TemporaryDirectory() as home:
        images = load_images(_trial([1, 1, 1], seed=0, augment=["affine"]).dataset, Path(home))
        for seed in range(2 if quick else 6):
            _grow(images, seed, screened, joint, elapsed, rounds=2 if quick else 5)
    correlation = float(spearmanr(screened, joint).statistic)
    return Row(
        name="screening, ranks",
        compares=f"digits: {len(joint)} proposals by the loss of 2 epochs of the block alone, and of 8 joint epochs",
        figure=correlation,
        figure_unit="rho",
        ours=sum(elapsed["screening s"]),
        theirs=sum(elapsed["joint s"]),
        unit="s",
        samples={"screened loss": screened, "joint loss": joint, **elapsed},
    )


def _grow(
    images: ImageData,
    seed: int,
    screened: list[float],
    joint: list[float],
    elapsed: dict[str, list[float]],
    *,
    rounds: int,
) -> None:
    """A growth that keeps the best of three jointly trained proposals, each of which was screened as well."""
    arms, parent = _growth([1, 1, 1], images, seed, augment=["affine"])
    for _ in range(8):
        _train_one_epoch(parent.arm)
    for number in range(1, rounds + 1):
        pairs = [_begin(arms, parent, stage, step=3 * number + stage, round=number) for stage in range(3)]
        for name, of_kind in zip(("screening s", "joint s"), zip(*pairs, strict=True), strict=True):
            started = time.perf_counter()
            for arm in of_kind:
                list(arm.run())
            elapsed[name].append(time.perf_counter() - started)
        screened += _centred([_loss(screening) for screening, _ in pairs])
        joint += _centred([_loss(candidate) for _, candidate in pairs])
        parent = Measured(min((candidate for _, candidate in pairs), key=_loss))


def _growth(blocks: list[int], images: ImageData, seed: int, augment: list[str]) -> tuple[Arms, Measured]:
    trial = _trial(blocks, seed, augment)
    context = TrainingContext.of(trial, images, torch.device("cpu"))
    arms = Arms(trial, context, most_rounds=None)
    network = growing_network(context.build({"name": "preact_resnet", "blocks": blocks, "widths": _WIDTHS}))
    return arms, Measured(arms.seed(network))


def _begin(arms: Arms, parent: Measured, stage: int, step: int, round: int = 1) -> tuple[ArmTraining, ArmTraining]:
    proposal = Proposal(stage=stage, block=parent.network.architecture["blocks"][stage])
    place = Place(step=step, round=round)
    return arms.begin_screening(parent.arm, proposal, place).arm, arms.begin_candidate(parent, proposal, place).arm


def _trial(blocks: list[int], seed: int, augment: list[str]) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "variant": "bench",
            "seed": seed,
            "dataset": {"source": "digits"},
            "procedure": "growth",
            "model": {"name": "preact_resnet", "blocks": blocks, "widths": _WIDTHS},
            "training": {
                "batch_size": 128 if not augment else 64,
                "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
                "augment": augment,
            },
            "growth": {
                "seed_epochs": 8,
                "epochs_per_step": 8,
                "placement": {"name": "best_of", "screen": "cached_features", "screen_epochs": 2 if augment else 50},
                "stop": {"patience": 1},
                "cache_features": 1,
            },
        }
    )


def _train_one_epoch(arm: ArmTraining) -> float:
    started = time.perf_counter()
    next(arm.run())
    return time.perf_counter() - started


def _loss(arm: ArmTraining) -> float:
    assert arm.validation is not None
    return arm.validation.loss


def _centred(losses: Sequence[float]) -> list[float]:
    mean = statistics.fmean(losses)
    return [loss - mean for loss in losses]
