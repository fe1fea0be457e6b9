"""A store as real runs leave it, filled through the recorder, and the command line called in this process."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from growres.cli.app import main
from growres.events import (
    ArtifactWritten,
    AttemptEnded,
    AttemptStarted,
    EpochFinished,
    Event,
    GrowthStepDecided,
    TrialFinished,
)
from growres.store import NewExperiment, NewTrial, Recorder, Store

ARCHITECTURE = {"name": "preact_resnet", "blocks": [2, 1], "widths": [16, 32], "block": "basic"}


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def growres(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command line: arguments in, exit code and both outputs out."""

    def call(*arguments: str) -> Answer:
        capsys.readouterr()
        code = main(arguments)
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """The command line on a terminal of so many columns: what it writes there."""

    def call(columns: int, *arguments: str) -> str:
        terminal = Terminal()
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", terminal)
            assert main(arguments) == 0
        return terminal.getvalue()

    return call


@pytest.fixture
def experiment(home: Path) -> str:
    """The id of an experiment `digits`: grown trials 1 and 2, trial 3 failed, trial 4 is queued."""
    with Store.open() as store:
        experiment_id = store.add_experiment(
            NewExperiment(
                name="digits",
                spec_text="name: digits\n",
                spec={"name": "digits"},
                trials=(
                    *(_new_trial("simons", seed, "growth", "preact_resnet", [1, 1]) for seed in (0, 1)),
                    *(_new_trial("lenet5", seed, "end_to_end", "lenet5", None) for seed in (0, 1)),
                ),
                provenance={"host": "laptop", "device": "cpu"},
            )
        )
        store.set_experiment_status(experiment_id, "running")
        recorder = Recorder(None, home / "spool.jsonl")
        for trial, val_error in ((1, 0.0209), (2, 0.0313)):
            for event in _grown_trial(val_error):
                recorder.record(f"{experiment_id}-{trial}", 1, event)
        for failed_event in (
            AttemptStarted(host="laptop", device="cpu", pid=9),
            AttemptEnded(status="failed", reason="the loss became NaN \x1b[31mat step 3 | lr 9.0"),
        ):
            recorder.record(f"{experiment_id}-3", 1, failed_event)
        recorder.close()
    return experiment_id


@pytest.fixture
def finished_experiment(experiment: str) -> str:
    """The same, ended: trial 4 was interrupted, and so the experiment failed."""
    with Store.open() as store:
        store.mark_trials(experiment, ("queued", "running"), "interrupted", "the driver ended")
        store.finish_experiment(experiment)
    return experiment


@pytest.fixture
def grown_trial() -> list[Event]:
    """What a driver tells of a growth that keeps one block of two."""
    return list(_grown_trial(0.0209))


def _new_trial(variant: str, seed: int, procedure: str, model: str, blocks: list[int] | None) -> NewTrial:
    config: dict[str, Any] = {"sweep_point": {}, "model": {"name": model, **({"blocks": blocks} if blocks else {})}}
    return NewTrial(variant=variant, seed=seed, procedure=procedure, model=model, config=config)


def _grown_trial(val_error: float) -> Iterator[Event]:
    """What a growth tells that keeps one block of two."""
    yield AttemptStarted(host="laptop", device="cpu", pid=7)
    yield _epoch(0, "network", 0.08)
    yield _epoch(1, "candidate", val_error)
    yield _growth_step(1, before=0.08, candidate=val_error, accepted=True)
    yield _epoch(2, "candidate", 0.09)
    yield _growth_step(2, before=val_error, candidate=0.09, accepted=False)
    yield TrialFinished(
        val_error=val_error,
        test_error=val_error + 0.004,
        num_params=51_234,
        num_blocks=3,
        train_flops=1_234_567_890_123,
        epochs=3,
        wall_s=62.4,
        reason="patience: the last 1 proposals were not accepted",
        architecture=ARCHITECTURE,
    )
    yield ArtifactWritten(kind="checkpoint", path="x/checkpoint.pt", sha256="ab" * 32, num_bytes=123_456)
    yield AttemptEnded(status="succeeded", reason="patience: the last 1 proposals were not accepted")


def _epoch(step: int, arm: Any, val_error: float) -> EpochFinished:
    return EpochFinished(
        growth_step=step,
        arm=arm,
        epoch=1,
        train_loss=0.5,
        train_error=0.1,
        val_loss=0.4,
        val_error=val_error,
        lr=0.1,
        train_flops=10**9,
        images_per_s=12345.6,
        epoch_s=0.1,
    )


def _growth_step(step: int, *, before: float, candidate: float, accepted: bool) -> GrowthStepDecided:
    return GrowthStepDecided(
        step=step,
        round=step,
        stage=0,
        block=1,
        initialiser="zero_branch",
        train_error_before=0.07,
        train_error_candidate=0.01,
        val_error_before=before,
        val_error_candidate=candidate,
        val_error_control=None,
        p_value=None,
        verdict="accepted" if accepted else "rejected",
        reason="a drop" if accepted else "no drop",
        num_params_before=40_000,
        num_params_after=51_234,
        epochs=1,
        train_flops=10**9,
        wall_s=1.5,
        max_logit_change=0.0,
    )
