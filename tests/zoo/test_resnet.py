from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.resnet import PaddedPath, ResNet

RESIDUAL = ["resnet", "preact_resnet"]
KINDS = ["basic", "bottleneck"]
OPTIONS = ["option_a", "option_b", "option_c"]
SHORTCUTS = ["identity", "constant_scaling", "exclusive_gating", "shortcut_only_gating", "conv1x1", "dropout"]
ORDERS = ["original", "bn_after", "relu_before", "relu_only_pre", "full_pre"]


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
    assert {name for name, _ in plain.named_parameters()} == {name for name, _ in residual.named_parameters()}
    plain.load_state_dict(residual.state_dict())

    x = residual.stem(images)
    for stage in residual.stages:
        for unit in stage:
            x = F.relu(unit.branch(x))
    torch.testing.assert_close(plain(images), residual.head(x), rtol=0, atol=0)
    assert not torch.allclose(plain(images), residual(images))


def test_option_a_is_the_identity_on_the_first_channels_and_zero_on_the_others():
    x = torch.randn(2, 3, 7, 7)
    y = PaddedPath(stride=2, extra_channels=5)(x)
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
    torch.testing.assert_close(unit(x), unit.branch(activated) + unit.shortcut.path(activated))


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


@pytest.mark.parametrize("block", KINDS)
@pytest.mark.parametrize("f", ORDERS)
def test_a_block_names_the_layers_that_end_its_branch(f, block):
    unit = make("resnet", block=block, f=f).stages[1][1]
    number = 2 if block == "basic" else 3
    assert unit.last_conv is unit.branch.get_submodule(f"conv{number}")
    if f in ("full_pre", "bn_after"):
        assert unit.last_norm is None
    else:
        assert unit.last_norm is unit.branch.get_submodule(f"norm{number}")


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
        "small_input": True,
        "shortcut": option,
        "h": "identity",
        "skip_init": False,
        **({} if form == "preact_resnet" else {"f": "original"}),
    }
    assert zoo.check(kwargs={k: v for k, v in fixed.architecture.items() if k != "name"}, name=form) == []


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


# --------------------------------------------------------------- the variants of "Identity Mappings", and the options


def pair(images, left, right):
    """Two trained networks of the same weights, the second made with other arguments."""
    first = trained(make("resnet", **left), images)
    second = make("resnet", **right).eval()
    return first, second


def test_scaling_by_one_is_the_residual_network(images):
    residual, scaled = pair(images, {}, {"h": "constant_scaling", "shortcut_scale": 1.0, "branch_scale": 1.0})
    scaled.load_state_dict(residual.state_dict())
    torch.testing.assert_close(scaled(images), residual(images), rtol=0, atol=0)


def test_constant_scaling_halves_both_paths_unless_told_otherwise(images):
    unit = trained(make("resnet", h="constant_scaling"), images).stages[1][1]
    x = torch.rand(2, 8, 8, 8)
    torch.testing.assert_close(unit(x), F.relu(0.5 * unit.branch(x) + 0.5 * x))


def gated(images, h, bias):
    residual, network = pair(images, {}, {"h": h, "gate_bias": bias})
    missing = network.load_state_dict(residual.state_dict(), strict=False)
    assert missing.unexpected_keys == [] and all(".gate." in key for key in missing.missing_keys)
    return residual, network


def test_a_shortcut_gate_biased_far_open_is_the_residual_network(images):
    residual, network = gated(images, "shortcut_only_gating", -80.0)
    torch.testing.assert_close(network(images), residual(images), rtol=0, atol=0)


def test_a_shortcut_gate_biased_far_shut_is_the_plain_network(images):
    residual, network = gated(images, "shortcut_only_gating", 80.0)
    plain = make("plain").eval()
    plain.load_state_dict(network.state_dict(), strict=False)
    torch.testing.assert_close(network(images), plain(images), rtol=0, atol=0)
    assert not torch.allclose(network(images), residual(images))


def test_an_exclusive_gate_biased_far_open_is_the_identity_path_and_far_shut_the_branch(images):
    x = torch.rand(2, 8, 8, 8)
    _, opened = gated(images, "exclusive_gating", -100.0)
    torch.testing.assert_close(opened.stages[1][1](x), x, rtol=0, atol=0)
    _, shut = gated(images, "exclusive_gating", 80.0)
    torch.testing.assert_close(shut.stages[1][1](x), F.relu(shut.stages[1][1].branch(x)), rtol=0, atol=0)


@pytest.mark.parametrize("h", ["exclusive_gating", "shortcut_only_gating"])
def test_gates_start_from_the_papers_bias_one_a_channel(h):
    for stage in make("resnet", h=h).stages:
        for unit in stage:
            gate = unit.shortcut.gate.conv
            assert gate.kernel_size == (1, 1) and gate.out_channels == unit.last_conv.out_channels
            assert (gate.bias == -6.0).all()


def test_a_dropped_shortcut_is_the_residual_network_but_in_training(images):
    residual, dropped = pair(images, {}, {"h": "dropout"})
    dropped.load_state_dict(residual.state_dict())
    torch.testing.assert_close(dropped(images), residual(images), rtol=0, atol=0)
    unit = dropped.train().stages[1][1]
    silence(unit)
    y = unit(torch.ones(4, 8, 16, 16))
    assert sorted(y.unique().tolist()) == [0.0, 2.0]
    assert 0.4 < (y > 0).float().mean() < 0.6


