from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F

import zoo
from tests.zoo.torchvision_keys import KEYS, NUM_KEYS

OUR_NAMES = {"alexnet": "alexnet_torchvision", "googlenet": "googlenet_torchvision"}


def ours(name, *, image_size=None, num_classes=1000, **kwargs):
    size = image_size or (299 if name == "inception_v3" else 224)
    return zoo.create_model(
        OUR_NAMES.get(name, name), num_classes=num_classes, in_channels=3, image_size=size, **kwargs
    )


def weights(name, device=None):
    """A state dict as torchvision's network has it, of random weights and sane statistics."""
    if device == "meta":
        return {key: torch.empty(shape, device="meta") for key, shape in KEYS[name]().items()}
    return {key: random_value(key, shape) for key, shape in KEYS[name]().items()}


def random_value(key, shape):
    if key.endswith("num_batches_tracked"):
        return torch.tensor(1)
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        return torch.empty(shape).uniform_(0.5, 1.5)
    fan_in = torch.Size(shape[1:]).numel()
    return torch.randn(shape) * (0.1 if len(shape) == 1 else (2 / fan_in) ** 0.5)


@pytest.mark.parametrize(("name", "number"), NUM_KEYS.items())
def test_the_lists_of_keys_are_as_long_as_torchvisions(name, number):
    assert len(KEYS[name]()) == number


@pytest.mark.parametrize("name", KEYS)
def test_every_network_takes_torchvisions_keys_and_shapes(name):
    with torch.device("meta"):
        model = ours(name, aux=True) if name in ("googlenet", "inception_v3") else ours(name)
    zoo.load_torchvision(model, weights(name, "meta"))


# ------------------------------------------------------------- the function, computed from torchvision's own names


def normed(state, name, x, eps=1e-5):
    statistics = (state[f"{name}.running_mean"], state[f"{name}.running_var"])
    return F.batch_norm(x, *statistics, state[f"{name}.weight"], state[f"{name}.bias"], eps=eps)


