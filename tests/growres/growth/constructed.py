"""Steps and outputs made by hand, for rules that look at plain numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from growres.events import GrowthStepDecided, StepKind, Verdict
from growres.training.outputs import ImageOutputs


def decided(verdict: Verdict, *, round: int = 1, stage: int = 0, kind: StepKind = "append") -> GrowthStepDecided:
    return GrowthStepDecided(
        step=round, round=round, kind=kind, stage=stage, block=1, initialiser="zero_branch",
        train_error_before=0.1, train_error_candidate=0.1,
        val_error_before=0.2, val_error_candidate=0.2, val_error_control=None, p_value=None, verdict=verdict, reason="",
        num_params_before=1, num_params_after=2, epochs=1, train_flops=1, wall_s=0.0, max_logit_change=0.0,
    )  # fmt: skip


def outputs(error: float, *, losses: Any = 1.0, num_images: int = 100) -> ImageOutputs:
    """The first images wrong, by their share."""
    return outputs_of(np.arange(num_images) < round(error * num_images), losses=losses)


def outputs_of(wrong: NDArray[np.bool_], *, losses: Any = 1.0) -> ImageOutputs:
    """Wrong on these images."""
    num_images = len(wrong)
    return ImageOutputs(
        labels=np.zeros(num_images, dtype=np.int64),
        predictions=wrong.astype(np.int64),
        losses=np.broadcast_to(np.asarray(losses, dtype=np.float64), (num_images,)),
        probabilities=np.full((num_images, 2), 0.5, dtype=np.float16),
    )
