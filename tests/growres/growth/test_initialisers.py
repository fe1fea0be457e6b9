"""What a new block does to the network's function, and which of its parameters can learn."""

from __future__ import annotations

import copy
import functools
import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import zoo
from growres.events import EpochFinished, GrowthStepDecided, TrialFinished
from growres.growth.arms import Arms
from growres.growth.gradients import patches_by_gradient
from growres.growth.initialisers import (
    AdamGamma,
    CopyPrevious,
    GaussianGamma,
    GradMax,
    Initialiser,
    Kaiming,
    SkipInit,
    UniformGamma,
    ZeroBranch,
    ZeroGamma,
)
from growres.growth.network import append_block, block_at, growing_network, open_stage
from growres.growth.placement import Proposal
from growres.growth.procedure import Growth
from growres.seeding import seeded
from tests.growres.growth.beginnings import FIRST, Beginning, begin, copied
from zoo.resnet import Block, ResNet

IMAGES = torch.randn(12, 2, 8, 8, generator=torch.Generator().manual_seed(3))
LABELS = torch.arange(12) % 4

PREACT = {"name": "preact_resnet"}
ORDERS_THAT_END_IN_A_NORM = [{"name": "resnet", "f": f} for f in ("original", "relu_only_pre")]
ORDERS_THAT_END_IN_A_CONVOLUTION = [{"name": "resnet", "f": "full_pre"}, PREACT]
ALL_ORDERS = ORDERS_THAT_END_IN_A_NORM + ORDERS_THAT_END_IN_A_CONVOLUTION
KEEP_THE_FUNCTION: list[tuple[Initialiser, dict[str, Any]]] = [
    *((ZeroBranch(), order) for order in ALL_ORDERS),
    *((ZeroGamma(), order) for order in ORDERS_THAT_END_IN_A_NORM),
    *((SkipInit(), {**order, "skip_init": True}) for order in ALL_ORDERS),
    *((GradMax(12), order) for order in ORDERS_THAT_END_IN_A_CONVOLUTION),
]
DISTURB_IT: list[tuple[Initialiser, dict[str, Any]]] = [
    *((Kaiming(), order) for order in ALL_ORDERS),
    *((CopyPrevious(), order) for order in ALL_ORDERS),
    *(
        (initialiser, order)
        for initialiser in (GaussianGamma(1.0), UniformGamma(1.0), AdamGamma(1e-3, 10, 0.005))
        for order in ORDERS_THAT_END_IN_A_NORM
    ),
]
KINDS = pytest.mark.parametrize("kind", ["basic", "bottleneck"])
STAGES = pytest.mark.parametrize("stage", [0, 1, 2])


def told(case: Any) -> str | None:
    if isinstance(case, dict):
        return f"{case['name']}_{case.get('f', 'full_pre')}"
    return getattr(case, "name", None)


def trained(kind: str, model: dict[str, Any], *, blocks: tuple[int, ...] = (1, 2, 1)) -> ResNet:
    """Trained a little, so that its batch norms and gains are not those that it began with."""
    return copy.deepcopy(_trained(kind, tuple(model.items()), blocks))


@functools.cache
def _trained(kind: str, model: tuple[tuple[str, Any], ...], blocks: tuple[int, ...]) -> ResNet:
    torch.manual_seed(0)
    widths = [3, 4, 5][: len(blocks)]
    facts = {"num_classes": 4, "in_channels": 2, "image_size": 8}
    network = growing_network(zoo.create_model(**dict(model), blocks=list(blocks), widths=widths, block=kind, **facts))
    for _ in range(3):
        step(network)
    return network


