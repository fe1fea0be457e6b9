from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import growres
from growres.config.experiment import DatasetConfig
from growres.data.images import ImageData
from growres.data.loading import load_images
from growres.errors import CheckpointError, GrowresWarning, NotFoundError
from growres.store import NewExperiment, NewTrial, Store
from growres.training.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint

LIMIT = {"train": 300, "validation": 100, "test": 100}


@pytest.fixture
def digits(trained: str, home: Path) -> ImageData:
    return load_images(DatasetConfig.model_validate({"source": "digits", "limit": LIMIT}), home)


def checkpoint(home: Path, experiment: str, number: int = 1) -> Path:
    return checkpoint_path(home / "runs" / experiment, f"{experiment}-{number}")


@pytest.mark.parametrize("number", [1, 2])
def test_a_loaded_model_makes_on_image_files_the_errors_that_the_trial_made(
    trained: str, digits: ImageData, tmp_path: Path, number: int
) -> None:
    files = [tmp_path / f"{row}.png" for row in range(len(digits.test))]
    for file, image in zip(files, digits.test.images, strict=True):
        Image.fromarray(image[0].numpy()).save(file)
    predictions = growres.load_model(f"{trained}-{number}").predict(files)
    labels = [str(label) for label in digits.test.labels.tolist()]
    num_wrong = sum(p.class_name != label for p, label in zip(predictions, labels, strict=True))
    with Store.open() as store:
        assert num_wrong / len(files) == store.find_trial(f"{trained}-{number}").test_error


def test_the_model_is_the_network_of_the_result(trained: str) -> None:
    model = growres.load_model("latest-1")
    with Store.open() as store:
        trial = store.find_trial(f"{trained}-1")
    assert model.architecture == trial.architecture
    assert sum(parameter.numel() for parameter in model.parameters()) == trial.num_params
    assert model.class_names == tuple("0123456789")
    assert model.source == trial.id


def test_a_checkpoint_holds_the_networks_tensors_once(trained: str, home: Path) -> None:
    state = load_checkpoint(checkpoint(home, trained))
    resumed_from = state["procedure"]["current"]["weights"]
    for name, tensor in state["network"]["weights"].items():
        assert tensor.data_ptr() == resumed_from[name].data_ptr()


def test_a_checkpoint_that_was_changed_after_training_is_refused(trained: str, home: Path) -> None:
    path = checkpoint(home, trained)
    state = load_checkpoint(path)
    next(iter(state["network"]["weights"].values())).add_(1)
    save_checkpoint(path, state)
    with pytest.raises(CheckpointError, match=r"sha256 begins [0-9a-f]{12}, and the store recorded [0-9a-f]{12}"):
        growres.load_model(f"{trained}-1")


def test_a_checkpoint_that_is_not_here_is_told_with_where_it_ran(trained: str, home: Path) -> None:
    checkpoint(home, trained).unlink()
    with pytest.raises(NotFoundError, match=r"It ran on .*: copy the file"):
        growres.load_model(f"{trained}-1")


@pytest.fixture
def unfinished(trained: str) -> str:
    """The id of an experiment whose trial has not begun."""
    trial = NewTrial(variant="grown", seed=0, procedure="growth", model="preact_resnet", config={})
    with Store.open() as store:
        return store.add_experiment(NewExperiment(name="new", spec_text="", spec={}, trials=(trial,)))


def test_a_trial_that_has_not_begun_has_no_model(unfinished: str) -> None:
    with pytest.raises(
        NotFoundError, match=r"\(queued\) has no checkpoint.*It has not begun. Go on with: growres resume"
    ):
        growres.load_model(f"{unfinished}-1")


def test_an_unfinished_trial_gives_its_last_checkpoint_and_says_so(trained: str, unfinished: str, home: Path) -> None:
    checkpoint(home, unfinished).parent.mkdir(parents=True)
    shutil.copy(checkpoint(home, trained), checkpoint(home, unfinished))
    with pytest.warns(GrowresWarning, match="is queued, not finished"):
        assert growres.load_model(f"{unfinished}-1").class_names


def test_a_checkpoint_of_an_older_growres_is_told_from_a_damaged_one(trained: str, home: Path, tmp_path: Path) -> None:
    state = load_checkpoint(checkpoint(home, trained))
    save_checkpoint(tmp_path / "old.pt", {"procedure": state["procedure"], "events": state["events"]})
    with pytest.raises(CheckpointError, match="An older growres wrote it"):
        growres.load_model(tmp_path / "old.pt")
    (tmp_path / "damaged.pt").write_bytes(checkpoint(home, trained).read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="it is damaged"):
        growres.load_model(tmp_path / "damaged.pt")
    state["images"]["class_names"].pop()
    save_checkpoint(tmp_path / "mixed.pt", state)
    with pytest.raises(CheckpointError, match="do not belong together"):
        growres.load_model(str(tmp_path / "mixed.pt"))


@pytest.mark.parametrize(
    ("section", "value", "said"),
    [
        (("images", "mean"), 0.5, "images.mean: Input should be a valid list"),
        (("images", "mean"), [0.5, 0.5], "images.mean: Value error, 2 values for 1 channels"),
        (("images", "std"), [0.0], "images.std.0: Input should be greater than 0"),
        (("images", "channels"), 2, "images.channels: Input should be 1 or 3"),
        (("images", "class_names"), "0123456789", "images.class_names: Input should be a valid list"),
        (("images",), ["a", "b"], "images: Input should be a valid dictionary"),
        (("network", "architecture"), "lenet5", "network.architecture: Input should be a valid dictionary"),
        (("network", "architecture"), {"name": "lenet99"}, "lenet99"),
        (("network", "architecture"), {"name": "lenet5", "auxiliary_depth": "x"}, "do not belong together"),
        (("network", "weights"), [1, 2], "network.weights: Input should be a valid dictionary"),
    ],
)
def test_a_file_whose_parts_are_of_other_types_is_refused_by_the_part(
    trained: str, home: Path, tmp_path: Path, section: tuple[str, ...], value: object, said: str
) -> None:
    state = load_checkpoint(checkpoint(home, trained, 2))
    inner = state
    for key in section[:-1]:
        inner = inner[key]
    inner[section[-1]] = value
    save_checkpoint(tmp_path / "changed.pt", state)
    with pytest.raises(CheckpointError, match=re.escape(said)):
        growres.load_model(tmp_path / "changed.pt")


@pytest.mark.parametrize("content", [b"hello", b"", b"\x80\x02.", b"PK\x03\x04", b"0123456789" * 100])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "hello.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"hello.pt: it is damaged, or no file of growres"):
        growres.load_model(tmp_path / "hello.pt")


def test_a_file_that_is_not_there_is_a_message() -> None:
    with pytest.raises(NotFoundError, match="There is no file absent.pt"):
        growres.load_model("absent.pt")


def test_a_file_that_export_writes_for_others_is_told_from_a_trial(home: Path, tmp_path: Path) -> None:
    (tmp_path / "net.png").write_bytes(b"a picture")
    with pytest.raises(CheckpointError, match=r"net.png: it is a file, but none that growres reads back: .* \.pt\. "):
        growres.load_model(str(tmp_path / "net.png"))
    with pytest.raises(NotFoundError, match="No trial has the id"):
        growres.load_model(str(tmp_path / "absent.png"))


def test_what_is_no_reference_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="Cannot load the model 3: give a trial's id as text"):
        growres.load_model(3)  # type: ignore[arg-type]
