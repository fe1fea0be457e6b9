"""The trials and images that several benchmarks use."""

from __future__ import annotations

from typing import Any

import torch

from growres.config.experiment import TrialConfig
from growres.data.images import ImageData, ImageSplit

BATCH_SIZE = 128
NUM_CLASSES = 10
MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)

RESNET20: dict[str, Any] = {"name": "resnet20"}
DIGITS_NET: dict[str, Any] = {"name": "preact_resnet", "blocks": [2, 2], "widths": [16, 32]}


def make_trial(model: dict[str, Any], augment: list[str]) -> TrialConfig:
    """An end-to-end trial on one CPU with the defaults of an experiment file."""
    return TrialConfig.model_validate(
        {
            "variant": "bench",
            "seed": 0,
            "dataset": {"source": "digits"},
            "procedure": "end_to_end",
            "model": model,
            "training": {
                "epochs": 1,
                "batch_size": BATCH_SIZE,
                "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-4},
                "augment": augment,
            },
        }
    )


def random_images(num_train: int) -> ImageData:
    """Noise in CIFAR-10's format: how long a step takes does not depend on what is in the pictures."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> ImageSplit:
        return ImageSplit(
            images=torch.randint(0, 256, (size, 3, 32, 32), dtype=torch.uint8, generator=generator),
            labels=torch.randint(0, NUM_CLASSES, (size,), generator=generator),
        )

    return ImageData(
        name="noise",
        class_names=tuple(map(str, range(NUM_CLASSES))),
        fingerprint="noise",
        train=split(num_train),
        validation=split(BATCH_SIZE),
        test=split(BATCH_SIZE),
        mean=MEAN,
        std=STD,
    )
