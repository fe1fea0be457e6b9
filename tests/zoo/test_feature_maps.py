from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo


def named(prefix, endings):
    return [f"{prefix}{ending}" for ending in endings.split()]


NETWORKS = {
    "lenet5": ({}, ["c1", "s2", "c3", "s4", "c5", "f6"]),
    "alexnet": ({"width": 0.1}, ["conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5"]),
    "vgg11_bn": ({"width": 0.05}, [f"stage{n}" for n in range(1, 6)]),
    "googlenet": (
        {"width": 0.05},
        ["stem", *named("inception_", "3a 3b"), "pool3", *named("inception_", "4a 4b 4c 4d 4e"), "pool4",
         *named("inception_", "5a 5b")],
    ),
    "inception_v2": ({"width": 0.05}, ["stem", *named("inception_", "3a 3b 3c 4a 4b 4c 4d 4e 5a 5b")]),
    "inception_v3": ({"width": 0.05}, ["stem", *named("mixed_", "5b 5c 5d 6a 6b 6c 6d 6e 7a 7b 7c")]),
    "resnet14": ({}, ["stem", "stage0", "stage1", "stage2"]),
    "plain14": ({}, ["stem", "stage0", "stage1", "stage2"]),
    "preact_resnet14": ({}, ["stem", "stage0", "stage1", "stage2"]),
    "densenet": ({"layers": [2, 2], "growth_rate": 4}, ["stem", "block1", "transition1", "block2"]),
}  # fmt: skip


def make(name, **kwargs):
    return zoo.create_model(name, num_classes=10, in_channels=1, image_size=32, **kwargs)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_maps_bear_the_names_of_the_stages_in_their_order(name):
    kwargs, names = NETWORKS[name]
    maps = zoo.features(make(name, **kwargs).eval(), torch.randn(2, 1, 32, 32))
    assert list(maps) == names
    assert all(len(x) == 2 for x in maps.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_map_is_what_the_next_stage_got_and_no_later_layer_has_changed_it(name):
    model = make(name, **NETWORKS[name][0]).eval()
    images = torch.randn(2, 1, 32, 32)
    copies = {}

    def copy_of(stage):
        def hook(module, inputs, output):
            copies[stage] = output.clone()

        return hook

    handles = [module.register_forward_hook(copy_of(stage)) for stage, module in model.feature_modules.items()]
    maps = zoo.features(model, images)
    for handle in handles:
        handle.remove()
    for stage, x in maps.items():
        assert torch.equal(x, copies[stage]), stage


def test_gradients_flow_through_the_maps_and_the_model_is_left_as_it_was():
    model = make("resnet8").train()
    images = torch.randn(2, 1, 32, 32, requires_grad=True)
    zoo.features(model, images)["stage1"].sum().backward()
    assert images.grad.any()
    assert model.training and not any(module._forward_hooks for module in model.modules())


def test_the_maps_of_lenet_are_squashed():
    maps = zoo.features(make("lenet5"), 100 * torch.randn(2, 1, 32, 32))
    assert all(x.abs().max() <= 1.7159 + 1e-5 for x in maps.values())


def test_another_network_is_refused():
    with pytest.raises(TypeError, match="a Linear is no network of the zoo"):
        zoo.features(nn.Linear(3, 2), torch.randn(1, 3))
