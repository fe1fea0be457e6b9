"""LeNet-5, 1998."""

from __future__ import annotations

from zoo.entry import Choice, ModelEntry, PublishedError, Settings

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
                description="rbf: distances to the fixed codes of the ten digits, as published; linear: for any "
                "classes; auto: rbf where there are ten",
            ),
        ),
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
    ),
)
