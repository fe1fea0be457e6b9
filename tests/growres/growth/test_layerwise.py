from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

import zoo
from growres.errors import GrowthError
from growres.events import EpochFinished, GrowthStepDecided, TrialFinished
from growres.growth.layerwise import Layerwise, train_newest_layer
from growres.training.context import TrainingContext
from growres.training.flops import train_flops_per_image
from growres.training.networks import AuxiliaryHead, build_network
from tests.replaying import science, through_a_file

NAMES = ("resnet", "preact_resnet", "plain")
FACTS = {"num_classes": 3, "in_channels": 1, "image_size": 8}


@pytest.fixture
def layerwise_trial(make_trial):
    def make(**sections: Any):
        layerwise = {"epochs_per_layer": 2, "depth": 2} | sections.pop("layerwise", {})
        model = {"name": "preact_resnet", "blocks": [2, 1], "widths": [4, 8]}
        return make_trial(**{"procedure": "layerwise", "model": model, "layerwise": layerwise, **sections})

    return make


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_events_tell_of_one_block_after_the_other(layerwise_trial, make_context, name: str, depth: int) -> None:
    model = {"name": name, "blocks": [2, 1], "widths": [4, 8]}
    trial = layerwise_trial(model=model, layerwise={"depth": depth})
    *events, finished = Layerwise(trial, make_context(trial)).run()
    order = [
        (event.growth_step, event.arm, event.epoch) if isinstance(event, EpochFinished) else event.step
        for event in events
    ]
    assert order == [
        *[(0, "network", 1), (0, "network", 2)],
        *[(1, "candidate", 1), (1, "candidate", 2), 1],
        *[(2, "candidate", 1), (2, "candidate", 2), 2],
    ]
    steps = [event for event in events if isinstance(event, GrowthStepDecided)]
    assert [(step.stage, step.block, step.verdict) for step in steps] == [(0, 1, "accepted"), (1, 0, "accepted")]
    assert all("always kept" in step.reason and step.max_logit_change > 0 for step in steps)
    assert steps[1].val_error_before == steps[0].val_error_candidate
    assert steps[1].train_error_before == steps[0].train_error_candidate
    assert steps[1].num_params_before == steps[0].num_params_after
    assert isinstance(finished, TrialFinished)
    assert finished.val_error == steps[1].val_error_candidate
    assert finished.num_params == steps[1].num_params_after
    assert (finished.num_blocks, finished.epochs) == (3, 6)
    assert finished.train_flops == sum(event.train_flops for event in events if isinstance(event, EpochFinished))


def test_it_learns_what_its_data_teach(layerwise_trial, make_context) -> None:
    trial = layerwise_trial(layerwise={"epochs_per_layer": 4}, training={"augment": []})
    *_, finished = Layerwise(trial, make_context(trial)).run()
    assert finished.test_error < 0.3, "three classes, of which chance gets two in three wrong"


def test_what_was_trained_stays_to_the_last_bit_its_batch_statistics_too(layerwise_trial, make_context) -> None:
    trial = layerwise_trial(model={"name": "resnet", "blocks": [1, 1, 1], "widths": [3, 4, 5]})
    layerwise = Layerwise(trial, make_context(trial))
    trained: dict[str, torch.Tensor] = {}
    for event in layerwise.run():
        if not isinstance(event, EpochFinished):
            continue
        state = layerwise.network.state_dict()
        assert all(torch.equal(state[name], value) for name, value in trained.items())
        new = {name for name in state if name not in trained}
        assert any("running_mean" in name for name in new if name.startswith("stages."))
        if event.epoch == 2:
            trained = {name: value.clone() for name, value in state.items() if not name.startswith("head.")}
    assert {name.split(".")[0] for name in trained} == {"stem", "stages"}


def test_each_layer_begins_with_a_fresh_block_and_head_and_the_whole_schedule(layerwise_trial, make_context) -> None:
    trial = layerwise_trial(model={"name": "resnet", "blocks": [3], "widths": [4]})
    layerwise = Layerwise(trial, make_context(trial))
    begun: dict[int, dict[str, torch.Tensor]] = {}
    lrs: dict[int, list[float]] = {0: [], 1: [], 2: []}
    for event in layerwise.run():
        if isinstance(event, EpochFinished):
            lrs[event.growth_step].append(event.lr)
            optimizer = layerwise.state_dict()["layer"]["optimizer"]
            expected = {f"stages.0.{event.growth_step}", "head"} | ({"stem"} if event.growth_step == 0 else set())
            moving = {_part(name) for name, state in optimizer.items() if state["momentum_buffer"].any()}
            assert moving == expected, "what learns has momentum, and nothing else has"
        if isinstance(event, EpochFinished) and event.epoch == 1:
            begun[event.growth_step] = {name: value.clone() for name, value in layerwise.network.state_dict().items()}
    assert lrs[0] == lrs[1] == lrs[2]
    assert not torch.equal(begun[1]["head.classifier.weight"], begun[2]["head.classifier.weight"])
    fresh = [begun[step][f"stages.0.{step}.branch.conv2.weight"] for step in (1, 2)]
    assert not torch.equal(*fresh)


def _part(name: str) -> str:
    return ".".join(name.split(".")[:3]) if name.startswith("stages") else name.split(".")[0]


