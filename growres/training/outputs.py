"""What a network says of every image of a split: for paired comparisons, boosting margins, and whoever asks later."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from growres.errors import CheckpointError
from growres.training.checkpoint import disk_trouble
from growres.training.loop import Batches, Measurement
from growres.training.precision import Precision


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImageOutputs:
    """A network's outputs in evaluation mode, image by image in the split's own order, without augmentation.

    Dimension key: N images, K classes.
    """

    labels: NDArray[np.int64]
    """(N,)."""
    predictions: NDArray[np.int64]
    """(N,), the class with the largest logit."""
    losses: NDArray[np.float64]
    """(N,), the cross-entropy of each image."""
    probabilities: NDArray[np.float16]
    """(N, K), the softmax of the logits."""

    @property
    def wrong(self) -> NDArray[np.bool_]:
        """(N,), whether the prediction is not the label."""
        return np.not_equal(self.predictions, self.labels)

    @property
    def measurement(self) -> Measurement:
        """Mean loss and error, as `evaluate` gives them."""
        return Measurement(loss=float(self.losses.mean()), error=float(self.wrong.mean()), num_images=len(self.labels))

    def save(self, path: Path) -> None:
        """Writes an .npz file.

        Raises:
            CheckpointError: if the disk refuses.
            DiskError: if it may not refuse another attempt.
        """
        temporary = path.with_name(f".{path.name}.unfinished.npz")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(
                temporary,
                labels=self.labels,
                predictions=self.predictions,
                losses=self.losses,
                probabilities=self.probabilities,
            )
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):  # where no folder could be made, there is no file to take away
                temporary.unlink(missing_ok=True)
            num_bytes = sum(array.nbytes for array in (self.labels, self.predictions, self.losses, self.probabilities))
            raise disk_trouble(
                error,
                f"Cannot write the outputs {path} ({num_bytes} bytes): {error.strerror}. Free some space or set "
                f"GROWRES_HOME to another disk, then go on: growres resume EXPERIMENT --failed",
            ) from error


def load_outputs(path: Path) -> ImageOutputs:
    """What `ImageOutputs.save` wrote; read as data, never as code.

    Raises:
        CheckpointError: if the file is not there, truncated, altered, or holds anything else.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return ImageOutputs(**{name: arrays[name] for name in ("labels", "predictions", "losses", "probabilities")})
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise CheckpointError(
            f"Cannot read the outputs {path}: {error}. Train its trial again to have them."
        ) from error


@torch.inference_mode()
def measure_outputs(network: nn.Module, batches: Batches, *, precision: Precision) -> ImageOutputs:
    """The outputs of all images in the batches, in evaluation mode; the network's modes are put back after."""
    training_modules = [module for module in network.modules() if module.training]
    network.eval()
    labels_of, predictions, losses, probabilities = [], [], [], []
    for images, labels in batches:
        with precision.autocast():
            logits_NK = network(images).float()
        labels_of.append(labels)
        predictions.append(logits_NK.argmax(dim=1))
        losses.append(F.cross_entropy(logits_NK, labels, reduction="none"))
        probabilities.append(logits_NK.softmax(dim=1).half())
    for module in training_modules:
        module.training = True
    return ImageOutputs(
        labels=torch.cat(labels_of).cpu().numpy(),
        predictions=torch.cat(predictions).cpu().numpy(),
        losses=torch.cat(losses).double().cpu().numpy(),
        probabilities=torch.cat(probabilities).cpu().numpy(),
    )
