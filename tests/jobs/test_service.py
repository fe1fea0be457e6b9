"""Drivers as processes of their own, asked and watched from others: left behind, killed, stopped, taken over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from growres.errors import ConfigError, DataError, GrowresError
from growres.events import AttemptStarted, EpochFinished, Event, TrialFinished
from growres.home import run_folder
from growres.store import RunRow, Store
from growres.training.checkpoint import checkpoint_path, load_checkpoint
from jobs import heartbeat
from jobs.control import of_trial
from jobs.driver import RaySettings, drive_stored
from jobs.launch import Launch
from jobs.submission import Outcome, resume, submit
from tests.databases import postgres_place
from tests.jobs.conftest import DIVERGING, FIXED, GROWN, SpecWriter, Witness, science, undisturbed_science

LONG = {**FIXED, "training": {"epochs": 4000}}


@pytest.fixture(autouse=True)
def _no_driver_outlives_its_test(home: Path) -> Iterator[None]:
    """One that a failed test leaves behind would train for hours, and take a core from all tests after it."""
    yield
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is somebody else's
            if f"GROWRES_HOME={home}".encode() in environment.read_bytes().split(b"\0"):
                os.kill(int(environment.parent.name), signal.SIGKILL)


def growres(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "growres", *arguments], capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def detach(spec: Path) -> str:
    """Submits a run that is left behind, inline; returns the experiment's id."""
    return submit(spec, launch=Launch(backend="inline", detach=True)).experiment_id


def newest(experiment_id: str) -> RunRow:
    with Store.open() as store:
        found = store.runs.newest(experiment_id)
    assert found is not None
    return found


