from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from growres.errors import ConfigError, GrowresError, NotFoundError
from growres.events import AttemptEnded, EpochFinished, GrowthStepDecided, TrialFinished
from growres.store import Store
from jobs import inline
from jobs.submission import resume, submit
from jobs.trial import run_attempt
from tests.jobs.conftest import DIVERGING, FIXED, GROWN, SpecWriter, Witness, science, undisturbed_science

# Runs `submit` or `resume` and kills its own process when the nth event has been checkpointed, before it is recorded.
KILLED_AT = """
import os, signal, sys
import torch
from pathlib import Path
from jobs import inline
from jobs.submission import resume, submit
from jobs.trial import run_attempt

torch.set_num_threads(1)
verb, target, fatal = sys.argv[1], sys.argv[2], int(sys.argv[3])
seen = 0

def dying(task):
    global seen
    for event in run_attempt(task):
        seen += 1
        if seen == fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        yield event

inline.run_attempt = dying
submit(Path(target), backend="inline") if verb == "submit" else resume(target, backend="inline")
"""


def run_and_kill(verb: str, target: str, at: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED_AT, verb, target, str(at)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.every_store
def test_an_experiment_runs_and_every_decision_is_in_the_store(write_spec: SpecWriter) -> None:
    outcome = submit(write_spec({"grown": GROWN, "fixed": FIXED}, seeds=[0, 1]), backend="inline")
    assert (outcome.status, outcome.num_succeeded, outcome.num_failed) == ("succeeded", 4, 0)
    with Store.open() as store:
        experiment = store.find_experiment("test")
        assert experiment.data_splits == {"train": 300, "validation": 100, "test": 100}
        assert experiment.versions is not None and "torch" in experiment.versions
        grown = store.trials(experiment.id)[0]
        assert len(store.epochs(grown.id)) == 10 == grown.epochs
        assert len(store.growth_steps(grown.id)) == 2
        assert [attempt["status"] for attempt in store.attempts(grown.id)] == ["succeeded"]
        artifacts = [(artifact["kind"], artifact["path"]) for artifact in store.artifacts(grown.id)]
        assert artifacts[0] == ("checkpoint", f"{grown.id}/checkpoint.pt")
        accepted = [step["step"] for step in store.growth_steps(grown.id) if step["verdict"] == "accepted"]
        names = ["test", *(f"train-{step:04d}" for step in (0, *accepted)), "validation"]
        assert artifacts[1:] == [("outputs", f"{grown.id}/outputs/{name}.npz") for name in names]


def test_the_same_file_gives_the_same_science_again(write_spec: SpecWriter) -> None:
    path = write_spec({"grown": GROWN, "fixed": FIXED})
    first, second = submit(path, backend="inline"), submit(path, backend="inline")
    assert science(first.experiment_id) == science(second.experiment_id)


# The events of GROWN: 1 the attempt starts, 2-3 the seed network's epochs, 4 the row of its outputs, 5-6 the
# candidate's epochs, 7-8 the control's, 9 the verdict, then its files, the second step, the result, its files.
@pytest.mark.parametrize(
    "deaths", [[3], [7, 10], [17], *(pytest.param([death], marks=pytest.mark.slow) for death in (6, 9, 20))]
)
def test_killed_and_resumed_it_ends_in_the_rows_of_an_uninterrupted_run(
    write_spec: SpecWriter, deaths: list[int]
) -> None:
    path = write_spec({"grown": GROWN})
    undisturbed = undisturbed_science(path)
    for death in deaths:
        if death == deaths[0]:
            run_and_kill("submit", str(path), death)
        else:
            run_and_kill("resume", "latest", death)
    outcome = resume("latest", backend="inline")
    assert outcome.status == "succeeded"
    assert science(outcome.experiment_id) == undisturbed
    with Store.open() as store:
        attempts = store.attempts(f"{outcome.experiment_id}-1")
        assert len(attempts) == len(deaths) + 1


def test_resume_leaves_finished_trials_alone(write_spec: SpecWriter) -> None:
    outcome = submit(write_spec({"fixed": FIXED}), backend="inline")
    before = science(outcome.experiment_id)
    witness = Witness()
    again = resume(outcome.experiment_id, backend="inline", progress=witness)
    assert again.status == "succeeded" and not witness.events
    assert science(outcome.experiment_id) == before


@pytest.mark.every_store
def test_resuming_what_is_finished_starts_nothing_and_changes_nothing(write_spec: SpecWriter) -> None:
    outcome = submit(write_spec({"fixed": FIXED}), backend="inline")
    with Store.open() as store:
        before = store.find_experiment(outcome.experiment_id)
        witness = Witness()
        again = resume(outcome.experiment_id, backend="local", progress=witness)  # would take Ray seconds to start
        assert store.find_experiment(outcome.experiment_id) == before
    assert again.status == "succeeded" and again.dashboard_url is None
    assert any("nothing is left to run" in note for note in witness.notes)


def test_a_sigterm_stops_a_run(write_spec: SpecWriter) -> None:
    def terminate(trial_id: str, event: object) -> None:
        if isinstance(event, EpochFinished):
            os.kill(os.getpid(), signal.SIGTERM)

    outcome = submit(write_spec({"fixed": FIXED}), backend="inline", progress=Witness(terminate))
    assert (outcome.status, outcome.reason) == ("stopped", "stopped by SIGTERM")
    assert resume(outcome.experiment_id, backend="inline").status == "succeeded"


@pytest.mark.every_store
def test_one_failing_trial_leaves_the_others_alone_and_is_not_tried_in_vain(write_spec: SpecWriter) -> None:
    outcome = submit(write_spec({"diverging": DIVERGING, "fixed": FIXED}), backend="inline")
    assert (outcome.status, outcome.num_succeeded, outcome.num_failed) == ("failed", 1, 1)
    with Store.open() as store:
        failed = store.trials(outcome.experiment_id)[0]
        assert failed.status == "failed" and "learning rate" in str(failed.reason)
        assert len(store.attempts(failed.id)) == 1


def test_a_trial_that_fails_by_no_fault_of_its_own_is_tried_again_from_its_last_event(
    write_spec: SpecWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_spec({"grown": GROWN})
    undisturbed = undisturbed_science(path)
    failures = iter([6, 5])

    def failing(task):  # the machine's fault, not the program's: out of memory after so many events
        left = next(failures, 100)
        for event in run_attempt(task):
            left -= 1
            if left == 0:
                raise MemoryError("the machine has no memory left")
            yield event

    monkeypatch.setattr(inline, "run_attempt", failing)
    outcome = submit(path, backend="inline")
    assert outcome.status == "succeeded"
    assert science(outcome.experiment_id) == undisturbed
    with Store.open() as store:
        attempts = store.attempts(f"{outcome.experiment_id}-1")
        assert [attempt["status"] for attempt in attempts] == ["failed", "failed", "succeeded"]
        assert "MemoryError" in attempts[0]["reason"]


def test_after_max_failures_the_trial_has_failed(write_spec: SpecWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(task):
        yield from ()
        raise MemoryError("the machine has no memory left")

    monkeypatch.setattr(inline, "run_attempt", failing)
    outcome = submit(write_spec({"fixed": FIXED}, max_failures=1), backend="inline")
    assert outcome.num_failed == 1
    with Store.open() as store:
        assert len(store.attempts(f"{outcome.experiment_id}-1")) == 2


@pytest.mark.every_store
def test_ctrl_c_stops_a_run_and_resume_goes_on(write_spec: SpecWriter) -> None:
    path = write_spec({"grown": GROWN, "fixed": FIXED})
    undisturbed = undisturbed_science(path)

    def interrupt(trial_id: str, event: object) -> None:
        if isinstance(event, EpochFinished) and event.arm == "control":
            os.kill(os.getpid(), signal.SIGINT)

    outcome = submit(path, backend="inline", progress=Witness(interrupt))
    assert (outcome.status, outcome.reason, outcome.num_unfinished) == ("stopped", "stopped by Ctrl-C", 2)
    with Store.open() as store:
        assert [trial.stopped_by for trial in store.trials(outcome.experiment_id)] == ["person", "person"]
        assert store.runs.newest(outcome.experiment_id).status == "stopped"
    witness = Witness()
    resumed = resume(outcome.experiment_id, backend="inline", progress=witness)
    assert resumed.status == "succeeded"
    assert science(outcome.experiment_id) == undisturbed
    new_verdicts = [event for _, event in witness.events if isinstance(event, GrowthStepDecided)]
    assert len(new_verdicts) == 2


def test_failed_trials_are_tried_again_only_when_asked(write_spec: SpecWriter) -> None:
    outcome = submit(write_spec({"diverging": DIVERGING}), backend="inline")
    witness = Witness()
    resume(outcome.experiment_id, backend="inline", progress=witness)
    assert not witness.events
    resume(outcome.experiment_id, failed=True, backend="inline", progress=witness)
    assert [event.status for _, event in witness.events if isinstance(event, AttemptEnded)] == ["failed"]


def test_a_second_driver_of_the_same_experiment_is_refused(write_spec: SpecWriter) -> None:
    refusals = []

    def intrude(trial_id: str, event: object) -> None:
        if isinstance(event, TrialFinished):
            with pytest.raises(GrowresError, match="being run by another process") as refused:
                resume("latest", backend="inline")
            refusals.append(refused)

    assert submit(write_spec({"fixed": FIXED}), backend="inline", progress=Witness(intrude)).status == "succeeded"
    assert len(refusals) == 1


def test_nothing_is_stored_of_an_experiment_that_cannot_begin(write_spec: SpecWriter) -> None:
    with pytest.raises(ConfigError, match=r"variants\.deep\.model"):
        # Eight stages halve an 8x8 image more often than it can be.
        deep = {"procedure": "end_to_end", "model": {"name": "resnet", "blocks": [1] * 8, "widths": [2] * 8}}
        submit(write_spec({"deep": {**deep, "training": {"epochs": 1}}}), backend="inline")
    with pytest.raises(ConfigError, match="gpus_per_trial"):
        submit(write_spec({"fixed": FIXED}, resources={"gpus_per_trial": 1}), backend="inline")
    with Store.open() as store:
        assert store.experiments() == []
    with pytest.raises(NotFoundError):
        resume("latest", backend="inline")
