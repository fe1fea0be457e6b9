"""VGG, 2014, with and without batch norm."""

from __future__ import annotations

from collections.abc import Mapping

from zoo.catalogue import recipes
from zoo.entry import SMALL_INPUT, WIDTH, ModelEntry, PublishedError, Recipe, Settings

_PAPER = "Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition (arXiv:1409.1556)"
_DEPTHS = (11, 13, 16, 19)


def _dense(top1: float, top5: float, scale: str) -> PublishedError:
    return PublishedError(
        data="ImageNet",
        top1=top1,
        top5=top5,
        protocol=f"dense, shorter side {scale}",
        source="Simonyan and Zisserman 2014, table 3",
    )


def _centre_crop(top1: float, top5: float) -> PublishedError:
    return PublishedError(data="ImageNet", top1=top1, top5=top5, protocol="1-crop", source="torchvision's weights")


_PUBLISHED: dict[str, tuple[PublishedError, ...]] = {
    "vgg11": (_dense(0.296, 0.104, "256"),),
    "vgg13": (_dense(0.287, 0.099, "256"),),
    "vgg16": (_dense(0.256, 0.081, "384, trained on 256 to 512"), _dense(0.270, 0.088, "256")),
    "vgg19": (_dense(0.255, 0.080, "384, trained on 256 to 512"), _dense(0.273, 0.090, "256")),
    "vgg11_bn": (_centre_crop(0.29630, 0.10190),),
    "vgg13_bn": (_centre_crop(0.28414, 0.09626),),
    "vgg16_bn": (_centre_crop(0.26640, 0.08484),),
    "vgg19_bn": (_centre_crop(0.25782, 0.08158),),
}


def _recipes(*, batch_norm: bool) -> Mapping[str, Recipe]:
    return {
        "paper": Recipe(
            training=recipes.training(
                epochs=74,
                batch_size=256,
                optimizer=recipes.sgd(0.01, weight_decay=5e-4),
                schedule=recipes.divided_by_ten(30, 50, 65),
                augment=(recipes.crop_of_jittered_scale(256, 512, crop=224), "flip", "lighting"),
            ),
            cost="370,000 iterations, 74 epochs of ImageNet; its authors needed two to three weeks on four GPUs",
            differs="the paper divides the learning rate three times when the validation error stops falling, here "
            "after epochs 30, 50 and 65; it begins the deep configurations with layers of configuration A, and those "
            "for several scales with a network of a single scale",
        ),
        "short": recipes.short(0.05) if batch_norm else recipes.short(0.01, clip_grad_norm=5.0),
    }


def _smallest_image(settings: Settings) -> int:
    """Two pixels a side in the last stage's convolutions, so that a 3x3 has neighbours to look at; for large images
    one pixel after five halvings."""
    return 17 if settings["small_input"] is True else 32


def _entry(depth: int, *, batch_norm: bool) -> ModelEntry:
    name = f"vgg{depth}_bn" if batch_norm else f"vgg{depth}"
    return ModelEntry(
        name=name,
        title=f"VGG-{depth} with batch norm, a later release" if batch_norm else f"VGG-{depth}",
        remark="The paper is of 2014 and has no batch norm, which is of 2015; this form came with later releases."
        if batch_norm
        else "",
        year=2014,
        paper=_PAPER,
        factory="zoo.vgg:VGG",
        input_shape=(3, 224, 224),
        num_classes=1000,
        preset={"depth": depth, "batch_norm": batch_norm},
        arguments=(SMALL_INPUT, WIDTH),
        smallest_image=_smallest_image,
        published=_PUBLISHED[name],
        recipes=_recipes(batch_norm=batch_norm),
    )


ENTRIES: tuple[ModelEntry, ...] = tuple(_entry(depth, batch_norm=bn) for depth in _DEPTHS for bn in (False, True))