def resnet_by_keys(state, x, *, bottleneck):
    x = F.relu(normed(state, "bn1", F.conv2d(x, state["conv1.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, 2, padding=1)
    for layer in (1, 2, 3, 4):
        block = 0
        while f"layer{layer}.{block}.conv1.weight" in state:
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = x
            for number in (1, 2, 3) if bottleneck else (1, 2):
                kernel = state[f"{name}.conv{number}.weight"]
                strides = number == (2 if bottleneck else 1)
                y = F.conv2d(y, kernel, stride=stride if strides else 1, padding=kernel.shape[-1] // 2)
                y = normed(state, f"{name}.bn{number}", y)
                y = F.relu(y) if number < (3 if bottleneck else 2) else y
            if f"{name}.downsample.0.weight" in state:
                x = normed(
                    state, f"{name}.downsample.1", F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=stride)
                )
            x = F.relu(x + y)
            block += 1
    return F.linear(x.mean(dim=(2, 3)), state["fc.weight"], state["fc.bias"])


def densenet_by_keys(state, x):
    x = F.relu(normed(state, "features.norm0", F.conv2d(x, state["features.conv0.weight"], stride=2, padding=3)))
    x = F.max_pool2d(x, 3, 2, padding=1)
    for block in (1, 2, 3, 4):
        layer = 1
        while f"features.denseblock{block}.denselayer{layer}.conv1.weight" in state:
            name = f"features.denseblock{block}.denselayer{layer}"
            y = F.conv2d(F.relu(normed(state, f"{name}.norm1", x)), state[f"{name}.conv1.weight"])
            y = F.conv2d(F.relu(normed(state, f"{name}.norm2", y)), state[f"{name}.conv2.weight"], padding=1)
            x, layer = torch.cat([x, y], dim=1), layer + 1
        if block < 4:
            name = f"features.transition{block}"
            x = F.conv2d(F.relu(normed(state, f"{name}.norm", x)), state[f"{name}.conv.weight"])
            x = F.avg_pool2d(x, 2)
    x = F.relu(normed(state, "features.norm5", x)).mean(dim=(2, 3))
    return F.linear(x, state["classifier.weight"], state["classifier.bias"])


def googlenet_by_keys(state, x):
    def unit(name, x, stride=1):
        kernel = state[f"{name}.conv.weight"]
        x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        return F.relu(normed(state, f"{name}.bn", x, eps=1e-3))

    x = F.max_pool2d(unit("conv1", x, stride=2), 3, 2, ceil_mode=True)
    x = F.max_pool2d(unit("conv3", unit("conv2", x)), 3, 2, ceil_mode=True)
    for module in ("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b"):
        if module in ("4a", "5a"):
            x = F.max_pool2d(x, 3 if module == "4a" else 2, 2, ceil_mode=True)
        name = f"inception{module}"
        two = unit(f"{name}.branch2.1", unit(f"{name}.branch2.0", x))
        three = unit(f"{name}.branch3.1", unit(f"{name}.branch3.0", x))
        four = unit(f"{name}.branch4.1", F.max_pool2d(x, 3, 1, padding=1))
        x = torch.cat([unit(f"{name}.branch1", x), two, three, four], dim=1)
    return F.linear(x.mean(dim=(2, 3)), state["fc.weight"], state["fc.bias"])


def inception_v3_by_keys(state, x):
    def unit(name, x, stride=1, padding=0):
        x = F.conv2d(x, state[f"{name}.conv.weight"], stride=stride, padding=padding)
        return F.relu(normed(state, f"{name}.bn", x, eps=1e-3))

    def pooled(name, x):
        return unit(f"{name}.branch_pool", F.avg_pool2d(x, 3, 1, padding=1))

    row, column = (0, 3), (3, 0)
    x = unit("Conv2d_2a_3x3", unit("Conv2d_1a_3x3", x, stride=2))
    x = F.max_pool2d(unit("Conv2d_2b_3x3", x, padding=1), 3, 2)
    x = F.max_pool2d(unit("Conv2d_4a_3x3", unit("Conv2d_3b_1x1", x)), 3, 2)
    for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
        five = unit(f"{name}.branch5x5_2", unit(f"{name}.branch5x5_1", x), padding=2)
        double = unit(f"{name}.branch3x3dbl_2", unit(f"{name}.branch3x3dbl_1", x), padding=1)
        double = unit(f"{name}.branch3x3dbl_3", double, padding=1)
        x = torch.cat([unit(f"{name}.branch1x1", x), five, double, pooled(name, x)], dim=1)
    double = unit("Mixed_6a.branch3x3dbl_2", unit("Mixed_6a.branch3x3dbl_1", x), padding=1)
    double = unit("Mixed_6a.branch3x3dbl_3", double, stride=2)
    x = torch.cat([unit("Mixed_6a.branch3x3", x, stride=2), double, F.max_pool2d(x, 3, 2)], dim=1)
    for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
        seven = unit(f"{name}.branch7x7_2", unit(f"{name}.branch7x7_1", x), padding=row)
        seven = unit(f"{name}.branch7x7_3", seven, padding=column)
        double = unit(f"{name}.branch7x7dbl_1", x)
        for number, padding in ((2, column), (3, row), (4, column), (5, row)):
            double = unit(f"{name}.branch7x7dbl_{number}", double, padding=padding)
        x = torch.cat([unit(f"{name}.branch1x1", x), seven, double, pooled(name, x)], dim=1)
    three = unit("Mixed_7a.branch3x3_2", unit("Mixed_7a.branch3x3_1", x), stride=2)
    seven = unit("Mixed_7a.branch7x7x3_2", unit("Mixed_7a.branch7x7x3_1", x), padding=row)
    seven = unit("Mixed_7a.branch7x7x3_4", unit("Mixed_7a.branch7x7x3_3", seven, padding=column), stride=2)
    x = torch.cat([three, seven, F.max_pool2d(x, 3, 2)], dim=1)
    for name in ("Mixed_7b", "Mixed_7c"):
        three = unit(f"{name}.branch3x3_1", x)
        double = unit(f"{name}.branch3x3dbl_2", unit(f"{name}.branch3x3dbl_1", x), padding=1)
        parts = [
            unit(f"{name}.{branch}", inputs, padding=padding)
            for branch, inputs, padding in (
                ("branch3x3_2a", three, (0, 1)),
                ("branch3x3_2b", three, (1, 0)),
                ("branch3x3dbl_3a", double, (0, 1)),
                ("branch3x3dbl_3b", double, (1, 0)),
            )
        ]
        x = torch.cat([unit(f"{name}.branch1x1", x), *parts, pooled(name, x)], dim=1)
    return F.linear(x.mean(dim=(2, 3)), state["fc.weight"], state["fc.bias"])


def vgg11_bn_by_keys(state, x):
    index = 0
    for convolutions in (1, 1, 2, 2, 2):
        for _ in range(convolutions):
            x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1)
            x = F.relu(normed(state, f"features.{index + 1}", x))
            index += 3
        x, index = F.max_pool2d(x, 2), index + 1
    return three_layers_by_keys(state, x, (0, 3, 6))


def alexnet_by_keys(state, x):
    for index, stride, padding in ((0, 4, 2), (3, 1, 2), (6, 1, 1), (8, 1, 1), (10, 1, 1)):
        x = F.conv2d(x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], stride, padding)
        x = F.relu(x)
        if index in (0, 3, 10):
            x = F.max_pool2d(x, 3, 2)
    return three_layers_by_keys(state, x, (1, 4, 6))


def three_layers_by_keys(state, x, indices):
    x = x.flatten(start_dim=1)
    for index in indices:
        x = F.linear(x, state[f"classifier.{index}.weight"], state[f"classifier.{index}.bias"])
        x = F.relu(x) if index != indices[-1] else x
    return x


@pytest.mark.parametrize(
    ("name", "by_keys"),
    [
        ("resnet18", lambda state, x: resnet_by_keys(state, x, bottleneck=False)),
        ("resnet50", lambda state, x: resnet_by_keys(state, x, bottleneck=True)),
        ("densenet121", densenet_by_keys),
        ("googlenet", googlenet_by_keys),
        ("inception_v3", inception_v3_by_keys),
        ("vgg11_bn", vgg11_bn_by_keys),
        ("alexnet", alexnet_by_keys),
    ],
)
def test_the_loaded_network_computes_what_the_names_say(name, by_keys):
    size = 80 if name == "inception_v3" else 64
    model = ours(name, image_size=size, small_input=False, **({"aux": False} if name == "inception_v3" else {})).eval()
    state = weights(name)
    if name in ("vgg11_bn", "alexnet"):  # the map of so small an image is flattened to fewer values
        first = "classifier.0.weight" if name == "vgg11_bn" else "classifier.1.weight"
        inputs = dict(model.named_parameters())[{"vgg11_bn": "classifier.fc6.weight"}.get(name, "fc6.linear.weight")]
        state[first] = random_value(first, tuple(inputs.shape))
    zoo.load_torchvision(model, state)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected = by_keys(state, images)
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


# ---------------------------------------------------------------------------------------------------- what differs


def test_a_file_is_read_as_data(tmp_path):
    state = weights("resnet18")
    torch.save(state, tmp_path / "resnet18.pth")
    model = ours("resnet18")
    zoo.load_torchvision(model, tmp_path / "resnet18.pth")
    assert torch.equal(model.stem.conv.weight, state["conv1.weight"])
    assert torch.equal(model.stages[3][1].branch.norm2.running_var, state["layer4.1.bn2.running_var"])


def test_the_names_of_old_densenet_files_are_understood():
    state = weights("densenet121")
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)", r"\1.\2", key): value for key, value in state.items()}
    old = {key: value for key, value in old.items() if not key.endswith("num_batches_tracked")}
    assert any(".norm.1.weight" in key for key in old)
    model, other = ours("densenet121"), ours("densenet121")
    zoo.load_torchvision(model, old)
    zoo.load_torchvision(other, state)
    for name, value in model.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, other.state_dict()[name])


