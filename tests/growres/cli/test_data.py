import csv
import io

import pytest
from PIL import Image


@pytest.fixture
def image_folder(tmp_path):
    """Two classes of ten grey 8x8 images."""
    for level, name in enumerate(("cat", "dog")):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for index in range(10):
            Image.new("L", (8, 8), 100 * level + index).save(folder / f"{index}.png")
    return tmp_path / "pets"


def test_digits_are_always_there(growres):
    answer = growres("data", "list", "--format", "json")
    assert [(row["source"], row["images"]) for row in answer.json] == [("digits", 1797)]


def test_digits_are_described(growres):
    answer = growres("data", "show", "digits")
    assert "images       1,150 train, 288 validation, 359 test" in answer.out
    assert "image        8x8, grey" in answer.out
    described = growres("data", "show", "digits", "--format", "json").json
    assert described["splits"] == {"train": 1150, "validation": 288, "test": 359}


def test_a_folder_of_class_folders_is_known_for_what_it_is(growres, image_folder):
    described = growres("data", "show", str(image_folder), "--format", "json").json
    assert described["source"] == "imagefolder"
    assert [row["class"] for row in described["classes"]] == ["cat", "dog"]
    classes = list(csv.DictReader(io.StringIO(growres("data", "show", str(image_folder), "--format", "csv").out)))
    assert [row["class"] for row in classes] == ["cat", "dog"]


def test_images_are_converted_as_asked(growres, image_folder):
    arguments = ["data", "show", str(image_folder), "--channels", "3", "--image-size", "16", "--format", "json"]
    described = growres(*arguments).json
    assert (described["channels"], described["image_size"]) == (3, 16)


def test_the_data_set_of_an_experiment_file_can_be_shown(growres, tmp_path):
    spec = tmp_path / "mine.yaml"
    spec.write_text(
        "name: mine\ndataset: {source: digits, limit: {train: 100}}\n"
        "training: {epochs: 1, optimizer: {name: sgd, lr: 0.1}}\n"
        "variants: {a: {procedure: end_to_end, model: {name: lenet5}}}\n"
    )
    assert growres("data", "show", str(spec), "--format", "json").json["splits"]["train"] == 100


def test_a_path_that_is_not_there_is_one_message(growres):
    answer = growres("data", "show", "./nowhere")
    assert answer.code == 2
    assert "./nowhere" in answer.err and "Traceback" not in answer.err


def test_an_empty_folder_is_one_message(growres, tmp_path):
    (tmp_path / "empty").mkdir()
    answer = growres("data", "show", str(tmp_path / "empty"))
    assert answer.code == 2
    assert "one folder a class" in answer.err and "Traceback" not in answer.err
