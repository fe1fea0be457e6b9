from __future__ import annotations

import json
import logging
import multiprocessing
import pickle
import shutil
import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from growres import events
from growres.events import ArtifactWritten, AttemptEnded
from growres.store import Recorder, Store
from growres.store.database import Database, resolve
from growres.store.tables import Trial
from growres.store.writing import Record, write_records


@pytest.fixture
def trial_id(store, digits):
    return f"{store.add_experiment(digits())}-1"


@pytest.fixture
def spool(tmp_path):
    return tmp_path / "run" / "spool.jsonl"


@pytest.fixture
def story(started, epoch, decided, finished):
    """A whole trial: what its one attempt reports, from the first event to the last."""
    return [
        started,
        epoch(1),
        epoch(2),
        ArtifactWritten(kind="checkpoint", path="checkpoint.pt", sha256="aa", num_bytes=1000),
        epoch(1, growth_step=1, arm="candidate"),
        epoch(1, growth_step=1, arm="control"),
        decided(1),
        epoch(1, growth_step=2, arm="candidate", train_loss=float("nan")),
        decided(2, verdict="rejected", val_error_candidate=None, reason="the candidate diverged"),
        ArtifactWritten(kind="checkpoint", path="checkpoint.pt", sha256="bb", num_bytes=2000),
        finished(),
        AttemptEnded(status="succeeded", reason="patience"),
    ]


def wait_until_well(recorder, timeout_s=10.0):
    """Turns like a control loop does, until the recorder has the database again."""
    deadline = time.monotonic() + timeout_s
    while recorder.degraded and time.monotonic() < deadline:
        recorder.tick()
        time.sleep(0.05)
    assert not recorder.degraded


def without_times(rows):
    """What must be equal however the trial got there: all but the wall clock's columns and the attempts."""
    trial, epochs, growth_steps, _attempts, artifacts = rows
    kept = ("status", "reason", "val_error", "test_error", "num_params", "num_blocks", "train_flops", "epochs",
            "wall_s", "finish_reason", "architecture")  # fmt: skip
    stripped = [{key: value for key, value in row.items() if not key.endswith("_at")} for row in artifacts]
    return {name: getattr(trial, name) for name in kept}, epochs, growth_steps, stripped


# ----------------------------------------------------------------------------------------------- what becomes of events


def test_every_kind_of_event_becomes_its_rows(store, recorder, trial_id, story):
    for event in story:
        recorder.record(trial_id, 1, event)
    trial = store.find_trial(trial_id)
    finished = story[-2]
    assert (trial.status, trial.reason, trial.attempt) == ("succeeded", "patience", 1)
    assert (trial.val_error, trial.test_error, trial.num_params) == (0.25, 0.375, 1500)
    assert (trial.finish_reason, trial.architecture) == (finished.reason, finished.architecture)
    assert trial.started_at <= trial.ended_at == trial.updated_at
    (attempt,) = store.attempts(trial_id)
    assert (attempt["status"], attempt["host"], attempt["pid"]) == ("succeeded", "bench", 4711)
    epochs = store.epochs(trial_id)
    assert len(epochs) == 5
    assert epochs[0] == {"trial_id": trial_id} | {k: v for k, v in events.to_dict(story[1]).items() if k != "event"}
    assert epochs[-1]["train_loss"] is None
    steps = store.growth_steps(trial_id)
    assert steps[1] == {"trial_id": trial_id} | {k: v for k, v in events.to_dict(story[8]).items() if k != "event"}
    (artifact,) = store.artifacts(trial_id)
    assert (artifact["sha256"], artifact["num_bytes"]) == ("bb", 2000)
    assert store.find_experiment("digits").status == "running"


