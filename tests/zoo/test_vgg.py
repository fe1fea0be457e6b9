from __future__ import annotations

import pytest
import torch
from torch import nn

import zoo


def make(name, *, image_size=32, in_channels=3, **kwargs):
    return zoo.create_model(name, num_classes=10, in_channels=in_channels, image_size=image_size, **kwargs)


@pytest.mark.parametrize(("depth", "convolutions"), [(11, "11222"), (13, "22222"), (16, "22333"), (19, "22444")])
def test_a_stage_is_3x3_convolutions_and_one_halving(depth, convolutions):
    model = make(f"vgg{depth}", width=0.05)
    stages = list(model.feature_modules.values())
    assert "".join(str(sum(isinstance(x, nn.Conv2d) for x in stage)) for stage in stages) == convolutions
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            assert layer.kernel_size == (3, 3) and layer.stride == (1, 1) and layer.padding == (1, 1)
    assert sum(int(n) for n in convolutions) + 3 == depth


@pytest.mark.parametrize(("depth", "more"), [(11, 5_504), (13, 5_888), (16, 8_448), (19, 11_008)])
def test_batch_norm_adds_two_parameters_a_channel(depth, more):
    with torch.device("meta"):
        with_norm, without = make(f"vgg{depth}_bn", image_size=224), make(f"vgg{depth}", image_size=224)
    num_params = [sum(p.numel() for p in model.parameters()) for model in (with_norm, without)]
    assert num_params[0] - num_params[1] == more


def test_maps_halve_to_7x7_and_the_names_are_the_stages():
    with torch.device("meta"):
        model = make("vgg16", image_size=224).eval()
    maps = zoo.features(model, torch.empty(1, 3, 224, 224, device="meta"))
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {
        "stage1": (64, 112, 112),
        "stage2": (128, 56, 56),
        "stage3": (256, 28, 28),
        "stage4": (512, 14, 14),
        "stage5": (512, 7, 7),
    }


@pytest.mark.parametrize(
    ("image_size", "sides"), [(17, [9, 5, 3, 2, 1]), (28, [14, 7, 4, 2, 1]), (64, [32, 16, 8, 4, 2])]
)
def test_the_small_form_halves_odd_maps_upwards(image_size, sides):
    model = make("vgg11", image_size=image_size, width=0.05)
    maps = zoo.features(model, torch.randn(1, 3, image_size, image_size))
    assert [x.shape[-1] for x in maps.values()] == sides


def test_an_image_that_would_leave_the_last_stage_one_pixel_is_refused():
    with pytest.raises(zoo.ModelError, match="16x16 are too small for vgg16, whose smallest are 17x17"):
        make("vgg16", image_size=16)


def test_the_signal_neither_fades_nor_explodes_on_its_way_through_19_layers():
    model = make("vgg19", width=0.25).eval()
    deviations = [x.std().item() for x in zoo.features(model, torch.randn(4, 3, 32, 32)).values()]
    assert max(deviations) / min(deviations) < 20
