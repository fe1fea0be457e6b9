"""The poolings that the networks are made of, taken out of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo

NETWORKS = (
    "alexnet",
    "vgg11",
    "googlenet",
    "googlenet_torchvision",
    "inception_v2",
    "inception_v3",
    "inception_v4",
    "resnet18",
    "densenet121",
)
POOLING = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


def poolings():
    """Every pooling of the zoo once, by its description: of the forms for large and for small images."""
    found = {}
    for name in NETWORKS:
        for image_size in (32, 96, 97):
            with torch.device("meta"):
                model = zoo.create_model(name, num_classes=10, in_channels=3, image_size=image_size)
            for layer in model.modules():
                if isinstance(layer, POOLING):
                    found[repr(layer), getattr(layer, "count_include_pad", None)] = layer
    return found


def counts_the_border(layer):
    """Averages that take the zeros of the border for pixels, as BN-Inception and Inception v3 were released."""
    return isinstance(layer, nn.AvgPool2d) and layer.padding != 0 and layer.count_include_pad


def arriving_and_leaving(layer, size):
    x = torch.randn(2, 3, size, size, requires_grad=True)
    pooled = layer(x)
    arriving = torch.rand_like(pooled)
    return x, pooled, arriving


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("layer", [x for x in poolings().values() if not counts_the_border(x)], ids=repr)
def test_the_gradients_of_pooling_sum_to_what_came_in(layer, size):
    if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size == 6:
        size += 6
    x, pooled, arriving = arriving_and_leaving(layer, size)
    pooled.backward(arriving)
    torch.testing.assert_close(x.grad.sum(dim=(2, 3)), arriving.sum(dim=(2, 3)))


@pytest.mark.parametrize("layer", [x for x in poolings().values() if counts_the_border(x)], ids=repr)
def test_averages_that_count_the_border_lose_gradient_there_and_nowhere_else(layer):
    x, pooled, arriving = arriving_and_leaving(layer, 8)
    inside = torch.zeros_like(arriving)
    inside[:, :, 1:-1, 1:-1] = arriving[:, :, 1:-1, 1:-1]
    pooled.backward(inside, retain_graph=True)
    torch.testing.assert_close(x.grad.sum(dim=(2, 3)), inside.sum(dim=(2, 3)))
    x.grad = None
    pooled.backward(arriving)
    assert (x.grad.sum(dim=(2, 3)) < arriving.sum(dim=(2, 3))).all()


def test_all_kinds_are_there():
    found = list(poolings().values())
    assert any(isinstance(x, nn.MaxPool2d) and x.kernel_size == 3 and x.stride == 2 and x.padding == 0 for x in found)
    assert any(isinstance(x, nn.MaxPool2d) and x.ceil_mode for x in found)
    assert any(isinstance(x, nn.AvgPool2d) and not x.count_include_pad for x in found)
    assert any(counts_the_border(x) for x in found)
    assert any(isinstance(x, nn.AdaptiveAvgPool2d) for x in found)
