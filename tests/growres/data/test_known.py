from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from growres.config.experiment import DatasetConfig
from growres.data import known_facts, load_images


def folder_of_images(root: Path, pixels: int) -> Path:
    for label in ("cats", "dogs", "frogs"):
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            Image.new("RGB", (pixels, pixels), (number, 0, 0)).save(root / label / f"{number}.png")
    return root


@pytest.mark.parametrize(
    ("settings", "facts"), [({}, (10, 1, 8)), ({"channels": 3}, (10, 3, 8)), ({"image_size": 32}, (10, 1, 32))]
)
def test_the_digits_are_known_and_are_what_they_will_be_once_read(home, settings, facts):
    config = DatasetConfig(source="digits", **settings)
    known = known_facts(config, home)
    assert (known.num_classes, known.channels, known.image_size) == facts
    assert not any(home.rglob("*")), "nothing was read to know it"
    images = load_images(config, home)
    assert (images.num_classes, images.channels, images.image_size) == facts


def test_other_images_are_known_once_they_were_read_as_configured(tmp_path, home):
    config = DatasetConfig(source="imagefolder", path=str(folder_of_images(tmp_path / "pets", 12)))
    assert known_facts(config, home) is None
    load_images(config, home)
    known = known_facts(config, home)
    assert (known.num_classes, known.channels, known.image_size) == (3, 3, 12)
    assert known_facts(config.model_copy(update={"image_size": 16}), home) is None
    folder_of_images(tmp_path / "pets", 20)
    assert known_facts(config, home) is None, "the files are others now"


@pytest.mark.parametrize("source", ["hub", "parquet", "imagefolder"])
def test_what_is_elsewhere_or_nowhere_is_not_known(home, source):
    assert known_facts(DatasetConfig(source=source, path="nobody/has-this"), home) is None
