"""Where images come from: digits (scikit-learn), and what the `datasets` library reads.

For a local file or folder nothing is written outside the folder that the caller gives for it. A data set of the
Hugging Face hub is downloaded into that library's own cache (HF_HOME), where other programs find it too.
"""

from __future__ import annotations

import glob
import logging
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from growres.config.experiment import DatasetConfig
from growres.data.columns import find_image_column, find_label_column, labels_of
from growres.data.content import content_digest, read_json, write_json
from growres.data.decoding import Encoded, EncodedImages
from growres.errors import DataError

_COMMIT = re.compile("[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class SourceSplit:
    """One split of a source: its encoded images, and their labels, int64 (N,)."""

    encoded: EncodedImages
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Source:
    """A data set before its images are decoded."""

    class_names: tuple[str, ...]
    train: SourceSplit
    test: SourceSplit | None
    """None where the source has no split of the configured name."""

    @property
    def splits(self) -> dict[str, SourceSplit]:
        return {"train": self.train} | ({} if self.test is None else {"test": self.test})


def source_name(config: DatasetConfig) -> str:
    """What a person calls the data set: `digits`, a hub data set's name, or the name of a file or folder."""
    if config.path is None:
        return config.source
    return config.path if _is_on_the_hub(config) else _local_path(config).name


def pinned(config: DatasetConfig, data_home: Path) -> DatasetConfig:
    """The configuration that means the same data from any folder and at any time.

    A local path becomes absolute; a hub data set's revision becomes the commit that it stands for, without a network
    the one it stood for when it was last seen.

    Raises:
        DataError: if a path leads nowhere, or if the hub gives no commit and the data set was never seen before.
    """
    if config.source == "digits":
        return config
    if not _is_on_the_hub(config):
        found = {"path": str(_local_path(config))}
    elif _COMMIT.fullmatch(config.revision or ""):
        return config
    else:
        found = {"revision": _commit(config, data_home / "revisions.json")}
    return DatasetConfig(**config.model_dump() | found)


def identify(config: DatasetConfig, data_home: Path) -> str:
    """A text that differs between sources that hold different files.

    Local files are told by their content; a hub data set by its commit (so `config` is a pinned one).

    Raises:
        DataError: if the source is not there or cannot be read.
    """
    if config.source == "digits":
        return "digits"
    if _is_on_the_hub(config):
        return f"{config.path} {config.subset} {config.revision}"
    root = _local_path(config)
    folder = root if root.is_dir() else root.parent
    return f"{config.subset} {content_digest(folder, _files(config, root), data_home / 'content')}"


@contextmanager
def open_source(config: DatasetConfig, scratch: Path) -> Iterator[Source]:
    """The source, readable until the block is left.

    Args:
        scratch: a folder for what `datasets` writes on the way.
    Raises:
        DataError: if it cannot be read, or its columns or labels are not those of a classification.
    """
    if config.source == "digits":
        yield _digits()
        return
    with _quiet():
        splits = _imagefolder(config) if config.source == "imagefolder" else _load(config, scratch)
        yield _as_source(config, splits)


# -------------------------------------------------------------------------------------------------------- digits


@dataclass(frozen=True, slots=True)
class _DrawnDigits:
    images: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> Sequence[Encoded]:
        return [Image.fromarray(image) for image in self.images[start:stop]]

    def where(self, row: int, encoded: Encoded) -> str:
        return f"digit {row}"


def _digits() -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    split = SourceSplit(_DrawnDigits(pixels), digits.target.astype(np.int64))
    return Source(class_names=tuple(str(digit) for digit in range(10)), train=split, test=None)


# ------------------------------------------------------------------------------------- through `datasets`, any kind


@dataclass(frozen=True, slots=True)
class _ImageColumn:
    """The images of one split that `datasets` has read."""

    rows: Any
    column: str
    split: str

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, start: int, stop: int) -> Sequence[Encoded]:
        return [_encoded(value) for value in self.rows[start:stop][self.column]]

    def where(self, row: int, encoded: Encoded) -> str:
        if isinstance(encoded, Path):
            return str(encoded)
        value = self.rows[row][self.column]
        path = value.get("path") if isinstance(value, Mapping) else None
        return f"row {row} of split {self.split}" + (f", {path}" if path else "")


def _encoded(value: Any) -> Encoded:
    if isinstance(value, Mapping):
        value = value.get("bytes") or (value.get("path") and Path(value["path"]))
    return value or None


