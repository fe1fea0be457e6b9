from __future__ import annotations

import dataclasses
import math
import sqlite3
import statistics
import time
from contextlib import closing
from typing import get_args

import pytest

from growres.errors import FinishedTrialError, NotFoundError, StoreError
from growres.events import Arm, AttemptEnded
from growres.store import NewExperiment, NewTrial, Store


@pytest.fixture
def succeed(recorder, started, finished):
    def run(trial_id, attempt=1, **result):
        recorder.record(trial_id, attempt, started)
        recorder.record(trial_id, attempt, finished(**result))
        recorder.record(trial_id, attempt, AttemptEnded(status="succeeded", reason="trained 10 epochs"))

    return run


def test_an_experiment_comes_back_as_it_was_stored(store, digits):
    provenance = {
        "git_commit": "0123abc", "git_dirty": True, "versions": {"torch": "2.13.0"}, "host": "bench", "device": "cpu",
        "data_fingerprint": "f1f2", "data_splits": {"train": 1151, "validation": 287, "test": 359},
    }  # fmt: skip
    new = digits(**provenance)
    found = store.find_experiment(store.add_experiment(new))
    assert len(found.id) == 6
    assert found.id == found.id.lower()
    assert (found.name, found.spec_text, found.spec) == (new.name, new.spec_text, new.spec)
    assert {name: getattr(found, name) for name in provenance} == provenance
    assert (found.status, found.trial_counts, found.num_trials) == ("queued", {"queued": 4}, 4)
    assert found.created_at.utcoffset().total_seconds() == 0


def test_an_experiment_is_newer_than_every_stored_one_whatever_the_clock_says(store, place, digits):
    first = store.add_experiment(digits("first"))
    place.execute("UPDATE experiment SET created_at = '2200-01-01 00:00:00'")  # by a clock that was wrong
    second, third = store.add_experiment(digits("second")), store.add_experiment(digits("third"))
    assert [experiment.id for experiment in store.experiments()] == [third, second, first]
    assert store.find_experiment("latest").id == third


def test_trials_are_numbered_in_the_order_of_the_file(store, digits):
    new = digits()
    experiment_id = store.add_experiment(new)
    trials = store.trials(experiment_id)
    assert [trial.id for trial in trials] == [f"{experiment_id}-{index}" for index in (1, 2, 3, 4)]
    assert [(trial.variant, trial.seed, trial.config) for trial in trials] == [
        (trial.variant, trial.seed, trial.config) for trial in new.trials
    ]
    assert {(trial.status, trial.attempt, trial.experiment) for trial in trials} == {("queued", 0, "digits")}


def test_an_experiment_that_cannot_be_stored_whole_is_not_stored(store, digits):
    bad = NewTrial(variant="x", seed=2**70, procedure="growth", model="resnet", config={})
    with pytest.raises(StoreError, match="Cannot write to the database"):
        store.add_experiment(dataclasses.replace(digits(), trials=(*digits().trials, bad)))
    assert store.experiments() == []


def test_provenance_may_come_later(store, digits):
    experiment_id = store.add_experiment(digits(git_commit="0123abc"))
    store.add_provenance(experiment_id, {"data_fingerprint": "f1f2", "data_splits": {"train": 10}})
    found = store.find_experiment(experiment_id)
    assert (found.git_commit, found.data_fingerprint, found.data_splits) == ("0123abc", "f1f2", {"train": 10})


# --------------------------------------------------------------------------------------------------------- finding


def test_an_experiment_is_found_by_id_by_name_and_as_the_latest(store, digits):
    first, second, other = (store.add_experiment(digits(name)) for name in ("digits", "digits", "fashion"))
    assert store.find_experiment(first).id == first
    assert store.find_experiment("digits").id == second
    assert store.find_experiment("latest").id == other
    assert [experiment.id for experiment in store.experiments()] == [other, second, first]


def test_an_unknown_experiment_is_answered_with_the_nearest(store, digits):
    with pytest.raises(NotFoundError, match="none is stored yet.*growres submit"):
        store.find_experiment("latest")
    store.add_experiment(digits())
    with pytest.raises(NotFoundError, match=r"'digitz'\. The nearest is 'digits'\. See: growres list"):
        store.find_experiment("digitz")


