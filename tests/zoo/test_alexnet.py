from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo
from zoo.response_norm import ResponseNorm


def make(name="alexnet", *, image_size=32, num_classes=10, in_channels=3, **kwargs):
    return zoo.create_model(name, num_classes=num_classes, in_channels=in_channels, image_size=image_size, **kwargs)


def on_meta(**kwargs):
    with torch.device("meta"):
        return make(num_classes=1000, **kwargs)


@pytest.mark.parametrize("channels", [1, 3, 9])
def test_the_response_norm_is_the_papers_formula(channels):
    a = 30 * torch.rand(2, channels, 3, 3)
    squares = a.square()
    expected = torch.stack(
        [a[:, i] / (2 + 1e-4 * squares[:, max(0, i - 2) : i + 3].sum(dim=1)) ** 0.75 for i in range(channels)], dim=1
    )
    torch.testing.assert_close(ResponseNorm()(a), expected)
    torchs = nn.LocalResponseNorm(size=5, alpha=5 * 1e-4, beta=0.75, k=2)
    torch.testing.assert_close(ResponseNorm()(a), torchs(a))


def test_the_response_norm_keeps_type_and_layout_and_works_in_full_precision():
    a = (30 * torch.rand(2, 8, 4, 4)).to(torch.bfloat16).to(memory_format=torch.channels_last)
    normed = ResponseNorm()(a)
    assert normed.dtype == torch.bfloat16 and normed.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(normed.float(), ResponseNorm()(a.float()), rtol=0.01, atol=0)


def test_only_the_published_network_has_response_norms_and_groups():
    paper, torchvision = make(width=0.1), make("alexnet_torchvision", width=0.1)
    assert [type(layer) for layer in paper.conv1] == [nn.Conv2d, nn.ReLU, ResponseNorm]
    assert [type(layer) for layer in torchvision.conv1] == [nn.Conv2d, nn.ReLU]
    assert [paper.get_submodule(f"conv{n}").conv.groups for n in range(1, 6)] == [1, 2, 1, 2, 2]
    assert [torchvision.get_submodule(f"conv{n}").conv.groups for n in range(1, 6)] == [1] * 5


@pytest.mark.parametrize("conv", ["conv2", "conv4", "conv5"])
def test_each_half_of_the_maps_comes_from_its_own_half_of_the_input(conv):
    part = make(width=0.2).get_submodule(conv)
    x = torch.randn(1, part.conv.in_channels, 5, 5)
    changed = x.clone()
    changed[:, : part.conv.in_channels // 2] += 1.0
    differs = (part.conv(x) != part.conv(changed)).flatten(start_dim=2).any(dim=2).flatten()
    half = part.conv.out_channels // 2
    assert differs[:half].all() and not differs[half:].any()


@pytest.mark.parametrize("image_size", [224, 227])
def test_the_papers_224_pixels_give_the_maps_that_it_draws(image_size):
    model = on_meta(image_size=image_size).eval()
    maps = zoo.features(model, torch.empty(1, 3, image_size, image_size, device="meta"))
    assert [tuple(x.shape[1:]) for x in maps.values()] == [
        (96, 55, 55),
        (96, 27, 27),
        (256, 27, 27),
        (256, 13, 13),
        (384, 13, 13),
        (384, 13, 13),
        (256, 13, 13),
        (256, 6, 6),
    ]
    assert list(maps) == ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]
    assert sum(parameter.numel() for parameter in model.parameters()) == 60_965_224


def test_the_published_network_begins_as_in_the_paper():
    model = make(width=0.2, image_size=96)
    for name in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"):
        part = model.get_submodule(name)
        [layer] = [layer for layer in part.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        alive = name in ("conv2", "conv4", "conv5", "fc6", "fc7")
        assert (layer.bias == (1.0 if alive else 0.0)).all()


def test_dropout_follows_the_hidden_layers_of_the_paper_and_precedes_torchvisions():
    paper, torchvision = make(width=0.1), make("alexnet_torchvision", width=0.1)
    assert list(dict(paper.fc6.named_children())) == ["linear", "relu", "dropout"]
    assert list(dict(torchvision.fc6.named_children())) == ["dropout", "linear", "relu"]
    assert paper.fc7.dropout.p == torchvision.fc7.dropout.p == 0.5


@pytest.mark.parametrize(
    ("image_size", "inputs", "hidden"), [(28, 4 * 256, 456), (32, 9 * 256, 1024), (64, 9 * 256, 1024)]
)
def test_the_small_form_keeps_the_papers_proportion_of_hidden_units(image_size, inputs, hidden):
    with torch.device("meta"):
        model = make(image_size=image_size)
    assert (model.fc6.linear.in_features, model.fc6.linear.out_features) == (inputs, hidden)
    assert hidden / inputs == pytest.approx(4096 / 9216, rel=0.01)


def test_images_just_above_the_small_form_are_sent_to_it():
    with pytest.raises(
        zoo.ModelError, match="65x65 are too small for alexnet.* 67x67; .* alexnet with small_input: true"
    ):
        make(image_size=65)
    assert make(image_size=65, small_input=True, width=0.1)(torch.randn(1, 3, 65, 65)).shape == (1, 10)
