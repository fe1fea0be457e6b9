"""From a configuration to images that can be trained on, by way of two caches.

The first holds the decoded source, the second its splits with their statistics, so that a trial that starts reads
nothing but what it trains on, memory-mapped and shared with the other trials of the machine.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from growres.config.experiment import DatasetConfig
from growres.data.cache import FORMAT, CacheEntry, open_entry, open_or_build, write_array
from growres.data.content import digest_of
from growres.data.decoding import choose_shape, decode
from growres.data.images import ImageData, ImageSplit
from growres.data.known import DIGITS, cache_home, source_fingerprint
from growres.data.sources import SourceSplit, open_source, pinned, source_name
from growres.data.splits import split_rows, with_label_noise

_DIGITS = DatasetConfig(source="digits")
_COPY_AT_A_TIME = 4096
"""Images; copying and counting in pieces keeps a data set larger than memory out of it."""


def load_images(config: DatasetConfig, home: Path | None = None) -> ImageData:
    """The configured data set, decoded and split; only its first use, on this machine, takes time.

    Args:
        home: where the caches are; by default GROWRES_HOME.
    Raises:
        DataError: if the source cannot be read, converted or split as configured.
    """
    data_home = cache_home(home)
    config = pinned(config, data_home)
    entry = _split_entry(config, data_home, source_fingerprint(config, data_home))
    return ImageData(
        name=source_name(config),
        class_names=tuple(entry.meta["class_names"]),
        fingerprint=entry.path.name,
        train=_image_split(entry, "train"),
        validation=_image_split(entry, "validation"),
        test=_image_split(entry, "test"),
        mean=tuple(entry.meta["mean"]),
        std=tuple(entry.meta["std"]),
    )


def pin_source(config: DatasetConfig, home: Path | None = None) -> DatasetConfig:
    """The configuration that means the same data from any folder and at any time; for trials that run elsewhere.

    Raises:
        DataError: if a path leads nowhere, or a hub data set's revision cannot be resolved.
    """
    return pinned(config, cache_home(home))


def describe_source(config: DatasetConfig, home: Path | None = None) -> dict[str, Any]:
    """What the configured data set holds, JSON-ready; it is decoded first where it is not in the cache.

    Keys: name, source, splits {split: images}, classes [{class, train, validation, test}], channels, image_size,
    mean, std, fingerprint, cache_path, bytes (of the cache: the decoded source and these splits).

    Raises:
        DataError: as load_images does.
    """
    data_home = cache_home(home)
    config = pinned(config, data_home)
    data = load_images(config, home)
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    counts = {name: torch.bincount(split.labels, minlength=data.num_classes) for name, split in splits.items()}
    entries = [open_entry(data_home / source_fingerprint(config, data_home)), open_entry(data_home / data.fingerprint)]
    return {
        "name": data.name,
        "source": config.source,
        "splits": {name: len(split) for name, split in splits.items()},
        "classes": [
            {"class": class_name, **{name: int(count[label]) for name, count in counts.items()}}
            for label, class_name in enumerate(data.class_names)
        ],
        "channels": data.channels,
        "image_size": data.image_size,
        "mean": list(data.mean),
        "std": list(data.std),
        "fingerprint": data.fingerprint,
        "cache_path": str(data_home / data.fingerprint),
        "bytes": sum(entry.num_bytes for entry in entries if entry is not None),
    }


def cached_sources(home: Path | None = None) -> list[dict[str, Any]]:
    """The sources that are decoded on this machine, by name, and `digits`, which is always available.

    Keys: source, path, fingerprint, images, channels, image_size, bytes, created_at (UTC, ISO 8601). For a `digits`
    that was not used yet bytes is 0 and created_at None.
    """
    data_home = cache_home(home)
    entries = [open_entry(meta_file.parent) for meta_file in sorted(data_home.glob("*/meta.json"))]
    rows = [_source_row(entry) for entry in entries if entry is not None and entry.meta["kind"] == "source"]
    if not any(row["source"] == "digits" for row in rows):
        always = {"source": "digits", "path": None, "fingerprint": source_fingerprint(_DIGITS, data_home)}
        rows.append(
            {
                **always,
                "images": 1797,
                "channels": DIGITS.channels,
                "image_size": DIGITS.image_size,
                "bytes": 0,
                "created_at": None,
            }
        )
    return sorted(rows, key=lambda row: (row["source"], row["path"] or "", row["fingerprint"]))


# --------------------------------------------------------------------------------------------- the decoded source


def _source_entry(config: DatasetConfig, data_home: Path, fingerprint: str) -> CacheEntry:
    def build(folder: Path) -> dict[str, Any]:
        with TemporaryDirectory(dir=folder) as scratch, open_source(config, Path(scratch)) as source:
            channels, image_size = choose_shape(
                [split.encoded for split in source.splits.values()], config.channels, config.image_size
            )
            for name, split in source.splits.items():
                _decode_split(split, folder / name, channels, image_size)
        return {
            "kind": "source",
            "source": config.source,
            "path": config.path,
            "class_names": source.class_names,
            "images": {name: len(split.labels) for name, split in source.splits.items()},
            "channels": channels,
            "image_size": image_size,
        }

    return open_or_build(data_home / fingerprint, build)


def _decode_split(split: SourceSplit, folder: Path, channels: int, image_size: int) -> None:
    pixels = write_array(folder / "images.npy", (len(split.labels), channels, image_size, image_size))
    decode(split.encoded, pixels)
    pixels.flush()  # type: ignore[attr-defined]
    np.save(folder / "labels.npy", split.labels)


def _source_row(entry: CacheEntry) -> dict[str, Any]:
    meta = entry.meta
    return {
        "source": meta["source"],
        "path": meta["path"],
        "fingerprint": entry.path.name,
        "images": sum(meta["images"].values()),
        "channels": meta["channels"],
        "image_size": meta["image_size"],
        "bytes": entry.num_bytes,
        "created_at": meta["created_at"],
    }


# ----------------------------------------------------------------------------------------------------- its splits


def _split_entry(config: DatasetConfig, data_home: Path, source_fingerprint: str) -> CacheEntry:
    def build(folder: Path) -> dict[str, Any]:
        source = _source_entry(config, data_home, source_fingerprint)
        class_names: list[str] = source.meta["class_names"]
        own_test = "test" in source.meta["images"]
        train_labels = source.labels("train")
        test_labels = source.labels("test") if own_test else None
        rows = split_rows(config, class_names, train_labels, test_labels)
        for name, wanted in (("train", rows.train), ("validation", rows.validation), ("test", rows.test)):
            origin = "test" if name == "test" and own_test else "train"
            labels = source.labels(origin)[wanted]
            if name != "test":
                labels = with_label_noise(labels, config.label_noise, len(class_names), config.split_seed, name)
            _copy_rows(source.images(origin), wanted, folder / name / "images.npy")
            np.save(folder / name / "labels.npy", labels)
        mean, std = mean_and_std(np.load(folder / "train" / "images.npy", mmap_mode="r"))
        return {"kind": "splits", "source": source_fingerprint, "class_names": class_names, "mean": mean, "std": std}

    settings = ("split_seed", "validation", "test", "limit", "label_noise")
    chosen = [getattr(config, name) for name in settings]
    return open_or_build(data_home / digest_of("splits", FORMAT, source_fingerprint, *chosen), build)


def _copy_rows(images: NDArray[np.uint8], rows: NDArray[np.int64], path: Path) -> None:
    copy = write_array(path, (len(rows), *images.shape[1:]))
    for start in range(0, len(rows), _COPY_AT_A_TIME):
        wanted = rows[start : start + _COPY_AT_A_TIME]
        copy[start : start + len(wanted)] = images[wanted]


def mean_and_std(images: NDArray[np.uint8]) -> tuple[list[float], list[float]]:
    """Per channel, of pixels / 255 over all images (N, C, H, W), exactly; the std at least 1/255, one grey level."""
    histograms = np.zeros((images.shape[1], 256), dtype=np.int64)
    for start in range(0, len(images), _COPY_AT_A_TIME):
        chunk = images[start : start + _COPY_AT_A_TIME]
        for channel, histogram in enumerate(histograms):
            histogram += np.bincount(chunk[:, channel].ravel(), minlength=256)
    shares = histograms / histograms.sum(axis=1, keepdims=True)
    levels = np.arange(256) / 255
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
    return mean.tolist(), np.maximum(np.sqrt(variance), 1 / 255).tolist()


def _image_split(entry: CacheEntry, name: str) -> ImageSplit:
    return ImageSplit(images=torch.from_numpy(entry.images(name)), labels=torch.from_numpy(entry.labels(name)))