def step(network: ResNet, lr: float = 0.1) -> None:
    gradients(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter -= lr * parameter.grad


def gradients(network: ResNet) -> None:
    network.zero_grad()
    F.cross_entropy(network.train()(IMAGES), LABELS).backward()


def grow(network: ResNet, stage: int, initialiser: Initialiser) -> tuple[ResNet, Block]:
    with seeded("test", 1):
        grown = append_block(network, stage, initialiser)
        block = block_at(grown, stage, -1)
        if isinstance(initialiser, GradMax):
            correlation_PD = torch.randn(block.conv_before_last.weight[0].numel(), block.last_conv.out_channels)
            initialiser.use_gradients(block, correlation_PD)
    return grown, block


def learning(block: Block) -> set[str]:
    """The parameters with a gradient that is not zero."""
    return {name for name, parameter in block.named_parameters() if parameter.grad.abs().max() > 0}


def expected_to_learn(initialiser: Initialiser, block: Block) -> set[str]:
    """At the first step, by the docstrings."""
    names = {id(parameter): name for name, parameter in block.named_parameters()}
    match initialiser:
        case ZeroBranch() | ZeroGamma() if block.last_norm is not None:
            return {names[id(block.last_norm.weight)], names[id(block.last_norm.bias)]}
        case ZeroBranch() | GradMax():
            return {names[id(block.last_conv.weight)]}
        case SkipInit():
            return {"gain"}
        case _:
            return set(names.values())


@STAGES
@KINDS
@pytest.mark.parametrize(("initialiser", "model"), KEEP_THE_FUNCTION, ids=told)
def test_a_function_preserving_block_leaves_the_logits_bit_for_bit(initialiser, model, kind, stage) -> None:
    network = trained(kind, model)
    grown, _ = grow(network, stage, initialiser)
    assert initialiser.function_preserving
    assert torch.equal(grown.eval()(IMAGES), network.eval()(IMAGES))
    assert torch.equal(grown.train()(IMAGES), network.train()(IMAGES))


@KINDS
@pytest.mark.parametrize(("initialiser", "model"), DISTURB_IT, ids=told)
def test_any_other_block_says_that_it_disturbs_the_logits_and_does(initialiser, model, kind) -> None:
    network = trained(kind, model)
    grown, _ = grow(network, 1, initialiser)
    assert not initialiser.function_preserving
    assert (grown.eval()(IMAGES) - network.eval()(IMAGES)).abs().max() > 1e-4


@STAGES
@KINDS
@pytest.mark.parametrize(("initialiser", "model"), KEEP_THE_FUNCTION + DISTURB_IT, ids=told)
def test_the_parameters_that_should_learn_do_and_after_a_step_all_do(initialiser, model, kind, stage) -> None:
    grown, block = grow(trained(kind, model), stage, initialiser)
    gradients(grown)
    assert learning(block) == expected_to_learn(initialiser, block)
    step(grown)
    gradients(grown)
    assert learning(block) == {name for name, _ in block.named_parameters()}


@KINDS
@pytest.mark.parametrize("model", ORDERS_THAT_END_IN_A_CONVOLUTION, ids=told)
def test_a_preactivation_block_whose_last_gamma_is_zero_never_learns(kind, model) -> None:
    """Why zero_gamma is refused there: the last convolution would see ReLU(0), and let nothing through."""
    grown, block = grow(trained(kind, model), 1, Kaiming())
    norm = next(layer for layer in reversed(block.branch) if isinstance(layer, torch.nn.BatchNorm2d))
    torch.nn.init.zeros_(norm.weight)
    for _ in range(3):
        gradients(grown)
        assert learning(block) == set()
        step(grown)


@KINDS
@pytest.mark.parametrize("model", ALL_ORDERS, ids=told)
def test_a_zero_branch_under_a_gain_of_zero_never_learns(kind, model) -> None:
    """Why the configuration refuses zero_branch of a model with skip_init."""
    grown, block = grow(trained(kind, {**model, "skip_init": True}), 1, ZeroBranch())
    for _ in range(3):
        gradients(grown)
        assert learning(block) == set()
        step(grown)


def test_gamma_and_beta_are_drawn_from_the_distribution_that_was_asked_for() -> None:
    torch.manual_seed(0)
    wide = {"widths": [512], "num_classes": 2, "in_channels": 1, "image_size": 8}
    network = growing_network(zoo.create_model("resnet", blocks=[1], **wide))
    for mean, std, initialiser in ((0.0, 0.5, GaussianGamma(0.5)), (1.5, 3 / math.sqrt(12), UniformGamma(3.0))):
        norm = block_at(append_block(network, 0, initialiser), 0, 1).last_norm
        assert norm is not None
        for drawn in (norm.weight, norm.bias):
            assert abs(float(drawn.detach().mean()) - mean) < 4 * std / math.sqrt(512)
            assert float(drawn.detach().std()) == pytest.approx(std, rel=0.15)
        assert not torch.equal(norm.weight, norm.bias)
    assert norm.weight.min() >= 0.0 and norm.weight.max() <= 3.0


@pytest.mark.parametrize("initialiser", [GaussianGamma(1.0), UniformGamma(1.0)], ids=told)
def test_what_is_drawn_is_a_function_of_the_seed(initialiser) -> None:
    network = trained("basic", {"name": "resnet"})
    (_, first), (_, again) = grow(network, 1, initialiser), grow(network, 1, initialiser)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.state_dict().items())


