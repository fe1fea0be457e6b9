from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from PIL import Image
from pyarrow import parquet

from growres.data.images import ImageData, ImageSplit

WritePictures = Callable[..., Path]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def picture() -> Callable[..., Image.Image]:
    def make(seed: int = 0, mode: str = "L", size: tuple[int, int] = (8, 8)) -> Image.Image:
        rgb = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        return Image.fromarray(rgb).convert(mode)

    return make


@pytest.fixture
def write_parquet(picture: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Writes a table without the features metadata: a struct of bytes and path, and a column of labels."""

    def write(path: Path, labels: Sequence[object], *, raw: bool = False, mode: str = "L", **columns: object) -> Path:
        contents = []
        for row in range(len(labels)):
            buffer = io.BytesIO()
            picture(row, mode).save(buffer, "PNG")
            contents.append(buffer.getvalue())
        images = contents if raw else [{"bytes": content, "path": None} for content in contents]
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table({"image": images, "label": labels, **columns}), path)
        return path

    return write


@pytest.fixture
def write_folder(picture: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Writes {class folder: number of images}."""

    def write(root: Path, classes: dict[str, int], *, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> Path:
        for number, (name, count) in enumerate(classes.items()):
            (root / name).mkdir(parents=True)
            for index in range(count):
                picture(100 * number + index, mode, size).save(root / name / f"{index:03}.png")
        return root

    return write


@pytest.fixture
def make_data() -> Callable[..., ImageData]:
    def make(num_train: int = 50, channels: int = 3, size: int = 16, seed: int = 0) -> ImageData:
        generator = torch.Generator().manual_seed(seed)

        def split(count: int) -> ImageSplit:
            shape = (count, channels, size, size)
            images = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
            return ImageSplit(images=images, labels=torch.arange(count) % 5)

        train = split(num_train)
        pixels = train.images.double() / 255
        return ImageData(
            name="noise",
            class_names=("a", "b", "c", "d", "e"),
            fingerprint="0",
            train=train,
            validation=split(12),
            test=split(13),
            mean=tuple(pixels.mean(dim=(0, 2, 3)).tolist()),
            std=tuple(pixels.std(dim=(0, 2, 3), correction=0).tolist()),
        )

    return make
