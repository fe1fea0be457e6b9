from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from zoo.counting import count, seen_in_image

PUBLISHED = json.loads((Path(__file__).parent / "counts.json").read_text())


def on_meta(name, *, num_classes, input_shape, **kwargs):
    channels, image_size, _ = input_shape
    with torch.device("meta"):
        return zoo.create_model(name, num_classes=num_classes, in_channels=channels, image_size=image_size, **kwargs)


@pytest.mark.parametrize(
    "row", PUBLISHED, ids=lambda row: "-".join([row["name"], str(row["num_classes"]), *map(str, row["kwargs"].items())])
)
def test_counts_are_the_published_ones(row):
    model = on_meta(row["name"], num_classes=row["num_classes"], input_shape=row["input_shape"], **row["kwargs"])
    counts = count(model, row["input_shape"], training=row.get("graph") == "training")
    num_params = sum(parameter.numel() for parameter in model.parameters())
    assert (num_params, counts.macs, counts.depth) == (row["num_params"], row["macs"], row["depth"])


@pytest.mark.parametrize(
    ("name", "shape", "num_classes", "parameters"),
    [
        ("googlenet", (3, 224, 224), 1000, 6_379_728),
        ("googlenet_torchvision", (3, 224, 224), 1000, 6_379_984),
        ("inception_v3", (3, 299, 299), 1000, 3_326_696),
    ],
)
def test_auxiliary_classifiers_are_counted_with_the_graph_of_training_only(name, shape, num_classes, parameters):
    model = on_meta(name, num_classes=num_classes, input_shape=shape)
    without = on_meta(name, num_classes=num_classes, input_shape=shape, aux=False)
    training, evaluation = count(model, shape, training=True), count(model, shape)
    assert training.num_params - evaluation.num_params == parameters
    assert evaluation == count(without, shape)
    assert {layer.part for layer in training.layers} - {layer.part for layer in evaluation.layers} <= {
        "aux",
        "aux1",
        "aux2",
    }


@pytest.mark.parametrize(
    ("name", "size", "part", "field"),
    [
        ("lenet5", 32, "c5", 32),
        ("alexnet", 227, "pool5", 195),
        ("vgg16", 224, "stage5", 212),
        ("resnet20", 32, "stage2", 81),
        ("resnet56", 32, "stage2", 249),
        ("resnet110", 32, "stage2", 501),
        ("plain20", 32, "stage2", 81),
        ("preact_resnet110", 32, "stage2", 501),
        ("resnet50", 224, "stage3", 427),
        ("resnet101", 224, "stage3", 971),
        ("resnet152", 224, "stage3", 1451),
    ],
)
def test_receptive_fields_are_those_that_follow_from_windows_and_strides(name, size, part, field):
    channels = 1 if name == "lenet5" else 3
    counts = count(on_meta(name, num_classes=10, input_shape=(channels, size, size)), (channels, size, size))
    [inside] = [found.receptive_field for found in counts.parts if found.name == part]
    assert inside == counts.receptive_field == (field, field)


@pytest.mark.parametrize(
    ("name", "size"),
    [("lenet5", 8), ("lenet5", 28), ("lenet5", 64), ("resnet56", 32), ("vgg16", 32), ("googlenet", 28)],
)
def test_in_an_image_nothing_is_seen_beyond_it_and_the_head_sees_all_of_it(name, size):
    raw = count(on_meta(name, num_classes=10, input_shape=(1, size, size)), (1, size, size))
    seen = seen_in_image(raw, size)
    fields = {part.name: part.receptive_field for part in seen.parts}
    for part, field in fields.items():
        assert field == max(layer.receptive_field for layer in seen.layers if layer.part == part) <= (size, size)
    assert seen.receptive_field == seen.layers[-1].receptive_field == fields[seen.parts[-1].name] == (size, size)
    assert [layer.receptive_field for layer in seen.layers] <= [layer.receptive_field for layer in raw.layers]


@pytest.mark.parametrize("size", [8, 48, 64])
def test_what_a_resized_image_shows_a_layer_is_told_in_its_own_pixels(size):
    model = zoo.create_model("lenet5", num_classes=10, in_channels=1, image_size=size)
    images = torch.rand(1, 1, size, size, requires_grad=True)
    zoo.features(model, images)["s2"][0, 0, 7, 7].backward()
    rows = images.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
    [predicted] = [part.receptive_field for part in count(model, (1, size, size)).parts if part.name == "s2"]
    assert predicted[0] - 1 <= int(rows[-1] - rows[0]) + 1 <= predicted[0]


@pytest.mark.parametrize(
    ("name", "size", "shortest"),
    [
        ("plain20", 32, 20),
        ("resnet110", 32, 2),  # stem and classifier: all else can be walked around
        ("preact_resnet164", 32, 5),  # option B has a convolution in three shortcuts
        ("vgg16", 224, 16),
        ("densenet40_k12", 32, 4),  # stem, two transitions, classifier
        ("lenet5", 32, 7),
    ],
)
def test_the_shortest_path_takes_every_shortcut(name, size, shortest):
    channels = 1 if name == "lenet5" else 3
    counts = count(on_meta(name, num_classes=10, input_shape=(channels, size, size)), (channels, size, size))
    assert counts.shortest_path == shortest


