"""GoogLeNet: several windows at once, reductions that make them affordable, averages for a classifier, helpers."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from zoo.auxiliary import WithAuxiliary
from zoo.counting import count
from zoo.explained.claims import Claim, Subject, share, times
from zoo.explained.gradients import random_images
from zoo.googlenet import PAPER, GoogLeNet, Inception

_LARGEST = 224
"""Pixels a side of the images on which gradients are measured, so that large ones do not fill the memory."""


def claims(subject: Subject) -> tuple[Claim, ...]:
    with torch.device("meta"):
        network = subject.make()
    assert isinstance(network, GoogLeNet)
    return (
        _windows(subject, network),
        _reductions(subject, network),
        _average(subject),
        _auxiliary(subject, network),
    )


def _modules(network: GoogLeNet) -> dict[str, Inception]:
    return {name: module for name, module in network.trunk.items() if isinstance(module, Inception)}


def _pixels(subject: Subject, module: str) -> int:
    return next(layer.output_shape[1] for layer in subject.counts.layers if layer.part == module)


def _windows(subject: Subject, network: GoogLeNet) -> Claim:
    module = next(iter(_modules(network).values()))
    in_channels, pixels = _inputs(module), _pixels(subject, "inception_3a")
    rows = []
    five = network.design.five
    windows = f"{five}x{five}, for the paper's 5x5" if five != PAPER.five else "5x5"
    for name, branch in (("1x1", module.one), ("3x3", module.three), (windows, module.five), ("pooling", module.pool)):
        counts = count(branch, (in_channels, pixels, pixels))
        maps = counts.layers[-1].output_shape[0]
        rows.append((name, f"{counts.receptive_field[0]}x{counts.receptive_field[1]}", maps, counts.num_params))
    return Claim(
        title="Several windows at once",
        text="Should a layer look closely or widely? An inception module does not choose. It looks at the same map "
        "through four windows and stacks the answers; training decides how much each of them is worth, and an object "
        "may be large in one image and small in the next. Counted in module 3a.",
        columns=("branch", "sees of its input", "maps", "weights"),
        rows=tuple(rows),
    )


def _inputs(module: Inception) -> int:
    return next(layer.in_channels for layer in module.one if isinstance(layer, nn.Conv2d))


def _reductions(subject: Subject, network: GoogLeNet) -> Claim:
    rows = []
    for name, module in _modules(network).items():
        pixels = _pixels(subject, name)
        counts = count(module, (_inputs(module), pixels, pixels))
        naive = _without_reductions(module)
        rows.append((name.removeprefix("inception_"), counts.num_params, naive, counts.macs, naive * pixels**2))
    sums = [sum(int(row[i]) for row in rows) for i in range(1, 5)]
    five, inputs = network.design.five, _inputs(_modules(network)["inception_4a"])
    return Claim(
        title="Small convolutions before the large ones",
        text=f"A {five}x{five} window over {inputs} maps, as many as module 4a gets, needs {five**2 * inputs:,} "
        f"weights for each map that it puts out. A 1x1 convolution first mixes the {inputs} maps into fewer: what it "
        "loses, the paper argues, is little, since a few numbers can hold much of what is in a patch, and what it "
        "saves is nearly everything. Without the reductions (and with the poolings' maps unprojected) the nine "
        "modules would cost this much.",
        columns=("module", "weights", "without reductions", "MACs", "without reductions"),
        rows=(
            *rows,
            ("all nine", *sums),
            ("ratio", "", times(sums[1], sums[0]), "", times(sums[3], sums[2])),
        ),
    )


def _without_reductions(module: Inception) -> int:
    """Weights of a module whose windows see the input itself."""
    inputs = _inputs(module)
    convolutions = [_last_convolution(branch) for branch in (module.one, module.three, module.five)]
    return sum(inputs * conv.out_channels * conv.kernel_size[0] * conv.kernel_size[1] for conv in convolutions)


def _last_convolution(branch: nn.Module) -> nn.Conv2d:
    return [layer for layer in branch.modules() if isinstance(layer, nn.Conv2d)][-1]


def _average(subject: Subject) -> Claim:
    head = [layer for layer in subject.counts.layers if layer.part == "head"]
    classifier = head[-1].num_params
    last = [layer for layer in subject.counts.layers if layer.part != "head"][-1]
    pixels = last.output_shape[1] * last.output_shape[2]
    flattened = (classifier - subject.num_classes) * pixels + subject.num_classes
    return Claim(
        title="An average for a classifier",
        text="AlexNet and VGG flatten the last map and wire every value of it to the next layer. GoogLeNet, after "
        "Network in Network, takes the mean of each map and reads the classes from these means. That took 0.6 points "
        "off the error (dropout stayed essential), leaves the classifier a weight for each map and class, and lets "
        f"the network take images of any size. Counted for {subject.num_classes:,} classes and this last map.",
        columns=("classifier", "weights", "of this network's"),
        rows=(
            ("on the means, as here", classifier, times(classifier, classifier)),
            ("on the flattened map", flattened, times(flattened, classifier)),
        ),
    )


def _auxiliary(subject: Subject, network: GoogLeNet) -> Claim:
    with torch.device("meta"):
        helped = subject.make(aux=True)
    training = count(helped, (subject.in_channels, subject.image_size, subject.image_size), training=True)
    weights, macs = training.num_params - subject.counts.num_params, training.macs - subject.counts.macs
    alone, together = _gradients_of_the_stem(subject)
    of_its_time = (
        "When this network was published batch norm did not exist yet (torchvision's form has it all the same, and has "
        "kept the helpers)"
        if network.design.batch_norm
        else "Batch norm did not exist yet"
    )
    return Claim(
        title="Helpers that are gone when training is over",
        text=f"{of_its_time}, and the gradient of a single loss is a long way from the first layers. Two classifiers "
        "in the middle, cheap in work if not in weights, have a say in the loss, 0.3 of the last one's each: they "
        "press the middle of the network to be of use already. After training they are dropped. What they add to the "
        "gradient at the stem is modest, measured here before training on images of noise, and the paper of Inception "
        "v3 finds that they do not speed up the beginning: they rather keep the network from learning by heart.",
        columns=("", "weights", "of the network's", "MACs", "of the network's", "gradient at the stem"),
        rows=(
            ("the network", subject.counts.num_params, "", subject.counts.macs, "", alone),
            (
                "with both helpers, in training",
                training.num_params,
                f"+{share(weights, subject.counts.num_params)}",
                training.macs,
                f"+{share(macs, subject.counts.macs)}",
                together,
            ),
        ),
    )


def _gradients_of_the_stem(subject: Subject) -> tuple[float, float]:
    torch.manual_seed(0)
    measured = replace(subject, image_size=min(subject.image_size, _LARGEST))
    network = measured.make(aux=True).train()
    images = random_images(measured.in_channels, measured.image_size, num_images=4)
    labels = torch.arange(4) % subject.num_classes
    output = network(images)
    assert isinstance(output, WithAuxiliary)
    losses = [nn.functional.cross_entropy(logits, labels) for logits in (output.logits, *output.auxiliary)]
    weight = next(network.stem.parameters())  # type: ignore[union-attr]
    [alone] = torch.autograd.grad(losses[0], weight, retain_graph=True)
    [together] = torch.autograd.grad(losses[0] + output.weight * (losses[1] + losses[2]), weight)
    return float(alone.norm()), float(together.norm())
