"""What goes wrong inside a trial: its checkpoint is damaged, its disk is full, its memory does not suffice."""

from __future__ import annotations

import gc
import hashlib
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from growres.cli.app import main
from growres.config.loading import load_experiment
from growres.errors import CheckpointError, DiskError, GrowresWarning, OutOfMemoryError
from growres.events import AttemptEnded, AttemptStarted, EpochFinished, Event
from growres.home import growres_home
from growres.store import Store
from growres.trained.loading import load_model
from growres.training.checkpoint import PREVIOUS, checkpoint_path, encode
from jobs.recording import is_own_fault
from jobs.submission import resume, submit
from jobs.trial import TrialTask, run_attempt
from tests.jobs.conftest import DIVERGING, FIXED, GROWN, SpecWriter, Witness, science, undisturbed_science

pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


def newest_of(trial_id: str) -> Path:
    return checkpoint_path(growres_home() / "runs" / trial_id.rpartition("-")[0], trial_id)


def interrupted_after(path: Path, num_epochs: int) -> str:
    """Runs the experiment until its first trial has trained so many epochs; its id."""
    seen = 0

    def interrupt(trial_id: str, event: Event) -> None:
        nonlocal seen
        if isinstance(event, EpochFinished):
            seen += 1
            if seen == num_epochs:
                os.kill(os.getpid(), signal.SIGINT)

    outcome = submit(path, backend="inline", progress=Witness(interrupt))
    assert outcome.status == "stopped"
    return outcome.experiment_id


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


# ------------------------------------------------------------------------------------------- damaged checkpoints


@pytest.mark.parametrize("harm", [cut, alter, Path.unlink])
def test_the_checkpoint_before_a_damaged_one_is_gone_on_from_and_it_is_said(
    write_spec: SpecWriter, harm: Callable[[Path], None]
) -> None:
    path = write_spec({"grown": GROWN})
    undisturbed = undisturbed_science(path)
    experiment = interrupted_after(path, 5)
    trial = f"{experiment}-1"
    harm(newest_of(trial))
    witness = Witness()
    assert resume(experiment, backend="inline", progress=witness).status == "succeeded"
    assert science(experiment) == undisturbed
    (started,) = (event for _, event in witness.events if isinstance(event, AttemptStarted))
    assert started.epochs_before == 4
    assert started.note is not None and "checkpoint.pt cannot be used" in started.note
    with Store.open() as store:  # what the store knows of the checkpoint is what stands there
        (recorded,) = (row["sha256"] for row in store.artifacts(trial) if row["kind"] == "checkpoint")
    assert hashlib.sha256(newest_of(trial).read_bytes()).hexdigest() == recorded


def test_an_attempt_whose_checkpoint_is_whole_has_nothing_to_say(write_spec: SpecWriter) -> None:
    experiment = interrupted_after(write_spec({"grown": GROWN}), 3)
    witness = Witness()
    resume(experiment, backend="inline", progress=witness)
    assert [event.note for _, event in witness.events if isinstance(event, AttemptStarted)] == [None]


def test_where_both_checkpoints_are_damaged_the_trial_fails_at_once_and_the_rest_go_on(write_spec: SpecWriter) -> None:
    experiment = interrupted_after(write_spec({"grown": GROWN, "fixed": FIXED}), 4)
    trial = f"{experiment}-1"
    for file in (newest_of(trial), newest_of(trial).with_name(PREVIOUS)):
        cut(file)
    outcome = resume(experiment, backend="inline")
    assert (outcome.num_failed, outcome.num_succeeded) == (1, 1)
    with Store.open() as store:
        reason = str(store.find_trial(trial).reason)
        assert len(store.attempts(trial)) == 2
    assert "Cannot use the checkpoint" in reason and "neither" in reason and "remove it" in reason