def _as_source(config: DatasetConfig, splits: Mapping[str, Any]) -> Source:
    from datasets import Image as ImageFeature

    if config.train_split not in splits:
        raise DataError(
            f"{config.path} has no split {config.train_split!r}; it has {', '.join(map(str, splits))}. "
            f"Name one of them in dataset.train_split."
        )
    used = {"train": splits[config.train_split]}
    if config.test_split in splits and config.test_split != config.train_split:
        used["test"] = splits[config.test_split]
    split_names = {"train": config.train_split, "test": config.test_split}
    empty = [split_names[role] for role, rows in used.items() if len(rows) == 0]
    if empty:
        raise DataError(f"Split {empty[0]} of {config.path} has no rows. Add some, or name another split in dataset.")
    image_column = find_image_column(used["train"].features, config.image_column)
    label_column = find_label_column(used["train"].features, config.label_column, image_column)
    class_names, labels = labels_of(used, label_column, split_names)
    decoded: dict[str, SourceSplit] = {}
    for role, rows in used.items():
        if isinstance(rows.features[image_column], ImageFeature):
            rows = rows.cast_column(image_column, ImageFeature(decode=False))
        images = _ImageColumn(rows.select_columns([image_column]), image_column, split_names[role])
        decoded[role] = SourceSplit(images, labels[role])
    return Source(class_names, train=decoded["train"], test=decoded.get("test"))


def _load(config: DatasetConfig, scratch: Path) -> Mapping[str, Any]:
    """The splits of a hub or parquet source, by name."""
    import datasets

    if _is_on_the_hub(config):
        arguments: dict[str, Any] = {"path": config.path, "name": config.subset, "revision": config.revision}
    elif config.source == "parquet":
        path = _local_path(config)
        # `datasets` takes a path for a glob pattern, so that a folder named "photos [2]" would match nothing.
        pattern = glob.escape(str(path))
        where = {"data_dir": pattern} if path.is_dir() else {"data_files": {config.train_split: [pattern]}}
        arguments = {"path": "parquet", "cache_dir": str(scratch), **where}
    else:
        path = _local_path(config)
        if glob.has_magic(str(path)):
            raise DataError(f"Cannot read {path}: the datasets library takes [, ], * and ? for patterns. Rename it.")
        arguments = {"path": str(path), "name": config.subset, "cache_dir": str(scratch)}
    try:
        loaded: Mapping[str, Any] = datasets.load_dataset(**arguments)
    except Exception as error:  # what `datasets` raises is not documented, and changes between its versions
        raise DataError(_why_not_loaded(config, error)) from error
    return loaded


def _why_not_loaded(config: DatasetConfig, error: Exception) -> str:
    reason = " ".join(str(error.__cause__ or error).split())
    if "onfig name is missing" in reason:
        return f"Cannot read {config.path}: it has several configurations. Set dataset.subset. ({reason})"
    if _is_on_the_hub(config):
        return _why_not_reached(config, error)
    damaged = _damaged_parquet_files(config)
    file = f": {damaged[0]} is damaged" if damaged else ""
    return f"Cannot read {config.path}{file}. The datasets library says: {reason}"


def _damaged_parquet_files(config: DatasetConfig) -> list[Path]:
    import pyarrow
    from pyarrow import parquet

    damaged = []
    for path in _files(config, _local_path(config)):
        if path.suffix == ".parquet":
            try:
                parquet.read_metadata(path)
            except (pyarrow.ArrowException, OSError):
                damaged.append(path)
    return damaged


@contextmanager
def _quiet() -> Iterator[None]:
    """The libraries' progress bars on a terminal only, and no talk of theirs: what goes wrong is raised."""
    import datasets
    from huggingface_hub.utils import logging as hub_logging

    levels = datasets.logging.get_verbosity(), hub_logging.get_verbosity()
    hide_bars = not sys.stderr.isatty() and not datasets.are_progress_bars_disabled()
    datasets.logging.set_verbosity(logging.CRITICAL)
    hub_logging.set_verbosity(logging.CRITICAL)
    if hide_bars:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(levels[0])
        hub_logging.set_verbosity(levels[1])
        if hide_bars:
            datasets.enable_progress_bars()


# --------------------------------------------------------------------------------------------------- imagefolder


