"""growres: does growing a residual network block by block give a better one, and at what cost?

    model = growres.load_model("digits-1")
    model.predict(["three.png"])

Importing this package imports neither torch nor Ray, so that the command line answers at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from growres.trained.model import TrainedModel

__version__ = "0.1.0"


def load_model(reference: str | Path) -> TrainedModel:
    """The trained network of a trial, ready to be used; see `growres.trained.loading.load_model`."""
    from growres.trained import loading

    return loading.load_model(reference)
