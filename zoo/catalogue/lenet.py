"""LeNet-5, 1998."""

from __future__ import annotations

from zoo.catalogue import recipes
from zoo.entry import Choice, ModelEntry, PublishedError, Recipe, Settings

_PAPER = "LeCun, Bottou, Bengio and Haffner: Gradient-Based Learning Applied to Document Recognition"


def _codes_for_ten_classes(settings: Settings) -> str | None:
    num_classes = settings.get("num_classes", 10)
    if settings["output"] != "rbf" or num_classes == 10:
        return None
    return (
        f"lenet5 with output rbf has codes for the 10 digits only, and there are {num_classes} classes; "
        "give it output: linear"
    )


ENTRIES: tuple[ModelEntry, ...] = (
    ModelEntry(
        name="lenet5",
        title="LeNet-5",
        year=1998,
        paper=_PAPER,
        factory="zoo.lenet:LeNet5",
        input_shape=(1, 32, 32),
        num_classes=10,
        arguments=(
            Choice(
                name="output",
                choices=("auto", "rbf", "linear"),
                default="auto",
                description="rbf: distances to fixed codes of the ten digits, as in the paper; linear: for any "
                "classes; auto: rbf where there are ten",
            ),
        ),
        remark="Every image is brought to 32x32 first, one of 28x28 by a border of two pixels, any other by resizing "
        "it; what a layer sees is told in pixels of the image as it comes.",
        rules=(_codes_for_ten_classes,),
        published=(
            PublishedError(
                data="MNIST", top1=0.0095, protocol="60,000 training images", source="LeCun et al. 1998, section III"
            ),
            PublishedError(
                data="MNIST",
                top1=0.008,
                protocol="with 540,000 distorted images besides",
                source="LeCun et al. 1998, section III",
            ),
        ),
        recipes={
            "paper": Recipe(
                training=recipes.training(
                    epochs=20,
                    batch_size=1,
                    optimizer={"name": "sdlm", "lr": 0.0005, "mu": 0.02, "samples": 500},
                    schedule={
                        "name": "multistep",
                        "milestones": [2, 5, 8, 12],
                        "factor": [0.4, 0.5, 0.5, 0.2],
                        "warmup_epochs": 0,
                    },
                    augment=(),
                ),
                cost="20 passes over 60,000 images, one at a time: 1.2 million updates",
                differs="the criterion is cross-entropy over the scaled distances, without the paper's rubbish class; "
                "the curvature is the diagonal of the Gauss-Newton matrix itself, not carried back layer by layer",
            ),
            "short": recipes.short(0.05, augment=("crop",)),  # a mirrored digit is none
        },
    ),
)
