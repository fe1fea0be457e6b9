"""An epoch's batches, made on the device: one gather by index, batched augmentation, normalisation.

Dimension key: N images of a split, B images of a batch, C channels, S the image size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

from growres.config.experiment import AugmentConfig
from growres.data.augment import build_augmentation
from growres.data.images import ImageData, ImageSplit
from growres.seeding import stream_seed

SplitName = Literal["train", "validation", "test"]


class DeviceData:
    """A data set's splits on a device, each moved there when it is first asked for.

    A split that takes up to half of a GPU's free memory is moved whole; a larger one stays in host memory, and its
    batches are copied one by one.
    """

    def __init__(
        self,
        data: ImageData,
        *,
        device: torch.device,
        batch_size: int,
        augment: tuple[AugmentConfig, ...],
        memory_format: torch.memory_format,
    ) -> None:
        self._data = data
        self._device = device
        self._batch_size = batch_size
        self._memory_format = memory_format
        self._augmentations = [build_augmentation(config, data, device) for config in augment]
        self._mean_255 = 255 * torch.tensor(data.mean, device=device)[:, None, None]
        self._inverse_std_255 = 1 / (255 * torch.tensor(data.std, device=device)[:, None, None])
        self._placed: dict[SplitName, _PlacedSplit] = {}

    @property
    def num_train(self) -> int:
        return len(self._data.train)

    @property
    def steps_per_epoch(self) -> int:
        return len(self._batch_bounds())

    def train_batches(self, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The training split once, in the order and with the augmentation of this epoch.

        Both are a function of (seed, epoch) alone: not of the device, of the global random state, nor of what was
        drawn before. The last, smaller batch is left out where it has one image only, from which batch norm can
        take no statistics.

        Yields:
            images, float32 (B, C, S, S), normalised by the training split's mean and std; labels, int64 (B,).
        """
        split = self._split("train")
        generator = torch.Generator().manual_seed(stream_seed("batches", seed, epoch))
        order = torch.randperm(self.num_train, generator=generator).to(split.images.device)
        epoch_draws = [
            augmentation.draw(self.num_train, generator).to(self._device) for augmentation in self._augmentations
        ]
        for start, stop in self._batch_bounds():
            images, labels = split.take(order[start:stop])
            yield self._finish(self._augmented(images, [draws[start:stop] for draws in epoch_draws])), labels

    def augmented_in_order(self, seed: int, epoch: int, batch_size: int = 512) -> Iterator[tuple[Tensor, Tensor]]:
        """The training split once in its own order, each image as `train_batches` shows it in this epoch."""
        split = self._split("train")
        generator = torch.Generator().manual_seed(stream_seed("batches", seed, epoch))
        order = torch.randperm(self.num_train, generator=generator)
        place_of_image = order.argsort().to(self._device)
        epoch_draws = [
            augmentation.draw(self.num_train, generator).to(self._device) for augmentation in self._augmentations
        ]
        for start in range(0, self.num_train, batch_size):
            images, labels = split.between(start, start + batch_size)
            places = place_of_image[start : start + batch_size]
            yield self._finish(self._augmented(images, [draws[places] for draws in epoch_draws])), labels

    def first_images(self, seed: int, epoch: int, num_images: int) -> Tensor:
        """The images that an epoch begins with, in their order and with their augmentation, at most as many as it has.

        Shape and type are those of train_batches.
        """
        taken: list[Tensor] = []
        for images, _ in self.train_batches(seed, epoch):
            taken.append(images)
            if sum(map(len, taken)) >= num_images:
                break
        return torch.cat(taken)[:num_images]

    def eval_batches(self, split: SplitName, batch_size: int = 512) -> Iterator[tuple[Tensor, Tensor]]:
        """The whole split in its own order, without augmentation; shapes and types are those of train_batches."""
        placed = self._split(split)
        for start in range(0, len(placed.labels), batch_size):
            images, labels = placed.between(start, start + batch_size)
            yield self._finish(images), labels

    def _batch_bounds(self) -> list[tuple[int, int]]:
        bounds = [
            (start, min(start + self._batch_size, self.num_train))
            for start in range(0, self.num_train, self._batch_size)
        ]
        start, stop = bounds[-1]
        return bounds[:-1] if stop - start == 1 < self._batch_size else bounds

    def _split(self, name: SplitName) -> _PlacedSplit:
        if name not in self._placed:
            self._placed[name] = _PlacedSplit(getattr(self._data, name), self._device)
        return self._placed[name]

    def _augmented(self, images: Tensor, draws: list[Tensor]) -> Tensor:
        for augmentation, drawn in zip(self._augmentations, draws, strict=True):
            if not augmentation.takes_pixels:
                images = self._normalised(images)
            images = augmentation.apply(images, drawn)
        return images

    def _finish(self, images: Tensor) -> Tensor:
        return self._normalised(images).contiguous(memory_format=self._memory_format)

    def _normalised(self, images: Tensor) -> Tensor:
        """Float32 images; those that are no longer uint8 were normalised before."""
        if images.dtype != torch.uint8:
            return images
        return (images - self._mean_255).mul_(self._inverse_std_255)


class _PlacedSplit:
    """A split on the device, or, where it is too large for that, in host memory; batches always come on the device."""

    def __init__(self, split: ImageSplit, device: torch.device) -> None:
        self._device = device
        place = device if _fits(split.images, device) else torch.device("cpu")
        self.images = split.images.to(place)
        self.labels = split.labels.to(place)

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self._delivered(self.images.index_select(0, rows), self.labels.index_select(0, rows))

    def between(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        return self._delivered(self.images[start:stop], self.labels[start:stop])

    def _delivered(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if images.device == self._device or self._device.type != "cuda":
            return images.to(self._device), labels.to(self._device)
        # Pinned, so that the copy runs beside the step before it; the allocator keeps the pinned blocks for reuse.
        return (
            images.pin_memory().to(self._device, non_blocking=True),
            labels.pin_memory().to(self._device, non_blocking=True),
        )


def _fits(images: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return images.nbytes <= free_bytes // 2
