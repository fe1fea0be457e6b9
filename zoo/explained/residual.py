"""Residual networks and their plain twins: a path for gradients that costs nothing, corrections, clean paths."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from zoo.counting import Counts
from zoo.explained.claims import Cell, Claim, Subject, counts_published, share, totals_of
from zoo.explained.gradients import NUM_IMAGES, gradients_at_start, random_images
from zoo.feature_maps import features
from zoo.registry import check, create_model
from zoo.resnet import Block, ConstantScaling, ExclusiveGating, ResNet, preact_resnet, resnet

DEPTHS = (20, 56, 110)
_LARGEST = 32
"""Pixels a side of the images on which a whole network's gradients are measured."""


def claims_of_resnet(subject: Subject) -> tuple[Claim, ...]:
    made = (_gradients(), _for_free(subject), _corrections(subject))
    bottleneck = subject.settings["block"] == "bottleneck"
    return (*made, _bottleneck(subject) if bottleneck else _options(subject))


def claims_of_plain(subject: Subject) -> tuple[Claim, ...]:
    return _gradients(), _no_way_around(subject)


def claims_of_preact(subject: Subject) -> tuple[Claim, ...]:
    return _gradients(), _nothing_on_the_path(subject), _scaled_paths(), _orders()


# ------------------------------------------------------------------------------------------------- gradients at start


def _gradients() -> Claim:
    images = random_images(in_channels=3, image_size=16)
    rows: list[tuple[Cell, ...]] = []
    for depth in DEPTHS:
        row: list[Cell] = [depth]
        for form in ("plain", "resnet", "preact_resnet"):
            torch.manual_seed(0)
            found = gradients_at_start(_small(form, depth), images, num_classes=10)
            row += [found.coherence, found.amplification]
        rows.append(tuple(row))
    return Claim(
        title="A way for the gradient around every block",
        text="Every layer of a plain network stands in the way of the gradient. In a deep one the gradients at an "
        "image and at the same image with 1% of noise point in unrelated directions (coherence near 0), and it is "
        "hard to see what a step along one of them should be worth. That is one explanation, by Balduzzi et al. "
        "(2017), of what the paper found: the training error of deep plain networks grows with depth, batch norm "
        "notwithstanding. A shortcut lets the gradient pass beside each block, so that it largely keeps its "
        "direction; its size is tame as well: growth is how much larger it is at the stem than before the head. The "
        "pre-activation form has the same with nothing but additions on the path. Measured before any training, on "
        f"{NUM_IMAGES} images of noise of 16x16 pixels, 16 to 64 channels, one start each.",
        columns=(
            "depth",
            "plain: coherence",
            "growth",
            "residual: coherence",
            "growth",
            "pre-activation: coherence",
            "growth",
        ),
        rows=tuple(rows),
    )


def _small(form: str, depth: int) -> nn.Module:
    return create_model(f"{form}{depth}", num_classes=10, in_channels=3, image_size=16)


# ------------------------------------------------------------------------------------------------------------ resnet


def _for_free(subject: Subject) -> Claim:
    shape = _shape(subject)
    rows: list[tuple[Cell, ...]] = [_paths_of("plain twin", subject.counts_of("plain", **shape))]
    for option in _possible_options(subject):
        if option != "option_c":
            counts = subject.counts_of("resnet", **shape, shortcut=option)
            rows.append(_paths_of(f"residual, option {option[-1].upper()}", counts))
    return Claim(
        title="Shortcuts cost nothing",
        text="The identity has no weights and multiplies nothing. Where the map shrinks and the channels double, "
        "option A takes every second pixel and adds channels of zeros: the residual network then has the weights and "
        "the work of its plain twin to the last one, so that nothing but the additions can explain what they differ "
        "in. Option B has a 1x1 convolution there. The longest way from image to classes goes through all layers, the "
        "shortest through the stem, the classifier and the projections, if any.",
        columns=("network", "weights", "MACs", "layers on the longest path", "on the shortest"),
        rows=tuple(rows),
    )


def _shape(subject: Subject) -> dict[str, Any]:
    """The arguments that a residual network and its plain twin have in common."""
    return {key: subject.settings[key] for key in ("blocks", "widths", "block", "small_input")}


def _possible_options(subject: Subject) -> list[str]:
    """The shortcuts that these widths allow: option A cannot drop channels."""
    options = ("option_a", "option_b", "option_c")
    return [option for option in options if not check("resnet", {**_shape(subject), "shortcut": option})]


def _paths_of(what: str, counts: Counts) -> tuple[Cell, ...]:
    return what, counts.num_params, counts.macs, counts.depth, counts.shortest_path


