"""What every network of one trial is trained with: the configuration, the data on the device, the seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import zoo
from growres.config.experiment import TrainingConfig, TrialConfig
from growres.data.batches import DeviceData
from growres.data.images import ImageData
from growres.seeding import seeded
from growres.training.compilation import compile_blocks
from growres.training.precision import Precision, choose_precision


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingContext:
    """Shared by all networks, and all arms, of one trial."""

    config: TrainingConfig
    data: DeviceData
    precision: Precision
    device: torch.device
    seed: int
    num_classes: int
    image_shape: tuple[int, int, int]
    """(C, H, W)."""

    @classmethod
    def of(cls, trial: TrialConfig, images: ImageData, device: torch.device) -> TrainingContext:
        """The context of a trial on a device."""
        precision = choose_precision(trial.training, image_size=images.image_size, device=device)
        data = DeviceData(
            images,
            device=device,
            batch_size=trial.training.batch_size,
            augment=trial.training.augment,
            memory_format=precision.memory_format,
        )
        return cls(
            config=trial.training,
            data=data,
            precision=precision,
            device=device,
            seed=trial.seed,
            num_classes=images.num_classes,
            image_shape=(images.channels, images.image_size, images.image_size),
        )

    def build(self, architecture: dict[str, Any], *stream: str | int) -> nn.Module:
        """The zoo's network of this architecture with the weights of the trial's seed, ready on the device.

        Args:
            stream: what the weights are for, where they are to be others than those the network begins with.
        Raises:
            zoo.ModelError: if the zoo has no such network, or it does not fit the images.
        """
        channels, image_size, _ = self.image_shape
        with seeded("network", self.seed, *stream):
            network = zoo.create_model(
                **architecture, num_classes=self.num_classes, in_channels=channels, image_size=image_size
            )
        return self.place(network)

    def place(self, network: nn.Module) -> nn.Module:
        """The network on the trial's device, in its memory layout, compiled where the configuration says so."""
        placed = network.to(device=self.device, memory_format=self.precision.memory_format)  # type: ignore[call-overload]
        if self.config.compile == "block":
            compile_blocks(placed)
        assert isinstance(placed, nn.Module)
        return placed