class RunsACommand:
    """Its pickle runs a command when anything takes it for more than data."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.filterwarnings("ignore::growres.errors.GrowresWarning")
@pytest.mark.parametrize("names", [["checkpoint.pt"], [PREVIOUS], ["checkpoint.pt", PREVIOUS]])
def test_a_malicious_checkpoint_runs_nothing(write_spec: SpecWriter, tmp_path: Path, names: list[str]) -> None:
    path = write_spec({"grown": GROWN})
    undisturbed = undisturbed_science(path)
    experiment = interrupted_after(path, 4)
    trial = f"{experiment}-1"
    owned = tmp_path / "owned"
    evil = RunsACommand(f"touch {owned}")
    content = encode({"procedure": evil, "events": [evil], "network": evil, "images": evil})  # its digest is right
    for name in names:
        newest_of(trial).with_name(name).write_bytes(content)
    if names == [PREVIOUS]:
        cut(newest_of(trial))
    usable = names == ["checkpoint.pt"]
    with pytest.warns(GrowresWarning, match="cannot be used") if usable else pytest.raises(CheckpointError):
        load_model(trial)
    assert main(["export", trial, "-o", str(tmp_path / "net.pt")]) == (0 if usable else 1)
    picture = tmp_path / "picture.png"
    picture.write_bytes(b"")
    main(["predict", trial, str(picture)])
    assert resume(experiment, backend="inline").status == ("succeeded" if usable else "failed")
    assert not owned.exists()
    if usable:
        assert science(experiment) == undisturbed


def test_a_checkpoint_of_other_data_than_a_trials_is_refused_in_words(write_spec: SpecWriter) -> None:
    hostile: list[dict[str, Any]] = [
        {},
        {"events": 3, "procedure": {}},
        {"events": [{"event": "os.system"}], "procedure": {}},
        {"events": [{"event": "AttemptStarted", "pid": 1}], "procedure": {}},
        {"events": [], "procedure": {"arm": {"architecture": {"name": "../../x"}}}},
        {"events": [], "procedure": {"current": None}},
    ]
    experiment = interrupted_after(write_spec({"grown": GROWN}), 1)
    trial = f"{experiment}-1"
    for state in hostile:
        newest_of(trial).write_bytes(encode(state))
        assert resume(experiment, failed=True, backend="inline").status == "failed"
        with Store.open() as store:
            assert "it is not one of this trial and this growres" in str(store.find_trial(trial).reason)


# --------------------------------------------------------------------------------------------------- a full disk


def full_disk_after(num_epochs: int, unfinished: str) -> Witness:
    """After so many epochs the first trial's next file of this name finds no space left, as /dev/full answers."""
    seen = 0

    def fill(trial_id: str, event: Event) -> None:
        nonlocal seen
        if trial_id.endswith("-1"):
            seen += isinstance(event, EpochFinished)
            if seen == num_epochs and isinstance(event, EpochFinished):
                file = newest_of(trial_id).parent / unfinished
                file.parent.mkdir(exist_ok=True)
                file.symlink_to("/dev/full")

    return Witness(fill)


@pytest.mark.parametrize(
    "num_epochs, unfinished",
    [
        (3, ".checkpoint.pt.unfinished"),
        pytest.param(6, ".checkpoint.pt.unfinished", marks=pytest.mark.slow),
        (9, "outputs/.test.npz.unfinished.npz"),
    ],
)
def test_a_full_disk_stops_the_trial_with_a_reason_and_once_there_is_space_it_ends_as_if_undisturbed(
    write_spec: SpecWriter, num_epochs: int, unfinished: str
) -> None:
    path = write_spec({"grown": GROWN, "fixed": FIXED})
    undisturbed = undisturbed_science(path)
    witness = full_disk_after(num_epochs, unfinished)
    outcome = submit(path, backend="inline", progress=witness)
    assert (outcome.status, outcome.num_failed, outcome.num_succeeded) == ("failed", 1, 1)
    trial = f"{outcome.experiment_id}-1"
    with Store.open() as store:
        reason = str(store.find_trial(trial).reason)
        assert len(store.attempts(trial)) == 1, "another attempt finds the disk as full"
    file = "checkpoint.pt" if "checkpoint" in unfinished else "test.npz"
    assert file in reason and "bytes): No space left on device" in reason and "Free some space" in reason
    assert "resume" in reason
    again = Witness()
    resumed = resume(outcome.experiment_id, failed=True, backend="inline", progress=again)
    assert resumed.status == "succeeded"
    assert science(outcome.experiment_id) == undisturbed
    (started,) = (event for _, event in again.events if isinstance(event, AttemptStarted))
    assert started.epochs_before >= num_epochs, "the checkpoint before stood"


