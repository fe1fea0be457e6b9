"""Events as trials report them, and stores to write them into."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from growres.events import AttemptEnded, AttemptStarted, EpochFinished, Event, TrialFinished
from growres.store import NewExperiment, NewTrial, Store
from tests.bench.setups import RESNET20, make_trial

STARTED = AttemptStarted(host="bench", device="cpu", pid=1)
SUCCEEDED = AttemptEnded(status="succeeded", reason="trained")


def new_store(folder: Path, num_trials: int, num_variants: int = 1, *, url: str | None = None) -> tuple[str, list[str]]:
    """A new store with one experiment, in SQLite where no database is named; its URL, and its trials' ids."""
    url = url or f"sqlite:///{folder / 'growres.db'}"
    config = make_trial(RESNET20, augment=["crop", "flip"]).model_dump(mode="json")
    trials = tuple(
        NewTrial(
            variant=f"variant_{index % num_variants}",
            seed=index // num_variants,
            procedure="end_to_end",
            model="resnet20",
            config=config,
        )
        for index in range(num_trials)
    )
    with Store.open(url, upgrade=True) as store:
        experiment_id = store.add_experiment(NewExperiment(name="bench", spec_text="", spec={}, trials=trials))
        return url, [trial.id for trial in store.trials(experiment_id)]


def num_epoch_rows(url: str, trial_ids: list[str]) -> int:
    """What has reached the tables."""
    with Store.open(url) as store:
        return sum(len(store.epochs(trial_id)) for trial_id in trial_ids)


def epochs() -> Iterator[EpochFinished]:
    """Epoch 1, 2, ... of a trial."""
    for epoch in itertools.count(1):
        yield EpochFinished(
            growth_step=0,
            arm="network",
            epoch=epoch,
            train_loss=2.3 / epoch,
            train_error=0.9 / epoch,
            val_loss=2.4 / epoch,
            val_error=0.9 / epoch,
            lr=0.1,
            train_flops=12_345_678_901,
            images_per_s=812.5,
            epoch_s=61.5,
        )


def whole_trial(index: int, num_epochs: int) -> list[Event]:
    """All events of a trial that succeeds."""
    return [
        STARTED,
        *itertools.islice(epochs(), num_epochs),
        TrialFinished(
            val_error=0.08 + index / 1e5,
            test_error=0.09 + index / 1e5,
            num_params=272_474,
            num_blocks=9,
            train_flops=num_epochs * 12_345_678_901,
            epochs=num_epochs,
            wall_s=61.5 * num_epochs,
            reason=f"trained {num_epochs} epochs",
            architecture=RESNET20,
        ),
        SUCCEEDED,
    ]
