"""How many images a second networks train on, on this machine, each measured in turn so that all share its moods."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from growres.config.experiment import SgdConfig, TrainingConfig
from growres.training.loop import train_epoch
from growres.training.optimizers import make_optimizer
from growres.training.precision import choose_precision

ROUNDS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Images trained on per second: the median of the rounds, the slowest and the quickest."""

    images_per_s: float
    slowest: float
    quickest: float


def measure_throughput(
    networks: Mapping[str, nn.Module],
    image_shape: tuple[int, int, int],
    *,
    num_classes: int,
    batch_size: int,
    seconds: float,
    device: torch.device,
    on_round: Callable[[str, int], None] = lambda name, number: None,
) -> dict[str, Throughput]:
    """Trains each network with SGD on random images, in growres's own loop and precision, several times in turn.

    Args:
        image_shape: (C, H, W).
        seconds: what each network is given in all, beside a first step that does not count; one step a round is the
            least.
        on_round: told the network and the round (0 is the step that does not count) before each is begun.
    """
    runners = {
        name: _Runner(network, image_shape, num_classes=num_classes, batch_size=batch_size, device=device)
        for name, network in networks.items()
    }
    for name, runner in runners.items():
        on_round(name, 0)
        runner.warm_up()
    speeds: dict[str, list[float]] = {name: [] for name in runners}
    for number in range(1, ROUNDS + 1):
        for name, runner in runners.items():
            on_round(name, number)
            speeds[name].append(runner.images_per_s(seconds / ROUNDS))
    return {
        name: Throughput(images_per_s=statistics.median(found), slowest=min(found), quickest=max(found))
        for name, found in speeds.items()
    }


class _Runner:
    """One network with its optimiser and a batch that it trains on again and again."""

    def __init__(
        self,
        network: nn.Module,
        image_shape: tuple[int, int, int],
        *,
        num_classes: int,
        batch_size: int,
        device: torch.device,
    ) -> None:
        config = TrainingConfig(optimizer=SgdConfig(name="sgd", lr=1e-4))
        self._precision = choose_precision(config, image_size=image_shape[1], device=device)
        memory_format = self._precision.memory_format
        self._network = network.to(device=device, memory_format=memory_format).train()  # type: ignore[call-overload]
        self._optimizer = make_optimizer(self._network, config.optimizer)
        images = torch.randn(batch_size, *image_shape, device=device).contiguous(memory_format=memory_format)
        self._batch = (images, torch.arange(batch_size, device=device) % num_classes)
        self._step_s = 0.0

    def warm_up(self) -> None:
        """Two steps: the first finds kernels and memory, the second tells how long one takes."""
        self._train(1)
        self._step_s = self._train(1)

    def images_per_s(self, seconds: float) -> float:
        """The speed over about this time, and at least one step."""
        steps = max(1, round(seconds / self._step_s))
        return steps * len(self._batch[1]) / self._train(steps)

    def _train(self, steps: int) -> float:
        """Seconds that these steps take; the loop waits for the device at its end."""
        started = time.perf_counter()
        batches: list[tuple[Tensor, Tensor]] = [self._batch] * steps
        train_epoch(
            self._network,
            batches,
            optimizer=self._optimizer,
            lr_of_step=lambda step: 1e-4,
            first_step=0,
            num_steps=steps,
            precision=self._precision,
        )
        return time.perf_counter() - started
