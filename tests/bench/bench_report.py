"""What a report with its row in SQLite costs beyond Tune's own report."""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

from growres.store import Recorder
from jobs.cluster import ray_session
from jobs.progress import Silence
from jobs.recording import Recording
from tests.bench.measuring import Row, interleaved
from tests.bench.stored import STARTED, epochs, new_store, num_epoch_rows

_NUM_REPORTS = 300


def run(quick: bool) -> list[Row]:
    """Wall time of a report, taken in the worker over 300 of them, so that starting a trial is no part of it.

    A report returns when the driver has dealt with the one before, its callbacks included: the worker's clock sees what
    the recorder costs. Both sides run in the same Ray with the same settings, without Tune's own CSV and JSON loggers.
    """
    with tempfile.TemporaryDirectory(prefix="gb-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        os.environ["RAY_TMPDIR"] = folder
        with ray_session("local", Path(folder)):
            numbers = itertools.count()
            ms = interleaved(
                {
                    "with its row": lambda: _reports_with_rows(Path(folder) / f"store-{next(numbers)}"),
                    "Tune's own": lambda: _fit(_report_bare, {}, Path(folder), []),
                },
                rounds=1 if quick else 4,
            )
    return [
        Row(
            name="report",
            compares="a report to Tune with its row in SQLite - a bare report",
            figure=statistics.median(
                ours - bare for ours, bare in zip(ms["with its row"], ms["Tune's own"], strict=True)
            ),
            figure_unit="ms",
            ours=statistics.median(ms["with its row"]),
            theirs=statistics.median(ms["Tune's own"]),
            unit="ms/report",
            samples={f"{name}, wall ms per report": samples for name, samples in ms.items()},
        )
    ]


def _reports_with_rows(folder: Path) -> float:
    from jobs.tuner import RecorderCallback

    folder.mkdir()
    url, trial_ids = new_store(folder, num_trials=1)
    with closing(Recorder(url, folder / "spool.jsonl")) as recorder:
        recording = Recording(recorder, Silence(), {})
        task = {"task": {"trial_id": trial_ids[0]}}
        ms_per_report = _fit(_report_events, task, folder, [RecorderCallback(recording)])
    assert num_epoch_rows(url, trial_ids) == _NUM_REPORTS
    return ms_per_report


def _fit(trainable: Any, config: dict[str, Any], folder: Path, callbacks: list[Any]) -> float:
    """Milliseconds a report, as the trial's last report says."""
    from ray import tune

    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 1}),
        param_space=config,
        tune_config=tune.TuneConfig(reuse_actors=True),
        run_config=tune.RunConfig(
            name=f"tune-{uuid.uuid4().hex[:8]}", storage_path=str(folder), callbacks=callbacks, verbose=0
        ),
    )
    (result,) = tuner.fit()
    assert result.error is None, result.error
    return float(result.metrics["ms_per_report"])


def _report_events(config: dict[str, Any]) -> None:
    """Reports as jobs.tuner does, event by event."""
    from ray import tune

    from jobs.tuner import Standing, _report

    standing = Standing()
    _report(STARTED, standing)
    started = time.perf_counter()
    for event in itertools.islice(epochs(), _NUM_REPORTS):
        standing.follow(event)
        _report(event, standing)
    tune.report({"ms_per_report": 1000 * (time.perf_counter() - started) / _NUM_REPORTS})


def _report_bare(config: dict[str, Any]) -> None:
    from ray import tune

    tune.report({"val_error": 0.9})
    started = time.perf_counter()
    for event in itertools.islice(epochs(), _NUM_REPORTS):
        tune.report({"val_error": event.val_error, "epochs_trained": event.epoch})
    tune.report({"ms_per_report": 1000 * (time.perf_counter() - started) / _NUM_REPORTS})
