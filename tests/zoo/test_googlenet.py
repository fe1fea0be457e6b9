from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import zoo
from growres.training.loop import losses_of
from zoo.auxiliary import AuxiliaryClassifier, WithAuxiliary, num_params

NAMES = ["googlenet", "googlenet_torchvision"]


def make(name="googlenet", *, image_size=32, width=0.1, **kwargs):
    return zoo.create_model(name, num_classes=5, in_channels=3, image_size=image_size, width=width, **kwargs)


def conv_of(branch):
    return next(layer for layer in branch.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1))


@pytest.mark.parametrize(("name", "window"), [("googlenet", (5, 5)), ("googlenet_torchvision", (3, 3))])
def test_the_published_modules_have_real_5x5_windows(name, window):
    modules = [module for key, module in make(name).trunk.items() if key.startswith("inception")]
    assert len(modules) == 9
    for module in modules:
        assert conv_of(module.five).kernel_size == window
        assert conv_of(module.three).kernel_size == (3, 3)


def test_a_module_stacks_its_four_views():
    module = make().trunk["inception_3a"]
    x = torch.randn(2, module.one.conv.in_channels, 6, 6)
    views = [module.one(x), module.three(x), module.five(x), module.pool(x)]
    torch.testing.assert_close(module(x), torch.cat(views, dim=1), rtol=0, atol=0)
    assert [view.shape[2:] for view in views] == [(6, 6)] * 4


@pytest.mark.parametrize("name", NAMES)
def test_the_maps_have_the_papers_channels_and_sizes(name):
    with torch.device("meta"):
        model = make(name, image_size=224, width=1.0).eval()
    maps = zoo.features(model, torch.empty(1, 3, 224, 224, device="meta"))
    shapes = {key: tuple(x.shape[1:]) for key, x in maps.items()}
    assert shapes["stem"] == (192, 28, 28)
    assert [shapes[f"inception_{n}"][0] for n in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")] == [
        256, 480, 512, 512, 512, 528, 832, 832, 1024,
    ]  # fmt: skip
    assert (shapes["pool3"], shapes["pool4"]) == ((480, 14, 14), (832, 7, 7))


@pytest.mark.parametrize("name", NAMES)
def test_auxiliary_classifiers_speak_in_training_only(name):
    model = make(name, aux=True)
    images = torch.randn(3, 3, 32, 32)
    output = model.train()(images)
    assert isinstance(output, WithAuxiliary) and len(output.auxiliary) == 2 and output.weight == 0.3
    assert all(logits.shape == (3, 5) for logits in (output.logits, *output.auxiliary))
    without = make(name, aux=False)
    missing = without.load_state_dict(model.state_dict(), strict=False)
    assert missing.missing_keys == [] and all(key.startswith("aux") for key in missing.unexpected_keys)
    torch.testing.assert_close(model.eval()(images), without.eval()(images), rtol=0, atol=0)


def test_the_form_for_large_images_has_them_unless_told_otherwise():
    assert isinstance(make(image_size=96).train()(torch.randn(2, 3, 96, 96)), WithAuxiliary)
    assert make(image_size=96, aux=False).aux1 is None
    assert make(image_size=64).aux1 is None


def test_the_loss_is_the_networks_own_and_0_3_of_each_auxiliary_one():
    model = make(aux=True).train()
    labels = torch.tensor([0, 1, 4])
    output = model(torch.randn(3, 3, 32, 32))
    logits, loss, objective = losses_of(output, labels, label_smoothing=0.1)
    own, first, second = (F.cross_entropy(x, labels, label_smoothing=0.1) for x in (output.logits, *output.auxiliary))
    assert logits is output.logits
    torch.testing.assert_close(loss, own)
    torch.testing.assert_close(objective, own + 0.3 * (first + second))


def test_an_auxiliary_loss_reaches_what_stands_before_it_and_nothing_after():
    model = make(aux=True).train()
    output = model(torch.randn(3, 3, 32, 32))
    output.auxiliary[0].sum().backward()
    reached = {name.split(".")[1] for name, p in model.trunk.named_parameters(prefix="trunk") if p.grad is not None}
    assert reached == {"inception_3a", "inception_3b", "inception_4a"}
    assert model.stem.conv2.conv.weight.grad.any()
    assert model.head.classifier.weight.grad is None


@pytest.mark.parametrize("name", NAMES)
def test_auxiliary_classifiers_are_no_part_of_the_networks_size(name):
    model = make(name, aux=True)
    serving = sum(p.numel() for m in model.modules() if isinstance(m, AuxiliaryClassifier) for p in m.parameters())
    assert serving > 0
    assert num_params(model) == num_params(make(name, aux=False))
    assert num_params(model) + serving == sum(p.numel() for p in model.parameters())
