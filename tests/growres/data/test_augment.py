from __future__ import annotations

import pytest
import torch

from growres.config.experiment import (
    AffineConfig,
    CropConfig,
    CutoutConfig,
    FlipConfig,
    LightingConfig,
    ResizedCropConfig,
)
from growres.data.augment import (
    Affine,
    Augmentation,
    Crop,
    Cutout,
    Flip,
    ResizedCrop,
    build_augmentation,
    pixel_covariance,
)

BLACK = torch.tensor([-1.0, -2.0, -3.0])[:, None, None]
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(count: int = 20, channels: int = 3, size: int = 16) -> torch.Tensor:
    # No pixel is 0, so that what padding brought in can be told.
    return torch.randint(1, 256, (count, channels, size, size), generator=generator(9), dtype=torch.uint8)


def images(count: int = 20, channels: int = 3, size: int = 16) -> torch.Tensor:
    return torch.randn(count, channels, size, size, generator=generator(9))


@pytest.fixture(
    params=[CropConfig(), ResizedCropConfig(), FlipConfig(), CutoutConfig(), AffineConfig(), LightingConfig()],
    ids=lambda c: c.name,
)
def augmentation(request, make_data) -> Augmentation:
    return build_augmentation(request.param, make_data(), CPU)


def test_shape_and_type_stay_and_the_originals_are_left_alone(augmentation):
    for originals in [images()] + ([pixels()] if augmentation.takes_pixels else []):
        before = originals.clone()
        changed = augmentation(originals, generator())
        assert (changed.shape, changed.dtype) == (originals.shape, originals.dtype)
        assert not torch.equal(changed, originals)
        torch.testing.assert_close(originals, before, rtol=0, atol=0)


def test_the_generator_alone_decides(augmentation):
    torch.manual_seed(1)
    first = augmentation(images(), generator(5))
    torch.manual_seed(2)
    torch.testing.assert_close(augmentation(images(), generator(5)), first, rtol=0, atol=0)
    assert not torch.equal(augmentation(images(), generator(6)), first)


def test_an_image_is_changed_by_its_own_draws_alone(augmentation):
    """So the batch size does not matter."""
    draws = augmentation.draw(20, generator())
    whole = augmentation.apply(images(), draws)
    halves = [augmentation.apply(images()[part], draws[part]) for part in (slice(7), slice(7, 20))]
    torch.testing.assert_close(torch.cat(halves), whole)


@pytest.mark.parametrize(("dtype", "black"), [(torch.uint8, torch.zeros(3, 1, 1)), (torch.float32, BLACK)])
def test_a_crop_is_a_window_of_the_image_padded_with_black(dtype, black):
    originals = pixels(30).to(dtype)
    crop = Crop(padding=4, black=BLACK)
    draws = crop.draw(30, generator())
    cropped = crop.apply(originals, draws)
    for original, (down, right), result in zip(originals, draws.tolist(), cropped, strict=True):
        padded = black.to(dtype).expand(3, 24, 24).clone()
        padded[:, 4:20, 4:20] = original
        torch.testing.assert_close(result, padded[:, down : down + 16, right : right + 16])


def test_a_crop_visits_every_place():
    draws = Crop(padding=1, black=BLACK).draw(500, generator())
    assert {tuple(place) for place in draws.tolist()} == {(down, right) for down in range(3) for right in range(3)}


def test_a_crop_at_the_centre_is_the_image():
    centre = torch.full((20, 2), 4)
    torch.testing.assert_close(Crop(4, BLACK).apply(pixels(), centre), pixels(), rtol=0, atol=0)


@pytest.mark.parametrize(("size", "padding"), [(32, 4), (8, 1), (28, 3), (4, 1)])
def test_padding_is_an_eighth_of_the_image_by_default(make_data, size, padding):
    crop = build_augmentation(CropConfig(), make_data(size=size), CPU)
    assert isinstance(crop, Crop) and crop.padding == padding
    assert build_augmentation(CropConfig(padding=2), make_data(size=size), CPU).padding == 2


def test_black_is_pixel_value_zero_after_normalisation(make_data):
    data = make_data()
    crop = build_augmentation(CropConfig(), data, CPU)
    corner = crop.apply(torch.zeros(1, 3, 16, 16), torch.zeros(1, 2, dtype=torch.int64))[0, :, 0, 0]
    torch.testing.assert_close(
        corner, torch.tensor([-mean / std for mean, std in zip(data.mean, data.std, strict=True)])
    )


def test_flipping_twice_gives_the_image_back():
    draws = Flip().draw(20, generator())
    torch.testing.assert_close(Flip().apply(Flip().apply(pixels(), draws), draws), pixels(), rtol=0, atol=0)


def test_a_flip_mirrors_about_half_of_the_images_left_to_right():
    draws = Flip().draw(1000, generator())
    assert 430 < draws.sum() < 570
    flipped = Flip().apply(pixels(), draws[:20])
    for original, mirrored, result in zip(pixels(), draws[:20], flipped, strict=True):
        torch.testing.assert_close(result, original.flip(2) if mirrored else original, rtol=0, atol=0)


@pytest.mark.parametrize("side", [1, 4, 5])
def test_a_cutout_blanks_one_square_that_may_reach_outside(side):
    cutout = Cutout(side, image_size=16)
    blank = cutout(torch.ones(400, 3, 16, 16), generator()) == 0
    assert (blank[:, 0] == blank[:, 1]).all() and (blank[:, 0] == blank[:, 2]).all()
    areas = blank[:, 0].sum(dim=(1, 2))
    heights, widths = blank[:, 0].any(dim=2).sum(dim=1), blank[:, 0].any(dim=1).sum(dim=1)
    assert torch.equal(areas, heights * widths)  # a rectangle without holes
    assert areas.max() == side**2
    assert heights.min() >= side // 2 and widths.min() >= side // 2 and areas.min() >= 1


