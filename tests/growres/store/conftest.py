"""One suite over every store: `place` is a database with the newest schema, in SQLite and in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from growres.events import AttemptStarted, EpochFinished, GrowthStepDecided, TrialFinished
from growres.store import NewExperiment, NewTrial, Recorder, Store
from tests.databases import CANARY, Place


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A GROWRES_HOME of the test's own, and no database but the one that it names."""
    monkeypatch.setenv("GROWRES_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GROWRES_DATABASE_URL", raising=False)
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def default_store() -> None:
    """These tests name their databases, or are about what happens where none is named."""


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with Store.open(place.url) as store:
        yield store


@pytest.fixture
def recorder(place: Place, tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(place.url, tmp_path / "run" / "spool.jsonl")
    yield recorder
    recorder.close()


@pytest.fixture
def canary() -> str:
    return CANARY


# ------------------------------------------------------------------------------------------------- things to store


@pytest.fixture
def digits() -> Callable[..., NewExperiment]:
    """Makes an experiment with `seeds` trials of the variant `simons`, and as many of `lenet5`."""

    def make(name: str = "digits", seeds: int = 2, **provenance: Any) -> NewExperiment:
        grown = {"name": "preact_resnet", "blocks": [1, 1], "widths": [16, 32]}
        trials = []
        for seed in range(seeds):
            config = {"variant": "simons", "seed": seed, "sweep_point": {}, "model": grown}
            trials.append(
                NewTrial(variant="simons", seed=seed, procedure="growth", model="preact_resnet", config=config)
            )
        for seed in range(seeds):
            config = {"variant": "lenet5", "seed": seed, "sweep_point": {}, "model": {"name": "lenet5"}}
            trials.append(NewTrial(variant="lenet5", seed=seed, procedure="end_to_end", model="lenet5", config=config))
        text = f"name: {name}  # as it was read\n"
        return NewExperiment(
            name=name, spec_text=text, spec={"name": name}, trials=tuple(trials), provenance=provenance
        )

    return make


@pytest.fixture
def started() -> AttemptStarted:
    return AttemptStarted(host="bench", device="cpu", pid=4711)


@pytest.fixture
def epoch() -> Callable[..., EpochFinished]:
    def make(epoch: int = 1, **changes: Any) -> EpochFinished:
        values: dict[str, Any] = {
            "growth_step": 0, "arm": "network", "train_loss": 0.5 / epoch, "train_error": 0.25 / epoch,
            "val_loss": 0.75 / epoch, "val_error": 0.5 / epoch, "lr": 0.1, "train_flops": 10**12,
            "images_per_s": 1000.0, "epoch_s": 1.5,
        }  # fmt: skip
        return EpochFinished(epoch=epoch, **{**values, **changes})

    return make


@pytest.fixture
def decided() -> Callable[..., GrowthStepDecided]:
    def make(step: int = 1, **changes: Any) -> GrowthStepDecided:
        values: dict[str, Any] = {
            "round": step, "stage": 0, "block": 1, "initialiser": "zero_branch", "train_error_before": 0.25,
            "train_error_candidate": 0.125, "val_error_before": 0.5, "val_error_candidate": 0.25,
            "val_error_control": None, "p_value": None, "verdict": "accepted", "reason": "val_error fell",
            "num_params_before": 1000, "num_params_after": 1500, "epochs": 5, "train_flops": 5 * 10**12,
            "wall_s": 7.5, "max_logit_change": 0.0,
        }  # fmt: skip
        return GrowthStepDecided(step=step, **{**values, **changes})

    return make


@pytest.fixture
def finished() -> Callable[..., TrialFinished]:
    def make(**changes: Any) -> TrialFinished:
        values: dict[str, Any] = {
            "val_error": 0.25, "test_error": 0.375, "num_params": 1500, "num_blocks": 3,
            "train_flops": 3 * 10**18, "epochs": 10, "wall_s": 20.5, "reason": "trained 10 epochs",
            "architecture": {"name": "preact_resnet", "blocks": [2, 1], "widths": [16, 32]},
        }  # fmt: skip
        return TrialFinished(**{**values, **changes})

    return make


@pytest.fixture
def rows(store: Store) -> Callable[[str], Any]:
    """All that the store holds of a trial, to be compared."""

    def read(trial_id: str) -> Any:
        return (
            store.find_trial(trial_id),
            store.epochs(trial_id),
            store.growth_steps(trial_id),
            store.attempts(trial_id),
            store.artifacts(trial_id),
        )

    return read
