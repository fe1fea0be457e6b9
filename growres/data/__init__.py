"""Images: where they come from, how they are split, and the batches that a network is trained on.

    sources     finds and reads a data set: digits, hub, parquet, imagefolder
    content     tells by their content whether files changed
    decoding    any image, of any mode and size, to uint8 pixels
    cache       folders of arrays on disk, each built once
    splits      train, validation and test; limits; label noise
    known       what is known of the images before any is read
    loading     configuration -> ImageData: where the modules above meet
    images      ImageSplit and ImageData, what training sees
    augment     crop, flip, cutout, affine, lighting, a batch at a time
    batches     an epoch's batches on the device

The names below are imported on first use, so that importing this package needs no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from growres.data.batches import DeviceData as DeviceData
    from growres.data.images import ImageData as ImageData
    from growres.data.images import ImageSplit as ImageSplit
    from growres.data.known import known_facts as known_facts
    from growres.data.loading import cached_sources as cached_sources
    from growres.data.loading import describe_source as describe_source
    from growres.data.loading import load_images as load_images
    from growres.data.loading import pin_source as pin_source

_MODULE_OF = {
    "DeviceData": "batches",
    "ImageData": "images",
    "ImageSplit": "images",
    "cached_sources": "loading",
    "describe_source": "loading",
    "known_facts": "known",
    "load_images": "loading",
    "pin_source": "loading",
}

__all__ = [
    "DeviceData",
    "ImageData",
    "ImageSplit",
    "cached_sources",
    "describe_source",
    "known_facts",
    "load_images",
    "pin_source",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