def test_a_trial_is_found_by_its_id_and_by_its_number_in_an_experiment(store, digits):
    experiment_id = store.add_experiment(digits("digits-8x8"))
    for ref in (f"{experiment_id}-3", "digits-8x8-3", "latest-3"):
        assert store.find_trial(ref).id == f"{experiment_id}-3"
    with pytest.raises(NotFoundError, match=rf"{experiment_id} \(digits-8x8\) has trials 1 to 4"):
        store.find_trial(f"{experiment_id}-9")
    with pytest.raises(NotFoundError, match="an experiment and a number"):
        store.find_trial("simons")


# -------------------------------------------------------------------------------------------------------- statuses


def test_trials_are_marked_by_the_status_they_have(store, digits, recorder, started):
    experiment_id = store.add_experiment(digits())
    recorder.record(f"{experiment_id}-1", 1, started)
    assert store.mark_trials(experiment_id, ["running"], "interrupted", "Ctrl-C") == 1
    assert store.find_experiment(experiment_id).trial_counts == {"interrupted": 1, "queued": 3}
    marked = store.find_trial(f"{experiment_id}-1")
    assert (marked.status, marked.reason) == ("interrupted", "Ctrl-C")
    assert marked.ended_at is not None
    (attempt,) = store.attempts(marked.id)
    assert (attempt["status"], attempt["reason"]) == ("interrupted", "Ctrl-C")
    assert store.mark_trials(experiment_id, ["interrupted", "queued"], "queued", "resumed") == 1
    assert store.find_trial(marked.id).ended_at is None


def test_a_trial_that_succeeded_is_never_changed(store, digits, succeed, rows):
    experiment_id = store.add_experiment(digits())
    succeed(f"{experiment_id}-1")
    before = rows(f"{experiment_id}-1")
    for change in (
        lambda: store.mark_trial(f"{experiment_id}-1", "queued"),
        lambda: store.mark_trials(experiment_id, ["queued", "succeeded"], "interrupted"),
    ):
        with pytest.raises(FinishedTrialError, match=f"{experiment_id}-1 is already finished.*never changed"):
            change()
    assert rows(f"{experiment_id}-1") == before
    assert store.find_experiment(experiment_id).trial_counts == {"queued": 3, "succeeded": 1}


def test_a_status_is_only_reached_from_where_it_may_be(store, digits):
    experiment_id = store.add_experiment(digits())
    assert store.mark_trial(f"{experiment_id}-1", "failed", "no such device")
    assert not store.mark_trial(f"{experiment_id}-1", "interrupted")
    assert store.find_trial(f"{experiment_id}-1").reason == "no such device"


def test_an_experiment_ends_as_its_trials_did(store, digits, succeed):
    for statuses, expected in (
        (["succeeded", "succeeded"], "succeeded"),
        (["succeeded", "stopped by scheduler"], "succeeded"),
        (["succeeded", "stopped by needed"], "succeeded"),
        (["failed", "stopped by person"], "stopped"),
        (["interrupted", "stopped by person"], "interrupted"),
        (["succeeded", "interrupted"], "interrupted"),
        (["succeeded", "queued"], "interrupted"),
        (["failed", "succeeded"], "failed"),
        (["failed", "interrupted"], "interrupted"),  # there is something to go on with
    ):
        experiment_id = store.add_experiment(dataclasses.replace(digits(), trials=digits().trials[:2]))
        for index, status in enumerate(statuses, start=1):
            if status == "succeeded":
                succeed(f"{experiment_id}-{index}")
            elif status != "queued":
                status, _, stopped_by = status.partition(" by ")
                store.mark_trial(f"{experiment_id}-{index}", status, stopped_by=stopped_by or None)
        assert store.finish_experiment(experiment_id) == expected
        ended = store.find_experiment(experiment_id)
        assert ended.status == expected
        assert ended.ended_at is not None
    assert ended.reason == "trials: 1 failed, 1 interrupted"