@pytest.mark.parametrize("block", KINDS)
def test_a_1x1_convolution_in_every_shortcut_is_option_c(images, block):
    conv, option_c = pair(images, {"h": "conv1x1", "block": block}, {"shortcut": "option_c", "block": block})
    option_c.load_state_dict(conv.state_dict())
    torch.testing.assert_close(option_c(images), conv(images), rtol=0, atol=0)
    assert all(hasattr(unit.shortcut.path, "conv") for stage in conv.stages for unit in stage)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("block", KINDS)
def test_the_full_pre_activation_order_is_the_pre_activation_network(images, block, option):
    order = trained(make("resnet", f="full_pre", block=block, shortcut=option), images)
    network = make("preact_resnet", block=block, shortcut=option).eval()
    network.load_state_dict(order.state_dict())
    torch.testing.assert_close(network(images), order(images), rtol=0, atol=0)


def by_the_figure(f, unit, x):
    """A basic unit of the paper's figure 4, written out."""
    layers = dict(unit.branch.named_children())
    conv1, conv2, norm1, norm2 = (layers.get(name) for name in ("conv1", "conv2", "norm1", "norm2"))
    match f:
        case "original":
            return F.relu(x + norm2(conv2(F.relu(norm1(conv1(x))))))
        case "bn_after":
            return F.relu(unit.after.norm(x + conv2(F.relu(norm1(conv1(x))))))
        case "relu_before":
            return x + F.relu(norm2(conv2(F.relu(norm1(conv1(x))))))
        case "relu_only_pre":
            return x + norm2(conv2(F.relu(norm1(conv1(F.relu(x))))))
        case "full_pre":
            return x + conv2(F.relu(norm2(conv1(F.relu(norm1(x))))))


@pytest.mark.parametrize("f", ORDERS)
def test_an_activation_order_is_the_papers_figure(images, f):
    unit = trained(make("resnet", f=f), images).stages[1][1]
    x = torch.randn(2, 8, 8, 8)
    before = x.clone()
    torch.testing.assert_close(unit(x), by_the_figure(f, unit, x), rtol=0, atol=0)
    assert torch.equal(x, before), "the block changed its input"


@pytest.mark.parametrize("f", ORDERS)
@pytest.mark.parametrize("h", SHORTCUTS)
def test_every_pair_of_h_and_f_learns(images, h, f):
    network = make("resnet", h=h, f=f).train()
    F.cross_entropy(network(images), torch.tensor([0, 1, 2, 3])).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_a_bottleneck_halves_the_map_in_the_convolution_that_it_is_told_to(stride_in_1x1):
    unit = make("resnet", block="bottleneck", stride_in_1x1=stride_in_1x1).stages[1][0]
    strides = [layer.stride[0] for layer in unit.branch if isinstance(layer, nn.Conv2d)]
    assert strides == ([2, 1, 1] if stride_in_1x1 else [1, 2, 1])


def test_the_stem_of_large_images_leaves_a_sixteenth_of_the_pixels():
    network = zoo.create_model("resnet18", num_classes=4, in_channels=3, image_size=96)
    assert network.stem(torch.zeros(1, 3, 96, 96)).shape == (1, 64, 24, 24)
    small = zoo.create_model("resnet18", num_classes=4, in_channels=3, image_size=64)
    assert small.stem(torch.zeros(1, 3, 64, 64)).shape == (1, 64, 64, 64)
    assert small.architecture["small_input"] is True


def test_the_first_pre_activation_unit_has_its_activation_before_the_split(images):
    network = trained(make("preact_resnet", block="bottleneck", shortcut="option_b"), images)
    first = network.stages[0][0]
    assert isinstance(first.before_split, nn.Identity) and list(dict(first.branch.named_children()))[0] == "conv1"
    assert isinstance(network.stem[-1], nn.ReLU)


@pytest.mark.parametrize("form", RESIDUAL)
def test_with_skip_init_a_fresh_network_is_its_shortcuts_and_learns_to_use_its_branches(images, form):
    network = make(form, skip_init=True)
    blocks = [block for stage in network.stages for block in stage]
    x_NCHW = network.stem(images)
    for block in blocks:
        shortcut_alone = block.after(block.shortcut.path(block.before_split(x_NCHW)))
        x_NCHW = block(x_NCHW)
        assert torch.equal(x_NCHW, shortcut_alone)
    network(images).sum().backward()
    assert all(block.gain.grad is not None and block.gain.grad != 0 for block in blocks)
    assert all(block.last_conv.weight.grad.count_nonzero() == 0 for block in blocks)
    again = zoo.create_model(**network.architecture, num_classes=5, in_channels=3, image_size=16)
    again.load_state_dict(network.state_dict())


@pytest.mark.parametrize("form", RESIDUAL)
@pytest.mark.parametrize("block", KINDS)
def test_a_new_stage_halves_the_map_and_belongs_to_the_architecture(images, form, block):
    network = make(form, block=block)
    stages, stride = len(network.stages), network.total_stride
    network.add_stage(16)
    assert network.total_stride == 2 * stride and network.architecture["blocks"][-1] == 1
    assert network.architecture["widths"][-1] == 16
    maps = zoo.features(network, images)
    assert maps[f"stage{stages}"].shape[-1] * 2 == maps[f"stage{stages - 1}"].shape[-1]
    again = zoo.create_model(**network.architecture, num_classes=5, in_channels=3, image_size=16)
    again.load_state_dict(network.state_dict())
    assert torch.equal(again.eval()(images), network.eval()(images))
