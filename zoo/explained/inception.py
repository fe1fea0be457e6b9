"""The later Inception networks: batch norm, factorised windows, one plan for all modules."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from zoo.counting import count
from zoo.explained.claims import Claim, Subject, count_stack, share, totals_of
from zoo.explained.gradients import random_images
from zoo.registry import describe


def claims_of_v2(subject: Subject) -> tuple[Claim, ...]:
    return _weights_without_scale(subject), _what_norms_cost(subject), _two_for_a_5x5()


def claims_of_v3(subject: Subject) -> tuple[Claim, ...]:
    return _factorised_windows(subject), _a_module_with_whole_windows(subject), _helper(subject)


def claims_of_v4(subject: Subject) -> tuple[Claim, ...]:
    return _one_plan(subject), _against_v3(subject)


# --------------------------------------------------------------------------------------------------- Inception v2


def _weights_without_scale(subject: Subject) -> Claim:
    torch.manual_seed(0)
    network = subject.make().train()
    stem = network.stem
    assert isinstance(stem, nn.Sequential)
    images = random_images(subject.in_channels, min(subject.image_size, 64), num_images=4)
    with_norm = stem[0]
    without_norm = nn.Sequential(with_norm.conv, nn.ReLU())  # type: ignore[arg-type]
    rows = []
    for what, layers in (("convolution, relu", without_norm), ("convolution, batch norm, relu", with_norm)):
        assert isinstance(layers, nn.Module)
        answer, gradient = _answer_and_gradient(layers, images, scale=1.0)
        scaled_answer, scaled_gradient = _answer_and_gradient(layers, images, scale=10.0)
        rows.append(
            (what, float(scaled_answer.norm() / answer.norm()), float(scaled_gradient.norm() / gradient.norm()))
        )
    return Claim(
        title="Weights whose size no longer matters",
        text="Batch norm brings each map to mean 0 and deviation 1 over the batch. Make the weights before it ten "
        "times as large, and the answer stays as it was, while their gradient becomes ten times smaller: large "
        "weights move slowly, small ones quickly, and no layer can blow up the next one's input. So the learning rate "
        "can be high: at five times its rate the paper's network reached the accuracy of the same network without "
        "batch norm in a fourteenth of the steps, and at thirty times it ended 2.6 points better. Measured in the "
        "first layer, every weight times ten.",
        columns=("layer", "answer", "gradient of its weights"),
        rows=tuple(rows),
    )


def _answer_and_gradient(layers: nn.Module, images: Tensor, *, scale: float) -> tuple[Tensor, Tensor]:
    conv = next(layer for layer in layers.modules() if isinstance(layer, nn.Conv2d))
    original = conv.weight.detach().clone()
    with torch.no_grad():
        conv.weight.mul_(scale)
    answer = layers(images)
    target = torch.randn(answer.shape, generator=torch.Generator().manual_seed(2))
    [gradient] = torch.autograd.grad((answer * target).sum(), conv.weight)
    with torch.no_grad():
        conv.weight.copy_(original)
    return answer.detach(), gradient


def _what_norms_cost(subject: Subject) -> Claim:
    norms = [layer for layer in subject.counts.layers if layer.kind == "batch norm"]
    weights = sum(layer.num_params for layer in norms)
    return Claim(
        title="Two weights a map",
        text="What a norm takes away, the map's own mean and size, two weights a map can give back where it is of "
        "use: a scale and a shift. They are nearly nothing beside the convolutions, whose biases the shift makes "
        "needless.",
        columns=("", "number", "weights", "of the network's"),
        rows=(
            ("batch norms", len(norms), weights, share(weights, subject.counts.num_params)),
            ("biases of convolutions", 0, 0, ""),
            ("the network", len(subject.counts.layers), subject.counts.num_params, ""),
        ),
    )


def _two_for_a_5x5() -> Claim:
    channels = 64
    return Claim(
        title="Two 3x3 for each 5x5",
        text="What VGG had shown for whole networks holds in a module's branch: two 3x3 windows, one after the other, "
        f"see what a 5x5 sees, for fewer weights. Counted for {channels} maps.",
        columns=("windows", "sees", "weights"),
        rows=_windows_against(channels, {"5x5": [(5, 5)], "3x3, 3x3": [(3, 3)] * 2}),
    )


def _windows_against(channels: int, stacks: dict[str, list[tuple[int, int]]]) -> tuple[tuple[str, str, int], ...]:
    rows = []
    for what, windows in stacks.items():
        counts = count_stack(*(_conv(channels, *window) for window in windows), in_channels=channels, pixels=17)
        high, wide = counts.receptive_field
        rows.append((what, f"{high}x{wide}", counts.num_params))
    return tuple(rows)


def _conv(channels: int, height: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, (height, width), padding=(height // 2, width // 2), bias=False)


# --------------------------------------------------------------------------------------------------- Inception v3


def _factorised_windows(subject: Subject) -> Claim:
    module = subject.make_on_meta().get_submodule("before_auxiliary.mixed_6c")
    channels = next(layer for layer in module.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1))
    inner = channels.in_channels
    pairs = {
        "7x7": [(7, 7)],
        "1x7, 7x1": [(1, 7), (7, 1)],
        "5x5": [(5, 5)],
        "3x3, 3x3": [(3, 3), (3, 3)],
        "3x3": [(3, 3)],
        "1x3, 3x1": [(1, 3), (3, 1)],
    }
    rows = _windows_against(inner, pairs)
    saved = [""] * len(rows)
    for whole in range(0, len(rows), 2):
        saved[whole + 1] = f"-{1 - rows[whole + 1][2] / rows[whole][2]:.0%}"
    return Claim(
        title="Windows as rows and columns",
        text="A 7x7 window is a grid of 49 weights a map. A row of seven followed by a column of seven sees the same "
        "pixels with 14. It cannot compute every function of them, only those that a row and a column make together; "
        "the paper finds that this works badly in early layers and very well on maps of 12 to 20 pixels. Counted for "
        f"the {inner} maps of module 6c.",
        columns=("windows", "sees", "weights", "saved"),
        rows=tuple((*row, cell) for row, cell in zip(rows, saved, strict=True)),
    )


def _a_module_with_whole_windows(subject: Subject) -> Claim:
    rows = []
    for name in (f"mixed_6{letter}" for letter in "bcde"):
        [part] = [part for part in subject.counts.parts if part.name == name]
        weights, macs = _with_whole_windows(subject, name, pixels=part.output_shape[1])
        rows.append((name, part.num_params, weights, part.macs, macs))
    sums = [sum(int(row[i]) for row in rows) for i in range(1, 5)]
    return Claim(
        title="What that saves in the middle of the network",
        text="The four modules on the middle map have three such pairs each, one in one branch and two in another. "
        "With whole 7x7 windows in place of the pairs they would cost this much.",
        columns=("module", "weights", "with 7x7 windows", "MACs", "with 7x7 windows"),
        rows=(*rows, ("all four", *sums)),
    )


def _with_whole_windows(subject: Subject, name: str, *, pixels: int) -> tuple[int, int]:
    """Weights and MACs of a module with one square window for every row and column."""
    module = subject.make_on_meta().get_submodule(f"before_auxiliary.{name}")
    convolutions = [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    ones = [conv for conv in convolutions if conv.kernel_size == (1, 1)]
    rows_and_columns = [conv for conv in convolutions if conv.kernel_size != (1, 1)]
    squares = [
        nn.Conv2d(first.in_channels, second.out_channels, 7, padding=3, bias=False, device="meta")
        for first, second in zip(rows_and_columns[::2], rows_and_columns[1::2], strict=True)
    ]
    weights = sum(conv.weight.numel() for conv in (*ones, *squares))
    norms = 2 * sum(conv.out_channels for conv in (*ones, *squares))
    return weights + norms, weights * pixels**2


def _helper(subject: Subject) -> Claim:
    with torch.device("meta"):
        helped = subject.make(aux=True)
    training = count(helped, (subject.in_channels, subject.image_size, subject.image_size), training=True)
    weights, macs = training.num_params - subject.counts.num_params, training.macs - subject.counts.macs
    return Claim(
        title="A helper that steadies",
        text="GoogLeNet's two auxiliary classifiers were meant to carry gradients to the first layers. This paper "
        "finds that they do not speed up the beginning at all and that one of them can go; the other lifts the "
        "accuracy a little at the very end. The authors take it for a regulariser, since it helps more with batch "
        "norm in it: normalising its linear layer too took 0.4 points off the top-1 error. It is dropped after "
        "training.",
        columns=("", "weights", "MACs"),
        rows=(
            ("the network", subject.counts.num_params, subject.counts.macs),
            (
                "the helper, in training",
                f"+{share(weights, subject.counts.num_params)}",
                f"+{share(macs, subject.counts.macs)}",
            ),
        ),
    )


# --------------------------------------------------------------------------------------------------- Inception v4


def _one_plan(subject: Subject) -> Claim:
    counts = subject.counts
    kinds: dict[str, list[str]] = {}
    for part in counts.parts:
        kinds.setdefault(part.name.rstrip("0123456789"), []).append(part.name)
    rows = []
    for kind, names in kinds.items():
        parts = [part for part in counts.parts if part.name in names]
        weights, macs = sum(part.num_params for part in parts), sum(part.macs for part in parts)
        shape = "x".join(map(str, parts[-1].output_shape))
        rows.append(
            (kind, len(parts), shape, weights, share(weights, counts.num_params), macs, share(macs, counts.macs))
        )
    return Claim(
        title="One plan for all modules of a stage",
        text="Inception v3 bore the marks of its history: it had been cut into pieces for several machines, and "
        "earlier choices were never simplified. Here all modules on a map are alike: four A, seven B, three C, with a "
        "reduction between. What each kind does best stays where its map has the size for it: whole 3x3 windows on "
        "the large map, rows and columns of 7 on the middle one, 1x3 beside 3x1 on the small one.",
        columns=("modules", "number", "map", "weights", "share", "MACs", "share of MACs"),
        rows=tuple(rows),
    )


def _against_v3(subject: Subject) -> Claim:
    rows = []
    for name in ("inception_v3", "inception_v4"):
        counts, entry = totals_of(name), describe(name)
        error = entry.published[0]
        rows.append((name, counts.depth, counts.num_params, counts.macs, f"{error.top1:.1%}", f"{error.top5:.1%}"))
    return Claim(
        title="Larger and regular",
        text="Nearly twice the weights and more than twice the work, at 299x299, single crop, on the same validation "
        "images. How much of the gain is the plan's and how much the size's, these two cannot tell: the same paper "
        "finds that the final accuracy depends mainly on the size, and that shortcuts around the modules make them "
        "train faster to about the same end.",
        columns=("network", "depth", "weights", "MACs", "top-1 error", "top-5 error"),
        rows=tuple(rows),
    )
