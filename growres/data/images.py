"""What training sees of a data set: three splits of uint8 images with their labels.

Dimension key: N images, C channels (1 or 3), H = W the image size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class ImageSplit:
    """Images and labels of one split; memory-mapped from the cache, so that the trials of a machine share them."""

    images: Tensor
    """uint8 (N, C, H, W)."""
    labels: Tensor
    """int64 (N,), each in [0, number of classes)."""

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageData:
    """A data set, decoded and split."""

    name: str
    class_names: tuple[str, ...]
    """The label of a class is its place here."""
    fingerprint: str
    """Two data sets with the same fingerprint hold the same images and labels, in the same splits and order."""
    train: ImageSplit
    validation: ImageSplit
    test: ImageSplit
    mean: tuple[float, ...]
    """Per channel, of the training split's pixels / 255."""
    std: tuple[float, ...]
    """Likewise; at least 1/255, so that a constant channel can be divided by it."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def channels(self) -> int:
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> int:
        return int(self.train.images.shape[2])


def describe_images(data: ImageData) -> dict[str, Any]:
    """What a network that was trained on these images needs to know of them to be used on others: plain values.

    Keys: name, class_names, channels, image_size, mean, std.
    """
    return {
        "name": data.name,
        "class_names": list(data.class_names),
        "channels": data.channels,
        "image_size": data.image_size,
        "mean": list(data.mean),
        "std": list(data.std),
    }
