from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from zoo.densenet import DenseBlock, DenseNet


def make(**kwargs) -> DenseNet:
    settings = {"layers": [2, 3, 2], "growth_rate": 4, **kwargs}
    model = zoo.create_model("densenet", num_classes=5, in_channels=3, image_size=16, **settings)
    assert isinstance(model, DenseNet)
    return model


@pytest.fixture
def images():
    return torch.randn(4, 3, 16, 16)


@pytest.mark.parametrize("form", ["basic", "bc"])
def test_each_layer_sees_all_maps_before_it_and_adds_k(form):
    block = DenseBlock(4, 6, 3, form, dropout=0.0, memory_efficient=False).eval()
    x = torch.randn(2, 6, 5, 5)
    maps = x
    for number, layer in enumerate(block.layers):
        new = layer(maps)
        assert new.shape == (2, 3, 5, 5)
        assert maps.shape[1] == 6 + 3 * number
        maps = torch.cat([maps, new], dim=1)
    torch.testing.assert_close(block(x), maps, rtol=0, atol=0)
    assert torch.equal(block(x)[:, :6], x), "the input itself stays in front"


@pytest.mark.parametrize("form", ["basic", "bc"])
def test_the_last_layer_of_a_block_hears_from_the_first_directly(form):
    block = DenseBlock(3, 6, 3, form, dropout=0.0, memory_efficient=False).eval()
    for layer in block.layers[1:2]:  # silence everything between
        nn.init.zeros_([x for x in layer.modules() if isinstance(x, nn.Conv2d)][-1].weight)
    x = torch.randn(1, 6, 5, 5, requires_grad=True)
    out = block(x)
    out[:, -3:].sum().backward()
    assert x.grad.any()
    first_conv = [p for n, p in block.layers[0].named_parameters() if "conv" in n]
    assert all(p.grad is not None and p.grad.any() for p in first_conv)


def test_a_transition_convolves_before_it_pools_and_bc_keeps_half():
    model = make()
    names = list(dict(model.trunk.transition1.named_children()))
    assert names == ["norm", "relu", "conv", "pool"]
    conv = model.trunk.transition1.conv
    assert conv.in_channels == 2 * 4 + 2 * 4 and conv.out_channels == conv.in_channels // 2
    basic = make(form="basic").trunk.transition1.conv
    assert basic.in_channels == basic.out_channels == 16 + 2 * 4


def test_activation_comes_before_each_convolution():
    assert list(dict(make().trunk.block1.layers[0].layers.named_children())) == [
        "norm1", "relu1", "conv1", "norm2", "relu2", "conv2",
    ]  # fmt: skip
    assert list(dict(make(form="basic").trunk.block1.layers[0].layers.named_children())) == ["norm1", "relu1", "conv1"]


@pytest.mark.parametrize("form", ["basic", "bc"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_memory_efficient_network_trains_to_the_same_weights_and_statistics(images, form, dropout):
    plain = make(form=form, dropout=dropout)
    efficient = make(form=form, dropout=dropout, memory_efficient=True)
    efficient.load_state_dict(plain.state_dict())
    labels = torch.tensor([0, 1, 2, 3])
    for model in (plain, efficient):
        torch.manual_seed(3)
        optimizer = torch.optim.SGD(model.train().parameters(), lr=0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()
            optimizer.step()
    for (name, left), right in zip(plain.state_dict().items(), efficient.state_dict().values(), strict=True):
        torch.testing.assert_close(right, left, rtol=0, atol=0, msg=name)


def saved_bytes(model, images):
    """What autograd keeps for the backward pass, each tensor once, the weights aside."""
    kept = {}
    weights = {parameter.data_ptr() for parameter in model.parameters()}

    def keep(tensor):
        if tensor.untyped_storage().data_ptr() not in weights:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.train()(images).sum()
    assert loss.requires_grad
    return sum(kept.values())


def test_the_memory_efficient_network_keeps_a_fraction_of_the_maps(images):
    layers = [12, 12]
    plain, efficient = make(layers=layers), make(layers=layers, memory_efficient=True)
    assert saved_bytes(efficient, images) < 0.4 * saved_bytes(plain, images)


def test_evaluation_and_frozen_networks_are_not_run_twice(images):
    model = make(memory_efficient=True)
    calls = []
    model.trunk.block1.layers[0].layers.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        model.train()(images)
        model.eval()(images)
    assert len(calls) == 2


def test_a_copy_of_a_memory_efficient_network_is_whole(images):
    model = make(memory_efficient=True)
    twin = copy.deepcopy(model)
    twin.train()(images).sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_maps_have_the_papers_channels_and_sizes():
    with torch.device("meta"):
        model = zoo.create_model("densenet121", num_classes=1000, in_channels=3, image_size=224).eval()
    maps = zoo.features(model, torch.empty(1, 3, 224, 224, device="meta"))
    assert {name: tuple(x.shape[1:3]) for name, x in maps.items()} == {
        "stem": (64, 56),
        "block1": (256, 56),
        "transition1": (128, 28),
        "block2": (512, 28),
        "transition2": (256, 14),
        "block3": (1024, 14),
        "transition3": (512, 7),
        "block4": (1024, 7),
    }


def test_the_paper_drops_outputs_of_every_convolution_but_the_stems():
    with_dropout = make(dropout=0.2)
    dropping = [m for m in with_dropout.modules() if isinstance(m, nn.Dropout)]
    convolutions = [m for m in with_dropout.modules() if isinstance(m, nn.Conv2d)]
    assert len(dropping) == len(convolutions) - 1 and {m.p for m in dropping} == {0.2}
    assert not any(isinstance(m, nn.Dropout) for m in make().modules())


@pytest.mark.parametrize(("name", "smallest"), [("densenet40_k12", 4), ("densenet121", 8)])
def test_transitions_need_a_pixel_left_in_the_last_block(name, smallest):
    model = zoo.create_model(name, num_classes=5, in_channels=1, image_size=smallest).eval()
    assert model(torch.randn(1, 1, smallest, smallest)).shape == (1, 5)
    with pytest.raises(zoo.ModelError, match=f"smallest are {smallest}x{smallest}"):
        zoo.create_model(name, num_classes=5, in_channels=1, image_size=smallest - 1)
