"""Experiments small enough for a test, on the digits that are bundled with scikit-learn."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from growres.events import Event
from growres.store import Store
from growres.store.database import resolve
from jobs.cluster import ray_session
from jobs.submission import submit
from tests.jobs.ray_nodes import write_token
from tests.replaying import TIMES

MOMENTS = {"created_at", "started_at", "ended_at", "updated_at", "written_at"}
IDS = {"id", "trial_id", "experiment_id"}

GROWN: dict[str, Any] = {
    "procedure": "growth",
    "model": {"name": "preact_resnet", "blocks": [1, 1], "widths": [4, 4]},
    "growth": {"seed_epochs": 2, "epochs_per_step": 2, "control": True, "stop": {"max_epochs": 10}},
}
FIXED: dict[str, Any] = {"procedure": "end_to_end", "model": {"name": "resnet8"}, "training": {"epochs": 2}}
DIVERGING: dict[str, Any] = {
    "procedure": "end_to_end",
    "model": {"name": "lenet5", "output": "linear"},
    "training": {"epochs": 2, "optimizer": {"name": "sgd", "lr": 1e38}},
}


@pytest.fixture(scope="session")
def ray_token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The token of every Ray that tests start: a process reads it once, and keeps it for whichever Ray comes next."""
    return write_token(tmp_path_factory.mktemp("ray") / "token")


@pytest.fixture(scope="session")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory, ray_token: Path) -> Iterator[str | None]:
    """A Ray of our own, as submit starts it, for every test of the group `ray`: drivers find it and leave it up."""
    with pytest.MonkeyPatch.context() as environment:
        # By default 15, with which the workers starve beside the other processes of the suite.
        environment.setenv("RAY_worker_niceness", "0")
        environment.setenv("RAY_metrics_report_interval_ms", "2000")  # by default 10 s, for which tests would wait
        environment.setenv("RAY_AUTH_TOKEN_PATH", str(ray_token))
        with ray_session("local", tmp_path_factory.mktemp("ray_home")) as url:
            yield url


SpecWriter = Callable[..., Path]


@pytest.fixture
def write_spec(tmp_path: Path) -> SpecWriter:
    """Writes an experiment file over 300 digits with these variants; other sections by keyword."""

    def write(variants: dict[str, dict[str, Any]], **sections: Any) -> Path:
        spec: dict[str, Any] = {
            "name": "test",
            "dataset": {"source": "digits", "limit": {"train": 300, "validation": 100, "test": 100}},
            "training": {
                "batch_size": 50,
                "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9},
                "augment": ["crop"],
            },
            "variants": variants,
            **sections,
        }
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(spec, sort_keys=False))
        return path

    return write


class Witness:
    """A Progress that remembers, and can be made to act on what it sees."""

    def __init__(self, react: Callable[[str, Event], None] = lambda trial_id, event: None) -> None:
        self.events: list[tuple[str, Event]] = []
        self.notes: list[str] = []
        self.details: list[tuple[str, str]] = []
        self._react = react

    def started(
        self, experiment_id: str, name: str, trials: Sequence[tuple[str, str, int]], dashboard_url: str | None
    ) -> None:
        pass

    def event(self, trial_id: str, event: Event) -> None:
        self.events.append((trial_id, event))
        self._react(trial_id, event)

    def note(self, message: str) -> None:
        self.notes.append(message)

    def detail(self, trial_id: str, text: str) -> None:
        self.details.append((trial_id, text))

    def close(self) -> None:
        pass


_undisturbed: dict[tuple[str, bool], dict[str, list[dict[str, Any]]]] = {}


def undisturbed_science(path: Path) -> dict[str, list[dict[str, Any]]]:
    """What the inline driver makes of the file when nothing happens: run once in a process for all tests that ask."""
    key = path.read_text(), resolve(None).embedded
    if key not in _undisturbed:
        _undisturbed[key] = science(submit(path, backend="inline").experiment_id)
    return copy.deepcopy(_undisturbed[key])


def science(experiment_id: str) -> dict[str, list[dict[str, Any]]]:
    """What the store holds of an experiment's results, without ids and what a clock measured, trial by trial."""

    def bare(row: dict[str, Any], also: frozenset[str] = frozenset()) -> dict[str, Any]:
        return {key: value for key, value in row.items() if key not in TIMES | MOMENTS | IDS | also}

    with Store.open() as store:
        results: dict[str, list[dict[str, Any]]] = {}
        for row, trial in zip(
            sorted(store.leaderboard(experiment_id), key=lambda row: row["trial_index"]),
            store.trials(experiment_id),
            strict=True,
        ):
            key = f"{trial.variant}, seed {trial.seed}"
            results[key] = [
                bare(row),
                {"architecture": trial.architecture, "config": trial.config},
                *(bare(epoch) for epoch in store.epochs(trial.id)),
                *(bare(step) for step in store.growth_steps(trial.id)),
                *(bare(artifact, frozenset({"sha256", "num_bytes", "path"})) for artifact in store.artifacts(trial.id)),
            ]
        return results
