"""Sixteen drivers, and two that share an experiment, write into one store at once."""

from __future__ import annotations

import multiprocessing
import threading
import time
import traceback
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from growres.events import ArtifactWritten, AttemptEnded
from growres.store import NewExperiment, Recorder, Store
from growres.store.database import Database, resolve
from growres.store.tables import Epoch
from growres.store.writing import Record, write_records

NUM_DRIVERS = 16
NUM_STEPS = 3
EPOCHS_PER_STEP = 20
SEEDS = 2
"""Trials of each of an experiment's two variants."""


@pytest.fixture
def story(started, epoch, decided, finished):
    """What a driver tells of a trial that grows; the figures differ from trial to trial."""

    def tell(figure):
        yield started
        for step in range(1, NUM_STEPS + 1):
            for number in range(1, EPOCHS_PER_STEP + 1):
                yield epoch(number, growth_step=step, arm="candidate", val_error=figure / number)
            yield decided(step, val_error_candidate=figure / step)
        yield finished(val_error=figure)
        yield ArtifactWritten(kind="checkpoint", path="x/checkpoint.pt", sha256="ab" * 32, num_bytes=123)
        yield AttemptEnded(status="succeeded", reason="done")

    return tell


def figure_of(trial_id):
    return sum(map(ord, trial_id)) / 2**12


def drive(url, folder, experiment, trial_ids, story, begin, results):
    """A driver as jobs.submission is one: an experiment, its events trial by trial in turn, its end.

    Args:
        experiment: a new one; or the id of one that is there, of whose trials `trial_ids` are this driver's.
    """
    try:
        with Store.open(url) as store:
            begin.wait(60)
            if isinstance(experiment, NewExperiment):
                experiment = store.add_experiment(experiment)
                trial_ids = [trial.id for trial in store.trials(experiment)]
            store.set_experiment_status(experiment, "running")
            recorder = Recorder(url, folder / "spool.jsonl")
            for events in zip(*(story(figure_of(trial_id)) for trial_id in trial_ids), strict=True):
                for trial_id, event in zip(trial_ids, events, strict=True):
                    recorder.record(trial_id, 1, event)
                store.mark_trials(experiment, ("interrupted",), "queued")  # as who resumes it would
            recorder.close()
            while (folder / "spool.jsonl").exists():  # it had to stand back for the others; a resume writes the rest
                Recorder(url, folder / "spool.jsonl").close()
            store.finish_experiment(experiment)
        results.put((experiment, None))
    except BaseException:
        results.put((experiment, traceback.format_exc()))


def test_sixteen_drivers_and_two_that_share_an_experiment_lose_nothing(place, store, digits, story, tmp_path):
    context = multiprocessing.get_context("fork")
    shared = store.add_experiment(digits(name="shared", seeds=SEEDS))
    store.close()  # a connection must not live on in two processes
    work = [(digits(name=f"own{number}", seeds=SEEDS), None) for number in range(NUM_DRIVERS)]
    work += [(shared, [f"{shared}-{index}" for index in indices]) for indices in ((1, 3), (2, 4))]
    begin, results = context.Barrier(len(work)), context.Queue()
    processes = []
    for number, (experiment, trial_ids) in enumerate(work):
        folder = tmp_path / f"driver-{number}"
        folder.mkdir()
        arguments = (place.url, folder, experiment, trial_ids, story, begin, results)
        processes.append(context.Process(target=drive, args=arguments))
        processes[-1].start()
    answers = [results.get(timeout=240) for _ in processes]
    for process in processes:
        process.join(30)
    assert [trouble for _, trouble in answers if trouble] == []
    assert list(tmp_path.rglob("*.rejected")) == []
    experiment_ids = {experiment_id for experiment_id, _ in answers}
    assert len(experiment_ids) == NUM_DRIVERS + 1
    with Store.open(place.url) as store:
        for experiment_id in experiment_ids:
            experiment = store.find_experiment(experiment_id)
            assert (experiment.status, experiment.trial_counts) == ("succeeded", {"succeeded": 2 * SEEDS})
            for trial in store.trials(experiment_id):
                assert_whole(store, trial)
    with Database(resolve(place.url)) as database, database.reading() as connection:
        num_epochs = connection.execute(select(func.count()).select_from(Epoch)).scalar()
        assert num_epochs == (NUM_DRIVERS + 1) * 2 * SEEDS * NUM_STEPS * EPOCHS_PER_STEP
        assert place.is_sqlite or num_deadlocks(database) == 0


def assert_whole(store, trial):
    figure = figure_of(trial.id)
    assert (trial.status, trial.val_error, trial.attempt) == ("succeeded", figure, 1)
    assert [(row["growth_step"], row["epoch"], row["val_error"]) for row in store.epochs(trial.id)] == [
        (step, number, figure / number) for step in range(1, NUM_STEPS + 1) for number in range(1, EPOCHS_PER_STEP + 1)
    ]
    steps = [(row["step"], row["val_error_candidate"]) for row in store.growth_steps(trial.id)]
    assert steps == [(step, figure / step) for step in range(1, NUM_STEPS + 1)]
    assert [row["status"] for row in store.attempts(trial.id)] == ["succeeded"]
    assert len(store.artifacts(trial.id)) == 1


@pytest.mark.parametrize("place", ["postgres"], indirect=True)
def test_who_marks_trials_and_who_records_of_them_wait_for_each_other_in_one_order(place, store, digits):
    # In the table trial 2 comes before trial 10; by their ids, as text, after it.
    experiment_id = store.add_experiment(digits(seeds=5))
    marking = threading.Thread(target=store.mark_trials, args=(experiment_id, ("queued",), "failed", "no data"))
    recording = threading.Thread(
        target=write_records_of, args=(place.url, [f"{experiment_id}-{index}" for index in (2, 10)])
    )
    with Database(resolve(place.url)) as database:
        with database.writing() as connection:
            connection.exec_driver_sql(f"SELECT id FROM trial WHERE id = '{experiment_id}-3' FOR UPDATE")
            marking.start()
            time.sleep(0.3)
            recording.start()
            time.sleep(0.3)
        marking.join()
        recording.join()
        assert num_deadlocks(database) == 0
    assert store.find_experiment(experiment_id).trial_counts == {"failed": 10}


def write_records_of(url, trial_ids):
    with Database(resolve(url)) as database, database.writing() as connection:
        event = ArtifactWritten(kind="log", path="x", sha256="ab" * 32, num_bytes=1)
        write_records(connection, [Record(trial_id, 0, datetime.now(UTC), event) for trial_id in trial_ids])


def num_deadlocks(database):
    """In this database since it was made; a session's count comes to the server's a little late."""
    time.sleep(1.5)
    with database.reading() as connection:
        ours = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return connection.exec_driver_sql(ours).scalar()