@KINDS
@pytest.mark.parametrize("model", ALL_ORDERS, ids=told)
def test_the_previous_block_is_copied_with_its_statistics_where_the_shapes_agree(kind, model) -> None:
    network = trained(kind, model)  # the second block of stage 1 has the new one's shape, the first is another's
    grown, new = grow(network, 1, CopyPrevious())
    previous = block_at(network, 1, 1).state_dict()
    assert previous.keys() == new.state_dict().keys()
    assert all(torch.equal(value, previous[name]) for name, value in new.state_dict().items())
    step(grown)
    assert all(torch.equal(value, previous[name]) for name, value in block_at(network, 1, 1).state_dict().items())


def test_the_first_block_of_a_preactivation_network_is_copied_but_for_the_norm_that_it_lacks() -> None:
    network = trained("basic", PREACT, blocks=(1, 1, 1))
    _, new = grow(network, 0, CopyPrevious())
    previous, fresh = block_at(network, 0, 0).state_dict(), new.state_dict()
    assert {name for name in fresh if name not in previous} == {name for name in fresh if "norm1" in name} != set()
    assert all(torch.equal(value, fresh[name]) for name, value in previous.items())


@KINDS
@pytest.mark.parametrize("model", ALL_ORDERS, ids=told)
def test_a_previous_block_of_another_shape_is_not_copied(kind, model) -> None:
    network = trained(kind, model)
    _, random = grow(network, 2, CopyPrevious())  # which has one block, that halves the map
    _, ordinary = grow(network, 2, Kaiming())
    assert all(torch.equal(value, random.state_dict()[name]) for name, value in ordinary.state_dict().items())


# ------------------------------------------------------------------------------------------------------------ gradmax


@pytest.fixture
def preact_trial(make_trial):
    def make(initialiser: str, *, seed: int = 0, **model: Any):
        model = {"name": "preact_resnet", "blocks": [1, 1], "widths": [8, 12], **model}
        return make_trial(procedure="growth", seed=seed, model=model, growth={"initialiser": {"name": initialiser}})

    return make


@KINDS
def test_gradmax_gives_the_last_convolution_a_larger_gradient_than_a_zero_branch(
    preact_trial, make_context, kind
) -> None:
    """By the training images without augmentation; on the mean, for its account leaves out the ReLU."""
    gains = []
    for seed in range(3):
        trial = preact_trial("gradmax", seed=seed, block=kind)
        context = make_context(trial)
        images, labels = (torch.cat(part) for part in zip(*context.data.eval_batches("train"), strict=True))
        gradmax = begin(trial, context)
        zero_branch = Arms(preact_trial("zero_branch", seed=seed, block=kind), context, most_rounds=None)
        for stage in (0, 1):
            norms = []
            for beginning in (gradmax, Beginning(zero_branch, gradmax.parent)):
                network = growing_network(beginning.candidate(stage).arm.network)
                F.cross_entropy(network.train()(images), labels).backward()
                norms.append(float(block_at(network, stage, -1).last_conv.weight.grad.norm()))
            gains.append(norms[0] / norms[1])
    assert sum(gains) / len(gains) > 1.1
    assert sum(gain > 1.0 for gain in gains) >= 4