def _corrections(subject: Subject) -> Claim:
    size = min(subject.image_size, _LARGEST)
    settings = {**_shape(subject), "small_input": True, "shortcut": _possible_options(subject)[0]}
    torch.manual_seed(0)
    network = resnet(num_classes=subject.num_classes, in_channels=subject.in_channels, image_size=size, **settings)
    images = random_images(subject.in_channels, size, num_images=2)
    last = len(network.stages) - 1
    rows: list[tuple[Cell, ...]] = []
    with torch.no_grad():
        before = network.eval()(images)
        for what, silent in (("its last layer zero", True), ("as it is drawn", False)):
            grown = copy.deepcopy(network)
            stage = cast(nn.Sequential, grown.stages[last])
            block = grown.make_block(last, len(stage))
            if silent:
                nn.init.zeros_((block.last_norm or block.last_conv).weight)
            stage.append(block)
            rows.append((what, float((grown(images) - before).norm() / before.norm())))
    return Claim(
        title="A block is a correction",
        text="Without a shortcut a new layer must first learn to pass on what it is given. With one it begins from "
        "what is there, and learns only what to add; if there is nothing to add, zero weights leave everything as it "
        "was. So a deeper network can at least be what the shallower one is, and a trained network can be made deeper "
        "without losing what it knows, which is what growing it block by block rests on. Measured on a network of "
        "this shape, with the identity on its shortcuts: one block more in the last stage.",
        columns=("the new block's branch", "relative change of the logits"),
        rows=tuple(rows),
    )


def _bottleneck(subject: Subject) -> Claim:
    settings = subject.settings
    width = settings["widths"][0]
    rows: list[tuple[Cell, ...]] = []
    for what, kind, channels in (
        ("bottleneck: 1x1, 3x3, 1x1", "bottleneck", width),
        ("basic: 3x3, 3x3, as wide", "basic", 4 * width),
    ):
        counts = subject.counts_of(
            "resnet",
            blocks=[2],
            widths=[channels],
            block=kind,
            small_input=settings["small_input"],
            shortcut="option_a",
        )
        block = [layer for layer in counts.layers if layer.name.startswith("stages.0.1.")]
        rows.append((what, sum(x.num_params for x in block), sum(x.macs for x in block)))
    deep, vgg = totals_of("resnet152"), totals_of("vgg16")
    return Claim(
        title="A bottleneck pays for depth",
        text="A block of three: a 1x1 convolution to a quarter of the channels, the 3x3 there, a 1x1 back. The 3x3, "
        "where the cost is, works on a sixteenth of the pairs of channels. With that, and with a map that is halved "
        "sooner, ResNet-152 has fewer multiplications than VGG-16, at 9.5 times its depth.",
        columns=("", "weights", "MACs"),
        rows=(
            *rows,
            ("saved", share(rows[1][1] - rows[0][1], rows[1][1]), share(rows[1][2] - rows[0][2], rows[1][2])),  # type: ignore[operator, arg-type]
            ("ResNet-152, whole", deep.num_params, deep.macs),
            ("VGG-16, whole", vgg.num_params, vgg.macs),
        ),
    )


def _options(subject: Subject) -> Claim:
    what = {"option_a": "zeros", "option_b": "1x1 where the shape changes", "option_c": "1x1 everywhere"}
    rows: list[tuple[Cell, ...]] = []
    for option in _possible_options(subject):
        counts = subject.counts_of("resnet", **_shape(subject), shortcut=option)
        rows.append((option[-1].upper(), what[option], counts.num_params, counts.macs))
    return Claim(
        title="Projections are not what helps",
        text="In the paper 34 layers have a top-1 error (10-crop) of 28.5% as a plain network, and of 25.0, 24.5 and "
        "24.2% with shortcuts of options A, B and C. Four fifths of the gain are there without a single weight in a "
        "shortcut.",
        columns=("option", "shortcut", "weights", "MACs"),
        rows=tuple(rows),
    )


# ------------------------------------------------------------------------------------------------------------- plain


def _no_way_around(subject: Subject) -> Claim:
    shape = _shape(subject)
    option = _possible_options(subject)[0]
    rows = (
        _paths_of("plain", subject.counts_of("plain", **shape)),
        _paths_of(f"resnet, option {option[-1].upper()}", subject.counts_of("resnet", **shape, shortcut=option)),
    )
    return Claim(
        title="The control of the residual network",
        text="The same layers, the same weights, the same work, without the additions: whatever a residual network "
        "does better, the additions do. (Option A has zeros where the shape changes, and no weights; ImageNet's "
        "residual networks have 1x1 convolutions there.) The longest and the shortest way through it are one and the "
        "same.",
        columns=("network", "weights", "MACs", "layers on the longest path", "on the shortest"),
        rows=rows,
    )


# ---------------------------------------------------------------------------------------------------- pre-activation