# ---------------------------------------------------------------------------------------------------- memory, NaN

LITTLE_MEMORY = """
import resource, sys
from pathlib import Path
import torch
from growres.events import AttemptStarted
from jobs.progress import Silence
from jobs.submission import submit

torch.set_num_threads(1)

class Tightening(Silence):
    def event(self, trial_id, event):
        if isinstance(event, AttemptStarted) and trial_id.endswith("-1"):
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), resource.RLIM_INFINITY))
        if isinstance(event, AttemptStarted) and trial_id.endswith("-2"):
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

submit(Path(sys.argv[1]), backend="inline", progress=Tightening())
"""


def test_a_batch_that_does_not_fit_fails_its_trial_with_a_hint_and_the_rest_go_on(write_spec: SpecWriter) -> None:
    huge = {
        "procedure": "end_to_end",
        "model": {"name": "resnet", "blocks": [1], "widths": [512]},
        "training": {"epochs": 1, "batch_size": 300},
    }
    path = write_spec({"huge": huge, "fixed": FIXED})
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY, str(path), str(100 * 2**20)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with Store.open() as store:
        first, second = store.trials(store.find_experiment("latest").id)
        assert (first.status, second.status) == ("failed", "succeeded")
        assert len(store.attempts(first.id)) == 1, "it would not fit another time either"
    reason = str(first.reason)
    assert "does not fit into memory" in reason and "bytes" in reason
    assert "batch_size (300)" in reason and "smaller model" in reason and "max_concurrent_trials" in reason
    assert "alloc_cpu" not in reason


def test_a_network_that_no_memory_holds_fails_its_trial_with_a_hint(write_spec: SpecWriter) -> None:
    endless = {
        "procedure": "end_to_end",
        "model": {"name": "resnet", "blocks": [1], "widths": [2_000_000]},
        "training": {"epochs": 1},
    }
    path = write_spec({"endless": endless, "fixed": FIXED})
    trial = load_experiment(path).experiment.trials[0]
    home = growres_home()
    task = TrialTask(trial_id="x-1", config=trial.model_dump(mode="json"), run_folder=str(home), home=str(home))
    with pytest.raises(OutOfMemoryError, match="smaller model than this resnet"):
        list(run_attempt(task))


def test_nan_fails_its_trial_with_a_hint_without_another_attempt(write_spec: SpecWriter) -> None:
    witness = Witness()
    outcome = submit(write_spec({"diverging": DIVERGING, "fixed": FIXED}), backend="inline", progress=witness)
    assert (outcome.num_failed, outcome.num_succeeded) == (1, 1)
    endings = [event for _, event in witness.events if isinstance(event, AttemptEnded)]
    assert [ended.status for ended in endings] == ["failed", "succeeded"]
    assert "training.optimizer.lr" in endings[0].reason


def test_what_another_attempt_may_mend_is_told_from_the_trials_own_fault() -> None:
    assert is_own_fault(OutOfMemoryError("...")) and is_own_fault(CheckpointError("..."))
    assert not is_own_fault(DiskError("...")) and not is_own_fault(OSError(5, "Input/output error"))


# ------------------------------------------------------------------------------------- a worker of many trials


def test_a_trial_begins_without_what_the_one_before_left_in_reference_cycles(write_spec: SpecWriter) -> None:
    home = str(growres_home())
    trial = load_experiment(write_spec({"fixed": FIXED})).experiment.trials[0]
    gc.disable()  # Python looks for cycles when many objects have been made, and a trial makes few, if large, ones
    try:
        network = torch.nn.Linear(2, 2)
        network.itself = [network]
        left = weakref.ref(network)
        del network
        assert left() is not None
        next(run_attempt(TrialTask(trial_id="x-1", config=trial.model_dump(mode="json"), run_folder=home, home=home)))
        assert left() is None
    finally:
        gc.enable()