def wait_for(what: Callable[[], object], timeout_s: float = 90.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, f"not within {timeout_s} s"
        time.sleep(0.1)


def num_epochs(trial_id: str) -> int:
    with Store.open() as store:
        return len(store.epochs(trial_id))


def kill_and_wait(pid: int) -> None:
    """The driver is nobody's child here, but init's: it is gone when its number is."""
    os.kill(pid, signal.SIGKILL)

    def is_gone() -> bool:
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_for(is_gone)


def test_a_driver_left_behind_lives_in_a_session_of_its_own_and_its_log_tells_each_trial(
    write_spec: SpecWriter,
) -> None:
    spec = write_spec({"grown": GROWN, "diverging": DIVERGING})
    experiment_id = growres("submit", str(spec), "--backend", "inline", "--detach").stdout.strip()
    run = newest(experiment_id)
    assert run.pid is not None and os.getsid(run.pid) == run.pid, "no terminal takes it along"
    followed = growres("logs", experiment_id, "--follow").stdout  # returns when the run is over
    assert not newest(experiment_id).is_open
    assert science(experiment_id) == undisturbed_science(spec)
    assert growres("logs", experiment_id).stdout == followed
    first, second = (growres("logs", experiment_id, "--trial", number).stdout for number in ("1", "2"))
    assert f"{experiment_id}-1 grown, seed 0: epoch 2: train loss" in first and "step 1" in first
    assert "Traceback" in second and "NonFiniteLossError" in second and "grown" not in second
    assert list(of_trial(followed.splitlines(), f"{experiment_id}-2")) == second.splitlines()


def test_a_killed_driver_is_stale_and_resume_goes_on_without_a_row_twice_or_a_finished_trial_again(
    write_spec: SpecWriter,
) -> None:
    spec = write_spec({"fixed": FIXED, "grown": GROWN})
    undisturbed = undisturbed_science(spec)
    longer = {**GROWN, "growth": {**GROWN["growth"], "stop": {"max_epochs": 400}}}
    experiment_id = detach(write_spec({"fixed": FIXED, "grown": longer}))
    wait_for(lambda: num_epochs(f"{experiment_id}-2") >= 5)
    pid = newest(experiment_id).pid
    assert pid is not None
    kill_and_wait(pid)
    for command in (["list"], ["status", experiment_id]):
        shown = growres(*command)
        assert "stale" in shown.stdout and f"resume {experiment_id}" in shown.stderr
    witness = Witness(lambda trial_id, event: _stop_after_ten(witness, event))
    resumed = resume(experiment_id, backend="inline", progress=witness)
    assert resumed.status == "stopped"
    assert {trial_id for trial_id, _ in witness.events} == {f"{experiment_id}-2"}
    assert science(experiment_id)["fixed, seed 0"] == undisturbed["fixed, seed 0"]
    epochs = [row for row in science(experiment_id)["grown, seed 0"] if "arm" in row]
    assert epochs[:8] == [row for row in undisturbed["grown, seed 0"] if "arm" in row][:8]
    with Store.open() as store:
        first, second = store.runs.all(experiment_id)
        attempts = store.attempts(f"{experiment_id}-2")
    assert (first.status, first.reason, second.status) == ("interrupted", "its driver vanished", "stopped")
    assert [attempt["reason"] for attempt in attempts] == ["its driver vanished", "stopped by Ctrl-C"]


def _stop_after_ten(witness: Witness, event: Event) -> None:
    if isinstance(event, EpochFinished) and sum(isinstance(seen, EpochFinished) for _, seen in witness.events) == 10:
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(("options", "by"), [([], "growres stop"), (["--now"], "growres stop --now")])
def test_a_run_is_stopped_from_another_process_and_resumed(write_spec: SpecWriter, options: list[str], by: str) -> None:
    experiment_id = detach(write_spec({"long": LONG, "later": FIXED}))
    wait_for(lambda: num_epochs(f"{experiment_id}-1") >= 2)
    said = growres("stop", experiment_id, *options)
    assert f"resume {experiment_id}" in said.stderr
    run = newest(experiment_id)
    assert (run.status, run.is_open) == ("stopped", False)
    with Store.open() as store:
        trials = store.trials(experiment_id)
        assert store.find_experiment(experiment_id).status == "stopped"
    assert [(trial.status, trial.reason) for trial in trials] == [("stopped", f"stopped by {by}")] * 2
    assert trials[1].attempt == 0, "no trial begins once a stop was asked for"
    assert growres("stop", experiment_id).stderr.count("it is not being run") == 1
    kept = num_epochs(trials[0].id)
    witness = Witness(lambda trial_id, event: _stop_after_one_more(witness, event))
    resume(experiment_id, backend="inline", progress=witness)
    # A signal takes its time to the main thread, which may finish one more epoch meanwhile: its checkpoint tells of it.
    path = checkpoint_path(run_folder(experiment_id), trials[0].id)
    told = [event["epoch"] for event in load_checkpoint(path)["events"] if event["event"] == "EpochFinished"]
    with Store.open() as store:
        stored = [row["epoch"] for row in store.epochs(trials[0].id)]
    assert stored == told == list(range(1, len(stored) + 1)), "every epoch once, and none lost"
    assert len(stored) > kept


@pytest.mark.slow
def test_of_two_who_resume_at_once_one_wins_and_the_other_says_so(write_spec: SpecWriter) -> None:
    interrupted = submit(write_spec({"grown": GROWN}), backend="inline", progress=Witness(_stop_at_once))
    command = [sys.executable, "-m", "growres", "resume", interrupted.experiment_id]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [process.communicate() for process in both]
    codes = sorted(process.returncode for process in both)
    if codes == [0, 0]:  # the second came when the first was done
        assert any("nothing is left to run" in err for _, err in answers)
    else:
        assert codes == [0, 2]
        assert any("another" in err and "Traceback" not in err for _, err in answers)
    assert [attempt["status"] for attempt in _attempts(interrupted)] == ["stopped", "succeeded"]


def _attempts(outcome: Outcome) -> list[dict[str, object]]:
    with Store.open() as store:
        return store.attempts(f"{outcome.experiment_id}-1")


def _stop_at_once(trial_id: str, event: Event) -> None:
    if isinstance(event, EpochFinished):
        os.kill(os.getpid(), signal.SIGINT)


def _stop_after_one_more(witness: Witness, event: Event) -> None:
    """What earlier attempts did is told again first."""
    before = sum(seen.epochs_before for _, seen in witness.events if isinstance(seen, AttemptStarted))
    if isinstance(event, EpochFinished) and event.epoch == before + 1:
        os.kill(os.getpid(), signal.SIGINT)


def test_a_driver_that_another_has_taken_over_from_writes_nothing_more(
    write_spec: SpecWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_EVERY_S", 0.1)

    def lose_it(trial_id: str, event: Event) -> None:
        if isinstance(event, EpochFinished) and event.epoch == 1:
            with Store.open() as store:
                store.runs.claim(trial_id.partition("-")[0], backend="local", known_gone=1)
            time.sleep(1)

    witness = Witness(lose_it)
    outcome = submit(write_spec({"long": LONG}), backend="inline", progress=witness)
    assert any("has another driver now" in note for note in witness.notes)
    with Store.open() as store:
        first, second = store.runs.all(outcome.experiment_id)
        trial = store.trials(outcome.experiment_id)[0]
    assert (first.status, first.reason) == ("interrupted", "its driver vanished")
    assert (second.status, second.is_open) == ("queued", True)
    assert (trial.status, trial.reason) == ("interrupted", "its driver vanished")


@pytest.mark.slow
def test_a_job_that_is_started_again_waits_for_the_driver_before_it_and_goes_on(write_spec: SpecWriter) -> None:
    spec = write_spec({"grown": GROWN})
    undisturbed = undisturbed_science(spec)
    experiment_id = detach(write_spec({"grown": {**GROWN, "training": {"epochs": 3}}, "long": LONG}))
    wait_for(lambda: num_epochs(f"{experiment_id}-2") >= 1)
    pid = newest(experiment_id).pid
    assert pid is not None
    command = [sys.executable, "-m", "growres", "drive", experiment_id, "--run", "1"]
    again = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert again.stdout is not None
    version, waiting = (again.stdout.readline() for _ in range(2))
    assert "growres" in version and "waiting for its end" in waiting
    kill_and_wait(pid)
    assert "goes on where run 1 was cut off" in again.stdout.readline()
    wait_for(lambda: newest(experiment_id).run == 2 and newest(experiment_id).started_at)
    growres("stop", experiment_id, "--now")
    again.communicate()
    assert again.returncode == 0, "a job that a person stopped is not to be started again"
    grown = science(experiment_id)["grown, seed 0"]
    assert [row for row in grown if "verdict" in row] == [
        row for row in undisturbed["grown, seed 0"] if "verdict" in row
    ]
    nothing = growres("drive", experiment_id, "--run", "2")
    assert "nothing to drive" in nothing.stdout


def test_a_driver_that_cannot_begin_says_why_and_leaves_something_to_go_on_with(
    write_spec: SpecWriter, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec({"fixed": FIXED})
    experiment_id = submit(spec, backend="inline", progress=Witness(_stop_at_once)).experiment_id
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/bin/false")
        with pytest.raises(GrowresError, match="it ended with 1; it said:"):
            resume(experiment_id, launch=Launch(backend="inline", detach=True))
    assert newest(experiment_id).status in ("failed", "interrupted")
    lock = home / "runs" / experiment_id / "driver.lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(GrowresError, match=r"Cannot lock .*driver\.lock"):
        resume(experiment_id, backend="inline")
    lock.rmdir()
    assert resume(experiment_id, backend="inline").status == "succeeded"


def test_needed_runs_only_what_has_no_like_that_has_succeeded(write_spec: SpecWriter) -> None:
    twins = {**GROWN, "growth": {"seed_epochs": 1, "epochs_per_step": 1, "stop": {"max_epochs": 2}}}
    twins |= {"twins": ["same_epochs"]}
    first = submit(write_spec({"fixed": FIXED, "grown": twins}), backend="inline")
    launch = Launch(backend="inline", needed=True)
    witness = Witness()
    spec = write_spec({"fixed": FIXED, "grown": twins}, seeds=[0, 1], resources={"cpus_per_trial": 2})
    second = submit(spec, launch=launch, progress=witness)
    assert (second.status, second.num_succeeded) == ("succeeded", 3)
    assert any("3 of 6 trials are not needed" in note for note in witness.notes)
    with Store.open() as store:
        spared = [trial for trial in store.trials(second.experiment_id) if trial.stopped_by == "needed"]
    assert {trial.seed for trial in spared} == {0}
    assert [trial.reason for trial in spared] == [
        f"not needed: {first.experiment_id}-{number}, its like, has succeeded" for number in (1, 2, 3)
    ]
    third = submit(spec, launch=launch)
    assert (third.status, third.num_succeeded) == ("succeeded", 0)
    # Another twin needs its parent's network, which this experiment must have itself.
    more = {**twins, "twins": ["same_epochs", "same_flops"]}
    fourth = submit(write_spec({"fixed": FIXED, "grown": more}), launch=launch)
    with Store.open() as store:
        spared = [trial.variant for trial in store.trials(fourth.experiment_id) if trial.stopped_by == "needed"]
    assert spared == ["fixed", "grown.same_epochs"]
    noisy = {**FIXED, "dataset": {"label_noise": 0.1}}
    assert submit(write_spec({"fixed": noisy}), launch=launch).num_succeeded == 1


@pytest.mark.embedded
def test_options_that_do_not_go_together_are_refused_before_anything_is_stored(
    write_spec: SpecWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = write_spec({"fixed": FIXED})
    for launch, match in (
        (Launch(backend="cluster"), "without its address"),
        (Launch(backend="inline", address="auto"), "starts no Ray"),
        (Launch(ship_code=True), "Only a cluster can be sent code"),
        (Launch(dashboard_host="0.0.0.0", address="head:6379"), "Cannot have the dashboard listen on 0.0.0.0"),
        (Launch(dashboard_host="0.0.0.0", backend="cluster", address="http://head:8265"), "Leave --dashboard-host out"),
        (Launch(backend="cluster", address="http://head:8265"), r"the store is the file .* GROWRES_DATABASE_URL"),
    ):
        with pytest.raises(ConfigError, match=match):
            submit(spec, launch=launch)
    relative = write_spec({"fixed": FIXED}, dataset={"source": "imagefolder", "path": "pictures"})
    with pytest.raises(DataError, match="'pictures', relative to a folder"):
        submit(relative, launch=Launch(backend="cluster", address="http://127.0.0.1:1"))
    with Store.open() as store:
        assert store.experiments() == []


def test_a_cluster_that_is_away_leaves_an_experiment_to_go_on_with(write_spec: SpecWriter) -> None:
    away = growres(
        "submit",
        str(write_spec({"fixed": FIXED})),
        "--backend",
        "cluster",
        "--address",
        "http://127.0.0.1:9",
        check=False,
    )
    assert away.returncode == 3
    assert "Cannot use the Ray cluster at http://127.0.0.1:9" in away.stderr and "Traceback" not in away.stderr
    (row,) = json.loads(growres("list", "--format", "json").stdout)
    assert row["status"] == "interrupted"
    assert f"test is stored; once the cause is gone: growres resume {row['id']}" in away.stderr
    assert resume(row["id"], backend="inline").status == "succeeded"


@pytest.mark.embedded
@pytest.mark.slow
def test_watching_goes_on_while_the_store_is_away(
    write_spec: SpecWriter, postgres_server: URL, postgres_template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in postgres_place(postgres_server, postgres_template):
        monkeypatch.setenv("GROWRES_DATABASE_URL", place.url)
        experiment_id = detach(write_spec({"long": LONG}))
        command = [sys.executable, "-m", "growres", "status", "--watch"]
        watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watch.stdout is not None and watch.stderr is not None
        assert experiment_id in watch.stdout.readline()
        said: list[str] = []
        listener = threading.Thread(target=said.extend, args=(watch.stderr,))
        listener.start()
        place.take_away()
        wait_for(said.__len__)
        place.bring_back()
        growres("stop", experiment_id, "--now")
        assert watch.wait(timeout=60) == 0
        listener.join()
        assert "Waiting for it." in "".join(said) and "Traceback" not in "".join(said)


def test_the_beginning_of_an_attempt_is_told_to_the_second_driver_too(write_spec: SpecWriter) -> None:
    outcome = submit(write_spec({"fixed": FIXED}), backend="inline", progress=Witness(_stop_at_once))
    witness = Witness()
    resume(outcome.experiment_id, backend="inline", progress=witness)
    (started,) = (event for _, event in witness.events if isinstance(event, AttemptStarted))
    assert started.epochs_before == 1
    assert sum(isinstance(event, TrialFinished) for _, event in witness.events) == 1


class _Impatient(Witness):
    """Sends a SIGTERM while the driver writes down how a stop that was asked for came out."""

    def note(self, message: str) -> None:
        super().note(message)
        if "is kept" in message:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_while_the_end_is_written_down_does_not_cut_that_off(
    write_spec: SpecWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "BEAT_EVERY_S", 0.1)

    def ask(trial_id: str, event: Event) -> None:
        if isinstance(event, EpochFinished) and event.epoch == 1:
            with Store.open() as store:
                store.runs.request_stop(trial_id.partition("-")[0], 1, "epoch")
            time.sleep(0.5)

    witness = _Impatient(ask)
    outcome = submit(write_spec({"long": LONG}), backend="inline", progress=witness)
    assert (outcome.status, outcome.reason) == ("stopped", "stopped by growres stop")
    run = newest(outcome.experiment_id)
    assert (run.status, run.is_open) == ("stopped", False)


def test_retry_runs_what_failed_and_leaves_what_was_interrupted(write_spec: SpecWriter) -> None:
    diverging_first = {"diverging": DIVERGING, "fixed": FIXED}
    outcome = submit(write_spec(diverging_first), backend="inline", progress=Witness(_stop_at_the_second_trial))
    assert (outcome.num_failed, outcome.num_unfinished) == (1, 1)
    witness = Witness()
    again = resume(outcome.experiment_id, failed=True, unfinished=False, backend="inline", progress=witness)
    assert {trial_id for trial_id, _ in witness.events} == {f"{outcome.experiment_id}-1"}
    assert (again.num_failed, again.num_unfinished, again.status) == (1, 1, "stopped")
    # And so does a driver of its own, as --detach leaves one behind.
    with Store.open() as store:
        run = store.runs.claim(outcome.experiment_id, backend="inline").run
        store.queue_trials(outcome.experiment_id, failed=True, unfinished=False)
    witness = Witness()
    drive_stored(outcome.experiment_id, run, RaySettings(), witness)
    assert {trial_id for trial_id, _ in witness.events} == {f"{outcome.experiment_id}-1"}


def _stop_at_the_second_trial(trial_id: str, event: Event) -> None:
    if trial_id.endswith("-2"):
        _stop_at_once(trial_id, event)
