"""Sources from small files, read through the real `datasets`; each test goes by load_images, as a trial does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from growres.config.experiment import DatasetConfig
from growres.data.content import write_json
from growres.data.images import ImageData
from growres.data.loading import load_images, pin_source
from growres.errors import DataError

REAL_DATA = Path(__file__).parents[4] / "shared" / "data"


def load(source: str, path: Path | str | None, home: Path, **settings: object) -> ImageData:
    return load_images(DatasetConfig(source=source, path=None if path is None else str(path), **settings), home)


def num_images(data: ImageData) -> int:
    return len(data.train) + len(data.validation) + len(data.test)


# -------------------------------------------------------------------------------------------------------- digits


def test_digits_are_1797_grey_images_on_the_scale_of_bytes(home):
    data = load("digits", None, home)
    assert num_images(data) == 1797
    assert data.train.images.shape[1:] == (1, 8, 8)
    assert data.class_names == tuple("0123456789")
    levels = torch.unique(torch.cat([data.train.images.flatten(), data.test.images.flatten()]))
    assert levels.tolist() == [round(level * 255 / 16) for level in range(17)]


def test_digits_are_converted_as_configured(home):
    data = load("digits", None, home, channels=3, image_size=12)
    assert data.train.images.shape[1:] == (3, 12, 12)
    assert (data.train.images[:, 0] == data.train.images[:, 2]).all()


# ------------------------------------------------------------------------------------------------------- parquet


def test_a_folder_of_parquet_files_is_split_by_their_names(home, tmp_path, write_parquet):
    write_parquet(tmp_path / "set" / "train-00000-of-00002.parquet", [0, 1] * 10)
    write_parquet(tmp_path / "set" / "train-00001-of-00002.parquet", [0, 1] * 10)
    write_parquet(tmp_path / "set" / "test-00000-of-00001.parquet", [0, 1] * 4)
    data = load("parquet", tmp_path / "set", home)
    assert (len(data.train), len(data.validation), len(data.test)) == (32, 8, 8)
    assert data.test.labels.tolist() == [0, 1] * 4
    assert (data.channels, data.image_size) == (1, 8)


@pytest.mark.parametrize("raw", [True, False])
def test_one_parquet_file_is_all_train(home, tmp_path, write_parquet, raw, picture):
    path = write_parquet(tmp_path / "test-images [2].parquet", [0, 1] * 10, raw=raw)
    data = load("parquet", path, home)
    assert num_images(data) == 20
    expected = {np.asarray(picture(row)).tobytes() for row in range(20)}
    splits = (data.train, data.validation, data.test)
    assert {image.numpy().tobytes() for split in splits for image in split.images} == expected


def test_a_folder_whose_name_is_a_pattern_is_read(home, tmp_path, write_parquet):
    write_parquet(tmp_path / "test [2]" / "part.parquet", [0, 1] * 10)
    assert num_images(load("parquet", tmp_path / "test [2]", home)) == 20


def test_texts_become_class_names_in_order(home, tmp_path, write_parquet):
    path = write_parquet(tmp_path / "a.parquet", ["dog", "ant", "cat"] * 5)
    data = load("parquet", path, home, validation=3, test=3)
    assert data.class_names == ("ant", "cat", "dog")
    assert torch.bincount(data.train.labels).tolist() == [3, 3, 3]


def test_numbers_that_begin_at_one_become_labels_from_zero(home, tmp_path, write_parquet):
    data = load("parquet", write_parquet(tmp_path / "a.parquet", [1, 2, 7] * 5), home, validation=3, test=3)
    assert data.class_names == ("1", "2", "7")
    assert set(data.train.labels.tolist()) == {0, 1, 2}


def test_columns_are_named_where_several_could_be_meant(home, tmp_path, write_parquet):
    path = write_parquet(tmp_path / "a.parquet", [0, 1] * 10, other=[b"x"] * 20, fine_label=[1, 0] * 10)
    with pytest.raises(DataError, match=r"holds the images: image and other could be it.*Set dataset.image_column"):
        load("parquet", path, home)
    with pytest.raises(
        DataError, match=r"holds the labels: label and fine_label could be it.*Set dataset.label_column"
    ):
        load("parquet", path, home, image_column="image")
    data = load("parquet", path, home, image_column="image", label_column="fine_label")
    assert num_images(data) == 20


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_column": "lable"}, r"no column 'lable' for the labels; there are .*The nearest is 'label'"),
        ({"image_column": "label"}, r"Column 'label' holds no images: it is of type .*Set dataset.image_column"),
        ({"train_split": "tarin"}, r"has no split 'tarin'; it has train. Name one of them in dataset.train_split"),
    ],
)
def test_a_wrong_name_is_told_with_the_right_ones(home, tmp_path, write_parquet, settings, message):
    write_parquet(tmp_path / "set" / "a.parquet", [0, 1] * 10)
    with pytest.raises(DataError, match=message):
        load("parquet", tmp_path / "set", home, **settings)


def test_a_table_without_labels_is_refused(home, tmp_path, write_parquet):
    path = write_parquet(tmp_path / "a.parquet", [0, 1] * 10)
    parquet.write_table(parquet.read_table(path).drop_columns(["label"]), path)
    with pytest.raises(DataError, match=r"holds the labels: none looks like it. The columns are image \(dict\)"):
        load("parquet", path, home)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, None, 1], "Row 2 of split train, column label has label None"),
        ([0, 1, 1, -1], "Row 3 of split train, column label has label -1: labels are whole numbers from 0"),
        ([0.0, 1.5, 2.0, 1.0], "Row 0 of split train, column label has label 0.0"),
    ],
)
def test_a_label_that_is_none_is_named_by_its_row(home, tmp_path, write_parquet, labels, message):
    with pytest.raises(DataError, match=message):
        load("parquet", write_parquet(tmp_path / "a.parquet", labels), home)


@pytest.mark.parametrize(("bad", "message"), [(5, "has label 5, and the 2 classes are 0 to 1"), (None, "has no label")])
def test_a_label_outside_of_the_class_names_is_named_by_its_row(home, tmp_path, write_parquet, bad, message):
    import datasets

    path = write_parquet(tmp_path / "set" / "train.parquet", [0, 1] * 10)
    features = datasets.Features(
        {"image": datasets.Image(decode=False), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    table = parquet.read_table(path)
    column = pyarrow.array([0, 1] * 9 + [0, bad])
    table = table.set_column(1, "label", column).replace_schema_metadata(features.arrow_schema.metadata)
    parquet.write_table(table, path)
    with pytest.raises(DataError, match=rf"Row 19 of split train, column label {message}"):
        load("hub", path.parent, home)


def test_a_damaged_parquet_file_is_named(home, tmp_path, write_parquet):
    write_parquet(tmp_path / "set" / "a.parquet", [0, 1] * 10)
    (tmp_path / "set" / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"Cannot read .*set: .*b.parquet is damaged"):
        load("parquet", tmp_path / "set", home)


def test_a_damaged_image_is_named_by_split_and_row(home, tmp_path, write_parquet):
    path = write_parquet(tmp_path / "a.parquet", [0, 1] * 10)
    table = parquet.read_table(path)
    images = table.column("image").to_pylist()
    images[13] = {"bytes": images[13]["bytes"][:30], "path": "thirteen.png"}
    parquet.write_table(table.set_column(0, "image", pyarrow.array(images)), path)
    with pytest.raises(DataError, match=r"1 of 20 images: row 13 of split train, thirteen.png \("):
        load("parquet", path, home)
    assert list((home / "data").glob("*/meta.json")) == []


# --------------------------------------------------------------------------------------------------- imagefolder


def test_a_folder_a_class_is_a_data_set(home, tmp_path, write_folder):
    root = write_folder(tmp_path / "pets [1]", {"dog": 10, "ant": 15})
    data = load("imagefolder", root, home)
    assert data.class_names == ("ant", "dog")
    assert num_images(data) == 25
    assert (data.channels, data.image_size, data.name) == (3, 8, "pets [1]")


def test_train_and_test_folders_are_splits(home, tmp_path, write_folder):
    write_folder(tmp_path / "pets" / "train", {"ant": 10, "dog": 10})
    write_folder(tmp_path / "pets" / "test", {"ant": 3, "dog": 2})
    data = load("imagefolder", tmp_path / "pets", home)
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 5)


def test_classes_named_train_and_test_are_classes(home, tmp_path, write_folder):
    data = load("imagefolder", write_folder(tmp_path / "traffic", {"train": 10, "test": 10, "bus": 10}), home)
    assert data.class_names == ("bus", "test", "train")
    assert num_images(data) == 30


def test_images_deeper_inside_a_class_folder_and_other_files_beside_them(home, tmp_path, write_folder):
    root = write_folder(tmp_path / "tiny", {"a/images": 10, "b/images": 10})
    (root / "a" / "boxes.txt").write_text("0 0 8 8")
    (root / ".thumbnails").mkdir()
    assert num_images(load("imagefolder", root, home)) == 20


def test_mixed_modes_and_sizes_are_converted_as_configured(home, tmp_path, write_folder):
    write_folder(tmp_path / "mixed", {"grey": 10}, mode="L", size=(9, 7))
    write_folder(tmp_path / "mixed", {"palette": 10}, mode="P", size=(20, 30))
    with pytest.raises(DataError, match=r"2 sizes, from 9x7 to 20x30.*Set dataset.image_size"):
        load("imagefolder", tmp_path / "mixed", home)
    assert load("imagefolder", tmp_path / "mixed", home, image_size=12).train.images.shape[1:] == (3, 12, 12)
    assert load("imagefolder", tmp_path / "mixed", home, image_size=12, channels=1).channels == 1


def test_a_damaged_image_file_is_named(home, tmp_path, write_folder):
    root = write_folder(tmp_path / "pets", {"ant": 10, "dog": 10})
    (root / "dog" / "003.png").write_bytes((root / "dog" / "003.png").read_bytes()[:60])
    with pytest.raises(DataError, match=r"1 of 20 images: /.*/pets/dog/003.png \("):
        load("imagefolder", root, home)


def test_a_class_with_too_few_images_is_named(home, tmp_path, write_folder):
    with pytest.raises(DataError, match=r"class 'dog' has 2, and each class needs at least 3"):
        load("imagefolder", write_folder(tmp_path / "pets", {"ant": 10, "dog": 2}), home)


def test_one_class_only_is_refused(home, tmp_path, write_folder):
    with pytest.raises(DataError, match="all 10 training images are of the class 'ant'"):
        load("imagefolder", write_folder(tmp_path / "pets", {"ant": 10}), home)


def test_an_empty_class_folder_is_named(home, tmp_path, write_folder):
    root = write_folder(tmp_path / "pets", {"ant": 10, "dog": 0})
    with pytest.raises(DataError, match=r"Class folder .*/pets/dog holds no image"):
        load("imagefolder", root, home)


def test_a_folder_without_class_folders_is_refused(home, tmp_path, write_folder):
    root = write_folder(tmp_path / "pets", {"ant": 3})
    with pytest.raises(DataError, match=r"/pets/ant has no class folders: an imagefolder holds one folder a class"):
        load("imagefolder", root / "ant", home)


# ------------------------------------------------------------------------------------- what is not there, and hub


@pytest.mark.parametrize("source", ["parquet", "imagefolder", "hub"])
def test_an_empty_folder_is_told(home, tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=rf"Cannot read .*/empty as {source}: nothing is in it that belongs there"):
        load(source, tmp_path / "empty", home)


@pytest.mark.parametrize("source", ["parquet", "imagefolder", "hub"])
def test_a_missing_path_is_told(home, tmp_path, source):
    with pytest.raises(DataError, match=rf"Cannot read {source} data: there is no {tmp_path}/absent. Set dataset.path"):
        load(source, tmp_path / "absent", home)


def test_a_source_without_a_path_is_told(home):
    with pytest.raises(DataError, match=r"Source imagefolder needs a path. Set dataset.path"):
        load("imagefolder", None, home)


def test_a_hub_name_without_a_network_is_told_with_the_way_round_it(home, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        DataError, match=r"Cannot read 'nobody/nothing' from the Hugging Face hub: .*dataset.path=FOLDER"
    ) as told:
        load("hub", "nobody/nothing", home)
    assert ".." not in str(told.value)


def test_a_hub_data_set_that_was_seen_is_used_without_a_network(home, tmp_path, monkeypatch):
    """The commit is remembered, so that what is in the cache is found again."""

    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    write_json(home / "data" / "revisions.json", {"some/set@None": "0123456789" * 4})
    config = pin_source(DatasetConfig(source="hub", path="some/set"), home)
    assert config.revision == "0123456789" * 4
    assert pin_source(config, tmp_path / "elsewhere") == config


def test_a_pinned_path_means_the_same_from_any_folder(home, tmp_path, write_parquet, monkeypatch):
    write_parquet(tmp_path / "set" / "train.parquet", [0, 1] * 10)
    monkeypatch.chdir(tmp_path)
    config = DatasetConfig(source="parquet", path="set", validation=5)
    pinned = pin_source(config, home)
    assert pinned == DatasetConfig(source="parquet", path=str(tmp_path / "set"), validation=5)
    before = load_images(config, home).fingerprint
    monkeypatch.chdir("/")
    assert load_images(pinned, home).fingerprint == before


def test_a_local_folder_is_read_without_a_word_and_nothing_is_written_outside_the_home(tmp_path, write_parquet):
    write_parquet(tmp_path / "set" / "train.parquet", [0, 1] * 10)
    program = (
        "import sys; from pathlib import Path; from growres.config.experiment import DatasetConfig\n"
        "from growres.data import load_images\n"
        "load_images(DatasetConfig(source='hub', path=sys.argv[1]), Path(sys.argv[2]))"
    )
    user = tmp_path / "user"
    user.mkdir()
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")} | {"HOME": str(user)}
    run = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "set"), str(tmp_path / "home")],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert list(user.iterdir()) == []
    names = {path.name for path in (tmp_path / "home" / "data").iterdir() if path.suffix != ".lock"}
    assert len(names - {"content"}) == 2  # the decoded source and its splits; no copy made on the way


def test_real_images_are_those_that_their_source_describes(home, tmp_path):
    folder = REAL_DATA / "fashion_mnist"
    if not folder.is_dir():
        pytest.skip(f"needs Fashion-MNIST as parquet in {folder}")
    (tmp_path / "set").mkdir()
    shutil.copy(folder / "test-00000-of-00001.parquet", tmp_path / "set" / "train.parquet")
    data = load("hub", tmp_path / "set", home)
    assert num_images(data) == 10_000
    assert (data.channels, data.image_size) == (1, 28)
    assert data.class_names[9] == "Ankle boot"
    assert data.mean[0] == pytest.approx(0.286, abs=0.005)
    assert data.std[0] == pytest.approx(0.353, abs=0.005)
    assert torch.bincount(data.train.labels).tolist() == [640] * 10
