"""Classic convolutional networks, true to their papers but where they say otherwise, one family a file.

The names below work without torch until a network is asked for: those that need it import it when they are called.

    create_model("resnet20", num_classes=10, in_channels=3, image_size=32)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.entry import ModelEntry, ModelError
from zoo.registry import check, create_model, describe, list_models

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "ModelEntry",
    "ModelError",
    "check",
    "create_model",
    "describe",
    "features",
    "list_models",
    "load_torchvision",
]


def features(model: nn.Module, images_NCHW: Tensor) -> dict[str, Tensor]:
    """The maps after each stage by the stage's name; see `zoo.feature_maps.features`."""
    from zoo import feature_maps

    return feature_maps.features(model, images_NCHW)


def load_torchvision(model: nn.Module, path_or_state_dict: str | Path | Mapping[str, Tensor]) -> None:
    """Puts torchvision's weights into a network; see `zoo.torchvision.load_torchvision`."""
    from zoo import torchvision

    torchvision.load_torchvision(model, path_or_state_dict)
