"""Learning-rate schedules as plain functions of the step, so that a resumed run needs no scheduler state."""

from __future__ import annotations

import math
from dataclasses import dataclass

from growres.config.experiment import ConstantSchedule, CosineSchedule, MultiStepSchedule, ScheduleConfig, StepSchedule


@dataclass(frozen=True, slots=True)
class Schedule:
    """The learning rate at every step of one run of `epochs` epochs."""

    config: ScheduleConfig
    base_lr: float
    epochs: int
    steps_per_epoch: int

    def lr(self, step: int) -> float:
        """The learning rate of step 0, 1, ... `epochs * steps_per_epoch` - 1.

        During warm-up it rises linearly, the first step already above zero; the decay runs over the rest.
        """
        epoch = step / self.steps_per_epoch
        if epoch < self.config.warmup_epochs:
            return self.base_lr * (step + 1) / (self.config.warmup_epochs * self.steps_per_epoch + 1)
        return self.base_lr * self._decay(epoch)

    def _decay(self, epoch: float) -> float:
        match self.config:
            case ConstantSchedule():
                return 1.0
            case CosineSchedule(warmup_epochs=warmup, final_lr_fraction=final):
                # A growth whose arms diverged may have more rounds than were foreseen: the cosine must not rise again.
                progress = min((epoch - warmup) / max(self.epochs - warmup, 1e-9), 1.0)
                return final + (1.0 - final) * 0.5 * (1.0 + math.cos(math.pi * progress))
            case StepSchedule(every_epochs=every, factor=factor):
                return float(factor ** math.floor(epoch / every))
            case MultiStepSchedule(milestones=milestones, factor=factor):
                factors = factor if isinstance(factor, tuple) else (factor,) * len(milestones)
                passed = (by for by, milestone in zip(factors, milestones, strict=True) if epoch >= milestone)
                return math.prod(passed, start=1.0)
