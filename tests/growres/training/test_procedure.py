from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

import zoo
from growres.errors import NonFiniteLossError
from growres.events import EpochFinished, TrialFinished
from growres.training.procedure import EndToEnd
from tests.replaying import science, through_a_file


def test_the_events_are_the_epochs_and_then_the_result(make_trial, make_context) -> None:
    trial = make_trial(model={"name": "resnet8"}, training={"epochs": 4})
    *epochs, finished = EndToEnd(trial, make_context(trial)).run()
    assert all(isinstance(event, EpochFinished) for event in epochs)
    assert [(event.growth_step, event.arm, event.epoch) for event in epochs] == [
        (0, "network", n) for n in (1, 2, 3, 4)
    ]
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert isinstance(finished, TrialFinished)
    assert finished.val_error == epochs[-1].val_error
    assert finished.train_flops == sum(event.train_flops for event in epochs)
    assert finished.num_blocks == 3 and finished.epochs == 4
    rebuilt = zoo.create_model(**finished.architecture, num_classes=3, in_channels=1, image_size=8)
    assert sum(parameter.numel() for parameter in rebuilt.parameters()) == finished.num_params


def test_the_same_seed_gives_the_same_training_and_another_seed_another(make_trial, make_context) -> None:
    def losses(seed: int) -> list[float]:
        torch.rand(seed + 3)  # the state of torch's own stream is of no account
        trial = make_trial(seed=seed)
        return [
            event.train_loss for event in EndToEnd(trial, make_context(trial)).run() if isinstance(event, EpochFinished)
        ]

    assert losses(0) == losses(0) != losses(1)


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "lr": 0.1, "momentum": 0.9}, {"name": "adamw", "lr": 0.01}])
@pytest.mark.parametrize("model", [{"name": "lenet5"}, {"name": "resnet8"}], ids=["lenet5", "resnet8"])
def test_a_resumed_trial_is_the_uninterrupted_one_bit_for_bit(make_trial, make_context, model, optimizer) -> None:
    model = {**model, "output": "linear"} if model["name"] == "lenet5" else model
    trial = make_trial(model=model, training={"optimizer": optimizer})
    uninterrupted = [science(event) for event in EndToEnd(trial, make_context(trial)).run()]
    resumed: list[dict[str, Any]] = []
    state = None
    while len(resumed) < len(uninterrupted):
        procedure = EndToEnd(trial, make_context(trial))
        if state is not None:
            procedure.load_state_dict(state)
        resumed.append(science(next(procedure.run())))
        state = through_a_file(procedure.state_dict())
    assert resumed == uninterrupted


def test_a_diverging_trial_stops_with_the_step_and_the_learning_rate(make_trial, make_context) -> None:
    trial = make_trial(
        training={"optimizer": {"name": "sgd", "lr": 1e38}, "schedule": {"name": "constant"}},
        model={"name": "lenet5", "output": "linear"},
    )
    with pytest.raises(NonFiniteLossError, match=r"at step \d+, where the learning rate was 1e\+38"):
        list(EndToEnd(trial, make_context(trial)).run())


def test_a_last_update_that_ruins_the_network_is_noticed_before_it_counts_as_a_result(make_trial, make_context) -> None:
    # One step: its loss is taken before the update, so that only the validation loss can tell.
    trial = make_trial(
        training={
            "epochs": 1,
            "batch_size": 192,
            "optimizer": {"name": "sgd", "lr": 1e37},
            "schedule": {"name": "constant"},
        },
        model={"name": "plain8"},
    )
    with pytest.raises(NonFiniteLossError, match=r"validation loss became nan after step 1, .* was 1e\+37"):
        list(EndToEnd(trial, make_context(trial)).run())


def test_the_test_split_is_not_looked_at_before_the_end(make_trial, make_context, images) -> None:
    trial = make_trial()
    sealed = dataclasses.replace(images, test=None)
    context = type(make_context(trial)).of(trial, sealed, torch.device("cpu"))
    run = EndToEnd(trial, context).run()
    assert [next(run).epoch for _ in range(3)] == [1, 2, 3]
    with pytest.raises((AttributeError, TypeError)):
        next(run)


def test_auxiliary_classifiers_are_trained_and_no_part_of_the_result(make_trial, make_context) -> None:
    sizes = {}
    for aux in (True, False):
        trial = make_trial(
            model={"name": "googlenet", "width": 0.05, "aux": aux}, training={"epochs": 1, "clip_grad_norm": 1.0}
        )
        *_, finished = EndToEnd(trial, make_context(trial)).run()
        sizes[aux] = finished.num_params
        assert finished.num_blocks is None
    assert sizes[True] == sizes[False]