@KINDS
def test_gradmax_turns_the_first_filters_into_both_signs_of_the_leading_patches(kind) -> None:
    network = trained(kind, PREACT)
    with seeded("test", 1):
        before = block_at(append_block(network, 1, ZeroBranch()), 1, -1).conv_before_last.weight.flatten(start_dim=1)
    _, block = grow(network, 1, GradMax(12))
    filters = block.conv_before_last.weight.flatten(start_dim=1)
    torch.testing.assert_close(filters.norm(dim=1), before.norm(dim=1))
    directions = filters / filters.norm(dim=1, keepdim=True)
    torch.testing.assert_close(directions[0::2], -directions[1::2])
    leading = directions[0::2]
    torch.testing.assert_close(leading @ leading.T, torch.eye(len(leading)), atol=1e-5, rtol=0)
    assert not torch.allclose(filters, before)


def test_gradmax_leaves_filters_at_random_where_there_are_more_than_directions() -> None:
    network = trained("basic", PREACT)
    block = block_at(append_block(network, 1, GradMax(12)), 1, -1)
    before = block.conv_before_last.weight.detach().clone()
    GradMax(12).use_gradients(block, torch.randn(36, 1))  # of rank one: two filters
    assert torch.equal(block.conv_before_last.weight[2:], before[2:])
    assert not torch.allclose(block.conv_before_last.weight[:2], before[:2])


def test_what_gradmax_correlates_is_the_gradient_of_filters_that_end_the_branch(preact_trial, make_context) -> None:
    trial = preact_trial("zero_branch")
    context = make_context(trial)
    grown = append_block(begin(trial, context).parent.network, 1, ZeroBranch())
    correlation_PD = patches_by_gradient(grown, Proposal(1, 1), context, data_epoch=0, num_images=10**6)
    block = block_at(grown, 1, 1)
    conv = block.conv_before_last
    block.branch = torch.nn.Sequential(block.branch[0], block.branch[1], conv)
    torch.nn.init.zeros_(conv.weight)
    for images, labels in context.data.train_batches(context.seed, 0):
        F.cross_entropy(grown.train()(images), labels, reduction="sum").backward()
    torch.testing.assert_close(-conv.weight.grad.flatten(start_dim=1).T, correlation_PD, atol=1e-3, rtol=1e-4)


@KINDS
@pytest.mark.parametrize("shortcut", ["option_a", "option_b"])
def test_gradmax_looks_at_a_block_that_halves_the_map_too(preact_trial, make_context, kind, shortcut) -> None:
    trial = preact_trial("gradmax", blocks=[1], widths=[4], block=kind, shortcut=shortcut)
    context = make_context(trial)
    begun = begin(trial, context).candidate(stage=1)
    block = block_at(growing_network(begun.arm.network), 1, 0)
    assert block.last_conv.weight.abs().max() == 0
    directions = F.normalize(block.conv_before_last.weight.flatten(start_dim=1), dim=1)
    torch.testing.assert_close(directions[0], -directions[1])


# --------------------------------------------------------------------------------------------------------- adam_gamma


@pytest.fixture
def adam_gamma(make_trial):
    def make(**settings: Any):
        return make_trial(
            procedure="growth",
            model={"name": "resnet", "blocks": [1, 1], "widths": [4, 8]},
            growth={"initialiser": {"name": "adam_gamma", **settings}, "seed_epochs": 4},
        )

    return make


