"""LeNet-5: weights that are shared, maps that must differ, subsampling, answers as bitmaps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from zoo.counting import count
from zoo.explained.claims import Claim, Subject, times
from zoo.feature_maps import features
from zoo.lenet import (
    C3_TABLE,
    CODE_HEIGHT,
    CODE_WIDTH,
    IMAGE_SIZE,
    CodeDistance,
    LeNet5,
    PartialConvolution,
    digit_codes,
)


def claims(subject: Subject) -> tuple[Claim, ...]:
    return (
        _shared_weights(subject),
        _maps_that_must_differ(),
        _subsampling(),
        _codes(subject),
    )


def _shared_weights(subject: Subject) -> Claim:
    layers = [layer for layer in subject.counts.layers if layer.num_params]
    total, weights = sum(layer.connections for layer in layers), sum(layer.num_params for layer in layers)
    return Claim(
        title="One small detector, used everywhere",
        text="A stroke that matters in one corner of the image matters in every other. So a convolution does not "
        "learn a detector for each place: it learns one window of 5x5 weights and slides it over the image. A weight "
        "of C1 is used at 784 places and learns from all of them at once, which is why so few weights can be learned "
        "from so few images. Behind the convolutions C5 and F6 use each weight once; that is where most of them are.",
        columns=("layer", "connections", "weights", "connections a weight"),
        rows=(
            *((x.name.upper(), x.connections, x.num_params, times(x.connections, x.num_params)) for x in layers),
            ("all of these", total, weights, times(total, weights)),
        ),
    )


def _maps_that_must_differ() -> Claim:
    full = [tuple(range(6))] * len(C3_TABLE)
    sparse, dense = (count(PartialConvolution(6, table), (6, 14, 14)).layers[0] for table in (C3_TABLE, full))
    return Claim(
        title="Sixteen maps that must become different",
        text="If every map of C3 saw all six maps of S2, all sixteen would face the same task from slightly different "
        "starts. The paper gives each of them another set of three, four or six maps instead: they cannot become the "
        "same detector, and 37% of the weights are saved.",
        columns=("C3", "pairs of maps", "different sets", "weights", "connections"),
        rows=(
            ("as published", sum(map(len, C3_TABLE)), len(set(C3_TABLE)), sparse.num_params, sparse.connections),
            ("every map sees all", sum(map(len, full)), len(set(full)), dense.num_params, dense.connections),
        ),
    )


def _subsampling() -> Claim:
    torch.manual_seed(0)
    network = LeNet5(num_classes=10, in_channels=1, image_size=IMAGE_SIZE).eval()
    image = _glyphs()
    shifted = torch.roll(image, shifts=1, dims=3)
    with torch.no_grad():
        here, there = features(network, image), features(network, shifted)
    return Claim(
        title="Where exactly matters less after each subsampling",
        text="A digit that moves by a pixel is the same digit. Subsampling sums 2x2 neighbours (each map has one "
        "weight and one bias of its own for the sum): what is left says that a stroke is about here, not that it is "
        "at this pixel. Measured on the ten digits of the output codes, each moved by one pixel, in a network before "
        "training; 1 would be as much as a digit differs from the mean of all ten.",
        columns=("after", "map", "change when the digit moves by a pixel"),
        rows=tuple(
            (name.upper(), "x".join(map(str, here[name].shape[1:])), _relative_change(here[name], there[name]))
            for name in ("c1", "s2", "c3", "s4")
        ),
    )


def _relative_change(here: Tensor, there: Tensor) -> float:
    """The change relative to how much the images differ among themselves."""
    spread = (here - here.mean(dim=0)).square().mean().sqrt()
    return float((there - here).square().mean().sqrt() / spread)


def _glyphs() -> Tensor:
    """The ten digits (10, 1, 32, 32), drawn with the bitmaps of the output codes, background -0.1 and ink 1.175."""
    bitmaps = digit_codes().view(10, 1, CODE_HEIGHT, CODE_WIDTH)
    drawn = F.interpolate((bitmaps + 1) / 2, scale_factor=(20 / CODE_HEIGHT, 14 / CODE_WIDTH), mode="bilinear")
    return F.pad(drawn, (9, 9, 6, 6)) * 1.275 - 0.1


def _codes(subject: Subject) -> Claim:
    has_codes = isinstance(subject.make_on_meta().get_submodule("out"), CodeDistance)
    here = (
        ""
        if has_codes
        else f"This network, for {subject.num_classes} classes, has no codes: its output is linear, one unit a class. "
        "What follows is of the published one, for the ten digits. "
    )
    codes = digit_codes()
    different = (codes[:, None] != codes[None]).sum(dim=2)
    pairs = different[torch.triu_indices(10, 10, offset=1).unbind()]
    return Claim(
        title="Answers that are pictures",
        text=f"{here}The ten targets are not ten separate switches but ten bitmaps of 7x12 pixels, and the answer is "
        "the bitmap that lies nearest. Two targets differ in many of the 84 units, so that several may be wrong "
        "before the answer is; and characters that look alike have bitmaps that lie close, so that a doubtful image "
        "is doubtful between the right two. The paper uses them for all printable characters; for ten digits alone, "
        "it says, they bring little. (The bitmaps are drawn for this zoo, after the paper's manner.)",
        columns=("targets", "units", "smallest difference of two", "mean difference of two"),
        rows=(
            ("bitmaps", 84, int(pairs.min()), float(pairs.float().mean())),
            ("one unit a class", 10, 2, 2.0),
        ),
    )
