"""Any image that Pillow opens, of any mode and size, as uint8 pixels of one shape.

- Transparency is composited over black. Dropping it would show the colours that hide under transparent pixels,
  which programs leave there at random; black is also what `crop` pads with.
- The orientation in a photograph's EXIF is applied: the network sees what people see.
- Of an animation, the first frame is taken.
- 16-bit grey (modes I;16 and I) is scaled from 0..65535, float grey (mode F) is on Pillow's own scale 0..255.
  A value outside is an error, for it would be cut off silently.
- Resizing is bilinear with antialiasing, after the conversion to grey or RGB, and does not keep the aspect ratio.
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from growres.errors import DataError

Channels = Literal[1, 3]
Encoded = bytes | Path | Image.Image | None
"""An image file's content, the file itself, an image, or None where the source has nothing."""

_GREY_MODES = frozenset({"1", "L", "LA", "La", "I", "I;16", "I;16L", "I;16B", "I;16N", "F"})
_CHUNK = 256
"""Images handed to a thread at a time."""


class EncodedImages(Protocol):
    """Images as their source holds them."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Sequence[Encoded]:
        """The images of these rows."""

    def where(self, row: int, encoded: Encoded) -> str:
        """The image's place in its source, in words that lead a person there."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the headers of some images say."""

    sizes: Counter[tuple[int, int]]
    any_colour: bool


def choose_shape(
    splits: Sequence[EncodedImages], channels: Channels | None, image_size: int | None
) -> tuple[Channels, int]:
    """(channels, image size): as configured, else what all the images have in common.

    Raises:
        DataError: if the images differ in size, or are not square, and no size is configured; if one cannot be opened.
    """
    if channels is not None and image_size is not None:
        return channels, image_size
    seen = [chunk for split in splits for chunk in _over_chunks(split, _look)]
    sizes: Counter[tuple[int, int]] = sum((chunk.sizes for chunk in seen), Counter())
    if channels is None:
        channels = 3 if any(chunk.any_colour for chunk in seen) else 1
    return channels, image_size or _common_size(sizes)


def decode(split: EncodedImages, pixels_NCHW: NDArray[np.uint8]) -> None:
    """Every image of the split is decoded into its place.

    Raises:
        DataError: if any cannot be decoded; it names them.
    """
    _, channels, image_size, _ = pixels_NCHW.shape

    def decode_into_place(image: Image.Image, row: int) -> None:
        pixels_NCHW[row] = to_pixels(image, 3 if channels == 3 else 1, image_size)

    for _ in _over_chunks(split, lambda images: _each(images, decode_into_place)):
        pass


def read_image(image: Path | Image.Image, channels: Channels, image_size: int) -> NDArray[np.uint8]:
    """One image of no data set as uint8 (C, H, W), converted as those of a data set are; the image is left as it is.

    Raises:
        DataError: if it cannot be decoded, or has so many pixels that Pillow takes it for a decompression bomb.
    """
    try:
        with _open(image) if isinstance(image, Path) else image.copy() as opened:
            return to_pixels(opened, channels, image_size)
    except Exception as error:  # whatever Pillow's plugins raise, as in _each
        place = image if isinstance(image, Path) else "the image"
        reason = "it is no image" if isinstance(error, UnidentifiedImageError) else _why(error)
        raise DataError(f"Cannot decode {place}: {reason}. Give an image file that Pillow can open.") from error