def test_what_is_decisive_is_written_at_once_and_the_rest_soon(store, place, spool, trial_id, started, epoch, decided):
    recorder = Recorder(place.url, spool, flush_every_s=0.2)
    recorder.record(trial_id, 1, started)
    assert store.find_trial(trial_id).status == "running"
    recorder.record(trial_id, 1, epoch(1))
    assert store.epochs(trial_id) == []
    time.sleep(0.25)
    recorder.tick()
    assert len(store.epochs(trial_id)) == 1
    recorder.record(trial_id, 1, epoch(2))
    recorder.record(trial_id, 1, decided(1))
    assert (len(store.epochs(trial_id)), len(store.growth_steps(trial_id))) == (2, 1)
    for number in range(3, 603):
        recorder.record(trial_id, 1, epoch(number))
    assert len(store.epochs(trial_id)) > 500
    recorder.close()
    assert len(store.epochs(trial_id)) == 602
    assert not spool.exists()


def test_events_told_twice_leave_the_same_rows(store, recorder, trial_id, story, rows):
    for cut in (3, 7, len(story)):
        for event in story[:cut]:
            recorder.record(trial_id, 1, event)
        recorder.flush()
        once = without_times(rows(trial_id))
        for event in story[:cut]:
            recorder.record(trial_id, 1, event)
        recorder.flush()
        assert without_times(rows(trial_id)) == once
        assert len(store.attempts(trial_id)) == 1


def test_a_resumed_trial_leaves_the_rows_of_one_never_interrupted(store, digits, recorder, story, rows):
    def bare(trial_id):
        trial, *tables = without_times(rows(trial_id))
        return trial, [[{**row, "trial_id": ""} for row in table] for table in tables]

    whole = f"{store.add_experiment(digits())}-1"
    for event in story:
        recorder.record(whole, 1, event)
    for cut in range(1, len(story) - 1):
        resumed = f"{store.add_experiment(digits())}-1"
        for event in story[:cut]:
            recorder.record(resumed, 1, event)
        for event in [story[0], *story[max(1, cut - 2) :]]:  # the last checkpoint was two events old
            recorder.record(resumed, 2, event)
        assert bare(resumed) == bare(whole)
        assert [row["status"] for row in store.attempts(resumed)] == ["interrupted", "succeeded"]


def test_events_of_an_attempt_that_was_followed_by_another_are_dropped(
    store, recorder, trial_id, started, epoch, finished
):
    recorder.record(trial_id, 1, started)
    recorder.record(trial_id, 2, started)
    recorder.record(trial_id, 2, epoch(1, val_error=0.25))
    recorder.record(trial_id, 1, epoch(1, val_error=0.75))
    recorder.record(trial_id, 1, finished())
    recorder.record(trial_id, 1, AttemptEnded(status="failed", reason="lost"))
    assert [row["val_error"] for row in store.epochs(trial_id)] == [0.25]
    trial = store.find_trial(trial_id)
    assert (trial.status, trial.val_error, trial.attempt) == ("running", None, 2)


def test_an_attempt_that_is_followed_by_another_while_it_writes_is_dropped(
    place, store, recorder, trial_id, started, epoch
):
    def write_late():
        recorder.record(trial_id, 1, epoch(1))
        recorder.flush()

    recorder.record(trial_id, 1, started)
    with Database(resolve(place.url)) as other, other.writing() as connection:
        write_records(connection, [Record(trial_id, 2, datetime.now(UTC), started)])
        late = threading.Thread(target=write_late)
        late.start()
        late.join(0.3)
        assert late.is_alive()  # it waits for the trial's row
    late.join()
    assert store.epochs(trial_id) == []
    assert store.find_trial(trial_id).attempt == 2


def test_a_trial_that_succeeded_is_left_alone(store, recorder, trial_id, story, rows, started, epoch):
    for event in story:
        recorder.record(trial_id, 1, event)
    before = rows(trial_id)
    recorder.record(trial_id, 1, epoch(1, val_error=0.99))
    recorder.record(trial_id, 2, started)
    recorder.record(trial_id, 2, AttemptEnded(status="failed", reason="late"))
    assert rows(trial_id) == before