def test_what_a_person_stopped_is_queued_again_and_what_a_scheduler_stopped_is_not(store, digits):
    trials = digits(seeds=3).trials
    twins = tuple(dataclasses.replace(trials[0], twin_of=parent, twin="same_epochs") for parent in (1, 2))
    experiment_id = store.add_experiment(dataclasses.replace(digits(), trials=trials + twins))
    ids = [trial.id for trial in store.trials(experiment_id)]
    for index, stopped_by in enumerate(("person", "scheduler", "needed")):
        store.mark_trial(ids[index], "stopped", stopped_by=stopped_by)
    store.mark_trial(ids[3], "interrupted")
    store.mark_trial(ids[4], "failed")
    for twin in ids[6:]:
        store.mark_trial(twin, "stopped", stopped_by="parent")
    assert store.queue_trials(experiment_id, unfinished=False) == [ids[5]]
    assert store.queue_trials(experiment_id) == [ids[0], ids[3], ids[5], ids[6]], "with the twin that waits for it"
    assert store.queue_trials(experiment_id, failed=True) == [ids[0], *ids[3:7]]
    assert {trial.stopped_by for trial in store.trials(experiment_id)} == {None, "scheduler", "needed", "parent"}


def test_an_experiment_that_goes_on_keeps_when_it_started(store, digits):
    experiment_id = store.add_experiment(digits())
    store.set_experiment_status(experiment_id, "running")
    first = store.find_experiment(experiment_id).started_at
    store.set_experiment_status(experiment_id, "interrupted", "Ctrl-C")
    store.set_experiment_status(experiment_id, "running")
    going_on = store.find_experiment(experiment_id)
    assert (going_on.started_at, going_on.ended_at, going_on.reason) == (first, None, None)


# --------------------------------------------------------------------------------------------------------- results


def test_the_leaderboard_has_the_lowest_validation_error_first(store, digits, succeed):
    experiment_id = store.add_experiment(digits())
    store.add_experiment(digits("other"))
    for index, val_error in ((1, 0.5), (2, 0.125), (4, 0.25)):
        succeed(f"{experiment_id}-{index}", val_error=val_error)
    board = store.leaderboard(experiment_id)
    assert [row["trial_id"] for row in board] == [f"{experiment_id}-{index}" for index in (2, 4, 1, 3)]
    assert [row["val_error"] for row in board] == [0.125, 0.25, 0.5, None]
    assert len(store.leaderboard()) == 8


def test_a_variant_is_summed_up_with_its_spread_and_its_n(store, digits, succeed):
    experiment_id = store.add_experiment(digits(seeds=3))
    errors = [0.25, 0.125, 0.5]
    for index, error in enumerate(errors, start=1):
        succeed(f"{experiment_id}-{index}", val_error=error, test_error=2 * error, num_params=1000 * index)
    succeed(f"{experiment_id}-4", val_error=0.75, num_blocks=None)
    store.mark_trial(f"{experiment_id}-5", "failed")
    simons, lenet5 = store.leaderboard_by_variant(experiment_id)
    assert (simons["variant"], simons["n"], simons["val_error"]) == ("simons", 3, statistics.fmean(errors))
    assert simons["val_error_std"] == pytest.approx(statistics.stdev(errors))
    assert simons["test_error_std"] == pytest.approx(2 * statistics.stdev(errors))
    assert (simons["num_params"], simons["succeeded"], simons["failed"]) == (2000, 3, 0)
    assert (lenet5["variant"], lenet5["n"], lenet5["val_error_std"], lenet5["num_blocks"]) == ("lenet5", 1, None, None)
    assert (lenet5["succeeded"], lenet5["failed"], lenet5["queued"]) == (1, 1, 1)