def _imagefolder(config: DatasetConfig) -> dict[str, Any]:
    """The splits of a folder of class folders.

    `datasets` would guess splits from file names (a class folder named "test" would become one), so the folders are
    walked here, and it is given the files by name.
    """
    import datasets

    found = {split: _class_files(folder) for split, folder in _split_folders(config).items()}
    class_names = sorted({name for classes in found.values() for name in classes})
    label_of = {name: label for label, name in enumerate(class_names)}
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=class_names)}
    )
    return {
        split: datasets.Dataset.from_dict(
            {
                "image": [str(file) for files in classes.values() for file in files],
                "label": [label_of[name] for name, files in classes.items() for _ in files],
            },
            features=features,
        )
        for split, classes in found.items()
    }


def _split_folders(config: DatasetConfig) -> dict[str, Path]:
    """The folder of each split: sub-folders of the split's name that hold class folders, else the whole for train."""
    root = _local_path(config)
    named = {split: root / split for split in (config.train_split, config.test_split)}
    holding_classes = {split: folder for split, folder in named.items() if folder.is_dir() and _folders_in(folder)}
    return holding_classes if config.train_split in holding_classes else {config.train_split: root}


def _class_files(folder: Path) -> dict[str, list[Path]]:
    """The image files of each class folder, however deep inside it."""
    classes = {class_folder.name: _image_files(class_folder) for class_folder in _folders_in(folder)}
    if not classes:
        raise DataError(f"{folder} has no class folders: an imagefolder holds one folder a class, its images inside.")
    empty = [name for name, files in classes.items() if not files]
    if empty:
        raise DataError(f"Class folder {folder / empty[0]} holds no image. Add images to it, or remove the folder.")
    return classes


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _image_files(folder: Path) -> list[Path]:
    extensions = Image.registered_extensions()
    return [path for path in _visible_files(folder) if path.suffix.lower() in extensions]


# ------------------------------------------------------------------------------------------- paths and revisions


def _visible_files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    files = (path for path in root.rglob("*") if path.is_file())
    return sorted(path for path in files if not any(part.startswith(".") for part in path.relative_to(root).parts))


def _files(config: DatasetConfig, root: Path) -> list[Path]:
    """The files that the source consists of.

    Raises:
        DataError: if there is none.
    """
    if config.source == "imagefolder":
        files, wanted = _image_files(root) if root.is_dir() else [], "images: one folder a class, its images inside"
    elif config.source == "parquet" and root.is_dir():
        files, wanted = [path for path in _visible_files(root) if path.suffix == ".parquet"], "files named *.parquet"
    else:
        files, wanted = _visible_files(root), "the files of a hub data set"
    if not files:
        raise DataError(f"Cannot read {root} as {config.source}: nothing is in it that belongs there ({wanted}).")
    return files


def _is_on_the_hub(config: DatasetConfig) -> bool:
    """Whether the path is a name on the hub: at most one slash, and nothing there on the disk."""
    if config.source != "hub" or config.path is None or os.path.exists(os.path.expanduser(config.path)):
        return False
    return not config.path.startswith((".", "/", "~")) and config.path.count("/") <= 1


def _local_path(config: DatasetConfig) -> Path:
    """The absolute path of a local source.

    Raises:
        DataError: if there is none, or nothing is there.
    """
    if config.path is None:
        raise DataError(f"Source {config.source} needs a path. Set dataset.path.")
    path = Path(os.path.expanduser(config.path)).absolute()
    if not os.path.exists(path):
        raise DataError(f"Cannot read {config.source} data: there is no {path}. Set dataset.path to a file or folder.")
    return path


def _commit(config: DatasetConfig, memo_path: Path) -> str:
    import huggingface_hub

    memo: dict[str, str] = read_json(memo_path) or {}
    key = f"{config.path}@{config.revision}"
    try:
        commit = huggingface_hub.HfApi().dataset_info(str(config.path), revision=config.revision, timeout=10).sha
    except Exception as error:  # the errors of its HTTP library, which has changed twice, and its own
        if key in memo:
            return memo[key]
        raise DataError(_why_not_reached(config, error)) from error
    assert commit is not None, "the hub gives a commit for every revision"
    if memo.get(key) != commit:
        write_json(memo_path, memo | {key: commit})
    return commit


def _why_not_reached(config: DatasetConfig, error: Exception) -> str:
    reason = " ".join(str(error).split()).rstrip(".")
    return (
        f"Cannot read {config.path!r} from the Hugging Face hub: {reason}. No file or folder of "
        f"that name is here either. Check the name; where there is no network, download it elsewhere (hf download "
        f"--repo-type dataset {config.path} --local-dir FOLDER), bring FOLDER here and set dataset.path=FOLDER."
    )