def to_pixels(image: Image.Image, channels: Channels, image_size: int) -> NDArray[np.uint8]:
    """uint8 (C, H, W), converted as the module says."""
    ImageOps.exif_transpose(image, in_place=True)
    image = _eight_bits(image).convert("L" if channels == 1 else "RGB")
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def _eight_bits(image: Image.Image) -> Image.Image:
    """The image in a mode that has 8 bits a channel and no transparency."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_scaled_to_bytes(np.asarray(image).astype(np.float64), image.mode))
    if not image.has_transparency_data:
        return image
    opaque = Image.new("RGBA", image.size, (0, 0, 0, 255))
    opaque.alpha_composite(image.convert("RGBA"))
    return opaque


def _scaled_to_bytes(values: NDArray[np.float64], mode: str) -> NDArray[np.uint8]:
    lowest, highest = float(values.min()), float(values.max())
    full_scale = 255.0 if mode == "F" else 65535.0
    if not 0 <= lowest <= highest <= full_scale:
        raise ValueError(f"its values go from {lowest:g} to {highest:g}; mode {mode} is read on 0 to {full_scale:g}")
    if mode == "F" and 0 < highest <= 1:
        raise ValueError(f"its values go from {lowest:g} to {highest:g}; mode F is read on 0 to 255, so scale them")
    return np.rint(values * (255 / full_scale)).astype(np.uint8)


def _common_size(sizes: Counter[tuple[int, int]]) -> int:
    (width, height), _ = sizes.most_common(1)[0]
    if len(sizes) == 1 and width == height:
        return width
    if len(sizes) == 1:
        seen = f"all are {width}x{height}, which is not square"
    else:
        smallest, largest = min(sizes, key=_area), max(sizes, key=_area)
        seen = (
            f"they have {len(sizes)} sizes, from {smallest[0]}x{smallest[1]} to {largest[0]}x{largest[1]}, "
            f"most often {width}x{height}"
        )
    raise DataError(f"Cannot tell the image size: {seen}. Set dataset.image_size, and all are resized to it.")


def _area(size: tuple[int, int]) -> int:
    return size[0] * size[1]


_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some consecutive images, opened one by one, with a note of those that failed."""

    split: EncodedImages
    rows: range
    failures: list[tuple[int, str]]
    """(row, where it is and why); one list for all chunks of a split."""

    def opened(self) -> Iterator[tuple[Encoded, int]]:
        yield from zip(self.split.read(self.rows.start, self.rows.stop), self.rows, strict=True)

    def failed(self, row: int, encoded: Encoded, error: Exception) -> None:
        self.failures.append((row, f"{self.split.where(row, encoded)} ({_why(error)})"))


def _look(chunk: _Chunk) -> _Seen:
    sizes: Counter[tuple[int, int]] = Counter()
    modes: set[str] = set()

    def note(image: Image.Image, row: int) -> None:
        sizes[image.size] += 1
        modes.add(image.mode)

    _each(chunk, note)
    return _Seen(sizes, any_colour=bool(modes - _GREY_MODES))


def _each(chunk: _Chunk, use: Callable[[Image.Image, int], None]) -> None:
    for encoded, row in chunk.opened():
        try:
            with _open(encoded) as image:
                use(image, row)
        except Exception as error:
            # All of them, because Pillow's plugins raise whatever a damaged file leads them to: OSError, SyntaxError,
            # ValueError, struct.error, zlib.error, IndexError and more.
            chunk.failed(row, encoded, error)


def _open(encoded: Encoded) -> Image.Image:
    if encoded is None:
        raise ValueError("there is no image")
    if isinstance(encoded, Image.Image):
        return encoded
    return Image.open(io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded)


def _why(error: Exception) -> str:
    """The reason in the library's words, without the path where a message around it names that already."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def _over_chunks(split: EncodedImages, use: Callable[[_Chunk], _Result]) -> list[_Result]:
    """What `use` returns for each chunk of the split, in order; Pillow decodes outside the interpreter's lock."""
    failures: list[tuple[int, str]] = []
    starts = range(0, len(split), _CHUNK)
    chunks = [_Chunk(split, range(start, min(start + _CHUNK, len(split))), failures) for start in starts]
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 16)) as threads:
        results = list(threads.map(use, chunks))
    if failures:
        more = f", and {len(failures) - 5} more" if len(failures) > 5 else ""
        named = "; ".join(text for _, text in sorted(failures)[:5])
        raise DataError(
            f"Cannot decode {len(failures):,} of {len(split):,} images: {named}{more}. Replace or remove them."
        )
    return results
