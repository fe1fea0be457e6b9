"""Growing back: what goes, what stays, against what it is compared, and how it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from growres.analysis.paired import mcnemar
from growres.config.experiment import TrialConfig
from growres.events import EpochFinished, GrowthStepDecided, TrialFinished
from growres.growth.arms import Arms
from growres.growth.measured import Measured
from growres.growth.network import block_at, growing_network, remove_block
from growres.growth.procedure import Growth
from growres.growth.pruning import ALPHA, Pruned, Removable, newest_first, prune, recalibrated
from growres.seeding import seeded
from growres.training.context import TrainingContext
from growres.training.flops import forward_flops_per_image
from tests.growres.growth.constructed import decided
from zoo.resnet import ResNet

ContextMaker = Callable[[TrialConfig], TrainingContext]


@pytest.fixture
def trial(make_trial) -> TrialConfig:
    return make_trial(
        procedure="growth",
        model={"name": "preact_resnet", "blocks": [3, 2], "widths": [4, 8]},
        training={"augment": []},
        growth={"seed_epochs": 3, "control": False},
    )


def last_conv(network: ResNet, stage: int, block: int) -> nn.Conv2d:
    """Of a block's branch: what is zero there makes the block do nothing."""
    return [layer for layer in block_at(network, stage, block).branch.modules() if isinstance(layer, nn.Conv2d)][-1]


@pytest.fixture
def trained(trial, make_context) -> Measured:
    """A network of the blocks [3, 2], of which (1, 1) drowns out what it is added to, and (0, 2) does nothing."""
    context = make_context(trial)
    network = growing_network(context.build({"name": trial.model.name, **trial.model.kwargs}))
    with torch.no_grad(), seeded("drowning"):
        last_conv(network, 1, 1).weight.normal_(std=3.0)
    arm = Arms(trial, context, most_rounds=None).seed(network)
    list(arm.run())
    with torch.no_grad():
        last_conv(network, 0, 2).weight.zero_()
    return Measured(arm)


def pruned(grown: Measured, history: list[GrowthStepDecided], trial: TrialConfig, context: TrainingContext) -> Pruned:
    return prune(grown, history, context, Arms(trial, context, most_rounds=None))


def appended(*places: tuple[int, int]) -> list[GrowthStepDecided]:
    """The history of blocks that were accepted at these places."""
    return [
        GrowthStepDecided(**{**_fields(decided("accepted", round=number, stage=stage)), "block": block})
        for number, (stage, block) in enumerate(places, start=1)
    ]


def _fields(step: GrowthStepDecided) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.__dataclass_fields__}


def test_the_newest_block_is_tried_first_and_the_shallow_networks_own_last(trained) -> None:
    history = appended((1, 1), (0, 2))
    history.insert(1, decided("rejected", round=9, stage=1))
    assert newest_first(trained.network, history) == [Removable(0, 2), Removable(1, 1), Removable(0, 1)]
    assert newest_first(trained.network, []) == [Removable(1, 1), Removable(0, 2), Removable(0, 1)]


def removals(result: Pruned) -> list[tuple[int, int, str]]:
    return [(step.stage, step.block, step.verdict) for step in result.steps]


def test_a_block_that_does_nothing_goes_and_one_that_matters_stays(trained, trial, make_context) -> None:
    before = {name: value.clone() for name, value in trained.network.state_dict().items()}
    result = pruned(trained, appended((1, 1), (0, 2)), trial, make_context(trial))
    (nothing, matters, _) = result.steps
    assert (nothing.stage, nothing.block, nothing.verdict) == (0, 2, "accepted")
    assert nothing.val_error_candidate == nothing.val_error_before and "not told from noise" in nothing.reason
    assert (matters.stage, matters.block, matters.verdict) == (1, 1, "rejected")
    assert matters.p_value is not None and matters.p_value < ALPHA and matters.reason.endswith("worse")
    assert f"without it, one-sided p = {matters.p_value:.3g}: worse" in matters.reason
    assert matters.val_error_candidate is not None and matters.val_error_candidate > matters.val_error_before
    assert all(torch.equal(value, before[name]) for name, value in trained.network.state_dict().items())


def test_the_places_that_are_told_are_those_in_the_network_as_it_then_is(trained, trial, make_context) -> None:
    with torch.no_grad():
        last_conv(trained.network, 0, 1).weight.zero_()
    # (0, 1) was appended last: once it is gone, the block after it stands in its place.
    history = appended((1, 1), (0, 2), (0, 1))
    result = pruned(trained, history, trial, make_context(trial))
    assert removals(result) == [(0, 1, "accepted"), (0, 1, "accepted"), (1, 1, "rejected")]
    assert result.network.network.architecture["blocks"] == [1, 2]
    assert [step.step for step in result.steps] == [4, 5, 6]
    assert [step.round for step in result.steps] == [4, 5, 6]
    sizes = [(step.num_params_before, step.num_params_after) for step in result.steps]
    assert sizes[0][1] == sizes[1][0] > sizes[1][1] == sizes[2][0] > sizes[2][1]
    assert result.network.arm.num_params == sizes[1][1]