def test_points_of_a_sweep_are_not_averaged_together(store, succeed):
    trials = tuple(
        NewTrial(variant="v", seed=seed, procedure="end_to_end", model="lenet5", config={"sweep_point": {"lr": lr}})
        for lr in (0.05, 0.1)
        for seed in (0, 1)
    )
    new = NewExperiment(name="sweep", spec_text="", spec={}, trials=trials)
    experiment_id = store.add_experiment(new)
    for index in (1, 2, 3, 4):
        succeed(f"{experiment_id}-{index}", val_error=0.1 if index < 3 else 0.2)
    summary = store.leaderboard_by_variant(experiment_id)
    assert [(row["sweep_point"], row["n"], row["val_error"]) for row in summary] == [
        ({"lr": 0.05}, 2, 0.1),
        ({"lr": 0.1}, 2, 0.2),
    ]


def test_progress_tells_where_a_growing_trial_stands(store, digits, recorder, started, epoch, decided, finished):
    experiment_id = store.add_experiment(digits())
    trial_id = f"{experiment_id}-1"
    recorder.record(trial_id, 1, started)
    for number in (1, 2):
        recorder.record(trial_id, 1, epoch(number))
    recorder.record(trial_id, 1, epoch(1, growth_step=1, arm="candidate", val_error=0.125, images_per_s=500.0))
    recorder.flush()
    assert store.progress(experiment_id)[0]["val_error"] == 0.25, "a candidate under trial is not the network yet"
    recorder.record(trial_id, 1, epoch(1, growth_step=1, arm="control", val_error=0.0625))
    recorder.record(trial_id, 1, decided(1, val_error_candidate=0.125))
    grown, waiting, *_ = store.progress(experiment_id)
    assert (grown["trial_id"], grown["status"], grown["epochs"], grown["growth_steps"]) == (trial_id, "running", 4, 1)
    assert (grown["val_error"], grown["images_per_s"]) == (0.125, 500.0)
    assert (grown["num_blocks"], grown["last_verdict"]) == (3, "accepted")
    assert (waiting["epochs"], waiting["num_blocks"], waiting["val_error"]) == (0, 2, None)
    recorder.record(trial_id, 1, epoch(1, growth_step=2, arm="candidate", val_error=0.0625))
    recorder.record(trial_id, 1, decided(2, verdict="rejected", val_error_candidate=0.0625))
    grown = store.progress(experiment_id)[0]
    assert (grown["val_error"], grown["last_verdict"], grown["num_blocks"]) == (0.125, "rejected", 3)
    recorder.record(trial_id, 1, finished(num_blocks=3, val_error=0.1875))
    grown = store.progress(experiment_id)[0]
    assert (grown["val_error"], grown["num_blocks"]) == (0.1875, 3)


def test_the_speed_that_progress_tells_is_of_images_through_a_network(store, digits, recorder, started, epoch):
    trial_id = f"{(experiment_id := store.add_experiment(digits()))}-1"
    recorder.record(trial_id, 1, started)

    def speed_after(**more):
        recorder.record(trial_id, 1, epoch(1, **more))
        recorder.flush()
        return store.progress(experiment_id)[0]["images_per_s"]

    assert speed_after(images_per_s=100.0) == 100.0
    assert speed_after(growth_step=1, arm="screen", images_per_s=9000.0) == 100.0, "a screening sees features alone"
    assert speed_after(growth_step=1, arm="candidate", images_per_s=80.0) == 80.0
    assert speed_after(growth_step=1, arm="candidate", replicate=1, images_per_s=85.0) == 85.0, "the newest replicate"
    assert speed_after(growth_step=1, arm="control", images_per_s=120.0) == 85.0
    assert speed_after(growth_step=1, arm="network", images_per_s=70.0) == 70.0, "the last epochs of the network"


def test_epochs_come_step_by_step_and_arm_by_arm(store, digits, recorder, started, epoch):
    trial_id = f"{store.add_experiment(digits())}-1"
    recorder.record(trial_id, 1, started)
    told = [(0, "network", 1), (0, "network", 2), (1, "candidate", 1), (1, "control", 1), (2, "candidate", 1)]
    for growth_step, arm, number in reversed(told):
        recorder.record(trial_id, 1, epoch(number, growth_step=growth_step, arm=arm))
    recorder.flush()
    assert [(row["growth_step"], row["arm"], row["epoch"]) for row in store.epochs(trial_id)] == told


