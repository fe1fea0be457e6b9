"""Classic convolutional networks, each true to its paper, one family a file.

The names below work without torch, `create_model` excepted: it imports the network's family when it is called.

    create_model("resnet20", num_classes=10, in_channels=3, image_size=32)
"""

from __future__ import annotations

from zoo.entry import ModelEntry, ModelError
from zoo.registry import check, create_model, describe, list_models

__all__ = ["ModelEntry", "ModelError", "check", "create_model", "describe", "list_models"]
