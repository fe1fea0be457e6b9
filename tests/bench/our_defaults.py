"""One trial with our defaults: one thread, precision auto, batches made in one piece. Started by bench_defaults."""

from __future__ import annotations

import itertools

import torch

from growres.training.context import TrainingContext
from growres.training.loop import train_epoch
from growres.training.optimizers import make_optimizer
from jobs.trial import limit_threads
from tests.bench.setups import RESNET20, make_trial, random_images
from tests.bench.sparring import TrainFor, for_seconds, serve


def make_trainer(num_images: int) -> TrainFor:
    """The training of a trial, as jobs.trial sets it up."""
    trial = make_trial(RESNET20, augment=["crop", "flip"])
    limit_threads(trial.resources)
    context = TrainingContext.of(trial, random_images(num_images), torch.device("cpu"))
    network = context.build(RESNET20).train()
    optimizer = make_optimizer(network, trial.training.optimizer)
    epochs = itertools.count()

    def train_for(seconds: float) -> int:
        return train_epoch(
            network,
            for_seconds(context.data.train_batches(trial.seed, next(epochs)), seconds),
            optimizer=optimizer,
            lr_of_step=lambda step: trial.training.optimizer.lr,
            first_step=0,
            num_steps=context.data.steps_per_epoch,
            precision=context.precision,
        ).num_images

    return train_for


if __name__ == "__main__":
    serve(make_trainer(num_images=50_000))