def test_a_figure_that_is_not_finite_is_stored_as_none(store, digits, recorder, started, epoch, finished):
    trial_id = f"{store.add_experiment(digits())}-1"
    recorder.record(trial_id, 1, started)
    recorder.record(trial_id, 1, epoch(1, train_loss=math.nan, val_loss=math.inf, train_flops=10**30))
    recorder.record(trial_id, 1, finished(architecture={"name": "resnet", "scale": math.nan}))
    (row,) = store.epochs(trial_id)
    assert (row["train_loss"], row["val_loss"], row["train_flops"]) == (None, None, None)
    assert store.find_trial(trial_id).architecture == {"name": "resnet", "scale": None}


# ------------------------------------------------------------------------------------------------------------ views


@pytest.mark.parametrize("knows_initial_blocks", [True, False])
def test_the_growth_curve_follows_the_network_through_every_verdict(
    store, digits, recorder, started, epoch, decided, finished, knows_initial_blocks
):
    new = digits()
    if not knows_initial_blocks:
        bare = dataclasses.replace(new.trials[0], config={"model": {"name": "resnet8"}})
        new = dataclasses.replace(new, trials=(bare, *new.trials[1:]))
    experiment_id = store.add_experiment(new)
    trial_id = f"{experiment_id}-1"
    recorder.record(trial_id, 1, started)
    for number in (1, 2):
        recorder.record(trial_id, 1, epoch(number))
    recorder.flush()
    (seed_network,) = store.growth_curve(trial_id)
    assert (seed_network["step"], seed_network["verdict"], seed_network["val_error"]) == (0, None, 0.25)

    recorder.record(trial_id, 1, decided(1))
    recorder.record(
        trial_id, 1,
        decided(2, verdict="rejected", val_error_before=0.25, val_error_candidate=0.375, train_error_before=0.125,
                num_params_before=1500, num_params_after=2000),
    )  # fmt: skip
    recorder.record(
        trial_id, 1,
        decided(3, val_error_before=0.25, val_error_candidate=0.125, train_error_candidate=0.0625,
                num_params_before=1500, num_params_after=2500),
    )  # fmt: skip
    recorder.record(trial_id, 1, finished(num_blocks=4))
    curve = store.growth_curve(trial_id)
    names = ("step", "verdict", "num_blocks", "num_params", "val_error", "train_error", "val_error_candidate")
    assert [tuple(row[name] for name in names) for row in curve] == [
        (0, None, 2, 1000, 0.5, 0.25, None),
        (1, "accepted", 3, 1500, 0.25, 0.125, 0.25),
        (2, "rejected", 3, 1500, 0.25, 0.125, 0.375),
        (3, "accepted", 4, 2500, 0.125, 0.0625, 0.125),
    ]
    assert [row["train_flops_total"] for row in curve] == [2 * 10**12, 7 * 10**12, 12 * 10**12, 17 * 10**12]
    assert [row["epochs_total"] for row in curve] == [2, 7, 12, 17]
    assert {row["experiment"] for row in curve} == {"digits"}


def test_only_growing_trials_have_a_growth_curve(store, digits, recorder, started, epoch):
    experiment_id = store.add_experiment(digits())
    recorder.record(f"{experiment_id}-3", 1, started)
    recorder.record(f"{experiment_id}-3", 1, epoch(1))
    recorder.flush()
    assert store.growth_curve(f"{experiment_id}-3") == []


# ------------------------------------------------------------------------------------------------ trouble and speed


def test_a_store_whose_database_went_away_says_so_in_one_line_without_the_password(place, canary):
    store = Store.open(place.url)
    place.take_away()
    try:
        if place.is_sqlite:
            store.close()  # an open SQLite file stays readable wherever it was moved
        with pytest.raises(StoreError, match="Cannot read the database") as caught:
            store.experiments()
    finally:
        place.bring_back()
    assert canary not in str(caught.value) + repr(store) + store.url_for_people
    assert "\n" not in str(caught.value)
    store.close()


