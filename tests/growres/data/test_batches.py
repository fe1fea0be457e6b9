from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from growres.config.experiment import (
    AffineConfig,
    AugmentConfig,
    CropConfig,
    CutoutConfig,
    FlipConfig,
    LightingConfig,
    ResizedCropConfig,
)
from growres.data.batches import DeviceData
from growres.data.images import ImageData, ImageSplit

EVERYTHING = (CropConfig(), FlipConfig(), CutoutConfig(), AffineConfig(), LightingConfig())


def on_device(
    data: ImageData,
    *,
    augment: tuple[AugmentConfig, ...] = (),
    batch_size: int = 16,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> DeviceData:
    device = torch.device("cpu")
    return DeviceData(data, device=device, batch_size=batch_size, augment=augment, memory_format=memory_format)


def epoch(batches: DeviceData, seed: int = 0, number: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = zip(*batches.train_batches(seed, number), strict=True)
    return torch.cat(images), torch.cat(labels)


def normalised(data: ImageData, images: torch.Tensor) -> torch.Tensor:
    mean, std = torch.tensor(data.mean), torch.tensor(data.std)
    return (images / 255 - mean[:, None, None]) / std[:, None, None]


@pytest.fixture
def data(make_data: Callable[..., ImageData]) -> ImageData:
    return make_data()


def test_an_epoch_has_every_training_image_once_with_its_label(data):
    images, labels = epoch(on_device(data))
    assert images.dtype == torch.float32 and labels.dtype == torch.int64
    expected = normalised(data, data.train.images)
    places = torch.cdist(images.flatten(1), expected.flatten(1)).argmin(dim=1)
    assert sorted(places.tolist()) == list(range(50))
    torch.testing.assert_close(images, expected[places], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(labels, data.train.labels[places])


def test_training_images_have_mean_zero_and_std_one(data):
    images, _ = epoch(on_device(data))
    torch.testing.assert_close(images.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(images.std(dim=(0, 2, 3), correction=0), torch.ones(3), rtol=1e-4, atol=0)


def test_an_epoch_is_a_function_of_seed_and_number_alone(data):
    batches = on_device(data, augment=EVERYTHING)
    torch.manual_seed(1)
    first = epoch(batches, seed=3, number=7)
    torch.manual_seed(2)
    epoch(batches, seed=3, number=8)
    for left, right in zip(first, epoch(on_device(data, augment=EVERYTHING), seed=3, number=7), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


def test_the_global_random_state_is_left_alone(data):
    before = torch.random.get_rng_state()
    epoch(on_device(data, augment=EVERYTHING))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(("seed", "number"), [(0, 1), (1, 0)])
def test_another_epoch_or_seed_has_another_order_and_augmentation(data, seed, number):
    plain, augmented = on_device(data), on_device(data, augment=(FlipConfig(),))
    assert not torch.equal(epoch(plain)[1], epoch(plain, seed, number)[1])
    assert not torch.equal(epoch(augmented)[0], epoch(augmented, seed, number)[0])


def test_the_order_stays_the_same_for_ever(data):
    """A resumed run, on another machine or a year later, sees the batches that the first one would have seen."""
    assert epoch(on_device(data), seed=0, number=1)[1][:6].tolist() == [4, 1, 4, 2, 3, 0]


def test_neither_batch_size_nor_further_augmentations_change_what_is_drawn(data):
    small, large = on_device(data, augment=(CropConfig(),), batch_size=7), on_device(data, augment=(CropConfig(),))
    torch.testing.assert_close(epoch(small)[0][:48], epoch(large)[0][:48], rtol=0, atol=0)
    more = on_device(data, augment=(CropConfig(), LightingConfig(std=1e-9)))
    torch.testing.assert_close(epoch(more)[0], epoch(large)[0], rtol=1e-4, atol=1e-4)


ONE_BY_ONE = [(augmentation,) for augmentation in (*EVERYTHING, ResizedCropConfig())]


@pytest.mark.parametrize("augment", [(), *ONE_BY_ONE, EVERYTHING], ids=lambda some: "-".join(one.name for one in some))
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=str)
def test_in_order_each_image_is_what_the_epochs_batches_show_of_it(data, augment, memory_format):
    batches = on_device(data, augment=augment, memory_format=memory_format)
    shown, labels = epoch(batches, seed=3, number=7)
    places = image_of_each_place(data, seed=3, number=7)
    in_order, own_labels = zip(*batches.augmented_in_order(3, 7, batch_size=12), strict=True)
    assert all(images.is_contiguous(memory_format=memory_format) for images in in_order)
    assert torch.equal(torch.cat(own_labels), data.train.labels)
    assert torch.equal(torch.cat(own_labels)[places], labels)
    assert torch.equal(torch.cat(in_order)[places], shown)


def image_of_each_place(data: ImageData, seed: int, number: int) -> torch.Tensor:
    """Which image each place of the epoch shows, by images that are nothing but their number."""
    numbers = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(50, 3, 16, 16).contiguous()
    numbered = dataclasses.replace(
        data, train=ImageSplit(images=numbers, labels=data.train.labels), mean=(0.0,) * 3, std=(1 / 255,) * 3
    )
    images, _ = epoch(on_device(numbered), seed, number)
    return images[:, 0, 0, 0].round().long()


def test_in_order_an_image_is_shown_too_that_the_batches_leave_over(make_data):
    batches = on_device(make_data(49), batch_size=16)
    assert sum(len(labels) for _, labels in batches.train_batches(0, 0)) == 48
    assert sum(len(labels) for _, labels in batches.augmented_in_order(0, 0)) == 49


def test_augmentations_apply_in_the_order_of_the_list(data):
    """A cutout after a crop is a whole blank square; before it, the crop may cut some of it off."""
    cut_last = epoch(on_device(data, augment=(CropConfig(padding=8), CutoutConfig(size=16))))[0]
    crop_last = epoch(on_device(data, augment=(CutoutConfig(size=16), CropConfig(padding=8))))[0]
    assert (cut_last == 0).sum() > (crop_last == 0).sum() > 0


def test_padding_is_black_wherever_the_crop_stands_in_the_list(data):
    first = epoch(on_device(data, augment=(CropConfig(),)))[0]
    after_an_idle_one = epoch(on_device(data, augment=(AffineConfig(shift=0.0, scale=0.0), CropConfig())))[0]
    black = normalised(data, torch.zeros(1, 3, 16, 16))[0, :, 0, 0]
    for images in (first, after_an_idle_one):
        assert torch.isclose(images, black[None, :, None, None], atol=1e-4).all(dim=1).any()
        torch.testing.assert_close(images.amin(dim=(0, 2, 3)), black, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("num_train", "batch_size", "sizes"),
    [(50, 16, [16, 16, 16, 2]), (49, 16, [16, 16, 16]), (48, 16, [16, 16, 16]), (5, 16, [5]), (3, 1, [1, 1, 1])],
)
def test_the_last_batch_is_kept_unless_one_image_is_left_over(make_data, num_train, batch_size, sizes):
    batches = on_device(make_data(num_train), batch_size=batch_size)
    assert [len(labels) for _, labels in batches.train_batches(0, 0)] == sizes
    assert batches.steps_per_epoch == len(sizes)
    assert batches.num_train == num_train


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluation_sees_a_split_in_order_and_unchanged(data, split):
    images, labels = zip(*on_device(data, augment=EVERYTHING).eval_batches(split, batch_size=5), strict=True)
    expected = getattr(data, split)
    assert [len(part) for part in labels][:2] == [5, 5]
    torch.testing.assert_close(torch.cat(labels), expected.labels)
    torch.testing.assert_close(torch.cat(images), normalised(data, expected.images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("augment", [(), EVERYTHING])
def test_batches_have_the_memory_format_asked_for(data, augment):
    for memory_format in (torch.contiguous_format, torch.channels_last):
        batches = on_device(data, augment=augment, memory_format=memory_format)
        for images, _ in [next(batches.train_batches(0, 0)), next(batches.eval_batches("test"))]:
            assert images.is_contiguous(memory_format=memory_format)


def test_the_test_split_is_not_touched_before_it_is_asked_for(data):
    class Sealed:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"test.{name} was read")

    sealed = ImageData(
        name="sealed", class_names=data.class_names, fingerprint="1", train=data.train, validation=data.validation,
        test=Sealed(), mean=data.mean, std=data.std,  # type: ignore[arg-type]
    )  # fmt: skip
    batches = on_device(sealed, augment=EVERYTHING)
    epoch(batches)
    list(batches.eval_batches("validation"))
    with pytest.raises(AssertionError, match="was read"):
        list(batches.eval_batches("test"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("fits", [True, False])
def test_batches_are_the_same_on_a_gpu_whole_or_copied_one_by_one(data, fits, monkeypatch):
    if not fits:
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1, 1))
    device = torch.device("cuda")
    batches = DeviceData(data, device=device, batch_size=16, augment=EVERYTHING, memory_format=torch.channels_last)
    for left, right in zip(epoch(batches), epoch(on_device(data, augment=EVERYTHING)), strict=True):
        assert left.device.type == "cuda"
        torch.testing.assert_close(left.cpu(), right, rtol=1e-4, atol=1e-4)
    evaluated = torch.cat([images for images, _ in batches.eval_batches("test")])
    torch.testing.assert_close(evaluated.cpu(), normalised(data, data.test.images), rtol=1e-4, atol=1e-5)
