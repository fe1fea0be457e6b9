"""GoogLeNet, 2014, and the form of it that torchvision has."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.catalogue import recipes
from zoo.entry import AUXILIARY, SMALL_INPUT, WIDTH, ModelEntry, PublishedError, Recipe, Settings

_PAPER = "Szegedy et al.: Going Deeper with Convolutions (arXiv:1409.4842)"
_RECIPES: Mapping[str, Recipe] = {
    "paper": Recipe(
        training=recipes.training(
            epochs=775,
            batch_size=32,
            optimizer=recipes.sgd(0.01, weight_decay=2e-4),
            schedule={"name": "step", "every_epochs": 8, "factor": 0.96, "warmup_epochs": 0},
            augment=(recipes.CROP_OF_ANY_SIZE, "flip"),
        ),
        cost="the paper does not say; 775 epochs are the 31 million steps of 32 images that the paper of batch norm "
        "gives for its variant of the network",
        differs="the paper trains on many machines at once and averages the weights over time (Polyak), which we do "
        "not, and distorts colours; batch size, first learning rate and weight decay, which it does not give, are the "
        "Caffe replica's",
    ),
    "short": recipes.short(0.02, clip_grad_norm=5.0),
}


def _smallest_image(settings: Settings) -> int:
    """The last map has two pixels a side in the form for small images, one in the other."""
    return 8 if settings["small_input"] is True else 32


ENTRIES: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="googlenet",
        title="GoogLeNet (Inception v1)",
        year=2014,
        paper=_PAPER,
        factory="zoo.googlenet:googlenet",
        input_shape=(3, 224, 224),
        num_classes=1000,
        arguments=(SMALL_INPUT, AUXILIARY, WIDTH),
        smallest_image=_smallest_image,
        published=(
            PublishedError(
                data="ImageNet", top5=0.1007, protocol="1-crop, one network", source="Szegedy et al. 2014, table 3"
            ),
            PublishedError(
                data="ImageNet", top5=0.0789, protocol="144-crop, one network", source="Szegedy et al. 2014, table 3"
            ),
            PublishedError(
                data="ImageNet",
                top5=0.0667,
                protocol="144-crop, 7 networks",
                source="Szegedy et al. 2014, tables 2 and 3",
            ),
        ),
        recipes=_RECIPES,
    ),
    ModelEntry(
        name="googlenet_torchvision",
        title="GoogLeNet of torchvision, a later release with batch norm and 3x3 for 5x5",
        remark="The paper is of 2014 and has no batch norm, which is of 2015; this form came with later releases.",
        year=2014,
        paper=_PAPER,
        factory="zoo.googlenet:googlenet_torchvision",
        input_shape=(3, 224, 224),
        num_classes=1000,
        arguments=(SMALL_INPUT, AUXILIARY, WIDTH),
        smallest_image=_smallest_image,
        published=(
            PublishedError(
                data="ImageNet",
                top1=0.30222,
                top5=0.10470,
                protocol="1-crop",
                source="torchvision's weights",
            ),
        ),
        recipes={"paper": _RECIPES["paper"], "short": recipes.short(0.1)},
    ),
)
