from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import zoo
from zoo.counting import count

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
    counts = count(model, row["input_shape"])
    assert (counts.num_params, counts.macs, counts.depth) == (row["num_params"], row["macs"], row["depth"])


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
    assert counts.macs == 25 * 4 * 4 + 2 * (25 * 4 * 2 * 9) + 8 * 2
    assert counts.connections == counts.macs + 25 * 4 + 2
    assert counts.num_params == (16 + 4) + 4 * 2 * 9 + (16 + 2)