def test_a_failed_trial_is_attempted_again(store, recorder, trial_id, started):
    recorder.record(trial_id, 1, started)
    recorder.record(trial_id, 1, AttemptEnded(status="failed", reason="out of memory"))
    assert store.find_trial(trial_id).reason == "out of memory"
    recorder.record(trial_id, 2, started)
    trial = store.find_trial(trial_id)
    assert (trial.status, trial.reason, trial.ended_at) == ("running", None, None)
    assert [row["status"] for row in store.attempts(trial_id)] == ["failed", "running"]


def test_a_queued_trial_is_not_called_back_by_the_end_of_its_last_attempt(store, recorder, trial_id, started):
    recorder.record(trial_id, 1, started)
    store.mark_trial(trial_id, "interrupted", "Ctrl-C")
    store.mark_trial(trial_id, "queued", "resumed")
    recorder.record(trial_id, 1, AttemptEnded(status="interrupted", reason="late news"))
    assert store.find_trial(trial_id).status == "queued"
    recorder.record(trial_id, 2, AttemptEnded(status="failed", reason="no machine would take it"))
    assert store.find_trial(trial_id).status == "failed"
    assert [row["status"] for row in store.attempts(trial_id)] == ["interrupted", "failed"]


def test_a_success_that_is_told_late_still_counts(store, recorder, trial_id, started, finished):
    recorder.record(trial_id, 1, started)
    store.mark_trial(trial_id, "interrupted", "the driver was gone")
    recorder.record(trial_id, 1, finished())
    recorder.record(trial_id, 1, AttemptEnded(status="succeeded", reason="done"))
    assert store.find_trial(trial_id).status == "succeeded"


# ------------------------------------------------------------------------------------------ when the database is away


def test_nothing_is_lost_while_the_database_is_away(place, store, recorder, spool, trial_id, story, rows):
    for event in story[:3]:
        recorder.record(trial_id, 1, event)
    place.take_away()
    try:
        for event in story[3:]:
            recorder.record(trial_id, 1, event)
        recorder.flush()
        assert recorder.degraded
        lines = [json.loads(line) for line in spool.read_text().splitlines()]
        assert [line["event"]["event"] for line in lines[-9:]] == [type(event).__name__ for event in story[3:]]
        assert set(lines[0]) == {"trial_id", "attempt", "recorded_at", "event"}
    finally:
        place.bring_back()
    wait_until_well(recorder)
    assert not spool.exists()
    trial, epochs, steps, _, artifacts = rows(trial_id)
    assert (trial.status, len(epochs), len(steps), len(artifacts)) == ("succeeded", 5, 2, 1)


def test_a_spool_that_a_dead_recorder_left_is_replayed_by_the_next(place, store, spool, trial_id, story, rows):
    dead = Recorder(place.url, spool)
    dead.record(trial_id, 1, story[0])
    place.take_away()
    for event in story[1:]:
        dead.record(trial_id, 1, event)
    dead.flush()
    place.bring_back()
    saved = spool.read_bytes()
    Recorder(place.url, spool).close()
    first = rows(trial_id)
    assert (first[0].status, len(first[1])) == ("succeeded", 5)
    assert not spool.exists()
    spool.write_bytes(saved)
    Recorder(place.url, spool).close()
    assert rows(trial_id) == first


def test_a_recorder_may_be_born_and_closed_while_the_database_is_away(place, store, spool, trial_id, story, caplog):
    place.take_away()
    try:
        recorder = Recorder(place.url, spool)
        for event in story:
            recorder.record(trial_id, 1, event)
        recorder.close()
        assert "are written when the run is resumed" in caplog.text
    finally:
        place.bring_back()
    Recorder(place.url, spool).close()
    assert store.find_trial(trial_id).status == "succeeded"


