from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from growres.data.decoding import Encoded, choose_shape, decode, to_pixels
from growres.errors import DataError


class Pictures:
    """Images in a list, as a source would hold them."""

    def __init__(self, encoded: Sequence[Encoded]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def read(self, start: int, stop: int) -> Sequence[Encoded]:
        return self.encoded[start:stop]

    def where(self, row: int, encoded: Encoded) -> str:
        return f"picture {row}"


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


GREY_8X8 = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("image_size", [8, 5])
def test_every_mode_becomes_bytes_of_the_wanted_shape(picture, mode, channels, image_size):
    if mode in ("I;16", "I"):
        image = Image.fromarray(GREY_8X8.astype(np.uint16) * 257).convert(mode)
    elif mode == "PA":
        image = picture(mode="P").convert("PA")
    else:
        image = picture(mode=mode)
    assert image.mode == mode
    pixels = to_pixels(image, channels, image_size)
    assert pixels.shape == (channels, image_size, image_size)
    assert pixels.dtype == np.uint8
    assert pixels.max() > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_bytes_stay_as_they_are(channels):
    np.testing.assert_array_equal(to_pixels(Image.fromarray(GREY_8X8), channels, 8), np.stack([GREY_8X8] * channels))


def test_colour_stays_as_it_is(picture):
    image = picture(mode="RGB")
    np.testing.assert_array_equal(to_pixels(image.copy(), 3, 8), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["I;16", "I"])
def test_sixteen_bits_keep_their_eight_highest(mode):
    wide = Image.fromarray(GREY_8X8.astype(np.uint16) * 257).convert(mode)
    np.testing.assert_array_equal(to_pixels(wide, 1, 8)[0], GREY_8X8)


def test_float_grey_is_on_the_scale_of_bytes():
    np.testing.assert_array_equal(to_pixels(Image.fromarray(GREY_8X8).convert("F"), 1, 8)[0], GREY_8X8)


@pytest.mark.parametrize(
    ("values", "message"),
    [([[0.0, 300.0]], "from 0 to 300; mode F is read on 0 to 255"), ([[0.0, 0.7]], "so scale them")],
)
def test_float_grey_on_another_scale_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        to_pixels(Image.fromarray(np.array(values, dtype=np.float32)), 1, 8)


def test_transparency_is_composited_over_black():
    rgba = np.zeros((4, 4, 4), dtype=np.uint8)
    rgba[..., 0] = 200
    rgba[:2, :, 3] = 255
    rgba[2, :, 3] = 128
    red = to_pixels(Image.fromarray(rgba), 3, 4)[0]
    assert red[0, 0] == 200 and red[2, 0] == pytest.approx(100, abs=1) and red[3, 0] == 0


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA"])
def test_what_hides_under_transparent_pixels_is_not_seen(picture, mode):
    image = picture(mode="P" if mode == "PA" else "RGB").convert(mode)
    image.putalpha(0)
    assert to_pixels(image, 3, 8).max() == 0


def test_a_transparent_palette_entry_is_black(picture):
    image = picture(mode="P")
    index = image.getpixel((0, 0))
    with Image.open(io.BytesIO(png(image, transparency=index))) as reopened:
        assert reopened.mode == "P"
        assert (to_pixels(reopened, 3, 8)[:, 0, 0] == 0).all()


def test_an_orientation_in_the_exif_data_is_applied():
    image = Image.fromarray(GREY_8X8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    with Image.open(io.BytesIO(png(image, exif=exif))) as reopened:
        np.testing.assert_array_equal(to_pixels(reopened, 1, 8)[0], np.rot90(GREY_8X8, k=-1))


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("L", (4, 4), level) for level in (50, 90, 130)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "TIFF", save_all=True, append_images=frames[1:])
    with Image.open(buffer) as animation:
        assert (to_pixels(animation, 1, 4) == 50).all()


def test_making_smaller_averages_instead_of_skipping():
    stripes = np.tile(np.array([0, 255], dtype=np.uint8), (16, 8))
    assert np.abs(to_pixels(Image.fromarray(stripes), 1, 4).astype(int) - 128).max() < 20


def test_channels_are_one_where_all_images_are_grey_and_three_otherwise(picture):
    grey = [png(picture(mode=mode)) for mode in ("1", "L", "LA")]
    assert choose_shape([Pictures(grey)], None, None) == (1, 8)
    assert choose_shape([Pictures(grey), Pictures([png(picture(mode="RGB"))])], None, None) == (3, 8)
    assert choose_shape([Pictures([png(picture(mode="P"))])], None, None) == (3, 8)


def test_mixed_sizes_need_an_image_size(picture):
    mixed = Pictures([picture(size=(8, 8)), picture(size=(8, 8)), picture(size=(20, 10)), picture(size=(5, 4))])
    with pytest.raises(DataError, match=r"3 sizes, from 5x4 to 20x10, most often 8x8. Set dataset.image_size"):
        choose_shape([mixed], None, None)
    assert choose_shape([mixed], None, 6) == (1, 6)
    pixels = np.zeros((4, 1, 6, 6), dtype=np.uint8)
    decode(mixed, pixels)
    assert (pixels.reshape(4, -1).max(axis=1) > 0).all()


def test_images_that_are_not_square_need_an_image_size(picture):
    with pytest.raises(DataError, match="all are 9x8, which is not square. Set dataset.image_size"):
        choose_shape([Pictures([picture(size=(9, 8))])], None, None)


def test_all_images_land_in_their_own_place(picture):
    images = [picture(seed) for seed in range(600)]  # more than a thread is handed at a time
    pixels = np.zeros((600, 1, 8, 8), dtype=np.uint8)
    decode(Pictures([png(image) for image in images]), pixels)
    np.testing.assert_array_equal(pixels[:, 0], np.stack([np.asarray(image) for image in images]))


def test_damaged_images_are_named_and_counted(picture):
    good = png(picture(size=(32, 32)))
    encoded: list[Encoded] = [good] * 300
    encoded[7] = good[: len(good) // 2]
    encoded[290] = None
    with pytest.raises(DataError, match=r"2 of 300 images: picture 7 \(.*\); picture 290 \(there is no image\)"):
        decode(Pictures(encoded), np.zeros((300, 1, 32, 32), dtype=np.uint8))
    encoded[3] = b"no image at all"
    with pytest.raises(DataError, match=r"picture 3 \(cannot identify image file"):
        choose_shape([Pictures(encoded)], None, None)


def test_of_many_damaged_images_five_are_named():
    with pytest.raises(DataError, match=r"9 of 9 images: .*and 4 more. Replace or remove them"):
        choose_shape([Pictures([Path(f"absent-{number}.png") for number in range(9)])], None, None)
