"""A network that was trained, with all that it takes to use it.

Dimension key: N images, C channels (1 or 3), H = W the image size, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image
from torch import Tensor, nn

from growres.data.decoding import read_image
from growres.errors import DataError
from growres.training.networks import build_network

Picture = str | Path | Image.Image
"""An image file, or an image of Pillow."""

_BATCH_SIZE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A class, and how probable the network takes it to be: its softmax, which is no calibrated probability."""

    class_name: str
    probability: float


class TrainedModel(nn.Module):
    """A trained network behind its preprocessing, in evaluation mode.

    Images go in as float32 in [0, 1], a file's pixels over 255. They are normalised inside, by what the network was
    trained with, so that whoever runs an exported file need not know of it. It computes in float32, also where the
    trial trained and validated in bfloat16.

    Attributes:
        class_names: by label, the place of a class in the logits.
        channels: 1 (grey) or 3 (RGB).
        image_size: height and width in pixels.
        mean, std_inverse: buffers (C, 1, 1) of what is normalised by, on the pixels' scale of 0 to 255.
        network: the network alone.
        architecture: what rebuilds that: see growres.training.networks.build_network.
        source: what identifies it to a person: the trial's id, or the file that it was read from.
    """

    mean: Tensor
    std_inverse: Tensor

    def __init__(
        self, network: nn.Module, *, architecture: dict[str, Any], images: dict[str, Any], source: str = ""
    ) -> None:
        """
        Args:
            images: what growres.data.images.describe_images said of the data set.
        """
        super().__init__()
        self.network = network
        self.architecture = architecture
        self.source = source
        self.class_names: tuple[str, ...] = tuple(images["class_names"])
        self.channels: int = images["channels"]
        self.image_size: int = images["image_size"]
        self._images = images
        # As growres.data.batches computes it, so that a data set's own images give the logits of its evaluation.
        self.register_buffer("mean", 255 * torch.tensor(images["mean"])[:, None, None], persistent=False)
        inverse = 1 / (255 * torch.tensor(images["std"])[:, None, None])
        self.register_buffer("std_inverse", inverse, persistent=False)
        self.eval()

    @classmethod
    def from_state(cls, state: dict[str, Any], *, source: str = "") -> TrainedModel:
        """The model that the sections `network` and `images` of a checkpoint describe, on the CPU.

        Raises:
            zoo.ModelError: if the zoo has no such network.
        """
        images, saved = state["images"], state["network"]
        network = build_network(
            saved["architecture"],
            num_classes=len(images["class_names"]),
            in_channels=images["channels"],
            image_size=images["image_size"],
        )
        network.load_state_dict(saved["weights"])
        return cls(network, architecture=saved["architecture"], images=images, source=source)

    def state(self) -> dict[str, Any]:
        """What `from_state` takes."""
        network = {"architecture": self.architecture, "weights": self.network.state_dict()}
        return {"network": network, "images": self._images}

    def forward(self, images_NCHW: Tensor) -> Tensor:
        """Logits (N, K) of float32 images (N, C, H, W) in [0, 1].

        Raises:
            DataError: if the images are whole numbers, which would overflow.
        """
        if not images_NCHW.is_floating_point():
            raise DataError(f"Images are float32 in [0, 1], and these are {images_NCHW.dtype}. Divide them by 255.")
        # By way of 0 to 255: for pixels of 8 bits this is exact, where (x - mean) / std would differ in the last bits.
        return cast(Tensor, self.network((255 * images_NCHW - self.mean) * self.std_inverse))

    def preprocess(self, image: Picture) -> Tensor:
        """One image as float32 (C, H, W) in [0, 1], converted and resized as those were that the network learned from.

        Raises:
            DataError: if it cannot be decoded.
        """
        source = Path(image) if isinstance(image, str) else image
        pixels_CHW = read_image(source, 3 if self.channels == 3 else 1, self.image_size)
        return torch.tensor(pixels_CHW) / 255

    def predict(self, images: Tensor | Sequence[Picture]) -> list[Prediction]:
        """The most probable class of each image.

        Args:
            images: files or images of Pillow, or what `preprocess` made of them, (N, C, H, W).
        Raises:
            DataError: if one cannot be decoded.
        """
        return [ranking[0] for ranking in self.rank(images, top=1)]

    @torch.inference_mode()
    def rank(self, images: Tensor | Sequence[Picture], *, top: int) -> list[list[Prediction]]:
        """The `top` most probable classes of each image, the most probable first; all where there are fewer."""
        return [
            self._ranking(probabilities_K, top)
            for batch_NCHW in self._batches(images)
            for probabilities_K in self(batch_NCHW.to(self.mean.device)).softmax(dim=1)
        ]

    def _batches(self, images: Tensor | Sequence[Picture]) -> Iterator[Tensor]:
        for start in range(0, len(images), _BATCH_SIZE):
            batch = images[start : start + _BATCH_SIZE]
            yield batch if isinstance(batch, Tensor) else torch.stack([self.preprocess(image) for image in batch])

    def _ranking(self, probabilities_K: Tensor, top: int) -> list[Prediction]:
        probabilities, labels = probabilities_K.topk(min(top, len(self.class_names)))
        return [
            Prediction(class_name=self.class_names[label], probability=probability)
            for label, probability in zip(labels.tolist(), probabilities.tolist(), strict=True)
        ]

    def extra_repr(self) -> str:
        return (
            f"source={self.source!r}, classes={len(self.class_names)}, channels={self.channels}, size={self.image_size}"
        )
