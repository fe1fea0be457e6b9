"""Every listed network, as wide and as deep as it was published, trains on small images. It takes ten minutes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from growres.training.loop import losses_of

LISTED = [name for name in zoo.list_models() if zoo.describe(name).min_image_size is not None]
MOST_STEPS = 40  # deep plain networks are slow, and the deepest first go up: that is what residual ones are for


@pytest.mark.slow
@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("name", LISTED)
def test_the_loss_falls_at_32x32(name, in_channels):
    torch.manual_seed(0)
    model = zoo.create_model(name, num_classes=10, in_channels=in_channels, image_size=32).train()
    for layer in model.modules():
        if isinstance(layer, nn.Dropout):  # its noise is larger than what a few steps gain
            layer.p = 0.0
    images, labels = torch.randn(4, in_channels, 32, 32), torch.tensor([0, 1, 2, 1])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    losses: list[float] = []
    while len(losses) < MOST_STEPS and not (losses and losses[-1] < 0.9 * losses[0]):
        optimizer.zero_grad()
        _, loss, objective = losses_of(model(images), labels)
        objective.backward()
        assert all(parameter.grad is not None for parameter in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
