"""VGG: small windows in place of large ones, depth for few weights, and the price of the last layers."""

from __future__ import annotations

from torch import nn

from zoo.explained.claims import Claim, Subject, count_stack, share
from zoo.vgg import CONVOLUTIONS


def claims(subject: Subject) -> tuple[Claim, ...]:
    made = (_small_windows(subject), _depth(subject), _the_last_layers(subject))
    return (*made, _batch_norm(subject)) if subject.settings["batch_norm"] else made


def _small_windows(subject: Subject) -> Claim:
    stage3 = next(layer for layer in subject.counts.layers if layer.part == "stage3")
    channels, pixels = stage3.output_shape[0], stage3.output_shape[1]

    def stack(window: int, number: int) -> tuple[str, int, int, int, int]:
        counts = count_stack(
            *(nn.Conv2d(channels, channels, window, padding=window // 2, bias=False) for _ in range(number)),
            in_channels=channels,
            pixels=pixels,
        )
        return f"{number} x {window}x{window}", counts.receptive_field[0], counts.num_params, counts.macs, number

    rows = [stack(5, 1), stack(3, 2), stack(7, 1), stack(3, 3)]
    besides = (
        "There is no large window in the network and no response norm; the batch norms are a later addition (see "
        "below)."
        if subject.settings["batch_norm"]
        else "Nothing else is in the network: no large window, no response norm."
    )
    return Claim(
        title="Three small windows for one large one",
        text="Two 3x3 convolutions, one after the other, see 5x5 pixels; three see 7x7. They need fewer weights than "
        "the one large window that sees as much, since 3 x 9 is less than 49, and there is a relu after each, so that "
        f"what they compute is less like a single linear filter. {besides} Counted for the {channels} channels of this "
        "network's third stage.",
        columns=("convolutions", "sees", "weights", "MACs", "relus"),
        rows=tuple((what, f"{field}x{field}", weights, macs, relus) for what, field, weights, macs, relus in rows),
    )


def _depth(subject: Subject) -> Claim:
    rows = []
    for depth in CONVOLUTIONS:
        name = f"vgg{depth}_bn" if subject.settings["batch_norm"] else f"vgg{depth}"
        counts = subject.counts_of(name, **subject.kwargs)
        classifier = sum(part.num_params for part in counts.parts if part.name == "classifier")
        rows.append((name, counts.depth, counts.num_params - classifier, classifier, counts.macs))
    return Claim(
        title="Depth for few weights",
        text="The same five stages, with more convolutions in them: from the first configuration to the last the "
        "convolutions' weights little more than double, and the classifier stays as it is. The paper's error fell "
        "from 11 to 16 layers and stayed there at 19, which is where residual networks take up the thread.",
        columns=("network", "layers", "weights of convolutions", "weights of the classifier", "MACs"),
        rows=tuple(rows),
    )


def _the_last_layers(subject: Subject) -> Claim:
    counts = subject.counts
    layers = [layer for layer in counts.layers if layer.part == "classifier" and layer.num_params]
    columns = ("layer", "weights", "of the whole network's weights", "of its MACs")
    rows = tuple(
        (x.name.rpartition(".")[2], x.num_params, share(x.num_params, counts.num_params), share(x.macs, counts.macs))
        for x in layers
    )
    if subject.settings["small_input"]:
        return Claim(
            title="Without the hidden layers",
            text="For small images the two hidden layers are left out: one linear layer reads the average of the last "
            "map, and the weights are where the work is.",
            columns=columns,
            rows=rows,
        )
    return Claim(
        title="The price of the last layers",
        text="The map that the convolutions end in is flattened, and every value of it wired to 4,096 units, each "
        f"wire with a weight of its own. The first of these layers holds {rows[0][2]} of the network and does "
        f"{rows[0][3]} of its work; the global average that GoogLeNet and ResNet have in its place does without it.",
        columns=columns,
        rows=rows,
    )


def _batch_norm(subject: Subject) -> Claim:
    without = subject.counts_of(subject.entry.name.removesuffix("_bn"), **subject.kwargs)
    more = subject.counts.num_params - without.num_params
    return Claim(
        title="Batch norm, which the paper did not have",
        text="It was published in 2015, a year after VGG. After each convolution its maps are brought to mean 0 and "
        "deviation 1 over the batch, then scaled and shifted by two weights a map. That is all that it adds. Deep "
        "configurations then train at higher learning rates and hardly care how they begin; the authors first began "
        "them from a shallow one, and found later that a good random start does as well.",
        columns=("network", "weights", "more", "share"),
        rows=(
            (subject.entry.name.removesuffix("_bn"), without.num_params, 0, ""),
            (
                subject.entry.name,
                subject.counts.num_params,
                more,
                f"{more / subject.counts.num_params:.2%}",
            ),
        ),
    )