def _nothing_on_the_path(subject: Subject) -> Claim:
    rows: list[tuple[Cell, ...]] = []
    size = min(subject.image_size, _LARGEST)
    settings = {**_shape(subject), "small_input": True, "shortcut": subject.settings["shortcut"]}
    images = random_images(subject.in_channels, size, num_images=4)
    for what, silent in (("as it begins", False), ("with every branch silent", True)):
        torch.manual_seed(0)
        network = preact_resnet(
            num_classes=subject.num_classes, in_channels=subject.in_channels, image_size=size, **settings
        )
        if silent:
            for block in _blocks(network):
                nn.init.zeros_(block.last_conv.weight)
        found = gradients_at_start(network, images, subject.num_classes)
        with torch.no_grad():
            maps = list(features(network.eval(), images).values())
        rows.append((what, float(maps[-1].norm() / maps[0].norm()), found.amplification))
    return Claim(
        title="Nothing but additions from the first block to the last",
        text="In the first residual networks a relu follows each addition. Here norm and relu have moved to the front "
        "of the convolutions, and the path from addition to addition is the identity: what a block receives is the "
        "stem's map plus what all blocks before it have added, and the gradient comes back the same way, unchanged, "
        "plus what the branches say. Silence the branches and the path alone is left; its numbers are 1 but for where "
        "option A drops pixels or option B projects. The paper trains 1,001 layers so: 4.92% on CIFAR-10 with batches "
        "of 128, 4.62% with batches of 64, where the first form has 7.61%.",
        columns=("network", "last map over the stem's (norms)", "gradient at the stem over that at the end"),
        rows=tuple(rows),
    )


def _blocks(network: ResNet) -> list[Block]:
    return [module for module in network.modules() if isinstance(module, Block)]


def _scaled_paths() -> Claim:
    """54 units, as ResNet-110 has, with their branches silent."""
    images = random_images(in_channels=3, image_size=16)
    rows: list[tuple[Cell, ...]] = []
    for h, error in _HE_2016.items():
        torch.manual_seed(0)
        network = ResNet(
            "preact_resnet",
            blocks=[18, 18, 18],
            widths=[16, 16, 16],
            small_input=True,
            num_classes=10,
            in_channels=3,
            h=h,
        )
        for block in _blocks(network):
            nn.init.zeros_(block.last_conv.weight)
        found = gradients_at_start(network, images, num_classes=10)
        rows.append((h, found.amplification, found.coherence, _share_of_the_branch(network, images), error))
    return Claim(
        title="What stands on the path is multiplied by itself",
        text="Scale each shortcut by a half, and 54 of them leave 0.5 to the power of 54 of the signal: nothing. A "
        "convolution there scrambles the gradient, and so does dropout, which deletes another half at every block. "
        "The identity is the only factor that any number of blocks can be multiplied by. A gate that starts nearly "
        "open, as the paper's do, takes little away at first; but the exclusive one shuts the branch as far as it "
        "opens the shortcut. (An author of Highway Networks holds that gated networks train well when they are set up "
        "with care.) Measured before training, 54 pre-activation units of 16 channels with silent branches, so that "
        "only the path counts; the errors are the paper's, of ResNet-110 with relu after the addition, on CIFAR-10.",
        columns=(
            "shortcut",
            "gradient at the stem over that at the end",
            "coherence",
            "the branch is multiplied by",
            "published error",
        ),
        rows=tuple(rows),
    )


def _share_of_the_branch(network: ResNet, images_NCHW: Tensor) -> float:
    """What the first block multiplies its branch by, the mean over pixels and channels."""
    shortcut = _blocks(network)[0].shortcut
    if isinstance(shortcut, ConstantScaling):
        return shortcut.branch_scale
    if isinstance(shortcut, ExclusiveGating):
        with torch.no_grad():
            return float(shortcut.gate(network.stem(images_NCHW)).mean())
    return 1.0


_HE_2016 = {
    "identity": "6.61%",
    "constant_scaling": "12.35%",
    "exclusive_gating": "8.70%",
    "shortcut_only_gating": "6.91%",
    "conv1x1": "12.22%",
    "dropout": ">20%",
}


def _orders() -> Claim:
    published = {
        "original": "6.61%",
        "bn_after": "8.17%",
        "relu_before": "7.84%",
        "relu_only_pre": "6.71%",
        "full_pre": "6.37%",
    }
    after = {
        "original": "relu",
        "bn_after": "norm, relu",
        "relu_before": "nothing; but branches can only add",
        "relu_only_pre": "nothing",
        "full_pre": "nothing; and every convolution gets normalised inputs",
    }
    rows = []
    for f, error in published.items():
        counts = counts_published("resnet110", f=f)
        rows.append((f, after[f], counts.num_params, error))
    return Claim(
        title="Where norm and relu stand",
        text="Five orders of the same layers, of equal weights: what stands after the addition stands on everybody's "
        "path, and the order that leaves nothing there and normalises every convolution's input wins. Counted for "
        "ResNet-110; the errors are the paper's, CIFAR-10.",
        columns=("order", "after the addition", "weights", "published error"),
        rows=tuple(rows),
    )
