"""Who won the classification task of ImageNet's yearly challenge, and with how many layers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Winner:
    """The best classification entry of a year, judged on the sealed test images."""

    year: int
    team: str
    label: str
    """What a picture calls it: the network's name, or the team's in short."""
    method: str
    depth: int | None
    """Layers that hold weights on the longest path of its deepest network; None where there is no single figure."""
    top5_error: float
    """On the test images, a fraction: the right class is not among five guesses."""
    note: str = ""
    network: str | None = None
    """The zoo's network that it was built of."""


HUMAN_TOP5_ERROR = 0.051
"""One trained person over 1,500 test images (Russakovsky et al. 2015, arXiv:1409.0575, section 6.4); another had 12%
over 258."""

WINNERS: tuple[Winner, ...] = (
    Winner(
        year=2010, team="NEC-UIUC", label="NEC-UIUC", method="SIFT and LBP features, SVM", depth=None, top5_error=0.2819
    ),
    Winner(year=2011, team="XRCE", label="XRCE", method="Fisher vectors, linear SVM", depth=None, top5_error=0.2577),
    Winner(
        year=2012,
        team="SuperVision",
        label="AlexNet",
        method="AlexNet, 7 networks",
        depth=8,
        top5_error=0.1532,
        note="16.42% without additional training data",
        network="alexnet",
    ),
    Winner(
        year=2013,
        team="Clarifai",
        label="Clarifai",
        method="networks after Zeiler and Fergus",
        depth=8,
        top5_error=0.1120,
        note="11.74% without additional training data",
    ),
    Winner(
        year=2014,
        team="GoogLeNet",
        label="GoogLeNet",
        method="GoogLeNet, 7 networks, 144 crops",
        depth=22,
        top5_error=0.0666,
        note="second: VGG, 19 layers, 7.33%",
        network="googlenet",
    ),
    Winner(
        year=2015,
        team="MSRA",
        label="ResNet",
        method="ResNet, 6 networks",
        depth=152,
        top5_error=0.0357,
        network="resnet152",
    ),
    Winner(
        year=2016,
        team="Trimps-Soushen",
        label="Trimps-S.",
        method="Inception and residual networks together",
        depth=None,
        top5_error=0.0299,
        note="second: ResNeXt, 3.03%",
    ),
    Winner(
        year=2017,
        team="WMW",
        label="SENet",
        method="SENet, several networks",
        depth=154,
        top5_error=0.0225,
        note="154 layers by its name",
    ),
)