def test_auxiliary_weights_are_left_out_where_the_network_has_no_such_classifiers():
    state = weights("googlenet")
    model = ours("googlenet", aux=False)
    zoo.load_torchvision(model, state)
    assert torch.equal(model.head.classifier.weight, state["fc.weight"])
    lacking = {key: value for key, value in state.items() if not key.startswith("aux")}
    with pytest.raises(zoo.ModelError, match=r"missing: aux1.conv.conv.weight, .* and \d+ more"):
        zoo.load_torchvision(ours("googlenet", aux=True), lacking)


def test_what_differs_is_named_and_nothing_is_loaded():
    model = ours("resnet18", num_classes=10)
    before = model.stem.conv.weight.clone()
    state = weights("resnet18")
    state["layer5.weight"] = state.pop("layer1.0.conv1.weight")
    with pytest.raises(zoo.ModelError) as error:
        zoo.load_torchvision(model, state)
    message = str(error.value)
    assert "missing: layer1.0.conv1.weight;" in message
    assert "not of this network: layer5.weight;" in message
    assert "fc.weight is (1000, 512) there and (10, 512) here, fc.bias is (1000,) there" in message
    assert "num_classes" in message
    assert torch.equal(model.stem.conv.weight, before)


@pytest.mark.parametrize("name", ["alexnet", "googlenet_torchvision", "resnet18", "vgg11", "densenet121"])
def test_the_small_forms_and_the_papers_own_are_told_from_torchvisions(name):
    source = {"googlenet_torchvision": "googlenet"}.get(name, name)
    with torch.device("meta"):
        model = zoo.create_model(name, num_classes=1000, in_channels=3, image_size=64)
    with pytest.raises(zoo.ModelError, match="there and .* here|missing|no weights for this AlexNet"):
        zoo.load_torchvision(model, weights(source, "meta"))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("h", "constant_scaling"), ("h", "dropout"), ("f", "relu_before"), ("stride_in_1x1", True)],
)
def test_a_variant_with_the_same_keys_and_another_function_is_refused(argument, value):
    with torch.device("meta"):
        model = ours("resnet50", **{argument: value})
    with pytest.raises(zoo.ModelError, match=f"this one has {value}.* Make the network with {argument}="):
        zoo.load_torchvision(model, weights("resnet50", "meta"))