def test_results_are_quick_with_a_thousand_trials_of_two_hundred_epochs(tmp_path, sqlite_template):
    file = tmp_path / "results.db"
    file.write_bytes(sqlite_template.read_bytes())
    with Store.open(f"sqlite:///{file}") as store:
        trials = tuple(
            NewTrial(variant=f"v{n % 10}", seed=n // 10, procedure="growth", model="resnet", config={})
            for n in range(1000)
        )
        experiment_id = store.add_experiment(NewExperiment(name="big", spec_text="", spec={}, trials=trials))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE trial SET status = 'succeeded', val_error = seed * 0.001, wall_s = 1.5")
        connection.execute(
            "WITH RECURSIVE to_200(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM to_200 WHERE n < 200) "
            "INSERT INTO epoch SELECT id, 0, 'network', n, 0.5, 0.5, 0.5, 1.0 / n, 0.1, 1000.0, 1.5, 1000, 0 "
            "FROM trial CROSS JOIN to_200"
        )
    begun = time.perf_counter()
    with Store.open(f"sqlite:///{file}") as store:
        assert store.leaderboard_by_variant(store.find_experiment("latest").id)[0]["n"] == 100
        results_s = time.perf_counter() - begun
        begun = time.perf_counter()
        assert store.progress(experiment_id)[0]["epochs"] == 200
        progress_s = time.perf_counter() - begun
    # Both take some hundredths of a second; the bounds leave room for a busy machine.
    assert results_s < 0.3
    assert progress_s < 1.0


def test_a_block_that_was_taken_away_again_is_gone_from_the_growth_curve(
    store, digits, recorder, started, epoch, decided
):
    trial_id = f"{store.add_experiment(digits())}-1"
    recorder.record(trial_id, 1, started)
    recorder.record(trial_id, 1, epoch(1))
    recorder.record(trial_id, 1, decided(1))
    recorder.record(trial_id, 1, decided(2))
    recorder.record(trial_id, 1, decided(3, kind="remove", initialiser=None, num_params_after=1000))
    recorder.record(trial_id, 1, decided(4, kind="remove", initialiser=None, verdict="rejected"))
    recorder.flush()
    curve = store.growth_curve(trial_id)
    first = curve[0]["num_blocks"]
    assert [row["num_blocks"] for row in curve] == [first, first + 1, first + 2, first + 1, first + 1]
    assert [row["kind"] for row in curve] == [None, "append", "append", "remove", "remove"]


def test_replicates_of_a_proposal_are_epochs_of_their_own(store, digits, recorder, started, epoch):
    trial_id = f"{store.add_experiment(digits())}-1"
    recorder.record(trial_id, 1, started)
    for replicate in (0, 1):
        recorder.record(trial_id, 1, epoch(1, growth_step=1, arm="candidate", replicate=replicate))
    recorder.flush()
    assert [row["replicate"] for row in store.epochs(trial_id)] == [0, 1]


def test_every_arm_that_an_epoch_can_have_has_its_place(store, digits, recorder, started, epoch):
    trial_id = f"{store.add_experiment(digits())}-1"
    recorder.record(trial_id, 1, started)
    for arm in get_args(Arm):
        recorder.record(trial_id, 1, epoch(1, growth_step=1, arm=arm))
    recorder.flush()
    assert {row["arm"] for row in store.epochs(trial_id)} == set(get_args(Arm))


def test_what_is_told_after_the_accepted_proposal_of_a_round_stands_on_it(
    store, digits, recorder, started, epoch, decided
):
    trial_id = f"{store.add_experiment(digits())}-1"
    recorder.record(trial_id, 1, started)
    recorder.record(trial_id, 1, epoch(1))
    rejected = {"round": 1, "verdict": "rejected", "val_error_candidate": 0.75}
    recorder.record(trial_id, 1, decided(1, **rejected))
    recorder.record(trial_id, 1, decided(2, round=1, val_error_candidate=0.125, num_params_after=1500))
    recorder.record(trial_id, 1, decided(3, **rejected))
    recorder.flush()
    curve = store.growth_curve(trial_id)[1:]
    assert [row["val_error"] for row in curve] == [0.5, 0.125, 0.125]
    assert [row["num_params"] for row in curve] == [1000, 1500, 1500]
