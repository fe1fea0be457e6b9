"""Every kind of network learns, at every size and number of channels that it is offered for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import zoo

NETWORKS = {
    "lenet5": {},
    "lenet5-linear": {"output": "linear"},
    "resnet8": {},
    "plain8": {},
    "preact_resnet8": {"shortcut": "option_b"},
    "resnet": {"blocks": [1, 1], "widths": [4, 8], "block": "bottleneck"},
    "preact_resnet": {"blocks": [1, 1], "widths": [4, 8], "block": "bottleneck"},
}


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("image_size", [8, 16, 28, 32])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_loss_falls_and_every_weight_receives_a_gradient(network, image_size, in_channels):
    model = zoo.create_model(
        network.split("-")[0],
        num_classes=10,
        in_channels=in_channels,
        image_size=image_size,
        **NETWORKS[network],
    )
    images = torch.randn(4, in_channels, image_size, image_size)
    labels = torch.tensor([0, 1, 2, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
