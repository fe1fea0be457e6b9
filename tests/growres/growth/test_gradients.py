"""Where a network's loss would fall fastest: the figures, and that looking at them changes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from growres.events import GrowthStepDecided
from growres.growth.gradients import stage_gradient_norms
from growres.growth.network import growing_network
from growres.growth.procedure import Growth
from tests.growres.growth.beginnings import copied
from zoo.resnet import ResNet

# Of a post-activation network with dropout: in training mode its gradients would be others, and drawn at random.
MODEL = {"name": "resnet", "blocks": [1, 2, 1], "widths": [2, 3, 4], "h": "dropout", "shortcut_dropout": 0.3}


@pytest.fixture
def context(make_trial, make_context):
    return make_context(make_trial(procedure="growth", model=MODEL, training={"batch_size": 16}))


@pytest.fixture
def network(context) -> ResNet:
    """With batch statistics that are not those of a batch, nor those that a network begins with."""
    built = growing_network(context.build(MODEL))
    with torch.no_grad():
        for images, _ in context.data.eval_batches("train", batch_size=48):
            built(images)
    return built


def norms_by_autograd(network: ResNet, images: torch.Tensor, labels: torch.Tensor) -> list[float]:
    """Those of the mean loss over these images, in evaluation mode, all in one pass."""
    twin = copy.deepcopy(network).eval().requires_grad_(True)
    loss = F.cross_entropy(twin(images), labels)
    norms = []
    for stage in twin.stages:
        gradients = torch.autograd.grad(loss, list(stage.parameters()), retain_graph=True)
        norms.append(float(torch.cat([gradient.flatten() for gradient in gradients]).norm()))
    return norms


@pytest.mark.parametrize("num_images", [10, 32, 50, 10_000], ids=["part of a batch", "two batches", "a rest", "all"])
@pytest.mark.parametrize("data_epoch", [0, 3])
def test_the_norms_are_those_of_the_mean_losss_gradient_over_the_epochs_first_images(
    network, context, num_images: int, data_epoch: int
) -> None:
    batches = list(context.data.train_batches(context.seed, data_epoch))
    images, labels = (torch.cat(parts)[:num_images] for parts in zip(*batches, strict=True))
    norms = stage_gradient_norms(network, context, data_epoch=data_epoch, num_images=num_images)
    assert len(norms) == 3 and min(norms) > 0
    assert norms == pytest.approx(norms_by_autograd(network, images, labels), rel=1e-4)


def test_looking_at_gradients_leaves_the_network_and_the_random_state_as_they_were(network, context) -> None:
    expected = stage_gradient_norms(network, context, data_epoch=1, num_images=50)
    network.train()
    network.stages[0].eval()  # as an arm leaves it of which one part is frozen
    network.stem.requires_grad_(False)
    for parameter in network.head.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    for parameter in network.stages[1].parameters():
        parameter.grad = torch.full_like(parameter, -7.0)

    def as_it_is() -> dict[str, Any]:
        parameters = dict(network.named_parameters())
        return {
            "modes": [module.training for module in network.modules()],
            "learning": [parameter.requires_grad for parameter in parameters.values()],
            "gradients": {name: parameter.grad for name, parameter in parameters.items()},
            "values of gradients": {name: grad.clone() for name, grad in _gradients(network).items()},
            "weights and buffers": copied(network),
            "random state": torch.get_rng_state(),
        }

    before = as_it_is()
    norms = stage_gradient_norms(network, context, data_epoch=1, num_images=50)
    after = as_it_is()
    assert norms == expected, "whatever mode the network was in, and whatever gradients it had"
    assert (after["modes"], after["learning"]) == (before["modes"], before["learning"])
    assert all(after["gradients"][name] is grad for name, grad in before["gradients"].items())
    for key in ("values of gradients", "weights and buffers"):
        assert after[key].keys() == before[key].keys()
        assert all(torch.equal(after[key][name], value) for name, value in before[key].items())
    assert torch.equal(after["random state"], before["random state"])


def _gradients(network: ResNet) -> dict[str, torch.Tensor]:
    return {name: weights.grad for name, weights in network.named_parameters() if weights.grad is not None}


def test_frozen_stages_have_their_norms_too(network, context) -> None:
    expected = stage_gradient_norms(network, context, data_epoch=0, num_images=32)
    network.requires_grad_(False)
    assert stage_gradient_norms(network, context, data_epoch=0, num_images=32) == expected


def test_a_growth_appends_where_its_network_has_the_largest_norm_over_the_images_of_the_round(
    make_trial, make_context
) -> None:
    trial = make_trial(
        procedure="growth",
        seed=2,  # whose stages would have been tried in another order if every round had seen the same images
        model={"name": "preact_resnet", "blocks": [1, 1, 1], "widths": [4, 4, 4], "shortcut": "option_b"},
        growth={
            "placement": {"name": "widest_gap", "images": 50},
            "accept": {"name": "error_drop", "min_drop": 0.9},  # refused, a stage is left out
            "seed_epochs": 1,
            "epochs_per_step": 1,
            "control": False,
            "stop": {"max_epochs": 20},
        },
    )
    context = make_context(trial)
    growth = Growth(trial, context)
    stages = [event.stage for event in growth.run() if isinstance(event, GrowthStepDecided)]
    expected: list[int] = []
    for round in (1, 2, 3):
        batches = list(context.data.train_batches(trial.seed, round))  # the one epoch before them is the shallow one's
        images, labels = (torch.cat(parts)[:50] for parts in zip(*batches, strict=True))
        norms = norms_by_autograd(growth.network, images, labels)
        expected.append(max({0, 1, 2} - set(expected), key=norms.__getitem__))
    assert stages == expected
