"""One driver an experiment, told alive or gone by the database's clock."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import pytest

from growres.errors import BusyError
from growres.store import Store, rows

AGED = {
    "sqlite": "UPDATE run SET {column} = strftime('%Y-%m-%d %H:%M:%f000', {column}, '-{seconds} seconds')",
    "postgresql": "UPDATE run SET {column} = {column} - interval '{seconds} seconds'",
}


@pytest.fixture
def experiment_id(store: Store, digits: Callable[..., Any]) -> str:
    return store.add_experiment(digits())


@pytest.fixture
def let_pass(place) -> Callable[[int], None]:
    """Makes all signs of life of runs older by so many seconds; younger, as after a clock was set back, if negative."""

    def let(seconds: int) -> None:
        dialect = "sqlite" if place.is_sqlite else "postgresql"
        place.execute(AGED[dialect].format(column="heartbeat_at", seconds=seconds).replace("--", "+"))

    return let


def begun(store: Store, experiment_id: str, **claim: Any) -> int:
    run = store.runs.claim(experiment_id, backend="local", **claim)
    store.runs.begin(experiment_id, run.run, host="bench", pid=4711)
    return run.run


def test_a_run_is_claimed_begun_heard_of_and_ended(store, experiment_id):
    run = store.runs.claim(experiment_id, backend="cluster", address="http://head:8265", job_prefix="growres-x")
    assert (run.run, run.status, run.job_id, run.started_at) == (1, "queued", "growres-x-1", None)
    started = store.runs.begin(experiment_id, 1, host="bench", pid=4711)
    assert (started.status, started.host, started.pid) == ("running", "bench", 4711)
    assert store.find_experiment(experiment_id).status == "running"
    answer = store.runs.beat(experiment_id, 1)
    assert (answer.is_mine, answer.stop) == (True, None)
    assert abs(store.runs.newest(experiment_id).silent_s) < 5
    assert [run.experiment_id for run in store.runs.alive()] == [experiment_id]
    assert store.runs.end(experiment_id, 1, "succeeded", "trials: 4 succeeded")
    assert not store.runs.end(experiment_id, 1, "failed", "too late")
    ended = store.runs.newest(experiment_id)
    assert (ended.status, ended.reason, ended.is_open) == ("succeeded", "trials: 4 succeeded", False)
    assert ended.submitted_at <= ended.started_at <= ended.heartbeat_at <= ended.ended_at
    assert store.runs.alive() == []


def test_who_comes_second_is_told_who_is_there(store, experiment_id):
    store.runs.claim(experiment_id, backend="local")
    with pytest.raises(BusyError, match="which has not begun"):
        store.runs.claim(experiment_id, backend="local")
    store.runs.begin(experiment_id, 1, host="bench", pid=4711)
    with pytest.raises(BusyError, match=r"being run by another driver on bench, process 4711.*status .* --watch"):
        store.runs.claim(experiment_id, backend="local")
    with pytest.raises(BusyError, match="Cannot begin run 1 .*: run 1, running, is its newest"):
        store.runs.begin(experiment_id, 1, host="bench", pid=4712)


def test_a_driver_that_vanished_is_stale_and_another_takes_over(store, experiment_id, recorder, started, monkeypatch):
    begun(store, experiment_id)
    recorder.record(f"{experiment_id}-1", 1, started)
    assert not store.runs.newest(experiment_id).is_stale
    assert rows.STALE_AFTER_S < 60
    # Not by older times in the table: PostgreSQL has not been up for that long, and knows it.
    monkeypatch.setattr(rows, "STALE_AFTER_S", 0.5)
    time.sleep(1)
    assert store.runs.newest(experiment_id).is_stale
    assert begun(store, experiment_id) == 2
    first, second = store.runs.all(experiment_id)
    assert (first.status, first.reason, first.is_open) == ("interrupted", "its driver vanished", False)
    assert second.status == "running"
    trial = store.find_trial(f"{experiment_id}-1")
    assert (trial.status, trial.reason) == ("interrupted", "its driver vanished")
    assert store.attempts(trial.id)[0]["status"] == "interrupted"
    # The first was only out of reach: it hears that it has no experiment any more.
    assert not store.runs.beat(experiment_id, 1).is_mine
    assert store.runs.beat(experiment_id, 2).is_mine


def test_a_run_that_no_driver_ever_began_is_given_up(store, experiment_id, monkeypatch):
    store.runs.claim(experiment_id, backend="cluster")
    monkeypatch.setattr(rows, "START_WITHIN_S", 0.2)
    time.sleep(0.4)
    assert store.runs.newest(experiment_id).is_stale
    assert begun(store, experiment_id) == 2
    with pytest.raises(BusyError, match="run 2, running, is its newest"):
        store.runs.begin(experiment_id, 1, host="bench", pid=4711)


def test_a_silent_driver_is_stale_in_sqlite_and_excused_while_postgres_was_away(store, place, experiment_id, let_pass):
    begun(store, experiment_id)
    let_pass(20)
    assert not store.runs.newest(experiment_id).is_stale
    let_pass(10**7)
    silent_s = store.runs.newest(experiment_id).silent_s
    if place.is_sqlite:
        assert silent_s > 10**7
        assert store.runs.newest(experiment_id).is_stale
    else:
        assert silent_s < 10**7, "at most since the server is up"


def test_a_driver_is_not_taken_for_gone_for_ever_because_a_clock_was_set_back(store, experiment_id, let_pass):
    begun(store, experiment_id)
    let_pass(-3600)
    assert store.runs.newest(experiment_id).is_stale, "nothing was heard for longer than can be told"
    store.runs.beat(experiment_id, 1)
    assert not store.runs.newest(experiment_id).is_stale


def test_a_run_that_is_known_to_be_gone_is_not_waited_for(store, experiment_id):
    first = begun(store, experiment_id)
    assert begun(store, experiment_id, known_gone=first) == 2
    with pytest.raises(BusyError):
        begun(store, experiment_id, known_gone=first)


def test_a_stop_is_heard_by_the_next_sign_of_life_and_now_outlasts_epoch(store, experiment_id):
    begun(store, experiment_id)
    assert store.runs.request_stop(experiment_id, 1, "epoch")
    assert store.runs.beat(experiment_id, 1).stop == "epoch"
    assert store.runs.request_stop(experiment_id, 1, "now")
    assert store.runs.request_stop(experiment_id, 1, "epoch")
    assert store.runs.beat(experiment_id, 1).stop == "now"
    store.runs.end(experiment_id, 1, "stopped", "as asked")
    assert not store.runs.request_stop(experiment_id, 1, "now")


def _try_to_claim(url: str, experiment_id: str, answers: Any) -> None:
    with Store.open(url) as store:
        try:
            run = store.runs.claim(experiment_id, backend="local")
            store.runs.begin(experiment_id, run.run, host="bench", pid=1)
        except BusyError as error:
            answers.put(str(error))
        else:
            answers.put(run.run)


def test_of_eight_who_claim_an_experiment_at_once_one_gets_it_and_seven_are_told(place, store, experiment_id):
    spawn = multiprocessing.get_context("spawn")
    answers = spawn.Queue()
    processes = [
        spawn.Process(target=_try_to_claim, args=(place.url, experiment_id, answers), daemon=True) for _ in range(8)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=60) for _ in processes]
    assert found.count(1) == 1
    assert all("another driver" in answer or "not begun" in answer for answer in found if answer != 1)
