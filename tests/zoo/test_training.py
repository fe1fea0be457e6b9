"""Every kind of network learns, at every size and number of channels that it is offered for."""

from __future__ import annotations

import pytest
import torch

import zoo
from growres.training.loop import losses_of

# Size and channels meet nowhere in a network: every size, and every number of channels, but not every pair.
SIZES_AND_CHANNELS = ((8, 1), (16, 3), (28, 1), (32, 1), (32, 3), (64, 3))
BETWEEN_OTHERS = ((16, 3), (32, 1))
NARROW = {"width": 0.1}
NETWORKS = {
    "lenet5": {},
    "lenet5-linear": {"output": "linear"},
    "alexnet": {"width": 0.5},
    "alexnet_torchvision": {"width": 0.5},
    "vgg11": NARROW,
    "vgg16_bn": NARROW,
    "googlenet": NARROW,
    "googlenet-auxiliary": {**NARROW, "aux": True},
    "googlenet_torchvision": NARROW,
    "inception_v2": NARROW,
    "inception_v3": NARROW,
    "inception_v3-auxiliary": {**NARROW, "aux": True},
    "inception_v4": NARROW,
    "resnet8": {},
    "plain8": {},
    "preact_resnet8": {"shortcut": "option_b"},
    "resnet": {"blocks": [1, 1], "widths": [4, 8], "block": "bottleneck"},
    "preact_resnet": {"blocks": [1, 1, 1, 1], "widths": [4, 8, 8, 8], "block": "bottleneck"},
    "densenet": {"layers": [2, 2, 2], "growth_rate": 4},
    "densenet-basic": {"layers": [2, 2, 2], "growth_rate": 4, "form": "basic", "dropout": 0.1},
    "densenet-memory": {"layers": [2, 2, 2, 2], "growth_rate": 4, "memory_efficient": True},
}
# Five poolings, three that overlap, and reductions without padding need images of more than 8x8; the networks say so.
TOO_SMALL = {
    "alexnet": 15,
    "alexnet_torchvision": 15,
    "vgg11": 17,
    "vgg16_bn": 17,
    "inception_v3": 11,
    "inception_v4": 11,
}


def at_every_size():
    for network in NETWORKS:
        least = TOO_SMALL.get(network.split("-")[0], 1)
        for size, channels in SIZES_AND_CHANNELS:
            if size >= least:
                is_slow = (size, channels) in BETWEEN_OTHERS or (network.startswith("inception") and size == 64)
                marks = pytest.mark.slow if is_slow else ()
                yield pytest.param(network, size, channels, id=f"{network}-{size}-{channels}", marks=marks)


@pytest.mark.parametrize(("network", "image_size", "in_channels"), list(at_every_size()))
def test_the_loss_falls_and_every_weight_receives_a_gradient(network, image_size, in_channels):
    name, kwargs = network.split("-")[0], NETWORKS[network]
    model = zoo.create_model(name, num_classes=10, in_channels=in_channels, image_size=image_size, **kwargs)
    images = torch.randn(4, in_channels, image_size, image_size)
    labels = torch.tensor([0, 1, 2, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    losses = []
    untouched = {parameter_name for parameter_name, _ in model.named_parameters()}
    for _ in range(12):
        optimizer.zero_grad()
        _, loss, objective = losses_of(model(images), labels)
        objective.backward()
        untouched -= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        optimizer.step()
        losses.append(loss.item())
    assert untouched == set()
    assert sum(losses[-3:]) < 0.8 * 3 * losses[0]


LARGE = {
    "alexnet": {"width": 0.25},
    "alexnet_torchvision": {"width": 0.25},
    "vgg11": {"width": 0.1},
    "vgg11_bn": {"width": 0.1},
    "googlenet": {"width": 0.1},
    "googlenet_torchvision": {"width": 0.1},
    "inception_v2": {"width": 0.05},
    "inception_v3": {"width": 0.05},
    "inception_v4": {"width": 0.05},
    "resnet": {"blocks": [1, 1, 1, 1], "widths": [4, 8, 8, 8]},
    "preact_resnet": {"blocks": [1, 1, 1, 1], "widths": [4, 8, 8, 8], "block": "bottleneck", "shortcut": "option_b"},
    "densenet": {"layers": [2, 2, 2, 2], "growth_rate": 4},
}


@pytest.mark.parametrize("name", LARGE)
def test_the_form_for_large_images_learns_to_tell_bright_from_dark(name):
    model = zoo.create_model(name, num_classes=2, in_channels=1, image_size=80, **LARGE[name]).train()
    labels = torch.tensor([0, 1, 0, 1])
    images = torch.randn(4, 1, 80, 80) + 2.0 * labels[:, None, None, None] - 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        _, loss, objective = losses_of(model(images), labels)
        objective.backward()
        optimizer.step()
        losses.append(loss.item())
        if sum(losses[-3:]) < 0.5 * 3 * losses[0]:
            return
    pytest.fail(f"the loss fell from {losses[0]:.3f} to {losses[-1]:.3f} only")
