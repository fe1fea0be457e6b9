"""AlexNet, 2012, and the form of it that torchvision has."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.catalogue import recipes
from zoo.entry import SMALL_INPUT, WIDTH, ModelEntry, PublishedError, Recipe, Settings

_SOURCE = "Krizhevsky et al. 2012"
_RECIPES: Mapping[str, Recipe] = {
    "paper": Recipe(
        training=recipes.training(
            epochs=90,
            batch_size=128,
            optimizer=recipes.sgd(0.01, weight_decay=5e-4),
            schedule=recipes.divided_by_ten(30, 60, 80),
            augment=(recipes.crop_of_jittered_scale(256, 256, crop=224), "flip", "lighting"),
        ),
        cost="90 epochs of ImageNet; its authors needed five to six days on two GTX 580",
        differs="the paper divides the learning rate three times by hand when the validation error stops falling, here "
        "after epochs 30, 60 and 80; it subtracts the mean only, we also divide by the deviation, which makes pixels "
        "some sixty times smaller: its response norm hardly acts on them, and with its small first weights the error "
        "may stay at chance for a long while before it falls",
    ),
    "short": recipes.short(0.01, clip_grad_norm=5.0),
}


def _three_overlapping_poolings(stem_padding: int, settings: Settings) -> int:
    """The last of the three poolings needs three pixels a side."""
    before_pooling = 15
    return before_pooling if settings["small_input"] is True else 4 * (before_pooling - 1) + 11 - 2 * stem_padding


ENTRIES: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="alexnet",
        title="AlexNet",
        year=2012,
        paper="Krizhevsky, Sutskever and Hinton: ImageNet Classification with Deep Convolutional Neural Networks",
        factory="zoo.alexnet:alexnet",
        input_shape=(3, 227, 227),
        num_classes=1000,
        arguments=(SMALL_INPUT, WIDTH),
        smallest_image=lambda settings: _three_overlapping_poolings(0, settings),
        published=(
            PublishedError(
                data="ImageNet", top1=0.407, top5=0.182, protocol="10-crop, one network", source=f"{_SOURCE}, table 2"
            ),
            PublishedError(
                data="ImageNet",
                top5=0.153,
                protocol="10-crop on test, 7 networks, 2 of them with more data",
                source=f"{_SOURCE}, table 2",
            ),
            PublishedError(
                data="ILSVRC-2010", top1=0.375, top5=0.170, protocol="10-crop on test", source=f"{_SOURCE}, table 1"
            ),
        ),
        recipes=_RECIPES,
    ),
    ModelEntry(
        name="alexnet_torchvision",
        title="AlexNet of torchvision, in one tower",
        year=2014,
        paper="Krizhevsky: One weird trick for parallelizing convolutional neural networks (arXiv:1404.5997)",
        factory="zoo.alexnet:alexnet_torchvision",
        input_shape=(3, 224, 224),
        num_classes=1000,
        arguments=(SMALL_INPUT, WIDTH),
        smallest_image=lambda settings: _three_overlapping_poolings(2, settings),
        published=(
            PublishedError(
                data="ImageNet", top1=0.43478, top5=0.20934, protocol="1-crop", source="torchvision's weights"
            ),
        ),
        recipes=_RECIPES,
    ),
)