@pytest.mark.parametrize("max_epochs", [1, 30])
def test_adam_gamma_trains_until_the_training_error_is_back_or_its_epochs_are_over(
    adam_gamma, make_context, max_epochs
) -> None:
    trial = adam_gamma(max_epochs=max_epochs, lr=0.01, tolerance=0.01)
    context = make_context(trial)
    beginning = begin(trial, context)
    begun = beginning.candidate(stage=0)
    is_back = begun.arm.measure("train").error <= beginning.parent.train.measurement.error + 0.01
    assert 0 < begun.cost.epochs <= max_epochs
    assert is_back if begun.cost.epochs < max_epochs else True
    assert is_back == (max_epochs == 30), "the two cases show both ends"
    assert begun.arm.epochs_done == 0 and begun.cost.train_flops > 0


def test_adam_gamma_trains_gamma_and_beta_alone_and_the_arm_trains_everything(adam_gamma, make_context) -> None:
    trial = adam_gamma(max_epochs=2, tolerance=0.0)
    beginning = begin(trial, make_context(trial))
    network = growing_network(beginning.candidate(stage=0).arm.network)
    parent = dict(beginning.parent.network.named_parameters())
    with seeded("block", 0, FIRST.step):
        ordinary = append_block(beginning.parent.network, 0, Kaiming())
    moved = [
        name
        for name, parameter in network.named_parameters()
        if not torch.equal(parameter, parent.get(name, ordinary.get_parameter(name)))
    ]
    assert moved == ["stages.0.1.branch.norm2.weight", "stages.0.1.branch.norm2.bias"]
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_the_epochs_and_flops_of_adam_gamma_are_those_of_the_step(adam_gamma, make_context) -> None:
    trial = adam_gamma(max_epochs=2, tolerance=0.0)
    *events, finished = Growth(trial, make_context(trial)).run()
    told = [event for event in events if isinstance(event, EpochFinished)]
    steps = [event for event in events if isinstance(event, GrowthStepDecided)]
    assert len(steps) > 0
    for decided in steps:
        of_step = [event for event in told if event.growth_step == decided.step]
        assert decided.epochs == len(of_step) + 2
        assert decided.train_flops > sum(event.train_flops for event in of_step)
    assert finished.epochs == len(told) + 2 * len(steps) <= 14


def test_a_block_that_diverges_while_it_is_initialised_is_rejected_and_growth_goes_on(adam_gamma, make_context) -> None:
    trial = adam_gamma(lr=1e37, max_epochs=2)
    *events, finished = Growth(trial, make_context(trial)).run()
    steps = [event for event in events if isinstance(event, GrowthStepDecided)]
    diverged = [decided for decided in steps if "While the initialiser trained" in decided.reason]
    assert len(diverged) > 0 and len(steps) > len(diverged)
    assert all(decided.verdict == "rejected" and decided.val_error_candidate is None for decided in diverged)
    assert all(decided.epochs == 1 and decided.train_flops > 0 for decided in diverged)
    assert isinstance(finished, TrialFinished)


# ---------------------------------------------------------------------------------------------------- opening a stage


