from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.resnet import PaddedShortcut, ResNet

RESIDUAL = ["resnet", "preact_resnet"]
KINDS = ["basic", "bottleneck"]
OPTIONS = ["option_a", "option_b"]


def make(form, *, blocks=(1, 2, 1), widths=(4, 8, 8), **kwargs) -> ResNet:
    model = zoo.create_model(
        form, num_classes=5, in_channels=3, image_size=16, blocks=list(blocks), widths=list(widths), **kwargs
    )
    assert isinstance(model, ResNet)
    return model


@pytest.fixture
def images():
    return torch.randn(4, 3, 16, 16)


def trained(network, images):
    """The network with running statistics and norms that differ from those it was made with."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    network.train()(images)
    return network.eval()


def silence(block):
    """Makes the branch's output zero."""
    nn.init.zeros_((block.last_norm or block.last_conv).weight)
    if block.last_norm is not None:
        nn.init.zeros_(block.last_norm.bias)


@pytest.mark.parametrize("block", KINDS)
def test_a_plain_network_is_the_residual_one_without_the_addition(images, block):
    residual = trained(make("resnet", block=block), images)
    plain = make("plain", block=block).eval()
    plain.load_state_dict(residual.state_dict())

    x = residual.stem(images)
    for stage in residual.stages:
        for unit in stage:
            x = F.relu(unit.branch(x))
    torch.testing.assert_close(plain(images), residual.head(x), rtol=0, atol=0)
    assert not torch.allclose(plain(images), residual(images))


def test_option_a_is_the_identity_on_the_first_channels_and_zero_on_the_others():
    x = torch.randn(2, 3, 7, 7)
    y = PaddedShortcut(stride=2, extra_channels=5)(x)
    assert y.shape == (2, 8, 4, 4)
    assert torch.equal(y[:, :3], x[:, :, ::2, ::2])
    assert torch.equal(y[:, 3:], torch.zeros(2, 5, 4, 4))


@pytest.mark.parametrize("block", KINDS)
def test_a_preactivation_network_with_silent_branches_is_the_identity_path(images, block):
    network = make("preact_resnet", block=block, blocks=[2, 3], widths=[4, 8]).eval()
    for stage in network.stages:
        for unit in stage:
            silence(unit)
    stem = network.stem(images)
    x = stem
    for stage in network.stages:
        x = stage(x)
    assert torch.equal(x[:, :4], stem[:, :, ::2, ::2])
    assert not x[:, 4:].any()


@pytest.mark.parametrize("block", KINDS)
def test_a_preactivation_projection_sees_the_activated_input(images, block):
    network = trained(make("preact_resnet", block=block, shortcut="option_b"), images)
    unit = network.stages[1][0]
    x = network.stages[0](network.stem(images))
    activated = F.relu(unit.before_split.norm(x))
    torch.testing.assert_close(unit(x), unit.branch(activated) + unit.shortcut(activated))


@pytest.mark.parametrize("form", RESIDUAL)
@pytest.mark.parametrize("block", KINDS)
@pytest.mark.parametrize("stage", [0, 1, 2])
def test_an_appended_block_with_a_silent_branch_leaves_the_logits_as_they_were(images, form, block, stage):
    network = trained(make(form, block=block), images)
    before = network(images)
    new = network.make_block(stage, len(network.stages[stage]))
    silence(new)
    network.stages[stage].append(new)
    assert torch.equal(network(images), before)


@pytest.mark.parametrize("form", [*RESIDUAL, "plain"])
@pytest.mark.parametrize("block", KINDS)
def test_make_block_makes_what_stands_at_that_place(form, block):
    network = make(form, block=block)
    for s, stage in enumerate(network.stages):
        for b, unit in enumerate(stage):
            made = network.make_block(s, b)
            assert type(made) is type(unit)
            assert {k: v.shape for k, v in made.state_dict().items()} == {
                k: v.shape for k, v in unit.state_dict().items()
            }


def test_make_block_follows_the_networks_mode_dtype_and_memory_format():
    network = make("preact_resnet").double().eval().to(memory_format=torch.channels_last)
    block = network.make_block(1, 2)
    assert not block.training
    assert block.last_conv.weight.dtype == torch.float64
    assert block.last_conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert network.train().make_block(1, 2).training


def test_make_block_leaves_the_network_alone_and_refuses_a_stage_that_is_not_there():
    network = make("resnet")
    network.make_block(0, 1)
    assert network.num_blocks == 4
    for stage in (-1, 3):
        with pytest.raises(IndexError, match="stages 0 to 2"):
            network.make_block(stage, 0)


@pytest.mark.parametrize("form", RESIDUAL)
@pytest.mark.parametrize("block", KINDS)
def test_a_block_names_the_layers_that_end_its_branch(images, form, block):
    unit = make(form, block=block).stages[1][1]
    ending = unit.branch[-1]
    if unit.preactivation:
        assert unit.last_norm is None and unit.last_conv is ending
    else:
        assert unit.last_norm is ending and unit.last_conv is unit.branch[-2]


@pytest.mark.parametrize("form", [*RESIDUAL, "plain"])
def test_convolutions_are_he_initialised(form):
    block = make(form, widths=[64, 64], blocks=[1, 1]).make_block(1, 1)
    for layer in block.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.03)
            assert abs(layer.weight.mean().item()) < 0.001


@pytest.mark.parametrize("form", [*RESIDUAL, "plain"])
@pytest.mark.parametrize("block", KINDS)
def test_the_architecture_rebuilds_the_network_and_follows_its_growth(images, form, block):
    network = make(form, block=block)
    network.stages[1].append(network.make_block(1, 2))
    assert network.architecture["blocks"] == [1, 3, 1]
    assert network.num_blocks == 5
    again = zoo.create_model(**network.architecture, num_classes=5, in_channels=3, image_size=16)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(images), network.eval()(images))


@pytest.mark.parametrize("form", RESIDUAL)
@pytest.mark.parametrize("option", OPTIONS)
def test_a_fixed_name_is_the_parametric_network_of_its_shape(form, option):
    fixed = zoo.create_model(f"{form}14", num_classes=10, in_channels=1, image_size=8, shortcut=option)
    assert isinstance(fixed, ResNet)
    assert fixed.architecture == {
        "name": form,
        "blocks": [2, 2, 2],
        "widths": [16, 32, 64],
        "block": "basic",
        "shortcut": option,
    }


def test_a_copy_grows_apart_from_its_original():
    network = make("resnet")
    twin = copy.deepcopy(network)
    twin.stages[0].append(twin.make_block(0, 1))
    nn.init.zeros_(twin.stem.conv.weight)
    assert network.num_blocks == 4 and twin.num_blocks == 5
    assert network.stem.conv.weight.any()


@pytest.mark.parametrize("form", [*RESIDUAL, "plain"])
def test_channels_last_and_autocast_pass_through_every_block(images, form):
    network = make(form).to(memory_format=torch.channels_last)
    x = images.to(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        x = network.stem(x)
        for stage in network.stages:
            for unit in stage:
                x = unit(x)
                assert x.is_contiguous(memory_format=torch.channels_last)
                assert x.dtype == torch.bfloat16
        network.head(x).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("form", RESIDUAL)
def test_the_maps_halve_from_stage_to_stage_down_to_one_pixel(form):
    network = make(form, blocks=[1, 1, 1], widths=[4, 4, 4])
    x = network.stem(torch.randn(2, 3, 4, 4))
    sizes = []
    for stage in network.stages:
        x = stage(x)
        sizes.append(x.shape[-1])
    assert sizes == [4, 2, 1]
