"""The clock is set back while an experiment runs.

Only the child process's: a library that is loaded before the C library answers `clock_gettime(CLOCK_REALTIME)` with an
hour less from the moment on at which a file exists. Whatever in that process asks for the time of day, in whatever way,
gets the wrong one, as it would if the machine's clock had been set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from growres.store import Store
from jobs.submission import submit
from tests.jobs.conftest import FIXED, GROWN, SpecWriter

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs a C compiler, and Linux's LD_PRELOAD"
)

AN_HOUR_LESS = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *moment) {
    int failed = syscall(SYS_clock_gettime, clock, moment);
    const char *set_back = getenv("CLOCK_SET_BACK");
    if (!failed && clock == CLOCK_REALTIME && set_back && access(set_back, F_OK) == 0) moment->tv_sec -= 3600;
    return failed;
}
"""

# Prints by how many seconds the clock went forward during the run.
RUN = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
import torch
from growres.events import GrowthStepDecided
from jobs.progress import Silence
from jobs.submission import submit

torch.set_num_threads(1)

class SettingTheClockBack(Silence):
    def event(self, trial_id, event):
        if isinstance(event, GrowthStepDecided) and event.step == 1:
            Path(os.environ["CLOCK_SET_BACK"]).touch()

before = datetime.now(UTC)
outcome = submit(Path(sys.argv[1]), backend="inline", progress=SettingTheClockBack())
assert outcome.status == "succeeded"
print((datetime.now(UTC) - before).total_seconds())
"""


@pytest.fixture
def run(tmp_path: Path):
    """Runs an experiment file under that clock; by how many seconds the clock said that it had gone forward."""
    (tmp_path / "an_hour_less.c").write_text(AN_HOUR_LESS)
    library = tmp_path / "an_hour_less.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "an_hour_less.c"], check=True)
    environment = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_SET_BACK": str(tmp_path / "set back")}

    def run_file(path: Path) -> float:
        done = subprocess.run(
            [sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, env=environment, check=False
        )
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    return run_file


def test_order_and_durations_stay_sane_when_the_clock_is_set_back(write_spec: SpecWriter, run) -> None:
    began = datetime.now(UTC)
    assert run(write_spec({"grown": GROWN, "fixed": FIXED}, name="first")) < -3000, (
        "the clock went back, in that process"
    )
    took = datetime.now(UTC) - began
    with Store.open() as store:
        experiment = store.find_experiment("latest")
        assert began <= experiment.created_at <= experiment.started_at <= experiment.ended_at <= began + took
        moments = []
        for trial in store.trials(experiment.id):
            (attempt,) = store.attempts(trial.id)
            written = [artifact["written_at"] for artifact in store.artifacts(trial.id)]
            assert trial.started_at == attempt["started_at"] <= min(written) <= max(written) <= attempt["ended_at"]
            assert trial.updated_at >= trial.ended_at == attempt["ended_at"]
            moments += [attempt["started_at"], attempt["ended_at"]]
            spans = [*store.epochs(trial.id), *store.growth_steps(trial.id)]
            seconds = [row["epoch_s"] if "epoch_s" in row else row["wall_s"] for row in spans]
            assert all(0 < span < took.total_seconds() for span in seconds)
            assert 0 < trial.wall_s < (attempt["ended_at"] - attempt["started_at"]).total_seconds()
        assert moments == sorted(moments), "one trial after the other"


def test_latest_is_the_newest_experiment_also_when_the_clock_was_set_back_before_it(
    write_spec: SpecWriter, run, tmp_path: Path
) -> None:
    submit(write_spec({"fixed": FIXED}, name="first"), backend="inline")
    (tmp_path / "set back").touch()
    run(write_spec({"fixed": FIXED}, name="second"))
    with Store.open() as store:
        second, first = store.experiments()
        assert (first.name, second.name) == ("first", "second")
        assert timedelta(0) < second.created_at - first.created_at < timedelta(seconds=1)
        assert store.find_experiment("latest").name == "second"
        assert second.started_at is not None and second.ended_at is not None
        assert second.started_at <= second.ended_at
