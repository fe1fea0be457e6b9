"""What it costs to append a block to ResNet-20, its optimiser's state taken along."""

from __future__ import annotations

import statistics
import time

import torch

from growres.growth.initialisers import ZeroBranch
from growres.growth.network import append_block, growing_network
from growres.seeding import seeded
from growres.training.arm import ArmTraining
from growres.training.context import TrainingContext
from tests.bench.measuring import Row
from tests.bench.setups import RESNET20, make_trial, random_images


def run(quick: bool) -> list[Row]:
    """Wall time of what a growth step does between its decision to append a block and the first batch.

    The candidate is a copy, so that the parent can be gone back to. The parent has trained, so that there is momentum
    to take along. Each stage in turn: the blocks of the last are sixteen times the size of those of the first.
    """
    torch.set_num_threads(1)
    trial = make_trial(RESNET20, augment=[])
    context = TrainingContext.of(trial, random_images(num_train=32), torch.device("cpu"))
    network = context.build(RESNET20)
    parent = ArmTraining(context, network, architecture=growing_network(network).architecture, epochs=1)
    list(parent.run())
    _append(parent, stage=0)
    elapsed_ms = [_append(parent, stage=number % 3) for number in range(6 if quick else 21)]
    return [
        Row(
            name="append",
            compares="a block more in ResNet-20: copy, block, optimiser with its state; 1 thread",
            figure=statistics.median(elapsed_ms),
            figure_unit="ms",
            ours=statistics.median(elapsed_ms),
            unit="ms",
            samples={"wall ms": elapsed_ms},
        )
    ]


def _append(parent: ArmTraining, stage: int) -> float:
    context = parent.context
    started = time.perf_counter()
    with seeded("block", context.seed, 1):
        grown = append_block(growing_network(parent.network), stage, ZeroBranch())
    candidate = ArmTraining(
        context, context.place(grown), architecture=grown.architecture, epochs=1, growth_step=1, arm="candidate"
    )
    candidate.take_optimizer_state(parent)
    return 1000 * (time.perf_counter() - started)
