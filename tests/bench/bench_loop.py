"""Our training loop against the bare one at equal settings, and against it again with our data path."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn import functional as F

from growres.config.experiment import DatasetConfig, TrialConfig
from growres.data.loading import load_images
from growres.training.context import TrainingContext
from growres.training.loop import Batches, train_epoch
from growres.training.optimizers import make_optimizer
from growres.training.precision import Precision
from tests.bench.measuring import Row, interleaved, median_ratio
from tests.bench.setups import BATCH_SIZE, DIGITS_NET, RESNET20, make_trial, random_images

_STEPS_32 = 12


def run(quick: bool) -> list[Row]:
    """Images a CPU second, one thread: what both sides do is computing, and CPU time ignores other processes."""
    torch.set_num_threads(1)
    cpu = torch.device("cpu")
    with TemporaryDirectory() as home:
        digits = load_images(DatasetConfig(source="digits"), Path(home))
        digits_trial = make_trial(DIGITS_NET, augment=["crop"])
        noise_trial = make_trial(RESNET20, augment=["crop", "flip"])
        noise = random_images(_STEPS_32 * BATCH_SIZE)
        return [
            *_compare("32x32", noise_trial, TrainingContext.of(noise_trial, noise, cpu), 1, 3 if quick else 9),
            *_compare("digits", digits_trial, TrainingContext.of(digits_trial, digits, cpu), 4, 5 if quick else 21),
        ]


def _compare(size: str, trial: TrialConfig, context: TrainingContext, epochs: int, rounds: int) -> list[Row]:
    """Three networks of the same weights, trained in turns, for a number of epochs at each turn.

    The first two are fed the same list of batches, made before the clock runs; only the loops differ. The third makes
    its batches while it trains, as a trial does.
    """
    ready = list(context.data.train_batches(context.seed, 0))
    num_images = sum(len(labels) for _, labels in ready) * epochs
    epoch_numbers = iter(range(1, 10**9))
    arms = {
        "ours": _our_arm(trial, context, lambda: ready, epochs),
        "bare": _bare_arm(trial, context, ready, epochs),
        "ours, end to end": _our_arm(
            trial, context, lambda: context.data.train_batches(context.seed, next(epoch_numbers)), epochs
        ),
    }
    interleaved(arms, rounds=1)  # warms up
    cpu_s = interleaved(arms, rounds)
    settings = f"{trial.model.name}, {_describe(context.precision)}, batch {BATCH_SIZE}, 1 thread"
    return [
        Row(
            name=name,
            compares=f"{what}: {settings}",
            figure=median_ratio(cpu_s["bare"], cpu_s[arm]),
            figure_unit="x",
            ours=num_images / statistics.median(cpu_s[arm]),
            theirs=num_images / statistics.median(cpu_s["bare"]),
            unit="images/CPU s",
            samples={f"{arm}, CPU s": cpu_s[arm], "bare, CPU s": cpu_s["bare"]},
        )
        for name, arm, what in (
            (f"loop, {size}", "ours", "our loop / bare loop, same ready batches"),
            (f"end to end, {size}", "ours, end to end", "our loop and data path / bare loop on ready batches"),
        )
    ]


def _our_arm(
    trial: TrialConfig, context: TrainingContext, batches: Callable[[], Batches], epochs: int
) -> Callable[[], float]:
    network = context.build(_architecture(trial)).train()
    optimizer = make_optimizer(network, trial.training.optimizer)

    def train() -> float:
        started = time.process_time()
        for _ in range(epochs):
            train_epoch(
                network,
                batches(),
                optimizer=optimizer,
                lr_of_step=lambda step: trial.training.optimizer.lr,
                first_step=0,
                num_steps=context.data.steps_per_epoch,
                precision=context.precision,
            )
        return time.process_time() - started

    return train


def _bare_arm(
    trial: TrialConfig, context: TrainingContext, batches: list[tuple[torch.Tensor, torch.Tensor]], epochs: int
) -> Callable[[], float]:
    """The loop of PyTorch's tutorials with the same optimiser and precision; no metrics but the last loss."""
    network = context.build(_architecture(trial)).train()
    optimizer = make_optimizer(network, trial.training.optimizer)

    def train() -> float:
        started = time.process_time()
        for _ in range(epochs):
            for images, labels in batches:
                with context.precision.autocast():
                    loss = F.cross_entropy(network(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            loss.item()
        return time.process_time() - started

    return train


def _architecture(trial: TrialConfig) -> dict[str, Any]:
    return {"name": trial.model.name, **trial.model.kwargs}


def _describe(precision: Precision) -> str:
    layout = "channels_last" if precision.memory_format is torch.channels_last else "NCHW"
    return f"{'bf16' if precision.bf16 else 'fp32'} {layout}"
