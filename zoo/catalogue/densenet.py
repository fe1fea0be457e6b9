"""DenseNet, 2016: the networks for ImageNet, the basic and BC forms for small images, and one of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zoo.catalogue import recipes
from zoo.entry import (
    SMALL_INPUT,
    Argument,
    Choice,
    Flag,
    ModelEntry,
    Number,
    PositiveInts,
    PublishedError,
    Recipe,
    Settings,
)

_PAPER = "Huang, Liu, van der Maaten and Weinberger: Densely Connected Convolutional Networks (arXiv:1608.06993)"
_SOURCE = "Huang et al. 2016"

_OPTIONS: tuple[Argument, ...] = (
    Flag(
        name="memory_efficient",
        default=False,
        description="dense layers are run again in the backward pass and keep no maps of their own: the same function, "
        "far less memory, some work twice",
    ),
    Number(
        name="dropout",
        least=0,
        most=0.9,
        default=0.0,
        description="the share of the outputs of dense layers that training drops; the paper has 0.2 where it "
        "trains without augmentation",
    ),
)

_IMAGENET: dict[int, tuple[tuple[int, ...], int]] = {
    121: ((6, 12, 24, 16), 32),
    169: ((6, 12, 32, 32), 32),
    201: ((6, 12, 48, 32), 32),
    161: ((6, 12, 36, 24), 48),
    264: ((6, 12, 64, 48), 32),
}
_SMALL: tuple[tuple[str, int, int], ...] = (
    ("basic", 40, 12),
    ("basic", 100, 12),
    ("basic", 100, 24),
    ("bc", 100, 12),
    ("bc", 250, 24),
    ("bc", 190, 40),
    ("bc", 40, 36),
    ("bc", 40, 48),
    ("bc", 40, 60),
)


def _cifar10(error: float, source: str = f"{_SOURCE}, table 2") -> tuple[PublishedError, ...]:
    return (
        PublishedError(data="CIFAR-10", top1=error, protocol="test, 50,000 training images, augmented", source=source),
    )


def _imagenet(top1: float, top5: float | None, protocol: str, source: str) -> PublishedError:
    return PublishedError(data="ImageNet", top1=top1, top5=top5, protocol=protocol, source=source)


_TABLE_3, _README = f"{_SOURCE}, table 3", "the authors' repository"
_PUBLISHED: dict[str, tuple[PublishedError, ...]] = {
    "densenet40_k12": _cifar10(0.0524),
    "densenet100_k12": _cifar10(0.0410),
    "densenet100_k24": _cifar10(0.0374),
    "densenet_bc100_k12": _cifar10(0.0451),
    "densenet_bc250_k24": _cifar10(0.0362),
    "densenet_bc190_k40": _cifar10(0.0346),
    "densenet_bc40_k36": _cifar10(0.0458, _README),
    "densenet_bc40_k48": _cifar10(0.0399, _README),
    "densenet_bc40_k60": _cifar10(0.0401, _README),
    "densenet121": (_imagenet(0.2502, 0.0771, "1-crop", _TABLE_3), _imagenet(0.2361, 0.0666, "10-crop", _TABLE_3)),
    "densenet169": (_imagenet(0.2380, 0.0685, "1-crop", _TABLE_3), _imagenet(0.2208, 0.0592, "10-crop", _TABLE_3)),
    "densenet201": (_imagenet(0.2258, 0.0634, "1-crop", _TABLE_3), _imagenet(0.2146, 0.0554, "10-crop", _TABLE_3)),
    "densenet161": (_imagenet(0.222, None, "1-crop", _README),),
    "densenet264": (_imagenet(0.2215, 0.0612, "1-crop", _TABLE_3), _imagenet(0.2080, 0.0529, "10-crop", _TABLE_3)),
}

_SMALL_RECIPES: Mapping[str, Recipe] = {
    "paper": Recipe(
        training=recipes.training(
            epochs=300,
            batch_size=64,
            optimizer=recipes.sgd(0.1, weight_decay=1e-4, nesterov=True),
            schedule=recipes.divided_by_ten(150, 225),
            augment=recipes.CROP_AND_FLIP,
        ),
        cost="300 epochs of 50,000 images",
    ),
    "short": recipes.short(0.1),
}
_IMAGENET_RECIPES: Mapping[str, Recipe] = {
    "paper": Recipe(
        training=recipes.training(
            epochs=90,
            batch_size=256,
            optimizer=recipes.sgd(0.1, weight_decay=1e-4, nesterov=True),
            schedule=recipes.divided_by_ten(30, 60),
            augment=(recipes.CROP_OF_ANY_SIZE, "flip", "lighting"),
        ),
        cost="90 epochs of ImageNet",
        differs="the augmentation is that of fb.resnet.torch, which the paper adopts, without its changes of "
        "brightness, contrast and saturation",
    ),
    "short": recipes.short(0.1),
}


def _one_pixel_in_the_last_block(settings: Settings) -> int:
    """Every transition halves the map and rounds down; the stem of large images halves it twice and rounds up."""
    smallest = int(2 ** (len(settings["layers"]) - 1))
    return smallest if settings["small_input"] is True else 4 * (smallest - 1) + 1


def _entry(name: str, title: str, **entry: Any) -> ModelEntry:
    return ModelEntry(
        name=name,
        title=title,
        year=2016,
        paper=_PAPER,
        factory="zoo.densenet:DenseNet",
        smallest_image=_one_pixel_in_the_last_block,
        published=_PUBLISHED.get(name, ()),
        **entry,
    )


def _of_imagenet(depth: int) -> ModelEntry:
    layers, growth_rate = _IMAGENET[depth]
    return _entry(
        f"densenet{depth}",
        f"DenseNet-{depth}, {growth_rate} maps a layer",
        input_shape=(3, 224, 224),
        num_classes=1000,
        preset={"layers": list(layers), "growth_rate": growth_rate, "form": "bc"},
        remark=_remark(depth, layers),
        arguments=(SMALL_INPUT, *_OPTIONS),
        recipes=_IMAGENET_RECIPES,
    )


def _remark(depth: int, layers: tuple[int, ...]) -> str:
    """The stem, the transitions and the classifier count too, and a dense layer is two."""
    counted = 2 * sum(layers) + len(layers) + 1
    if counted == depth:
        return ""
    return f"By the rule that names the others it has {counted} layers that hold weights; {depth} is the paper's name."


def _of_small_images(form: str, depth: int, growth_rate: int) -> ModelEntry:
    """The stem, two transitions and the classifier are 4 of the layers; a dense layer of BC is two."""
    layers = (depth - 4) // (6 if form == "bc" else 3)
    name, title = ("densenet_bc", "DenseNet-BC") if form == "bc" else ("densenet", "DenseNet")
    return _entry(
        f"{name}{depth}_k{growth_rate}",
        f"{title} of {depth} layers for small images, {growth_rate} maps a layer",
        input_shape=(3, 32, 32),
        num_classes=10,
        preset={"layers": [layers] * 3, "growth_rate": growth_rate, "form": form, "small_input": True},
        arguments=_OPTIONS,
        recipes=_SMALL_RECIPES,
    )


_OF_ANY_SHAPE = _entry(
    "densenet",
    "DenseNet of any shape",
    input_shape=(3, 32, 32),
    num_classes=10,
    arguments=(
        PositiveInts(name="layers", description="dense layers in each block"),
        Number(
            name="growth_rate", least=1, most=1024, whole=True, default=12, description="the maps that a layer adds (k)"
        ),
        Choice(
            name="form",
            choices=("basic", "bc"),
            default="bc",
            description="bc: a 1x1 convolution to 4k maps in each layer, and transitions that keep half of the maps; "
            "basic: neither",
        ),
        SMALL_INPUT,
        *_OPTIONS,
    ),
    recipes=_SMALL_RECIPES,
)

ENTRIES: tuple[ModelEntry, ...] = (
    _OF_ANY_SHAPE,
    *(_of_small_images(*shape) for shape in _SMALL),
    *(_of_imagenet(depth) for depth in _IMAGENET),
)