def test_a_cutout_is_a_quarter_of_the_image_by_default(make_data):
    assert build_augmentation(CutoutConfig(), make_data(size=32), CPU).side == 8
    assert build_augmentation(CutoutConfig(), make_data(size=3), CPU).side == 1
    assert build_augmentation(CutoutConfig(size=5), make_data(size=32), CPU).side == 5


def test_an_affine_of_zero_range_is_the_identity():
    torch.testing.assert_close(Affine(0.0, 0.0, BLACK)(images(), generator()), images(), rtol=1e-5, atol=1e-5)


def test_an_affine_shifts_to_the_right_and_down_and_brings_in_black():
    shifted = Affine(0.25, 0.0, BLACK).apply(images(), torch.tensor([[1.0, 0.25, 0.125]]).expand(20, 3))
    torch.testing.assert_close(shifted[:, :, 2:, 4:], images()[:, :, :-2, :-4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(shifted[:, :, :2], BLACK.expand(20, 3, 2, 16))
    torch.testing.assert_close(shifted[..., :4], BLACK.expand(20, 3, 16, 4))


def test_an_affine_of_scale_two_doubles_what_is_shown():
    square = torch.zeros(1, 3, 16, 16)
    square[:, :, 6:10, 6:10] = 1
    enlarged = Affine(0.0, 0.9, torch.zeros(3, 1, 1)).apply(square, torch.tensor([[2.0, 0.0, 0.0]]))
    assert enlarged.sum().item() == pytest.approx(4 * square.sum().item(), rel=0.05)


def test_an_affine_draws_within_its_ranges():
    draws = Affine(0.1, 0.3, BLACK).draw(2000, generator())
    lowest, highest = draws.min(dim=0).values, draws.max(dim=0).values
    torch.testing.assert_close(lowest, torch.tensor([0.7, -0.1, -0.1]), rtol=0.02, atol=0.002)
    torch.testing.assert_close(highest, torch.tensor([1.3, 0.1, 0.1]), rtol=0.02, atol=0.002)


@pytest.mark.parametrize("channels", [1, 3])
def test_lighting_adds_one_colour_to_all_pixels_of_an_image(make_data, channels):
    lighting = build_augmentation(LightingConfig(), make_data(channels=channels), CPU)
    difference = lighting(images(channels=channels), generator()) - images(channels=channels)
    torch.testing.assert_close(difference, difference[:, :, :1, :1].expand_as(difference), rtol=1e-4, atol=1e-5)
    assert difference.std(dim=0).max() > 0


def test_lighting_varies_as_the_square_of_the_pixels_covariance(make_data):
    """sum_i p_i lambda_i alpha_i has the covariance std^2 P diag(lambda^2) P^T = std^2 covariance^2."""
    data = make_data()
    lighting = build_augmentation(LightingConfig(std=0.5), data, CPU)
    colours = lighting(torch.zeros(200_000, 3, 1, 1), generator())[:, :, 0, 0] * torch.tensor(data.std)
    covariance = pixel_covariance(data.train.images)
    expected = 0.25 * covariance @ covariance
    torch.testing.assert_close(
        colours.T.double().cov(correction=0), expected, rtol=0.05, atol=0.01 * expected.max().item()
    )


def test_the_covariance_is_that_of_all_pixels():
    many = pixels(1500, size=4)  # more than are counted at a time
    expected = (many.transpose(0, 1).reshape(3, -1).double() / 255).cov(correction=0)
    torch.testing.assert_close(pixel_covariance(many), expected)


def ramp(size: int = 16) -> torch.Tensor:
    """Two channels whose values are the x and the y of each pixel's centre, from 0 to 1."""
    places = (torch.arange(size) + 0.5) / size
    return torch.stack(torch.meshgrid(places, places, indexing="xy"))[None]


def test_a_resized_crop_of_the_whole_image_is_the_image():
    whole = ResizedCrop(area=(1.0, 1.0), aspect=(1.0, 1.0))
    torch.testing.assert_close(whole(images(), generator()), images())


def test_a_resized_crop_shows_the_part_that_was_drawn():
    crop = ResizedCrop(area=(0.2, 0.5), aspect=(0.5, 2.0))
    draws = crop.draw(50, generator())
    shown = crop.apply(ramp().expand(50, -1, -1, -1), draws)
    width, height, left, top = draws.T
    middle = slice(5, 11)  # away from the borders, where the picture of a ramp is a ramp
    step = (torch.arange(16) + 0.5)[middle] / 16
    torch.testing.assert_close(shown[:, 0, 8, middle], left[:, None] + width[:, None] * step)
    torch.testing.assert_close(shown[:, 1, middle, 8], top[:, None] + height[:, None] * step)


def test_resized_crops_keep_to_their_bounds_and_to_the_image():
    draws = ResizedCrop(area=(0.08, 1.0), aspect=(0.75, 4 / 3)).draw(2000, generator())
    width, height, left, top = draws.T
    assert (draws >= 0).all() and (left + width <= 1 + 1e-6).all() and (top + height <= 1 + 1e-6).all()
    inside = (width < 1) & (height < 1)
    area, aspect = (width * height)[inside], (width / height)[inside]
    assert 0.08 <= area.min() < 0.1 and area.max() <= 1.0
    assert 0.75 - 1e-6 <= aspect.min() < 0.77 and 1.3 < aspect.max() <= 4 / 3 + 1e-6
    assert abs(aspect.log().mean().item()) < 0.02
    assert 0.4 < (left / (1 - width).clamp(min=1e-6))[inside].mean() < 0.6
