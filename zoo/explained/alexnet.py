"""AlexNet: where the weights are and where the work is, two groups, units that do not saturate, rivalry."""

from __future__ import annotations

from dataclasses import replace

import torch

from zoo.alexnet import AlexNet
from zoo.counting import Counts, count
from zoo.explained.claims import Claim, Subject, share, times
from zoo.response_norm import ResponseNorm


def claims(subject: Subject) -> tuple[Claim, ...]:
    made = (_weights_and_work(subject), _units_that_do_not_saturate())
    network = subject.make_on_meta()
    assert isinstance(network, AlexNet)
    of_the_paper = network.design.groups > 1
    return (*made, _two_groups(subject, network), _rivalry()) if of_the_paper else made


def _is_connected(part: str) -> bool:
    return part.startswith("fc")


def _weights_and_work(subject: Subject) -> Claim:
    counts = subject.counts
    connected = [part for part in counts.parts if _is_connected(part.name)]
    weights, macs = sum(part.num_params for part in connected), sum(part.macs for part in connected)
    weights_there, work_before = share(weights, counts.num_params), share(counts.macs - macs, counts.macs)
    return Claim(
        title="The weights are in one place and the work in another",
        text="A convolution uses each weight at every pixel, a fully connected layer uses it once. Here "
        f"{weights_there} of the weights stand in the last three layers, and {work_before} of the multiplications are "
        "done by the first five. A layer with many weights and little to do learns its training images by heart. "
        "Dropout is the answer: at each step half of the hidden units are silent, so that no unit can rely on another "
        "one. Later networks drew the other conclusion and left the hidden layers out.",
        columns=("part", "weights", "share", "MACs", "share of MACs"),
        rows=(
            (
                "convolutions",
                counts.num_params - weights,
                share(counts.num_params - weights, counts.num_params),
                counts.macs - macs,
                share(counts.macs - macs, counts.macs),
            ),
            ("fully connected", weights, share(weights, counts.num_params), macs, share(macs, counts.macs)),
        ),
    )


def _two_groups(subject: Subject, network: AlexNet) -> Claim:
    with torch.device("meta"):
        joined = AlexNet(
            replace(network.design, groups=1),
            num_classes=subject.num_classes,
            in_channels=subject.in_channels,
            image_size=subject.image_size,
            **subject.settings,
        )
    grouped, whole = subject.counts, count(joined, (subject.in_channels, subject.image_size, subject.image_size))
    rows = (("two groups, as published", *_of_convolutions(grouped)), ("one group", *_of_convolutions(whole)))
    return Claim(
        title="Two halves that rarely talk",
        text="One GPU of 2012 could not hold the network, so the channels were split over two, and three of the five "
        "convolutions see only the channels of their own GPU. What began as a need halves the weights and the work of "
        "those layers at once, and outlived the need: convolutions in groups, down to one channel a group, are in "
        "most efficient networks since.",
        columns=("conv2, conv4, conv5 in", "weights of all convolutions", "MACs"),
        rows=(*rows, ("saved", share(rows[1][1] - rows[0][1], rows[1][1]), share(rows[1][2] - rows[0][2], rows[1][2]))),
    )


def _of_convolutions(counts: Counts) -> tuple[int, int]:
    parts = [part for part in counts.parts if not _is_connected(part.name)]
    return sum(part.num_params for part in parts), sum(part.macs for part in parts)


def _units_that_do_not_saturate() -> Claim:
    drawn = torch.randn(100_000, generator=torch.Generator().manual_seed(0))

    def slopes(deviation: float) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = (deviation * drawn).requires_grad_(True)
        [tanh] = torch.autograd.grad(inputs.tanh().sum(), inputs)
        [relu] = torch.autograd.grad(inputs.relu().sum(), inputs)
        return tanh, relu

    return Claim(
        title="Units that do not saturate",
        text="A gradient is multiplied by the slope of every unit on its way. Where the input of a tanh is large, its "
        "slope is nearly zero and the unit stops learning; a relu, max(0, x), has the slope 1 for every positive "
        "input, however large, and 0 for the others. In the paper a small network with relu reached 25% training "
        "error six times as fast as with tanh. Here: slopes for 100,000 inputs drawn around zero.",
        columns=("deviation of the inputs", "mean slope of tanh", "tanh with a slope under 0.1", "mean slope of relu"),
        rows=tuple(
            (deviation, float(tanh.mean()), f"{float((tanh < 0.1).float().mean()):.1%}", float(relu.mean()))
            for deviation in (0.5, 1.0, 3.0, 10.0)
            for tanh, relu in [slopes(deviation)]
        ),
    )


def _rivalry() -> Claim:
    norm = ResponseNorm()

    def answer(value: float, neighbours: float) -> float:
        channels = torch.full((1, 5, 1, 1), neighbours)
        channels[0, 2] = value
        return float(norm(channels)[0, 2])

    return Claim(
        title="Rivalry between neighbouring maps",
        text="Local response normalisation divides each value by (2 + 0.0001 times the sum of the squares over five "
        "neighbouring maps) to the power of 0.75, so that a strong answer silences its neighbours, as real neurons do. "
        "The constant k = 2 alone makes every answer 0.59 times as large. In the paper it took 1.4 points off the "
        "top-1 error; two years later VGG found no gain in it and left it out. Its constants are made for pixels up "
        "to 255: for inputs of deviation 1, as ours are, it hardly acts (first row).",
        columns=("value", "the four neighbours", "answer", "of the answer alone"),
        rows=tuple(
            (value, neighbours, answer(value, neighbours), times(answer(value, neighbours), answer(value, 0.0)))
            for value, neighbours in ((1.0, 1.0), (100.0, 0.0), (100.0, 100.0), (100.0, 300.0))
        ),
    )
