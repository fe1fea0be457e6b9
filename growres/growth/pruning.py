"""Growing back: which blocks a grown network does as well without."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from growres.analysis.paired import PairedTest, mcnemar
from growres.events import GrowthStepDecided
from growres.growth.arms import Arms
from growres.growth.measured import Measured
from growres.growth.network import blocks_of, remove_block
from growres.growth.placement import num_rounds
from growres.training.context import TrainingContext
from growres.training.flops import forward_flops_per_image
from zoo.resnet import ResNet

ALPHA = 0.05
"""A block stays where the network without it is worse by McNemar's one-sided test at this level."""


@dataclass(frozen=True, slots=True)
class Removable:
    """A block that keeps its stage's shape, so that the network can do without it."""

    stage: int
    block: int


def newest_first(network: ResNet, history: Sequence[GrowthStepDecided]) -> list[Removable]:
    """The removable blocks: those that were appended, the latest first, then those of the shallow network from the top.

    Places are those in the network as it is; `after_removal` tells what becomes of them.
    """
    appended = [step for step in history if step.kind == "append" and step.verdict == "accepted"]
    places = [Removable(step.stage, step.block) for step in reversed(appended) if step.block > 0]
    shallow = [
        Removable(stage, block)
        for stage in reversed(range(len(network.stages)))
        for block in reversed(range(1, len(blocks_of(network, stage))))
    ]
    return [*places, *(place for place in shallow if place not in places)]


def after_removal(places: Sequence[Removable], removed: Removable) -> list[Removable]:
    """Where the blocks stand once one of them is gone."""
    return [
        Removable(place.stage, place.block - (place.stage == removed.stage and place.block > removed.block))
        for place in places
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What is left of a grown network, and what was tried."""

    network: Measured
    """The grown network itself, where no block could go."""
    steps: list[GrowthStepDecided]
    """One for each block, `remove`, accepted where it went."""


def prune(grown: Measured, history: Sequence[GrowthStepDecided], context: TrainingContext, arms: Arms) -> Pruned:
    """Takes away every block, newest first, without which the network is not detectably worse.

    Each smaller network is held against the grown one by McNemar's test on the validation images, not against the one
    before it: many losses, each too small to be seen, would add up. All have their batch norms recalibrated, the grown
    one too, for otherwise the comparison would be one of statistics. What is left has a fresh optimiser.
    """
    data_epoch = arms.first_data_epoch(num_rounds(history) + 1)

    def measured(network: ResNet) -> Measured:
        return Measured(arms.untrained(recalibrated(network, context, data_epoch=data_epoch)))

    started = time.perf_counter()
    if not (places := newest_first(grown.network, history)):
        return Pruned(network=grown, steps=[])
    reference = current = measured(grown.network)
    flops = _flops(reference, context)  # told with the first step, as is the time
    steps: list[GrowthStepDecided] = []
    while places:
        place, *places = places
        smaller = measured(remove_block(current.network, place.stage, place.block))
        test = mcnemar(smaller.validation.wrong, reference.validation.wrong)
        step = _step(len(history) + len(steps) + 1, num_rounds(history) + len(steps) + 1, place, current, smaller, test)
        flops += _flops(smaller, context)
        steps.append(replace(step, train_flops=flops, wall_s=time.perf_counter() - started))
        flops, started = 0, time.perf_counter()
        if step.verdict == "accepted":
            current, places = smaller, after_removal(places, place)
    if current is reference:
        return Pruned(network=grown, steps=steps)
    current.arm.validation = current.validation.measurement
    return Pruned(network=current, steps=steps)


def _step(
    number: int, round_number: int, place: Removable, before: Measured, smaller: Measured, test: PairedTest
) -> GrowthStepDecided:
    goes = test.p_value > ALPHA
    error_before, error_after = before.validation.measurement.error, smaller.validation.measurement.error
    told = f"val_error {error_before:.4f} -> {error_after:.4f} without it, one-sided p = {test.p_value:.3g}"
    return GrowthStepDecided(
        step=number,
        kind="remove",
        round=round_number,
        stage=place.stage,
        block=place.block,
        initialiser=None,
        train_error_before=before.train.measurement.error,
        train_error_candidate=smaller.train.measurement.error,
        val_error_before=error_before,
        val_error_candidate=error_after,
        val_error_control=None,
        val_loss_before=before.validation.measurement.loss,
        val_loss_candidate=smaller.validation.measurement.loss,
        p_value=test.p_value,
        verdict="accepted" if goes else "rejected",
        reason=f"{told}: {'not told from noise' if goes else 'worse'}",
        num_params_before=before.arm.num_params,
        num_params_after=smaller.arm.num_params,
        epochs=0,
        train_flops=0,
        wall_s=0.0,
        max_logit_change=None,
    )


def _flops(measured: Measured, context: TrainingContext) -> int:
    """Of the pass over the training split that recalibrates the batch norms."""
    per_image = forward_flops_per_image(measured.network, measured.network.architecture, context.image_shape)
    return per_image * context.data.num_train


@torch.no_grad()
def recalibrated(network: ResNet, context: TrainingContext, *, data_epoch: int) -> ResNet:
    """A copy whose batch norms have the mean and variance of one pass over the training split.

    Without a block, what follows it sees other inputs than those that its running statistics are of.
    """
    copied = copy.deepcopy(network)
    norms = [module for module in copied.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    copied.train()
    for images, _ in context.data.train_batches(context.seed, data_epoch):
        with context.precision.autocast():
            copied(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return copied.eval()
