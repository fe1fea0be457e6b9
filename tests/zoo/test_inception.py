from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from zoo.auxiliary import WithAuxiliary

NAMES = ["inception_v2", "inception_v3", "inception_v4"]


def make(name, *, image_size=32, width=0.1, **kwargs):
    return zoo.create_model(name, num_classes=5, in_channels=3, image_size=image_size, width=width, **kwargs)


def shapes_at(name, image_size):
    with torch.device("meta"):
        model = make(name, image_size=image_size, width=1.0).eval()
    maps = zoo.features(model, torch.empty(1, 3, image_size, image_size, device="meta"))
    return {key: tuple(x.shape[1:3]) for key, x in maps.items()}


def test_bn_inception_has_the_ports_channels_and_sizes():
    shapes = shapes_at("inception_v2", 224)
    assert list(shapes.values()) == [
        (192, 28), (256, 28), (320, 28), (576, 14), (576, 14), (576, 14), (608, 14), (608, 14), (1056, 7),
        (1024, 7), (1024, 7),
    ]  # fmt: skip


def test_inception_v3_has_the_releases_channels_and_sizes():
    shapes = shapes_at("inception_v3", 299)
    assert list(shapes.values()) == [
        (192, 35), (256, 35), (288, 35), (288, 35), (768, 17), (768, 17), (768, 17), (768, 17), (768, 17),
        (1280, 8), (2048, 8), (2048, 8),
    ]  # fmt: skip


def test_inception_v4_has_the_papers_channels_and_sizes():
    shapes = shapes_at("inception_v4", 299)
    assert [shapes["stem"], shapes["inception_a4"]] == [(384, 35), (384, 35)]
    assert [shapes["reduction_a"], shapes["inception_b7"]] == [(1024, 17), (1024, 17)]
    assert [shapes["reduction_b"], shapes["inception_c3"]] == [(1536, 8), (1536, 8)]
    assert len(shapes) == 1 + 4 + 1 + 7 + 1 + 3


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("image_size", [28, 31, 45, 64, 75, 97])
def test_odd_and_even_sizes_leave_branches_that_fit_each_other(name, image_size):
    model = make(name, image_size=image_size, width=0.05).eval()
    assert model(torch.randn(1, 3, image_size, image_size)).shape == (1, 5)


def test_bn_inception_normalises_after_every_convolution_and_needs_no_biases():
    model = make("inception_v2")
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(layer.bias is None for layer in convolutions)
    assert [layer.out_channels for layer in convolutions] == [norm.num_features for norm in norms]


def test_a_7x7_window_is_a_row_and_a_column():
    model = make("inception_v3")
    windows = [layer.kernel_size for layer in model.before_auxiliary.mixed_6b.branches["deep"].modules()
               if isinstance(layer, nn.Conv2d)]  # fmt: skip
    assert windows == [(1, 1), (7, 1), (1, 7), (7, 1), (1, 7)]
    windows = [layer.kernel_size for layer in model.before_auxiliary.mixed_6b.branches["seven"].modules()
               if isinstance(layer, nn.Conv2d)]  # fmt: skip
    assert windows == [(1, 1), (1, 7), (7, 1)]


def test_the_auxiliary_classifier_of_v3_speaks_in_training_only():
    model = make("inception_v3", aux=True)
    images = torch.randn(3, 3, 32, 32)
    output = model.train()(images)
    assert isinstance(output, WithAuxiliary) and len(output.auxiliary) == 1 and output.weight == 0.4
    assert isinstance(model.eval()(images), torch.Tensor)
    output.auxiliary[0].sum().backward()
    assert model.before_auxiliary.mixed_6e.branches["one"][0].weight.grad.any()
    assert all(parameter.grad is None for parameter in model.after_auxiliary.parameters())


def test_the_epsilon_of_batch_norm_is_the_releases():
    for name, eps in [("inception_v2", 1e-5), ("inception_v3", 1e-3), ("inception_v4", 1e-3)]:
        assert {layer.eps for layer in make(name).modules() if isinstance(layer, nn.BatchNorm2d)} == {eps}


@pytest.mark.parametrize(("name", "image_size"), [("inception_v3", 10), ("inception_v4", 10)])
def test_an_image_too_small_for_unpadded_reductions_is_refused(name, image_size):
    with pytest.raises(zoo.ModelError, match=f"10x10 are too small for {name}, whose smallest are 11x11"):
        make(name, image_size=image_size)
