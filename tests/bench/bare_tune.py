"""Eight trivial trials in bare Ray Tune: what one would write without growres. Started by bench_submit.

Ray is started with our settings: a dashboard, no log forwarding, a small object store, none of Tune's own loggers.
The images are read once, in the driver, and handed to the trials, though a script would often read them in each.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import tune
from sklearn.datasets import load_digits

from tests.bench.trivial_trials import BATCH_SIZE, LEARNING_RATE, MODEL, MOMENTUM, NUM_TEST, NUM_TRAIN, NUM_TRIALS


def train(config: dict[str, Any], images: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    import torch
    from torch.nn import functional as F

    import zoo

    torch.set_num_threads(1)
    torch.manual_seed(config["seed"])
    network = zoo.create_model(**MODEL, num_classes=10, in_channels=1, image_size=8)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    pixels, classes = torch.tensor(images), torch.tensor(labels)
    for batch in torch.randperm(NUM_TRAIN).split(BATCH_SIZE):
        optimizer.zero_grad()
        F.cross_entropy(network(pixels[batch]), classes[batch]).backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        wrong = network(pixels[NUM_TRAIN:]).argmax(dim=1) != classes[NUM_TRAIN:]
    tune.report({"val_error": wrong.float().mean().item()})


def main(folder: Path) -> None:
    digits = load_digits()
    images = (digits.images[: NUM_TRAIN + NUM_TEST, None] / 16).astype(np.float32)
    labels = digits.target[: NUM_TRAIN + NUM_TEST].astype(np.int64)
    ray.init(
        address="local",
        include_dashboard=True,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=100 * 1024**2,
    )
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, images=images, labels=labels), {"cpu": 1}),
        param_space={"seed": tune.grid_search(list(range(NUM_TRIALS)))},
        tune_config=tune.TuneConfig(reuse_actors=False),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    results = tuner.fit()
    ray.shutdown()
    assert len(results) == NUM_TRIALS and results.num_errors == 0, results.errors


if __name__ == "__main__":
    main(Path(sys.argv[1]))