@KINDS
@pytest.mark.parametrize("shortcut", ["option_a", "option_b"])
@pytest.mark.parametrize("model", ALL_ORDERS, ids=told)
def test_a_new_stage_halves_the_map_and_doubles_the_width(kind, shortcut, model) -> None:
    network = trained(kind, {**model, "shortcut": shortcut}, blocks=(1, 2))
    before = copied(network)
    wider = open_stage(network, ZeroBranch())
    assert wider.architecture["blocks"] == [1, 2, 1] and wider.widths == (3, 4, 8)
    x_NCHW = IMAGES
    for module in (wider.stem, *wider.stages):
        x_NCHW = module(x_NCHW)
    assert x_NCHW.shape == (12, 8 * (4 if kind == "bottleneck" else 1), 2, 2)
    assert wider.total_stride == 2 * network.total_stride
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@KINDS
@pytest.mark.parametrize("model", ALL_ORDERS, ids=told)
def test_the_head_of_a_new_stage_takes_the_old_channels_as_before_and_ignores_the_new(kind, model) -> None:
    network = trained(kind, model)
    wider = open_stage(network, ZeroBranch())
    width = network.head.classifier.in_features
    assert torch.equal(wider.head.classifier.weight[:, :width], network.head.classifier.weight)
    assert torch.equal(wider.head.classifier.bias, network.head.classifier.bias)
    assert wider.head.classifier.weight[:, width:].abs().max() == 0
    maps = torch.randn(5, 2 * width, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(wider.head.eval()(maps), network.head.eval()(maps[:, :width]))


@KINDS
@pytest.mark.parametrize("model", ALL_ORDERS, ids=told)
def test_with_a_zero_branch_and_option_a_the_logits_are_those_of_every_second_place(kind, model) -> None:
    network = trained(kind, {**model, "shortcut": "option_a"}).eval()
    x_NCHW = IMAGES
    for module in (network.stem, *network.stages):
        x_NCHW = module(x_NCHW)
    wider = open_stage(network, ZeroBranch()).eval()
    torch.testing.assert_close(wider(IMAGES), network.head(x_NCHW[:, :, ::2, ::2]))


@KINDS
@pytest.mark.parametrize("model", ALL_ORDERS, ids=told)
def test_the_block_that_opens_a_stage_can_learn(kind, model) -> None:
    wider = open_stage(trained(kind, model, blocks=(1, 1)), ZeroBranch())
    block = block_at(wider, 2, 0)
    for _ in range(2):
        step(wider)
    gradients(wider)
    assert learning(block) == {name for name, _ in block.named_parameters()}
    assert wider.head.classifier.weight.grad.abs().amin(dim=0).max() > 0


@KINDS
@pytest.mark.parametrize("model", ALL_ORDERS, ids=told)
def test_a_network_with_a_new_stage_is_rebuilt_from_its_architecture(kind, model) -> None:
    network = append_block(open_stage(trained(kind, model, blocks=(1,)), Kaiming()), 1, Kaiming())
    step(network)
    facts = {"num_classes": 4, "in_channels": 2, "image_size": 8}
    rebuilt = zoo.create_model(**network.architecture, **facts)
    rebuilt.load_state_dict(network.state_dict())
    assert torch.equal(rebuilt.eval()(IMAGES), network.eval()(IMAGES))


@pytest.mark.parametrize("model", [{"name": "resnet"}, PREACT], ids=told)
@pytest.mark.parametrize(("num_stages", "opened"), [(1, [1]), (3, [3]), (4, [])])
def test_a_stage_is_opened_after_all_refused_while_the_map_has_more_than_one_pixel(
    make_trial, make_context, model, num_stages, opened
) -> None:
    trial = make_trial(
        procedure="growth",
        model={**model, "blocks": [1] * num_stages, "widths": [2, 3, 4, 5][:num_stages]},
        growth={
            "seed_epochs": 1, "epochs_per_step": 1, "control": False, "stop": {"max_epochs": 60},
            "placement": {"name": "new_stage", "max_stages": 9}, "accept": {"name": "error_drop", "min_drop": 0.9},
        },
        training={"schedule": {"name": "constant"}},
    )  # fmt: skip
    *events, finished = Growth(trial, make_context(trial)).run()
    steps = [event for event in events if isinstance(event, GrowthStepDecided)]
    assert [decided.stage for decided in steps] == [*range(num_stages), *opened]
    assert [decided.stage for decided in steps if decided.block == 0] == opened
    refused = "every stage and a new one have" if opened else "every stage has"
    assert finished.reason.startswith(f"placement: {refused} refused a block")
    assert opened or finished.reason.endswith("no new one can be opened: the last map is too small to be halved")
