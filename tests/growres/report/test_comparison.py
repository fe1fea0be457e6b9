"""What the store gives to a comparison, where it is not as simple as a trial for each variant and seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from growres.errors import AnalysisError
from growres.events import AttemptEnded, AttemptStarted, EpochFinished, TrialFinished
from growres.report.comparison import ExperimentResults, read_results
from growres.store import NewExperiment, NewTrial, Recorder, Store


def results(home: Path, points: Sequence[dict[str, object]], *, train_flops: int = 10**9) -> ExperimentResults:
    """Of finished trials of one variant with one seed, at these points of its sweep."""
    trials = tuple(
        NewTrial(variant="v", seed=0, procedure="end_to_end", model="lenet5", config={"sweep_point": point})
        for point in points
    )
    with Store.open() as store:
        experiment_id = store.add_experiment(NewExperiment(name="e", spec_text="", spec={}, trials=trials))
        recorder = Recorder(None, home / "spool.jsonl")
        for number in range(1, len(points) + 1):
            for event in (
                AttemptStarted(host="laptop", device="cpu", pid=1),
                _epoch(1),
                _epoch(2),
                _finished(number, train_flops),
                AttemptEnded(status="succeeded", reason="done"),
            ):
                recorder.record(f"{experiment_id}-{number}", 1, event)
        recorder.close()
        return read_results(store, experiment_id, home / "runs" / experiment_id)


def _epoch(number: int) -> EpochFinished:
    return EpochFinished(
        growth_step=0,
        arm="network",
        epoch=number,
        train_loss=0.5,
        train_error=0.1,
        val_loss=0.4,
        val_error=0.1,
        lr=0.1,
        train_flops=6 * 10**18,
        images_per_s=1.0,
        epoch_s=1.0,
    )


def _finished(number: int, train_flops: int) -> TrialFinished:
    return TrialFinished(
        val_error=0.1,
        test_error=0.01 * number,
        num_params=1000,
        num_blocks=None,
        train_flops=train_flops,
        epochs=2,
        wall_s=1.0,
        reason="done",
        architecture={"name": "lenet5"},
    )


@pytest.mark.every_store
def test_points_of_a_sweep_are_variants_whose_names_tell_them_apart(home: Path) -> None:
    points = [
        {"training.optimizer.lr": 0.05, "model.output": "linear"},
        {"training.optimizer.lr": 0.123456, "model.output": "rbf"},
        {"training.optimizer.lr": 0.123457, "model.output": "rbf"},
        {"model.blocks": [1, 2]},
    ]
    assert [trial.variant for trial in results(home, points).trials] == [
        "v output=linear lr=0.05",
        "v output=rbf lr=0.123456",
        "v output=rbf lr=0.123457",
        "v blocks=[1, 2]",
    ]


def test_a_point_that_was_drawn_twice_counts_once(home: Path) -> None:
    found = results(home, [{"training.batch_size": 32}, {"training.batch_size": 64}, {"training.batch_size": 32}])
    assert [(trial.variant, trial.test_error) for trial in found.trials] == [
        ("v batch_size=32", 0.01),
        ("v batch_size=64", 0.02),
    ]


def test_a_variant_with_one_point_goes_by_its_own_name(home: Path) -> None:
    found = results(home, [{"training.batch_size": 32}])
    assert found.baseline("v") == found.baseline() == "v batch_size=32"


def test_more_flops_than_the_store_can_hold_are_summed_up_over_the_epochs(home: Path) -> None:
    [trial] = results(home, [{}], train_flops=12 * 10**18).trials
    assert trial.train_flops == 12e18


def test_trials_without_files_are_compared_without_images(home: Path) -> None:
    found = results(home, [{}])
    assert found.trials[0].correct is None
    [why] = found.without_images.values()
    assert "test.npz on this machine" in why


def test_no_trials_have_no_baseline(home: Path) -> None:
    with pytest.raises(AnalysisError, match="no trial has succeeded"):
        results(home, []).baseline()
