from __future__ import annotations

import io

import pytest
import torch

from growres.events import GrowthStepDecided, TrialFinished
from growres.growth.procedure import Growth
from growres.training.context import TrainingContext

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_growth_runs_on_a_gpu_and_goes_on_from_a_checkpoint(make_trial, images, precision: str) -> None:
    trial = make_trial(procedure="growth", training={"precision": precision, "channels_last": True})
    device = torch.device("cuda:0")
    growth = Growth(trial, TrainingContext.of(trial, images, device))
    run = growth.run()
    while not isinstance(next(run), GrowthStepDecided):
        pass
    buffer = io.BytesIO()
    torch.save(growth.state_dict(), buffer)
    buffer.seek(0)
    resumed = Growth(trial, TrainingContext.of(trial, images, device))
    resumed.load_state_dict(torch.load(buffer, map_location=device, weights_only=True))
    *events, finished = resumed.run()
    assert isinstance(finished, TrialFinished)
    assert all(step.max_logit_change < 1e-3 for step in events if isinstance(step, GrowthStepDecided))