def test_a_network_that_loses_nothing_is_given_back_bit_for_bit(trained, trial, make_context) -> None:
    network = remove_block(remove_block(trained.network, 0, 2), 0, 1)
    context = make_context(trial)
    arm = Arms(trial, context, most_rounds=None).untrained(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    grown = Measured(arm)
    result = pruned(grown, [], trial, context)
    assert removals(result) == [(1, 1, "rejected")]
    assert result.network is grown
    assert all(torch.equal(value, before[name]) for name, value in result.network.network.state_dict().items())


def test_where_no_block_can_go_nothing_is_tried_or_spent(trained, trial, make_context, monkeypatch) -> None:
    network = trained.network
    for stage, block in ((0, 2), (0, 1), (1, 1)):
        network = remove_block(network, stage, block)
    context = make_context(trial)
    monkeypatch.setattr(type(context.data), "train_batches", None)
    grown = Measured(Arms(trial, context, most_rounds=None).untrained(network))
    assert pruned(grown, [], trial, context) == Pruned(network=grown, steps=[])


def test_every_smaller_network_is_held_against_the_grown_one(trained, trial, make_context) -> None:
    context = make_context(trial)
    data_epoch = Arms(trial, context, most_rounds=None).first_data_epoch(3)
    result = pruned(trained, appended((1, 1), (0, 2)), trial, context)
    arms = Arms(trial, context, most_rounds=None)
    wrong = []
    for network in (trained.network, remove_block(remove_block(trained.network, 0, 2), 1, 1)):
        arm = arms.untrained(recalibrated(network, context, data_epoch=data_epoch))
        wrong.append(arm.outputs("validation").wrong)
    assert result.steps[1].p_value == mcnemar(wrong[1], wrong[0]).p_value


def test_recalibrated_batch_norms_have_the_statistics_of_the_training_split(trained, trial, make_context) -> None:
    context = make_context(trial)
    smaller = remove_block(trained.network, 1, 1)
    copied = recalibrated(smaller, context, data_epoch=5)
    seen: list[torch.Tensor] = []
    norm = copied.head.activation[0] if isinstance(copied.head.activation, nn.Sequential) else copied.head.activation
    norm = next(module for module in norm.modules() if isinstance(module, nn.BatchNorm2d))
    copied.train()
    momenta = [module.momentum for module in copied.modules() if isinstance(module, nn.BatchNorm2d)]
    original = [module.momentum for module in smaller.modules() if isinstance(module, nn.BatchNorm2d)]
    assert momenta == original
    mean = norm.running_mean.clone()
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().mean(dim=(0, 2, 3))))
    with torch.no_grad():
        for images, _ in context.data.train_batches(context.seed, 5):
            copied(images)
    torch.testing.assert_close(mean, torch.stack(seen).mean(dim=0))
    assert not torch.allclose(mean, trained.network.head.state_dict()["activation.norm.running_mean"])


def test_the_passes_that_recalibrate_are_paid_for_that_of_the_grown_network_too(trained, trial, make_context) -> None:
    context = make_context(trial)
    result = pruned(trained, appended((1, 1), (0, 2)), trial, context)

    def forward(network: ResNet) -> int:
        return 192 * forward_flops_per_image(network, network.architecture, context.image_shape)

    first, second, _ = result.steps
    without = remove_block(trained.network, 0, 2)
    assert first.train_flops == forward(trained.network) + forward(without)
    assert second.train_flops == forward(remove_block(without, 1, 1))
    assert first.epochs == second.epochs == 0 and first.wall_s > 0


def test_a_growth_ends_with_what_is_left_of_it(make_trial, make_context) -> None:
    trial = make_trial(
        procedure="growth",
        model={"name": "preact_resnet", "blocks": [1, 1], "widths": [2, 4]},
        training={"batch_size": 48},
        growth={
            "seed_epochs": 1,
            "epochs_per_step": 1,
            "control": False,
            "accept": {"name": "always"},
            "prune": True,
            "stop": {"max_blocks": 5},
        },
    )
    *events, finished = Growth(trial, make_context(trial)).run()
    assert isinstance(finished, TrialFinished)
    steps = [event for event in events if isinstance(event, GrowthStepDecided)]
    assert [step.kind for step in steps] == ["append"] * 3 + ["remove"] * 3
    gone = [step for step in steps[3:] if step.verdict == "accepted"]
    assert gone, "after so short a training, some block does not matter"
    assert finished.num_blocks == sum(finished.architecture["blocks"]) == 5 - len(gone)
    assert finished.val_error == gone[-1].val_error_candidate
    assert finished.num_params == gone[-1].num_params_after
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    outside = sum(epoch.train_flops for epoch in epochs if epoch.growth_step == 0)
    assert finished.train_flops == outside + sum(step.train_flops for step in steps)
    assert finished.epochs == len(epochs)
