"""Augmentations, a batch at a time, with every random number drawn on the CPU from a generator that is handed in.

Drawing and applying are apart: an epoch's draws are made at once and moved to the device at once, so that no batch
waits for the host, and what happens to an image depends on its place in the epoch, not on the batch size.

Dimension key: B images of a batch, C channels, S the image size.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from growres.config.experiment import (
    AffineConfig,
    AugmentConfig,
    CropConfig,
    CutoutConfig,
    FlipConfig,
    LightingConfig,
    ResizedCropConfig,
)
from growres.data.images import ImageData


class Augmentation(ABC):
    """A random change to each image of a batch."""

    takes_pixels: bool
    """Whether it also works on uint8 pixels, a quarter of the bytes of normalised float32 ones."""

    @abstractmethod
    def draw(self, num_images: int, generator: torch.Generator) -> Tensor:
        """The random numbers for this many images, on the CPU; the first axis counts images."""

    @abstractmethod
    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        """The images (B, C, S, S) changed as was drawn; shape, type and device stay."""

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        draws = self.draw(len(images), generator)
        return self.apply(images, draws.to(images.device, non_blocking=True))


class Crop(Augmentation):
    """Pad with black on all sides and cut back to the size at a random place.

    Black is pixel value 0, before normalisation: `black` (C, 1, 1) is what that is in normalised images.
    """

    takes_pixels = True

    def __init__(self, padding: int, black: Tensor) -> None:
        self.padding = padding
        self._black = black

    def draw(self, num_images: int, generator: torch.Generator) -> Tensor:
        return torch.randint(2 * self.padding + 1, (num_images, 2), generator=generator)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        num_images, _, size, _ = images.shape
        # Every window of every image is a view, and one gather picks a window each: no loop, no grid of coordinates.
        windows = self._padded(images).unfold(2, size, 1).unfold(3, size, 1)
        return windows[torch.arange(num_images, device=images.device), :, draws[:, 0], draws[:, 1]]

    def _padded(self, images: Tensor) -> Tensor:
        margins = (self.padding,) * 4
        if images.dtype == torch.uint8:
            return F.pad(images, margins)
        return F.pad(images - self._black, margins) + self._black


class ResizedCrop(Augmentation):
    """Cut out a part of random area, aspect and place, and stretch it to the image's size (Szegedy et al. 2014, section
    6, arXiv:1409.4842).

    Area and the logarithm of the aspect are uniform. A side that would be longer than the image is the image's; other
    code draws again, which would make one image wait for another.
    """

    takes_pixels = False

    def __init__(self, area: tuple[float, float], aspect: tuple[float, float]) -> None:
        self.area = area
        self.log_aspect = (math.log(aspect[0]), math.log(aspect[1]))

    def draw(self, num_images: int, generator: torch.Generator) -> Tensor:
        """(N, 4): width and height of the part, then its left and upper edge, as fractions of the image size."""
        area, log_aspect, *place = torch.rand(4, num_images, generator=generator)
        area = torch.lerp(torch.tensor(self.area[0]), torch.tensor(self.area[1]), area)
        log_aspect = torch.lerp(torch.tensor(self.log_aspect[0]), torch.tensor(self.log_aspect[1]), log_aspect)
        size = torch.stack([(area * log_aspect.exp()).sqrt(), (area / log_aspect.exp()).sqrt()], dim=1).clamp(max=1.0)
        return torch.cat([size, torch.stack(place, dim=1) * (1 - size)], dim=1)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        size, corner = draws[:, :2], draws[:, 2:]
        # The grid leads from a place in the result, in coordinates from -1 to 1, to where it comes from.
        from_result = draws.new_zeros(len(images), 2, 3)
        from_result[:, 0, 0], from_result[:, 1, 1] = size[:, 0], size[:, 1]
        from_result[:, :, 2] = 2 * corner + size - 1
        grid = F.affine_grid(from_result, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


class Flip(Augmentation):
    """Mirror left to right, with probability one half."""

    takes_pixels = True

    def draw(self, num_images: int, generator: torch.Generator) -> Tensor:
        return torch.randint(2, (num_images,), generator=generator, dtype=torch.bool)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        # torch.where computes both sides, yet indexing by the mask would make the host wait for the device.
        return torch.where(draws[:, None, None, None], images.flip(3), images)


class Cutout(Augmentation):
    """Blank a square to 0, which after normalisation is the channel's mean.

    As in the paper (DeVries & Taylor, arXiv:1708.04552) its centre is any pixel of the image, so that a part of the
    square may lie outside.
    """

    takes_pixels = False

    def __init__(self, side: int, image_size: int) -> None:
        self.side = side
        self._image_size = image_size

    def draw(self, num_images: int, generator: torch.Generator) -> Tensor:
        return torch.randint(self._image_size, (num_images, 2), generator=generator)

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        places = torch.arange(self._image_size, device=images.device)
        from_corner = places - (draws - self.side // 2)[..., None]  # (B, 2, S), along both axes
        inside = (from_corner >= 0) & (from_corner < self.side)
        return images.masked_fill((inside[:, 0, :, None] & inside[:, 1, None, :])[:, None], 0.0)


class Affine(Augmentation):
    """Shift along both axes and scale about the centre; what comes in from outside is black, as with Crop."""

    takes_pixels = False

    def __init__(self, shift: float, scale: float, black: Tensor) -> None:
        self.shift = shift
        self.scale = scale
        self._black = black

    def draw(self, num_images: int, generator: torch.Generator) -> Tensor:
        """(N, 3): the scale, then the shifts along x and y as fractions of the image size."""
        uniform = 2 * torch.rand(num_images, 3, generator=generator) - 1
        return uniform * torch.tensor([self.scale, self.shift, self.shift]) + torch.tensor([1.0, 0.0, 0.0])

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        scale, shift_xy = draws[:, 0], draws[:, 1:]
        # The grid leads from a place in the result, in coordinates from -1 to 1, to where it comes from.
        from_result = draws.new_zeros(len(images), 2, 3)
        from_result[:, 0, 0] = from_result[:, 1, 1] = 1 / scale
        from_result[:, :, 2] = -2 * shift_xy / scale[:, None]
        grid = F.affine_grid(from_result, list(images.shape), align_corners=False)
        return F.grid_sample(images - self._black, grid, align_corners=False) + self._black


class Lighting(Augmentation):
    """Add to all pixels of an image one colour, drawn along the principal components of the training pixels.

    The colour is sum_i p_i * lambda_i * alpha_i, alpha_i ~ N(0, std**2), with the eigenvectors p_i and eigenvalues
    lambda_i of the 3x3 covariance of pixels / 255 (Krizhevsky et al. 2012, section 4.1; the paper does not give the
    pixels' scale, this is the common reading). With one channel lambda is the variance.

    Args:
        components: (C, C), row i is p_i * lambda_i in units of normalised images.
    """

    takes_pixels = False

    def __init__(self, std: float, components: Tensor) -> None:
        self.std = std
        self._components = components

    def draw(self, num_images: int, generator: torch.Generator) -> Tensor:
        return torch.randn(num_images, len(self._components), generator=generator) * self.std

    def apply(self, images: Tensor, draws: Tensor) -> Tensor:
        return images + (draws @ self._components)[:, :, None, None]


def build_augmentation(config: AugmentConfig, data: ImageData, device: torch.device) -> Augmentation:
    """The configured augmentation for images of this data set on this device."""
    size = data.image_size
    match config:
        case CropConfig():
            return Crop(config.padding or max(1, size // 8), _black(data, device))
        case ResizedCropConfig():
            return ResizedCrop(config.area, config.aspect)
        case FlipConfig():
            return Flip()
        case CutoutConfig():
            return Cutout(config.size or max(1, size // 4), size)
        case AffineConfig():
            return Affine(config.shift, config.scale, _black(data, device))
        case LightingConfig():
            return Lighting(config.std, _colour_components(data).to(device))


def _black(data: ImageData, device: torch.device) -> Tensor:
    mean, std = torch.tensor(data.mean), torch.tensor(data.std)
    return (-mean / std)[:, None, None].to(device)


def _colour_components(data: ImageData) -> Tensor:
    eigenvalues, eigenvectors = torch.linalg.eigh(pixel_covariance(data.train.images))
    components: Tensor = (eigenvectors * eigenvalues).T / torch.tensor(data.std, dtype=torch.float64)
    return components.float()


def pixel_covariance(images: Tensor) -> Tensor:
    """(C, C) float64: the covariance of the channels of pixels / 255 over all images (N, C, H, W)."""
    channels = images.shape[1]
    total, products = torch.zeros(channels, dtype=torch.float64), torch.zeros(channels, channels, dtype=torch.float64)
    for start in range(0, len(images), 1024):
        pixels = images[start : start + 1024].transpose(0, 1).reshape(channels, -1).double() / 255
        total += pixels.sum(dim=1)
        products += pixels @ pixels.T
    num_pixels = images.numel() // channels
    mean = total / num_pixels
    return products / num_pixels - torch.outer(mean, mean)
