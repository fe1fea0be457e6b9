"""A growth that goes on from a checkpoint is the one that was not interrupted, whatever was chosen for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from growres.growth.procedure import Growth
from tests.replaying import science, through_a_file

POST = {"name": "resnet", "blocks": [1, 1], "widths": [4, 8]}
PREACT = POST | {"name": "preact_resnet"}
ADAMW = {"optimizer": {"name": "adamw", "lr": 0.02}}
SHORT = {"seed_epochs": 2, "epochs_per_step": 2, "control": True}

CHOICES: dict[str, dict[str, Any]] = {
    "adam_gamma, shaken weights, one schedule, replicates": {
        "model": POST,
        "growth": {
            "initialiser": {"name": "adam_gamma", "max_epochs": 2, "tolerance": 0.0},
            "optimizer_at_growth": {"name": "shrink_and_perturb", "shrink": 0.8},
            "schedule_at_growth": "whole_run",
            "accept": {"name": "paired_loss", "max_replicates": 2, "reject_above": 1.0, "alpha": 0.01},
            "stop": {"max_epochs": 26},
        },
    },
    "gradmax, the best of screened proposals, slow old weights, a tail": {
        "model": PREACT,
        "growth": {
            "initialiser": {"name": "gradmax", "images": 50},
            "placement": {"name": "best_of", "screen": "cached_features", "screen_epochs": 2},
            "old_lr_factor": 0.5,
            "schedule_at_growth": "constant",
            "tail_epochs": 2,
            "stop": {"max_epochs": 18},
        },
    },
    "a new stage, the new block first, cached copies, plateaus": {
        "model": PREACT | {"blocks": [1], "widths": [4]},
        "training": ADAMW,
        "growth": {
            "placement": {"name": "new_stage", "max_stages": 2},
            "when": {"name": "plateau", "patience": 1},
            "train": "new_block_then_all",
            "cache_features": 2,
            "optimizer_at_growth": {"name": "reset"},
            "accept": {"name": "error_drop", "min_drop": 0.1},
            "epochs_per_step": 4,
            "stop": {"max_epochs": 40},
        },
    },
    "skip_init, the widest gap, against the control, grown back": {
        "model": POST | {"skip_init": True},
        "growth": {
            "initialiser": {"name": "skip_init"},
            "placement": {"name": "widest_gap", "images": 50},
            "accept": {"name": "versus_control", "test": "error_drop"},
            "prune": True,
            "tail_epochs": 2,
            "stop": {"max_epochs": 14},
        },
    },
    "autogrow": {
        "model": POST,
        "growth": {
            "initialiser": {"name": "gaussian_gamma"},
            "when": {"name": "periodic"},
            "placement": {"name": "round_robin", "freeze": {"window_epochs": 3, "min_drop": 0.05}},
            "accept": {"name": "always"},
            "control": False,
            "schedule_at_growth": "constant",
            "epochs_per_step": 1,
            "tail_epochs": 2,
            "stop": {"max_epochs": 14},
        },
    },
    "dropout on the shortcuts, a copied block": {
        "model": POST | {"h": "dropout", "shortcut_dropout": 0.3},
        "growth": {"initialiser": {"name": "copy_previous"}, "stop": {"max_epochs": 10}},
    },
    "dropout on the shortcuts, adam_gamma": {
        "model": POST | {"h": "dropout", "shortcut_dropout": 0.3},
        "growth": {
            "initialiser": {"name": "adam_gamma", "max_epochs": 2, "tolerance": 0.0},
            "seed_epochs": 5,
            "control": False,
            "stop": {"max_epochs": 13},
        },
    },
}

LONG = (
    "gradmax, the best of screened proposals, slow old weights, a tail",
    "a new stage, the new block first, cached copies, plateaus",
)
"""Left to make slow."""


@pytest.mark.parametrize(
    "choices",
    [pytest.param(CHOICES[name], id=name, marks=pytest.mark.slow if name in LONG else ()) for name in CHOICES],
)
def test_resumed_at_every_event_it_is_the_uninterrupted_growth_bit_for_bit(make_trial, make_context, choices) -> None:
    trial = make_trial(procedure="growth", **{**choices, "growth": SHORT | choices["growth"]})
    growth = Growth(trial, make_context(trial))
    uninterrupted = [science(event) for event in growth.run()]
    resumed: list[dict[str, Any]] = []
    state: dict[str, Any] | None = None
    while len(resumed) < len(uninterrupted):
        torch.manual_seed(len(resumed))  # what a process happens to have drawn before must not matter
        again = Growth(trial, make_context(trial))
        if state is not None:
            again.load_state_dict(state)
        resumed.append(science(next(again.run())))
        state = through_a_file(again.state_dict())
    assert resumed == uninterrupted
    weights = growth.network.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in again.network.state_dict().items())