@pytest.mark.parametrize("optimizer", [{"name": "sgd", "lr": 0.1, "momentum": 0.9}, {"name": "adamw", "lr": 0.01}])
def test_resumed_at_every_event_it_is_the_uninterrupted_run_bit_for_bit(
    layerwise_trial, make_context, optimizer: dict[str, Any]
) -> None:
    trial = layerwise_trial(training={"optimizer": optimizer})
    uninterrupted = [science(event) for event in Layerwise(trial, make_context(trial)).run()]
    resumed: list[dict[str, Any]] = []
    state = None
    while len(resumed) < len(uninterrupted):
        layerwise = Layerwise(trial, make_context(trial))
        if state is not None:
            layerwise.load_state_dict(state)
        resumed.append(science(next(layerwise.run())))
        state = through_a_file(layerwise.state_dict())
    assert resumed == uninterrupted


def test_the_architecture_rebuilds_the_network_that_predicts(layerwise_trial, make_context) -> None:
    trial = layerwise_trial(layerwise={"depth": 3})
    context = make_context(trial)
    layerwise = Layerwise(trial, context)
    *_, finished = layerwise.run()
    again = build_network(finished.architecture, **FACTS)
    again.load_state_dict(layerwise.network.state_dict())
    images, _ = next(iter(context.data.eval_batches("test")))
    assert torch.equal(again.eval()(images), layerwise.network.eval()(images))
    assert finished.num_params == sum(weights.numel() for weights in again.parameters())


def test_a_frozen_block_costs_its_forward_pass_alone() -> None:
    def flops(blocks: list[int], *, frozen: bool) -> int:
        architecture = {"name": "resnet", "blocks": blocks, "widths": [8], "auxiliary_depth": 1}
        network = build_network(architecture, **FACTS)
        if frozen:
            train_newest_layer(network, 1)
        return train_flops_per_image(network, architecture, (1, 8, 8))

    forward_of_a_block = 2 * 2 * (8 * 8 * 9) * 64  # two convolutions, a multiply-add is two
    assert flops([3], frozen=True) - flops([2], frozen=True) == forward_of_a_block
    assert flops([3], frozen=False) - flops([2], frozen=False) == 3 * forward_of_a_block


def test_gradients_reach_every_parameter_that_learns_and_no_other(layerwise_trial, make_context) -> None:
    context = make_context(layerwise_trial())
    for name in NAMES:
        architecture = {"name": name, "blocks": [1, 2], "widths": [4, 8], "auxiliary_depth": 3}
        network = context.build(architecture)
        train_newest_layer(network, 1)
        images, labels = next(iter(context.data.train_batches(0, 0)))
        nn.functional.cross_entropy(network(images), labels).backward()
        touched = {part for part, weights in network.named_parameters() if weights.grad is not None}
        assert {part for part in touched if not part.startswith("head.")} == {
            part for part, _ in network.named_parameters() if part.startswith("stages.1.1.")
        }
        assert all(weights.grad.abs().max() > 0 for weights in network.parameters() if weights.grad is not None)


@pytest.mark.parametrize(("depth", "convolutions"), [(1, 0), (2, 1), (3, 2)])
def test_a_head_of_depth_k_has_k_minus_1_convolutions_and_four_places(depth: int, convolutions: int) -> None:
    network = build_network({"name": "resnet", "blocks": [1], "widths": [4], "auxiliary_depth": depth}, **FACTS)
    head = network.head
    assert isinstance(head, AuxiliaryHead)
    assert sum(isinstance(module, nn.Conv2d) for module in head.modules()) == convolutions
    assert head.classifier.in_features == 4 * 2 * 2


def test_a_map_of_one_pixel_is_not_told_four_times() -> None:
    architecture = {"name": "resnet", "blocks": [1] * 4, "widths": [2] * 4, "auxiliary_depth": 1}
    assert build_network(architecture, **FACTS).head.classifier.in_features == 2


def test_without_an_auxiliary_depth_a_network_is_the_zoos() -> None:
    torch.manual_seed(0)
    ours = build_network({"name": "resnet8"}, **FACTS)
    torch.manual_seed(0)
    zoos = zoo.create_model("resnet8", **FACTS)
    assert all(torch.equal(value, zoos.state_dict()[name]) for name, value in ours.state_dict().items())


@pytest.mark.slow
def test_compiled_blocks_learn_as_eager_ones_do(layerwise_trial, make_context, monkeypatch) -> None:
    # Dynamo's capture without the code generator, whose kernels round otherwise and take a minute to build.
    monkeypatch.setattr(nn.Module, "compile", functools.partialmethod(nn.Module.compile, backend="eager"))
    eager, compiled = (layerwise_trial(training={"compile": compile}) for compile in ("never", "block"))
    expected = [science(event) for event in Layerwise(eager, make_context(eager)).run()]
    assert [science(event) for event in Layerwise(compiled, make_context(compiled)).run()] == expected


def test_a_network_without_stages_is_refused(layerwise_trial, make_context) -> None:
    trial = layerwise_trial(model={"name": "lenet5"})
    with pytest.raises(GrowthError, match="no residual stages"):
        Layerwise(trial, make_context(trial))
    with pytest.raises(zoo.ModelError, match="no residual stages"):
        build_network({"name": "lenet5", "auxiliary_depth": 1}, **FACTS)


def test_the_test_split_is_told_at_the_end_and_decides_nothing(
    layerwise_trial, images, images_with_other_test_labels
) -> None:
    trial = layerwise_trial()
    runs = [
        Layerwise(trial, TrainingContext.of(trial, data, torch.device("cpu")))
        for data in (images, images_with_other_test_labels)
    ]
    (*events, finished), (*others, otherwise) = ([science(event) for event in one.run()] for one in runs)
    assert others == events and len(events) == 8
    assert otherwise.pop("test_error") != finished.pop("test_error")
    assert otherwise == finished
    weights, same = (one.network_state()["weights"] for one in runs)
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
