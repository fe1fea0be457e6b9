"""DenseNet: everybody hears everybody, narrow layers, short ways, and the price in memory."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from zoo.densenet import DenseBlock, DenseNet
from zoo.explained.claims import Cell, Claim, Subject, counts_published, times, totals_of


def claims(subject: Subject) -> tuple[Claim, ...]:
    return _connections(subject), _narrow_layers(), _short_ways(subject), _memory(subject)


def _blocks(network: nn.Module) -> dict[str, DenseBlock]:
    trunk = cast(DenseNet, network).trunk
    return {name: block for name, block in trunk.named_children() if isinstance(block, DenseBlock)}


def _connections(subject: Subject) -> Claim:
    rows: list[tuple[Cell, ...]] = []
    for name, block in _blocks(subject.make_on_meta()).items():
        layers = len(block.layers)
        rows.append((name, layers, layers * (layers + 1) // 2, block.in_channels, block.out_channels))
    return Claim(
        title="Every layer hears all layers before it",
        text="A plain network passes a map on from layer to layer, and what a layer does not repeat is lost to those "
        "behind; a residual one adds to it. Here the maps of all layers stay in view: a layer reads the stack and "
        "puts its own few maps on top, and nothing needs to be learned twice. L layers of a block have L (L + 1) / 2 "
        "direct connections.",
        columns=("block", "layers", "direct connections", "maps at its start", "at its end"),
        rows=(*rows, ("all", sum(int(str(row[1])) for row in rows), sum(int(str(row[2])) for row in rows), "", "")),
    )


def _narrow_layers() -> Claim:
    rows: list[tuple[Cell, ...]] = []
    for name, error in (
        ("resnet110", "6.43%"),
        ("resnet1001", "7.61%"),
        ("preact_resnet1001", "4.62%"),
        ("densenet100_k12", "4.10%"),
        ("densenet_bc100_k12", "4.51%"),
    ):
        counts = totals_of(name)
        per_weight = counts.macs / counts.num_params
        rows.append((name, counts.depth, counts.num_params, counts.macs, per_weight, error))
    return Claim(
        title="Layers that add only a few maps",
        text="Because what was found before is still there, a layer need only add what is new: 12 maps where a "
        "residual network's layers have up to 256. The BC form halves the stack between blocks and reads it through a "
        "1x1 convolution. Its 100 layers reach the error of a residual network of 1,001 with a thirteenth of the "
        "weights; but each weight is used at more pixels. Errors as published, CIFAR-10 with augmentation; "
        "preact_resnet1001 has 4.62% with batches of 64 and 4.92% with batches of 128.",
        columns=("network", "depth", "weights", "MACs", "MACs a weight", "published error"),
        rows=tuple(rows),
    )


def _short_ways(subject: Subject) -> Claim:
    counts = subject.counts
    plain = counts_published("plain110")
    return Claim(
        title="A short way to every layer",
        text="From the loss to any layer of a block is one step through the stack. The longest way through the "
        "network is about as deep as its name says, the shortest leads through the stem, the transitions and the "
        "classifier alone: the first layers get their gradient nearly first hand, as if each had a helper of its own.",
        columns=("network", "layers on the longest path", "on the shortest"),
        rows=(
            (subject.entry.name, counts.depth, counts.shortest_path),
            ("plain110", plain.depth, plain.shortest_path),
        ),
    )


def _memory(subject: Subject) -> Claim:
    rows: list[tuple[Cell, ...]] = []
    for what, efficient in (("as usual", False), ("memory_efficient: true", True)):
        network = subject.make_on_meta(memory_efficient=efficient).train()
        rows.append((what, _kept_bytes(network, subject) / 2**20, _training_macs(network, subject)))
    (_, usual, usual_macs), (_, saved, saved_macs) = rows
    assert isinstance(usual, float) and isinstance(saved, float)
    assert isinstance(usual_macs, int) and isinstance(saved_macs, int)
    return Claim(
        title="The price: memory",
        text="Every layer reads the whole stack, and what it makes of it (stacked, normalised, activated) is kept for "
        "the backward pass: the memory grows with the square of the layers. The memory-efficient form keeps the maps "
        "alone and runs each layer again when its gradient is due, all but the last convolution: the same function "
        "for some work done twice. Counted for one image.",
        columns=("training", "kept for the backward pass, MiB", "MACs forward and backward"),
        rows=(*rows, ("ratio", times(saved, usual), times(saved_macs, usual_macs))),
    )


def _training_macs(network: nn.Module, subject: Subject) -> int:
    """Multiplications of convolutions and linear layers for one image, forward and backward."""
    with FlopCounterMode(display=False) as counter:
        network(_two_images(subject)).sum().backward()
    return int(counter.get_total_flops()) // 4  # a multiply-add counts as two there, and there are two images


def _two_images(subject: Subject) -> Tensor:
    """The smallest batch that batch norm takes, without values."""
    return torch.empty(2, subject.in_channels, subject.image_size, subject.image_size, device="meta")


def _kept_bytes(network: nn.Module, subject: Subject) -> int:
    """What autograd keeps of one image in the forward pass of training, each tensor once, the weights aside."""
    kept: dict[int, Tensor] = {}
    weights = {id(weight) for weight in network.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in weights and tensor.dim() > 1:
            kept[id(tensor.untyped_storage())] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        network(_two_images(subject))
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values()) // 2