def test_a_database_that_another_program_holds_is_waited_for_in_the_spool(
    place, store, spool, trial_id, story, monkeypatch
):
    monkeypatch.setattr("growres.store.recorder._TIMEOUT_S", 0.2)
    recorder = Recorder(place.url, spool)
    recorder.record(trial_id, 1, story[0])
    with Database(resolve(place.url)) as other, other.writing() as connection:
        connection.execute(select(Trial.id).with_for_update())
        begun = time.monotonic()
        recorder.record(trial_id, 1, story[6])
        assert recorder.degraded
        for event in story[7:]:
            recorder.record(trial_id, 1, event)
        assert time.monotonic() - begun < 2
    wait_until_well(recorder)
    assert store.find_trial(trial_id).status == "succeeded"
    recorder.close()


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_database_file_that_was_replaced_is_opened_anew(place, store, recorder, trial_id, epoch, tmp_path, started):
    recorder.record(trial_id, 1, started)
    recorder.flush()
    store.close()

    file = Path(place.url.removeprefix("sqlite:///"))
    with sqlite3.connect(file) as source, sqlite3.connect(tmp_path / "restored.db") as target:
        source.backup(target)
    shutil.move(tmp_path / "restored.db", file)
    for leftover in ("-wal", "-shm"):
        file.with_name(file.name + leftover).unlink(missing_ok=True)
    recorder.record(trial_id, 1, epoch(1))
    recorder.flush()
    assert not recorder.degraded
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM epoch").fetchone() == (1,)


def test_events_stay_in_memory_where_not_even_the_spool_can_be_written(place, store, tmp_path, trial_id, story):
    (tmp_path / "file").touch()
    recorder = Recorder(place.url, tmp_path / "file" / "spool.jsonl")
    place.take_away()
    for event in story:
        recorder.record(trial_id, 1, event)
    assert recorder.degraded
    place.bring_back()
    wait_until_well(recorder)
    assert store.find_trial(trial_id).status == "succeeded"
    recorder.close()


def test_a_line_that_a_crash_cut_off_is_put_aside_and_the_others_are_replayed(
    place, store, spool, trial_id, story, rows
):
    place.take_away()
    recorder = Recorder(place.url, spool)
    for event in story[:5]:
        recorder.record(trial_id, 1, event)
    recorder.flush()
    torn = spool.read_text().splitlines()[-1][:40]
    with spool.open("a") as file:
        file.write(torn)
    for event in story[5:]:
        recorder.record(trial_id, 1, event)
    recorder.flush()
    place.bring_back()
    recorder.close()
    assert (rows(trial_id)[0].status, len(rows(trial_id)[1])) == ("succeeded", 5)
    (rejected,) = spool.with_name("spool.jsonl.rejected").read_text().splitlines()
    assert json.loads(rejected)["line"] == torn


# ------------------------------------------------------------------------------------- events that cannot be stored


@pytest.mark.parametrize("away", [False, True], ids=["at once", "from the spool"])
def test_an_event_that_the_store_refuses_does_not_block_the_others(
    place, store, recorder, spool, trial_id, story, epoch, finished, away
):
    if away:
        place.take_away()
    recorder.record(trial_id, 1, story[0])
    recorder.record("nobody-1", 1, epoch(1))
    recorder.record(trial_id, 1, epoch(1, growth_step=9, arm="wrong"))
    recorder.record(trial_id, 1, epoch(2, growth_step=9, lr=object()))
    recorder.record(trial_id, 1, "no event at all")
    for event in story[1:]:
        recorder.record(trial_id, 1, event)
    recorder.flush()
    if away:
        place.bring_back()
        wait_until_well(recorder)
    assert not recorder.degraded
    assert store.find_trial(trial_id).status == "succeeded"
    assert len(store.epochs(trial_id)) == 5
    rejected = [json.loads(line) for line in spool.with_name("spool.jsonl.rejected").read_text().splitlines()]
    reasons = " | ".join(entry["reason"] for entry in rejected)
    assert len(rejected) == 4
    assert "no trial 'nobody-1'" in reasons
    assert "ck_epoch_arm" in reasons or "CHECK constraint failed" in reasons