def test_another_image_size_is_named_as_what_may_be_wrong():
    with torch.device("meta"):
        model = ours("inception_v3", image_size=224)
    with pytest.raises(zoo.ModelError, match="AuxLogits.conv1.conv.weight is .*image_size=224 .299 for inception_v3"):
        zoo.load_torchvision(model, weights("inception_v3", "meta"))
    with torch.device("meta"):
        zoo.load_torchvision(ours("inception_v3", image_size=224, aux=False), weights("inception_v3", "meta"))


@pytest.mark.parametrize("content", [{1: torch.zeros(1)}, {"fc.weight": 3}])
def test_a_mapping_that_is_no_state_dict_is_refused(content):
    with pytest.raises(zoo.ModelError, match="the mapping is no state dict"):
        zoo.load_torchvision(ours("resnet18"), content)


@pytest.mark.parametrize("name", ["preact_resnet20", "resnet20", "resnet200", "densenet_bc100_k12", "densenet264"])
def test_a_network_that_torchvision_lacks_is_refused_with_those_that_it_has(name):
    with torch.device("meta"):
        model = zoo.create_model(name, num_classes=10, in_channels=3, image_size=32)
    with pytest.raises(
        zoo.ModelError, match="no such network, and no weights for this .*Net. It has them for alex.* resnet18"
    ):
        zoo.load_torchvision(model, {})


def test_a_file_that_is_no_state_dict_is_refused(tmp_path):
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(zoo.ModelError, match="Cannot read weights from .*text.pth: it is no PyTorch weights file"):
        zoo.load_torchvision(ours("resnet18"), tmp_path / "text.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(zoo.ModelError, match="holds a list; a state dict is needed"):
        zoo.load_torchvision(ours("resnet18"), tmp_path / "list.pth")
    with pytest.raises(zoo.ModelError, match="Cannot read weights from .*absent.pth: No such file or directory"):
        zoo.load_torchvision(ours("resnet18"), tmp_path / "absent.pth")
