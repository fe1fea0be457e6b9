"""What training recipes have in common. A recipe states every key that is part of the method, so that an experiment's
own defaults never mix with it; precision, memory layout and compilation stay the experiment's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zoo.entry import Recipe

Section = dict[str, Any]

CROP_OF_ANY_SIZE: Section = {"name": "resized_crop", "area": [0.08, 1.0], "aspect": [0.75, 1.3333]}
"""A crop of 8 % to 100 % of the image, a little distorted (Szegedy et al. 2014, section 6)."""
CROP_AND_FLIP: tuple[Any, ...] = ("crop", "flip")


def sgd(lr: float, *, weight_decay: float, nesterov: bool = False) -> Section:
    """Stochastic gradient descent with a momentum of 0.9."""
    return {"name": "sgd", "lr": lr, "momentum": 0.9, "nesterov": nesterov, "weight_decay": weight_decay}


def divided_by_ten(*milestones: int, warmup_epochs: float = 0) -> Section:
    """The learning rate divided by ten after each of these epochs."""
    return {"name": "multistep", "milestones": list(milestones), "factor": 0.1, "warmup_epochs": warmup_epochs}


def crop_of_jittered_scale(shortest: int, longest: int, crop: int) -> Section:
    """A crop of a fixed size from a square image whose side was drawn from [shortest, longest], as the share of the
    image that the crop covers."""
    return {
        "name": "resized_crop",
        "area": [round((crop / longest) ** 2, 4), round((crop / shortest) ** 2, 4)],
        "aspect": [1.0, 1.0],
    }


def training(
    *,
    epochs: int,
    batch_size: int,
    optimizer: Section,
    schedule: Section,
    augment: Sequence[Any],
    label_smoothing: float = 0.0,
    clip_grad_norm: float | None = None,
) -> Section:
    """A whole `training` section."""
    return {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "schedule": schedule,
        "augment": list(augment),
        "label_smoothing": label_smoothing,
        "clip_grad_norm": clip_grad_norm,
    }


def short(
    lr: float,
    *,
    weight_decay: float = 5e-4,
    augment: Sequence[Any] = CROP_AND_FLIP,
    clip_grad_norm: float | None = None,
) -> Recipe:
    """The recipe for an evening: one cosine over 20 epochs.

    Args:
        lr: 0.1 for networks with batch norm; a tenth and less of it for those without.
    """
    return Recipe(
        training=training(
            epochs=20,
            batch_size=128,
            optimizer=sgd(lr, weight_decay=weight_decay, nesterov=True),
            schedule={"name": "cosine", "warmup_epochs": 1},
            augment=augment,
            clip_grad_norm=clip_grad_norm,
        ),
        cost="20 epochs",
        differs="ours, not the paper's: one cosine with Nesterov momentum, for small images and little time",
    )
