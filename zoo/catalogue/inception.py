"""Inception v2, v3 and v4, 2015 and 2016."""

from __future__ import annotations

from zoo.catalogue import recipes
from zoo.entry import AUXILIARY, SMALL_INPUT, WIDTH, ModelEntry, PublishedError, Recipe, Settings

_UNAMBIGUOUS = "without 1,762 ambiguous images"


def _v2_smallest(settings: Settings) -> int:
    """Two pixels a side in the last map of the form for small images, one in the other."""
    return 5 if settings["small_input"] is True else 32


def _unpadded_smallest(settings: Settings) -> int:
    """Reductions without padding: two pixels a side in the last map of the form for small images, one in the other."""
    return 11 if settings["small_input"] is True else 75


_RMSPROP_RECIPE = recipes.training(
    epochs=100,
    batch_size=32,
    optimizer={"name": "rmsprop", "lr": 0.045, "alpha": 0.9, "eps": 1.0, "momentum": 0.0, "weight_decay": 0.0},
    schedule={"name": "step", "every_epochs": 2, "factor": 0.94, "warmup_epochs": 0},
    augment=(recipes.CROP_OF_ANY_SIZE, "flip"),
    label_smoothing=0.1,
    clip_grad_norm=2.0,
)

_V2 = ModelEntry(
    name="inception_v2",
    title="BN-Inception (Inception v2)",
    year=2015,
    paper="Ioffe and Szegedy: Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate "
    "Shift (arXiv:1502.03167)",
    factory="zoo.inception_v2:inception_v2",
    input_shape=(3, 224, 224),
    num_classes=1000,
    arguments=(SMALL_INPUT, WIDTH),
    smallest_image=_v2_smallest,
    published=(
        PublishedError(
            data="ImageNet",
            top1=0.252,
            top5=0.0782,
            protocol="1-crop, one network",
            source="Ioffe and Szegedy 2015, figure 4",
        ),
        PublishedError(
            data="ImageNet",
            top1=0.2199,
            top5=0.0582,
            protocol="144-crop, one network",
            source="Ioffe and Szegedy 2015, figure 4",
        ),
        PublishedError(
            data="ImageNet", top5=0.0482, protocol="test, 6 networks", source="Ioffe and Szegedy 2015, figure 4"
        ),
    ),
    recipes={
        "paper": Recipe(
            training=recipes.training(
                epochs=150,
                batch_size=32,
                optimizer=recipes.sgd(0.045, weight_decay=4e-5),
                schedule={"name": "step", "every_epochs": 4, "factor": 0.885, "warmup_epochs": 0},
                augment=(recipes.CROP_OF_ANY_SIZE, "flip"),
            ),
            cost="about 6 million steps of 32 images, 150 epochs of ImageNet",
            differs="the paper's BN-x30: thirty times the learning rate of the network without batch norm (0.0015), "
            "which falls six times as fast (4% in 8 epochs: here 11.5% in 4), a fifth of its weight decay "
            "(the Caffe replica's 2e-4), and no dropout; the paper trains on many machines at once",
        ),
        "short": recipes.short(0.1),
    },
)

_V3 = ModelEntry(
    name="inception_v3",
    title="Inception v3",
    year=2015,
    paper="Szegedy, Vanhoucke, Ioffe, Shlens and Wojna: Rethinking the Inception Architecture for Computer Vision "
    "(arXiv:1512.00567)",
    factory="zoo.inception_v3:inception_v3",
    input_shape=(3, 299, 299),
    num_classes=1000,
    arguments=(SMALL_INPUT, AUXILIARY, WIDTH),
    smallest_image=_unpadded_smallest,
    published=(
        PublishedError(
            data="ImageNet",
            top1=0.212,
            top5=0.056,
            protocol=f"1-crop, {_UNAMBIGUOUS}",
            source="Szegedy et al. 2015, table 3",
        ),
        PublishedError(
            data="ImageNet",
            top1=0.1877,
            top5=0.042,
            protocol=f"144-crop, {_UNAMBIGUOUS}",
            source="Szegedy et al. 2015, table 4",
        ),
        PublishedError(
            data="ImageNet", top5=0.0358, protocol="144-crop on test, 4 networks", source="Szegedy et al. 2015, table 5"
        ),
    ),
    recipes={
        "paper": Recipe(
            training=_RMSPROP_RECIPE,
            cost="100 epochs of ImageNet on 50 machines",
            differs="the paper evaluates a running mean of the weights, we the weights; it trains on 50 machines at "
            "once, 32 images each, and names no weight decay (the release has 4e-5, and a momentum of 0.9 besides); "
            "TensorFlow adds eps within the root of RMSProp, PyTorch after it",
        ),
        "short": recipes.short(0.05),
    },
)

_V4 = ModelEntry(
    name="inception_v4",
    title="Inception v4",
    year=2016,
    paper="Szegedy, Ioffe, Vanhoucke and Alemi: Inception-v4, Inception-ResNet and the Impact of Residual Connections "
    "on Learning (arXiv:1602.07261)",
    factory="zoo.inception_v4:inception_v4",
    input_shape=(3, 299, 299),
    num_classes=1000,
    arguments=(SMALL_INPUT, WIDTH),
    smallest_image=_unpadded_smallest,
    published=(
        PublishedError(
            data="ImageNet",
            top1=0.200,
            top5=0.050,
            protocol=f"1-crop, {_UNAMBIGUOUS}",
            source="Szegedy et al. 2016, table 2",
        ),
        PublishedError(
            data="ImageNet", top1=0.177, top5=0.038, protocol="144-crop", source="Szegedy et al. 2016, table 4"
        ),
    ),
    recipes={
        "paper": Recipe(
            training={**_RMSPROP_RECIPE, "label_smoothing": 0.0},
            cost="on 20 machines; the paper does not say how long",
            differs="epochs, batch size and clipping are those of Inception v3; the paper evaluates a running mean of "
            "the weights, we the weights, and names no weight decay; TensorFlow adds eps within the root of RMSProp, "
            "PyTorch after it",
        ),
        "short": recipes.short(0.05),
    },
)

ENTRIES: tuple[ModelEntry, ...] = (_V2, _V3, _V4)
