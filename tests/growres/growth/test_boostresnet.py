"""BoostResNet: what is trained, what is measured, when it ends, and that it can be left at any event."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from growres.analysis.boosting import analyze_boosting, telescoped_bound
from growres.config.experiment import TrialConfig
from growres.errors import NonFiniteLossError
from growres.events import EpochFinished, GrowthStepDecided, ProcedureEvent, TrialFinished
from growres.growth.boostresnet import BoostResNet, ModuleLoss
from growres.training.context import TrainingContext
from growres.training.loop import probabilities
from tests.replaying import science, through_a_file

BoostTrial = Callable[..., TrialConfig]


@pytest.fixture
def boost_trial(make_trial) -> BoostTrial:
    """A quick trial of up to four blocks, all kept; keyword arguments change the section boostresnet."""

    def make(training: dict[str, Any] | None = None, name: str = "preact_resnet", **section: Any) -> TrialConfig:
        return make_trial(
            procedure="boostresnet",
            model={"name": name, "blocks": [2, 2], "widths": [4, 8]},
            training=training or {},
            boostresnet={"epochs_per_block": 2, "min_gamma": None, **section},
        )

    return make


def steps_of(events: list[ProcedureEvent]) -> list[GrowthStepDecided]:
    return [event for event in events if isinstance(event, GrowthStepDecided)]


@pytest.mark.parametrize("num_classes", [2, 5])
def test_the_costs_of_the_rounds_before_are_in_the_loss(num_classes: int) -> None:
    generator = torch.Generator().manual_seed(0)
    before, logits = (torch.randn(7, num_classes, generator=generator, dtype=torch.float64) for _ in range(2))
    labels = torch.randint(num_classes, (7,), generator=generator)
    logits.requires_grad_()
    alpha_before, alpha = 0.7, 1.9
    s, own = alpha_before * before.softmax(dim=1), torch.arange(7)
    h = alpha * logits.softmax(dim=1) - s  # the weak module classifier
    others = torch.ones(7, num_classes, dtype=torch.bool)
    others[own, labels] = False
    costs = (s - s[own, labels][:, None]).exp()
    literal = (costs * (h - h[own, labels][:, None]).exp())[others].sum() / 7
    ours = ModuleLoss(alpha)(logits, labels)
    torch.testing.assert_close(ours, literal)
    torch.testing.assert_close(*(torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (ours, literal)))


def test_two_classes_have_the_binary_exponential_loss() -> None:
    logits, labels = torch.randn(9, 2, generator=torch.Generator().manual_seed(1)), torch.arange(9) % 2
    o = logits.softmax(dim=1)
    signed = (o[:, 0] - o[:, 1]) * (1 - 2 * labels)
    torch.testing.assert_close(ModuleLoss(1.3)(logits, labels), (-1.3 * signed).exp().mean())


@pytest.mark.parametrize("name", ["resnet", "preact_resnet"])
def test_the_events_tell_of_block_after_block(boost_trial, make_context, name: str) -> None:
    trial = boost_trial(name=name)
    *events, finished = BoostResNet(trial, make_context(trial)).run()
    order = [
        (event.growth_step, event.arm, event.epoch) if isinstance(event, EpochFinished) else event.step
        for event in events
    ]
    expected: list[object] = [(0, "network", 1), (0, "network", 2)]
    for step in (1, 2, 3):
        expected += [(step, "candidate", 1), (step, "candidate", 2), step]
    assert order == expected
    steps = steps_of(events)
    assert [(step.stage, step.block) for step in steps] == [(0, 1), (1, 0), (1, 1)]
    assert all(step.verdict == "accepted" and step.reason.startswith("gamma ") for step in steps)
    assert isinstance(finished, TrialFinished) and finished.reason == "trained all 4 blocks of the model"
    assert finished.num_blocks == 4 and finished.architecture["blocks"] == [2, 2] and finished.epochs == 8
    assert finished.train_flops == sum(event.train_flops for event in events if isinstance(event, EpochFinished))
    assert finished.num_params == steps[-1].num_params_after


def test_a_round_moves_its_block_and_head_and_nothing_before_them(boost_trial, make_context) -> None:
    trial = boost_trial()
    boost = BoostResNet(trial, make_context(trial))
    seen = 0
    for event in boost.run():
        if isinstance(event, EpochFinished) and event.growth_step > 0:
            state = boost.state_dict()
            weights, below = state["candidate"]["arm"]["weights"], state["current"]["weights"]
            frozen = [name for name in below if not name.startswith("head.")]
            assert all(torch.equal(weights[name], below[name]) for name in frozen), "batch statistics included"
            assert set(weights) - set(frozen) == {name for name in weights if name.startswith("head.")} | {
                name for name in weights if name not in below
            }
            seen += 1
    assert seen == 6


def test_the_figures_are_those_of_the_networks_on_the_training_images(boost_trial, make_context) -> None:
    trial = boost_trial(epochs_per_block=4)
    context = make_context(trial)
    boost = BoostResNet(trial, context)
    outputs: list[Any] = []
    for event in boost.run():
        first = isinstance(event, EpochFinished) and event.growth_step == 0 and event.epoch == 4
        if first or isinstance(event, GrowthStepDecided):
            softmax, labels = probabilities(
                boost.network, context.data.eval_batches("train"), precision=context.precision
            )
            outputs.append(softmax.numpy())
    analysis = analyze_boosting(labels.numpy(), outputs, features="fixed")
    assert analysis.steps == boost.steps and len(outputs) == 4
    for step in boost.steps:
        assert step.train_error <= step.best_z
        assert step.bound == pytest.approx(telescoped_bound(step.edge, 3))
        assert not step.bound_is_proved or step.z <= step.bound


def test_the_final_network_is_the_zoos_and_gives_the_reported_error(boost_trial, make_context) -> None:
    trial = boost_trial()
    context = make_context(trial)
    boost = BoostResNet(trial, context)
    *_, finished = boost.run()
    state = boost.network_state()
    assert finished.architecture == state["architecture"]
    rebuilt = context.build(finished.architecture)
    rebuilt.load_state_dict(state["weights"])
    softmax, labels = probabilities(rebuilt, context.data.eval_batches("test"), precision=context.precision)
    assert (softmax.argmax(dim=1) != labels).double().mean().item() == pytest.approx(finished.test_error)


def test_it_ends_with_the_first_block_whose_gamma_is_too_small_and_drops_it(boost_trial, make_context) -> None:
    trial = boost_trial(epochs_per_block=6, min_gamma=0.0)
    boost = BoostResNet(trial, make_context(trial))
    *events, finished = boost.run()
    steps = steps_of(events)
    assert [step.verdict for step in steps] == ["accepted"] * (len(steps) - 1) + ["rejected"]
    assert finished.num_blocks == len(steps) == len(boost.steps)
    assert all(step.gamma > 0 for step in boost.steps)
    assert finished.reason.startswith(f"weak learning: block {len(steps) + 1} was dropped: gamma -")
    assert finished.val_error == steps[-1].val_error_before
    assert finished.epochs == 6 * (len(steps) + 1), "what was dropped was trained too"


def test_a_first_block_below_the_threshold_is_all_there_is(boost_trial, make_context) -> None:
    trial = boost_trial(min_gamma=0.99)
    *events, finished = BoostResNet(trial, make_context(trial)).run()
    assert steps_of(events) == [] and finished.num_blocks == 1
    assert finished.reason.startswith("weak learning: the first block alone: gamma ")


def test_it_learns_and_its_edge_grows(boost_trial, make_context) -> None:
    trial = boost_trial(epochs_per_block=3)
    boost = BoostResNet(trial, make_context(trial))
    *events, finished = boost.run()
    assert finished.test_error < 0.5, "of three classes"
    assert boost.steps[-1].edge > boost.steps[0].edge and boost.steps[-1].train_error < boost.steps[0].train_error


def test_refinement_trains_all_that_was_kept_together(boost_trial, make_context) -> None:
    trial = boost_trial(refine_epochs=2)
    boost = BoostResNet(trial, make_context(trial))
    kept: dict[str, torch.Tensor] = {}
    events = []
    for event in boost.run():
        events.append(event)
        if isinstance(event, GrowthStepDecided):
            kept = through_a_file(boost.state_dict())["current"]["weights"]
    *others, finished = events
    assert [(event.growth_step, event.arm) for event in others[-2:]] == [(4, "network")] * 2
    weights = boost.network_state()["weights"]
    assert all(not torch.equal(weights[name], kept[name]) for name in weights if name.endswith("conv1.weight"))
    assert finished.epochs == 10 and finished.val_error == others[-1].val_error
    assert finished.reason.endswith("then all 4 together for 2 epochs")


@pytest.mark.parametrize("section", [{"refine_epochs": 2}, {"min_gamma": 0.0, "epochs_per_block": 6}])
def test_resumed_at_every_event_it_is_the_uninterrupted_one_bit_for_bit(
    boost_trial, make_context, section: dict[str, Any]
) -> None:
    trial = boost_trial(**section)
    whole = BoostResNet(trial, make_context(trial))
    uninterrupted = [science(event) for event in whole.run()]
    resumed: list[dict[str, Any]] = []
    state = None
    while len(resumed) < len(uninterrupted):
        boost = BoostResNet(trial, make_context(trial))
        if state is not None:
            boost.load_state_dict(state)
        resumed.append(science(next(boost.run())))
        state = through_a_file(boost.state_dict())
    assert resumed == uninterrupted
    expected = whole.network_state()["weights"]
    assert all(torch.equal(value, expected[name]) for name, value in boost.network_state()["weights"].items())


def test_each_block_sees_batches_of_its_own(boost_trial, make_context, monkeypatch) -> None:
    trial = boost_trial(refine_epochs=1)
    context = make_context(trial)
    asked: list[int] = []
    batches = type(context.data).train_batches

    def listening(data: Any, seed: int, epoch: int) -> Any:
        asked.append(epoch)
        return batches(data, seed, epoch)

    monkeypatch.setattr(type(context.data), "train_batches", listening)
    list(BoostResNet(trial, context).run())
    assert asked == list(range(9))


def test_a_block_that_diverges_is_dropped_and_the_first_one_fails(boost_trial, make_context) -> None:
    wild = {"optimizer": {"name": "sgd", "lr": 1e38}, "schedule": {"name": "constant"}}
    trial = boost_trial(training=wild)
    context = make_context(trial)
    with pytest.raises(NonFiniteLossError):
        list(BoostResNet(trial, context).run())
    calm = context.config.model_copy(update={"optimizer": context.config.optimizer.model_copy(update={"lr": 0.01})})
    first = BoostResNet(trial, dataclasses.replace(context, config=calm))
    run = first.run()
    last = [next(run), next(run)][-1]
    boost = BoostResNet(trial, context)
    boost.load_state_dict(through_a_file(first.state_dict()))
    *events, finished = boost.run()
    (step,) = steps_of(events)
    assert step.verdict == "rejected" and "diverged" in step.reason and step.val_error_candidate is None
    assert isinstance(last, EpochFinished) and finished.val_error == last.val_error and finished.num_blocks == 1


def test_probabilities_are_those_of_evaluation_mode_and_modes_are_put_back(boost_trial, make_context) -> None:
    trial = boost_trial()
    context = make_context(trial)
    network = context.build({"name": "preact_resnet", "blocks": [1], "widths": [4]})
    network.stem.eval()
    modes = [module.training for module in network.modules()]
    softmax, labels = probabilities(network, context.data.eval_batches("validation", 7), precision=context.precision)
    assert [module.training for module in network.modules()] == modes
    assert softmax.shape == (60, 3) and np.allclose(softmax.sum(dim=1), 1)
    (images, expected) = next(iter(context.data.eval_batches("validation", 60)))
    torch.testing.assert_close(softmax, network.eval()(images).softmax(dim=1).detach())
    assert torch.equal(labels, expected) and math.isfinite(float(softmax.max()))


def test_the_test_split_is_told_at_the_end_and_decides_nothing(
    boost_trial, images, images_with_other_test_labels
) -> None:
    trial = boost_trial(min_gamma=0.0, refine_epochs=1)
    runs = [
        BoostResNet(trial, TrainingContext.of(trial, data, torch.device("cpu")))
        for data in (images, images_with_other_test_labels)
    ]
    (*events, finished), (*others, otherwise) = ([science(event) for event in one.run()] for one in runs)
    assert others == events and any("verdict" in event for event in events)
    assert otherwise.pop("test_error") != finished.pop("test_error")
    assert otherwise == finished
    assert runs[0].steps == runs[1].steps
    weights, same = (one.network_state()["weights"] for one in runs)
    assert all(torch.equal(value, same[name]) for name, value in weights.items())
