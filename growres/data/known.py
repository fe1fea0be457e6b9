"""What is known of a data set without reading its images: of the bundled digits always, of others once decoded here.

It needs no torch, so that a file is checked against its images in an instant.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from growres.config.experiment import DatasetConfig
from growres.data.cache import FORMAT, open_entry
from growres.data.content import digest_of
from growres.data.sources import identify, pinned
from growres.errors import DataError
from growres.home import growres_home


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """What a network must fit."""

    num_classes: int
    channels: int
    image_size: int
    """Pixels a side."""


DIGITS = ImageFacts(num_classes=10, channels=1, image_size=8)


def known_facts(config: DatasetConfig, home: Path | None = None) -> ImageFacts | None:
    """The images that the configuration gives; None where they would have to be read first, or the network asked.

    Args:
        home: where the caches are; by default GROWRES_HOME.
    """
    if config.source == "digits":
        return ImageFacts(
            num_classes=DIGITS.num_classes,
            channels=config.channels or DIGITS.channels,
            image_size=config.image_size or DIGITS.image_size,
        )
    if config.path is None or not os.path.exists(os.path.expanduser(config.path)):
        return None  # on the hub, where the newest revision is asked for; or nowhere
    data_home = cache_home(home)
    try:
        config = pinned(config, data_home)
        if not any(_is_of(config, meta_file.parent) for meta_file in data_home.glob("*/meta.json")):
            return None  # its content need not be read to know that
        entry = open_entry(data_home / source_fingerprint(config, data_home))
    except DataError:
        return None  # whoever reads the images will say what is wrong with them
    if entry is None:
        return None
    meta = entry.meta
    return ImageFacts(num_classes=len(meta["class_names"]), channels=meta["channels"], image_size=meta["image_size"])


def _is_of(config: DatasetConfig, folder: Path) -> bool:
    entry = open_entry(folder)
    return entry is not None and (entry.meta.get("source"), entry.meta.get("path")) == (config.source, config.path)


def cache_home(home: Path | None = None) -> Path:
    """The folder of the data caches; by default that of GROWRES_HOME."""
    return (growres_home() if home is None else home) / "data"


def source_fingerprint(config: DatasetConfig, data_home: Path) -> str:
    """The name of a decoded source's cache entry: equal for equal files, converted alike. `config` is a pinned one.

    Raises:
        DataError: if the source is not there or cannot be read.
    """
    settings = ("train_split", "test_split", "channels", "image_size", "image_column", "label_column")
    chosen = [getattr(config, name) for name in settings]
    return digest_of("source", FORMAT, config.source, identify(config, data_home), *chosen)
