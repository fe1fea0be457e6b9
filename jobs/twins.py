"""Twins: the final network of a trial that grew it, trained from scratch, once that trial is done.

A twin is a trial from the moment of submission, and waits. What it trains is told by its parent's result in the store,
so that a resumed experiment goes on with its twins as with any trial.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from growres.config.experiment import TrialConfig
from growres.data.loading import load_images
from growres.store import Store, TrialRow
from growres.training.arm import epoch_flops
from growres.training.context import TrainingContext

logger = logging.getLogger(__name__)

_ENDED_IN_WORDS = {"failed": "failed", "stopped": "was stopped"}


def ready_twins(store: Store, twins: Sequence[TrialRow], home: Path) -> list[TrialRow]:
    """The twins whose parents have succeeded, with their configurations complete.

    Those whose parents failed or were stopped are marked as stopped; any others go on waiting.
    """
    ready = []
    for twin in twins:
        assert twin.twin_of is not None
        parent = store.find_trial(twin.twin_of)
        if reason := _why_never(twin, parent):
            store.mark_trial(twin.id, "stopped", reason, stopped_by="parent")
        elif parent.status == "succeeded":
            if twin.config["training"]["epochs"] is None:
                store.configure_twin(twin.id, completed(twin, parent, home))
            ready.append(store.find_trial(twin.id))
    return ready


def with_stopped_twins(trials: Sequence[TrialRow], chosen: Sequence[TrialRow]) -> list[TrialRow]:
    """The chosen trials, and the twins that were stopped only because a parent that is tried again had failed."""
    ids = {trial.id for trial in chosen}
    ids |= {trial.id for trial in trials if trial.status == "stopped" and trial.attempt == 0 and trial.twin_of in ids}
    return [trial for trial in trials if trial.id in ids]


def completed(twin: TrialRow, parent: TrialRow, home: Path) -> dict[str, Any]:
    """The twin's configuration with its parent's final network and the epochs that make it its twin.

    same_flops gives the whole number of epochs, at least one after the warm-up, whose FLOPs are nearest to all that the
    parent trained, rejected proposals and control arms included.
    """
    assert parent.architecture is not None and parent.epochs is not None, "the parent has succeeded"
    config = TrialConfig.model_validate(twin.config)
    epochs = parent.epochs
    if twin.twin == "same_flops":
        assert parent.train_flops is not None
        epochs = round(parent.train_flops / _epoch_flops(config, parent.architecture, home))
    epochs = max(epochs, math.floor(config.training.schedule.warmup_epochs) + 1)
    logger.info("trial %s: twin of %s, %d epochs of %s", twin.id, parent.id, epochs, parent.architecture)
    values = config.model_dump()
    complete = values | {"model": parent.architecture, "training": values["training"] | {"epochs": epochs}}
    return stored_config(TrialConfig.model_validate(complete))


def stored_config(config: TrialConfig) -> dict[str, Any]:
    """What the store keeps of a trial's configuration; whose twin it is stands in columns of their own."""
    return config.model_dump(mode="json", exclude={"twin_of", "twin"})


def _epoch_flops(config: TrialConfig, architecture: dict[str, Any], home: Path) -> int:
    context = TrainingContext.of(config, load_images(config.dataset, home), torch.device("cpu"))
    return epoch_flops(context, context.build(architecture), architecture)


def _why_never(twin: TrialRow, parent: TrialRow) -> str | None:
    if parent.status in ("failed", "stopped"):
        return f"its parent {parent.id} {_ENDED_IN_WORDS[parent.status]}: there is no final network to train"
    if parent.status == "succeeded" and twin.twin == "same_flops" and parent.train_flops is None:
        return f"its parent {parent.id} trained on more FLOPs than the store can hold: there is no number to match"
    return None