def test_a_stride_in_the_first_1x1_sees_farther():
    v1 = count(on_meta("resnet50", num_classes=10, input_shape=(3, 224, 224), stride_in_1x1=True), (3, 224, 224))
    assert v1.receptive_field == (483, 483)


@pytest.mark.parametrize(("name", "size"), [("resnet8", 65), ("vgg11", 96), ("googlenet", 96), ("densenet121", 96)])
def test_a_receptive_field_is_what_a_change_of_the_image_can_reach(name, size):
    """The analytical field against the real one: the pixels from which a gradient reaches one value of the map."""
    model = zoo.create_model(name, num_classes=10, in_channels=1, image_size=size).eval()
    for parameter in model.parameters():  # positive weights, so that nothing cancels and no relu shuts
        torch.nn.init.constant_(parameter, 0.01)
    for layer in model.modules():  # an average where the largest would choose one pixel
        for child_name, child in layer.named_children():
            if isinstance(child, nn.MaxPool2d):
                average = nn.AvgPool2d(child.kernel_size, child.stride, child.padding, ceil_mode=child.ceil_mode)
                setattr(layer, child_name, average)
    part = {"resnet8": "stage1", "vgg11": "stage2", "googlenet": "inception_3a", "densenet121": "transition1"}[name]
    images = torch.ones(1, 1, size, size, requires_grad=True)
    features = zoo.features(model, images)[part]
    middle = features.shape[-1] // 2
    features[0, :, middle, middle].sum().backward()
    rows = images.grad[0, 0].abs().sum(dim=1).nonzero().flatten()
    counts = count(model, (1, size, size))
    [predicted] = [found.receptive_field for found in counts.parts if found.name == part]
    assert predicted == (int(rows[-1] - rows[0]) + 1,) * 2


def test_the_parts_of_a_network_add_up_to_it():
    counts = count(on_meta("resnet20", num_classes=10, input_shape=(3, 32, 32)), (3, 32, 32))
    assert [part.name for part in counts.parts] == ["stem", "stage0", "stage1", "stage2", "head"]
    assert [part.output_shape for part in counts.parts] == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8), (10,)]
    assert sum(part.num_params for part in counts.parts) == counts.num_params
    assert sum(part.macs for part in counts.parts) == counts.macs


def test_lenet_has_the_papers_counts_layer_by_layer():
    model = on_meta("lenet5", num_classes=10, input_shape=(1, 32, 32))
    counts = count(model, (1, 32, 32))
    assert [(x.name, x.output_shape, x.num_params, x.connections, x.macs) for x in counts.layers] == [
        ("c1", (6, 28, 28), 156, 122_304, 117_600),
        ("s2", (6, 14, 14), 12, 5_880, 0),
        ("c3", (16, 10, 10), 1_516, 151_600, 150_000),
        ("s4", (16, 5, 5), 32, 2_000, 0),
        ("c5", (120, 1, 1), 48_120, 48_120, 48_000),
        ("f6", (84,), 10_164, 10_164, 10_080),
        ("out", (10,), 0, 840, 840),
    ]
    assert counts.connections == 340_908


@pytest.mark.parametrize("form", ["resnet", "plain", "preact_resnet"])
def test_a_network_and_its_twins_have_equal_counts(form):
    counts = count(on_meta(f"{form}110", num_classes=10, input_shape=(3, 32, 32)), (3, 32, 32))
    assert (counts.num_params, counts.macs, counts.depth) == (1_727_962, 252_887_680, 110)


def test_a_part_whose_branches_are_stacked_has_the_stacked_shape():
    counts = count(on_meta("googlenet", num_classes=10, input_shape=(3, 224, 224)), (3, 224, 224))
    shapes = {part.name: part.output_shape for part in counts.parts}
    assert shapes["inception_3a"] == (256, 28, 28) and shapes["pool3"] == (480, 14, 14)


def test_counting_leaves_the_model_as_it_was():
    model = zoo.create_model("resnet8", num_classes=10, in_channels=3, image_size=32).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, (3, 32, 32))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])


class Forked(nn.Module):
    """One path of two weight layers, one of three; a layer that runs twice; grouped and biased convolutions."""

    def __init__(self):
        super().__init__()
        self.short = nn.Conv2d(4, 4, 1)
        self.repeated = nn.Conv2d(4, 4, 3, padding=1, groups=2, bias=False)
        self.classifier = nn.Linear(8, 2)

    def forward(self, x):
        long = self.repeated(torch.relu_(self.repeated(x)))
        return self.classifier(torch.cat([self.short(x), long], dim=1).amax(dim=(2, 3)))


def test_depth_is_the_longest_path_and_a_layer_counts_as_often_as_it_runs():
    counts = count(Forked(), (4, 5, 5))
    assert counts.depth == 3
    assert counts.receptive_field == (5, 5)
    assert counts.macs == 25 * 4 * 4 + 2 * (25 * 4 * 2 * 9) + 8 * 2
    assert counts.connections == counts.macs + 25 * 4 + 2
    assert counts.num_params == (16 + 4) + 4 * 2 * 9 + (16 + 2)
