"""What the store says of a growth with all its choices: rounds, screenings, replicates, removals, last epochs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from growres.store import Store
from jobs.submission import submit
from tests.jobs.conftest import SpecWriter

CHOICES: dict[str, dict[str, Any]] = {
    "best_of": {"placement": {"name": "best_of"}, "accept": {"name": "always"}, "stop": {"max_blocks": 5}},
    "screened": {
        "placement": {"name": "best_of", "screen": "cached_features", "screen_epochs": 1},
        "accept": {"name": "always"},
        "control": True,
        "prune": True,
        "stop": {"max_epochs": 9},
    },
    "pruned": {"accept": {"name": "always"}, "prune": True, "tail_epochs": 1, "stop": {"max_blocks": 5}},
    "repeated": {
        "accept": {"name": "paired_loss", "alpha": 0.4, "replicates": 2, "max_replicates": 3},
        "control": True,
        "tail_epochs": 1,
        "stop": {"max_epochs": 13},
    },
}


@pytest.fixture(params=CHOICES)
def grown(request, write_spec: SpecWriter):
    """The rows of a growth that ran: its trial, curve, steps and epochs."""
    variant = {
        "procedure": "growth",
        "model": {"name": "preact_resnet", "blocks": [1, 1], "widths": [2, 4]},
        "growth": {"seed_epochs": 1, "epochs_per_step": 1, **CHOICES[request.param]},
    }
    outcome = submit(write_spec({"grown": variant}), backend="inline")
    assert outcome.status == "succeeded"
    with Store.open() as store:
        (trial,) = store.trials(outcome.experiment_id)
        return trial, store.growth_curve(trial.id), store.growth_steps(trial.id), store.epochs(trial.id)


def test_the_curve_is_of_one_network_that_changes_only_by_what_was_accepted(grown) -> None:
    trial, curve, steps, _ = grown
    assert [row["step"] for row in curve] == list(range(len(steps) + 1))
    of_network = ("num_blocks", "num_params", "val_error", "train_error")
    for before, after in pairwise(curve):
        if after["verdict"] == "accepted":
            assert after["num_blocks"] == before["num_blocks"] + (-1 if after["kind"] == "remove" else 1)
            assert (after["num_params"] < before["num_params"]) == (after["kind"] == "remove")
            assert after["val_error"] == after["val_error_candidate"]
        elif after["kind"] == "append":
            assert [after[key] for key in of_network] == [before[key] for key in of_network]
        else:  # its batch norms are recalibrated, for the comparison
            assert [after[key] for key in of_network[:2]] == [before[key] for key in of_network[:2]]
    assert curve[0]["num_blocks"] == 2
    assert (curve[-1]["num_blocks"], curve[-1]["num_params"]) == (trial.num_blocks, trial.num_params)
    assert any(row["verdict"] == "accepted" for row in curve), "a growth that tells something"


def test_the_account_of_the_curve_is_that_of_the_trial_but_for_the_last_epochs(grown) -> None:
    trial, curve, _, epochs = grown
    last = [epoch for epoch in epochs if epoch["arm"] == "network" and epoch["growth_step"] > 0]
    assert len(epochs) == trial.epochs == curve[-1]["epochs_total"] + len(last)
    assert trial.train_flops == curve[-1]["train_flops_total"] + sum(epoch["train_flops"] for epoch in last)
