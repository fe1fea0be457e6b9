"""Trials with next to nothing to do: how long they take is what it costs to run any trial at all."""

from __future__ import annotations

from typing import Any

NUM_TRIALS = 8
NUM_TRAIN, NUM_TEST, BATCH_SIZE = 100, 50, 50
MODEL: dict[str, Any] = {"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 8]}
LEARNING_RATE, MOMENTUM = 0.1, 0.9

EXPERIMENT: dict[str, Any] = {
    "name": "trivial",
    "dataset": {"source": "digits", "limit": {"train": NUM_TRAIN, "validation": NUM_TEST, "test": NUM_TEST}},
    "seeds": list(range(NUM_TRIALS)),
    "training": {
        "epochs": 1,
        "batch_size": BATCH_SIZE,
        "optimizer": {"name": "sgd", "lr": LEARNING_RATE, "momentum": MOMENTUM},
    },
    "variants": {"trivial": {"procedure": "end_to_end", "model": MODEL}},
}