def test_a_reason_that_quotes_odd_bytes_is_stored(store, recorder, trial_id, started):
    recorder.record(trial_id, 1, started)
    recorder.record(trial_id, 1, AttemptEnded(status="failed", reason="cannot read b'a\0b' \udc80 \u00fc"))
    trial = store.find_trial(trial_id)
    assert (trial.status, trial.reason) == ("failed", "cannot read b'a\\0b' \\udc80 \u00fc")


# -------------------------------------------------------------------------------------------------------- passwords


def test_a_password_is_nowhere_to_be_seen(place, store, spool, trial_id, story, canary, caplog, tmp_path):
    caplog.set_level(logging.DEBUG)
    recorder = Recorder(place.url, spool)
    pickled = pickle.dumps(recorder)
    place.take_away()
    try:
        for event in story[:5]:
            recorder.record(trial_id, 1, event)
        recorder.record("nobody-1", 1, story[1])
        recorder.flush()
        assert recorder.degraded
        written = "".join(path.read_text() for path in spool.parent.iterdir())
    finally:
        place.bring_back()
    recorder.close()
    assert "away; events wait in the spool" in caplog.text
    for form in (canary, canary.replace("%", "%25")):
        assert form.encode() not in pickled
        assert form not in caplog.text + written + repr(recorder) + repr(store)


def test_a_pickled_recorder_finds_its_database_again(place, store, spool, trial_id, story, monkeypatch):
    recorder = Recorder(place.url, spool)
    recorder.record(trial_id, 1, story[0])
    copy = pickle.loads(pickle.dumps(recorder))
    if not place.is_sqlite:
        copy.record(trial_id, 1, story[6])
        assert copy.degraded  # it would have to know the password
        monkeypatch.setenv("GROWRES_DATABASE_URL", place.url)
        wait_until_well(copy)
    for event in story[1:]:
        copy.record(trial_id, 1, event)
    assert store.find_trial(trial_id).status == "succeeded"
    copy.close()
    recorder.close()


# --------------------------------------------------------------------------------------------- several, and how fast


def write_epochs(url, spool, trial_id, started, epochs, begin):
    recorder = Recorder(url, spool)
    begin.wait()
    recorder.record(trial_id, 1, started)
    for event in epochs:
        recorder.record(trial_id, 1, event)
        recorder.flush()
    recorder.close()


def test_processes_that_write_into_one_store_lose_nothing(place, store, digits, started, epoch, tmp_path):
    context = multiprocessing.get_context("fork")
    experiment_id = store.add_experiment(digits())
    store.close()  # a connection must not live on in two processes
    trial_ids = [f"{experiment_id}-{index}" for index in (1, 2, 3, 4)]
    told = [epoch(number) for number in range(1, 101)]
    begin = context.Barrier(len(trial_ids))
    processes = [
        context.Process(target=write_epochs, args=(place.url, tmp_path / trial_id, trial_id, started, told, begin))
        for trial_id in trial_ids
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    for trial_id in trial_ids:
        Recorder(place.url, tmp_path / trial_id).close()  # on a busy machine one may have had to leave something
    with Store.open(place.url) as store:
        assert [len(store.epochs(trial_id)) for trial_id in trial_ids] == [100] * 4
        assert store.find_experiment(experiment_id).trial_counts == {"running": 4}


def test_the_recorder_keeps_up_with_two_thousand_epochs_a_second(recorder, store, trial_id, started, epoch):
    recorder.record(trial_id, 1, started)
    told = [epoch(number) for number in range(1, 3001)]
    begun = time.perf_counter()
    for event in told:
        recorder.record(trial_id, 1, event)
    recorder.flush()
    per_s = len(told) / (time.perf_counter() - begun)
    assert len(store.epochs(trial_id)) == 3000
    assert per_s > 2000
