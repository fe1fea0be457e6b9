from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import zoo
from growres.data.batches import DeviceData
from growres.data.images import ImageData, describe_images
from growres.errors import DataError
from growres.trained.model import TrainedModel

ARCHITECTURE = {"name": "resnet", "blocks": [1, 1], "widths": [4, 8]}


@pytest.fixture
def model(images: ImageData) -> TrainedModel:
    torch.manual_seed(0)
    network = zoo.create_model(**ARCHITECTURE, num_classes=3, in_channels=1, image_size=8)
    return TrainedModel(network, architecture=ARCHITECTURE, images=describe_images(images), source="x-1")


def test_the_logits_of_a_data_sets_images_are_those_of_its_evaluation_bit_for_bit(
    model: TrainedModel, images: ImageData
) -> None:
    device = torch.device("cpu")
    data = DeviceData(images, device=device, batch_size=16, augment=(), memory_format=torch.contiguous_format)
    ((normalised, _),) = data.eval_batches("test")
    assert torch.equal(model(images.test.images / 255), model.network(normalised))


def test_a_state_makes_the_same_model_again(model: TrainedModel, images: ImageData) -> None:
    again = TrainedModel.from_state(model.state())
    batch = images.test.images[:5] / 255
    assert torch.equal(again(batch), model(batch))
    assert (again.class_names, again.channels, again.image_size) == (("a", "b", "c"), 1, 8)
    assert not again.training and not again.network.training


def test_any_picture_is_converted_and_resized(model: TrainedModel, tmp_path: Path) -> None:
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 31, 3), dtype=np.uint8))
    photo.save(tmp_path / "photo.png")
    pixels = model.preprocess(tmp_path / "photo.png")
    assert (pixels.shape, pixels.dtype) == ((1, 8, 8), torch.float32)
    assert pixels.min() >= 0 and pixels.max() <= 1
    assert torch.equal(model.preprocess(str(tmp_path / "photo.png")), pixels)
    assert torch.equal(model.preprocess(photo), pixels)
    assert (photo.mode, photo.size) == ("RGB", (31, 50))


def test_the_callers_image_keeps_its_orientation(model: TrainedModel) -> None:
    photo = Image.new("L", (8, 16))
    photo.getexif()[0x0112] = 6  # to be turned by 90 degrees
    model.preprocess(photo)
    assert photo.size == (8, 16) and photo.getexif()[0x0112] == 6


def test_a_prediction_is_the_first_of_the_ranking_and_probabilities_sum_to_one(
    model: TrainedModel, images: ImageData
) -> None:
    batch = images.test.images / 255
    rankings = model.rank(batch, top=99)
    assert model.predict(batch) == [ranking[0] for ranking in rankings]
    for ranking, label in zip(rankings, model(batch).argmax(dim=1).tolist(), strict=True):
        assert ranking[0].class_name == model.class_names[label]
        assert {prediction.class_name for prediction in ranking} == set(model.class_names)
        assert sum(prediction.probability for prediction in ranking) == pytest.approx(1, abs=1e-5)
        assert ranking == sorted(ranking, key=lambda prediction: -prediction.probability)


@pytest.mark.parametrize(
    ("content", "message"), [(b"no image", "it is no image"), (None, "No such file"), (b"", "it is no image")]
)
def test_what_is_no_image_is_refused_by_name(
    model: TrainedModel, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "thing.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"thing.png: {message}"):
        model.predict([path])


def test_a_decompression_bomb_is_refused(model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match="decompression bomb"):
        model.preprocess(tmp_path / "large.png")


def test_pixels_that_are_whole_numbers_are_refused(model: TrainedModel, images: ImageData) -> None:
    with pytest.raises(DataError, match=r"torch\.uint8. Divide them by 255"):
        model(images.test.images)
