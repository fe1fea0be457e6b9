"""The same trials on a real Ray, started once for all tests that need one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from growres.errors import ClusterError
from growres.events import AttemptStarted, EpochFinished, Event, GrowthStepDecided
from growres.store import Store
from jobs.submission import resume, submit
from tests.jobs.conftest import DIVERGING, FIXED, GROWN, SpecWriter, Witness, science, undisturbed_science

# One process takes them all, where the suite runs in several: a second Ray would compete with the first for the cores.
pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]


def test_ray_ends_in_the_rows_of_the_inline_driver_failures_and_twins_too_though_workers_are_reused(
    write_spec: SpecWriter,
) -> None:
    growth = {"seed_epochs": 1, "epochs_per_step": 1, "stop": {"max_epochs": 3}}
    failing = {
        **DIVERGING,
        "procedure": "layerwise",
        "model": {"name": "resnet8"},
        "layerwise": {"epochs_per_layer": 1},
    }
    twins = {"twins": ["same_epochs", "same_flops"]}
    path = write_spec({"grown": {**GROWN, "growth": growth, **twins}, "failing": {**failing, **twins}, "fixed": FIXED})
    inline = undisturbed_science(path)
    witness = Witness()
    outcome = submit(path, backend="local", progress=witness)
    assert (outcome.status, outcome.num_succeeded, outcome.num_failed) == ("failed", 4, 1)
    ray = science(outcome.experiment_id)
    stopped = [name for name, rows in ray.items() if rows[0]["status"] == "stopped"]
    assert len(stopped) == 2 and all(name.startswith("failing.same_") for name in stopped)
    for name in stopped:  # the reason names the parent, and each experiment has its own
        del ray[name][0]["reason"], inline[name][0]["reason"]
    assert ray == inline
    workers = [event.pid for _, event in witness.events if isinstance(event, AttemptStarted)]
    assert len(set(workers)) < len(workers) == 5, "five trials share at most a worker for each CPU"


def test_a_killed_worker_costs_its_trial_nothing_but_time(write_spec: SpecWriter) -> None:
    path = write_spec({"grown": GROWN, "fixed": FIXED})
    undisturbed = undisturbed_science(path)
    pids: dict[str, int] = {}
    killed = []

    def kill_once(trial_id: str, event: Event) -> None:
        if isinstance(event, AttemptStarted):
            pids[trial_id] = event.pid
        if isinstance(event, EpochFinished) and event.arm == "control" and not killed:
            killed.append(trial_id)
            os.kill(pids[trial_id], signal.SIGKILL)

    witness = Witness(kill_once)
    outcome = submit(path, backend="local", progress=witness)
    assert outcome.status == "succeeded" and killed
    assert science(outcome.experiment_id) == undisturbed
    with Store.open() as store:
        attempts = store.attempts(killed[0])
    assert [attempt["status"] for attempt in attempts] == ["interrupted", "succeeded"]
    assert "worker process died" in attempts[0]["reason"]


def test_asha_stops_trials_that_lag_behind(write_spec: SpecWriter) -> None:
    # One trial at a time, the good one first, so that the bad ones have somebody to lag behind.
    fixed = {**FIXED, "training": {"epochs": 6}, "sweep": {"training.optimizer.lr": {"grid": [0.1, 1e-7, 2e-7]}}}
    path = write_spec(
        {"fixed": fixed},
        scheduler={"name": "asha", "grace_epochs": 2, "max_epochs": 6, "reduction_factor": 2},
        resources={"max_concurrent_trials": 1},
    )
    outcome = submit(path, backend="local")
    with Store.open() as store:
        trials = store.trials(outcome.experiment_id)
        epochs = [len(store.epochs(trial.id)) for trial in trials]
    assert outcome.status == "succeeded"
    assert trials[0].status == "succeeded" and epochs[0] == 6
    assert [trial.status for trial in trials[1:]] == ["stopped", "stopped"]
    assert all(2 <= number < 6 for number in epochs[1:])
    assert all("asha" in str(trial.reason) for trial in trials[1:])


def test_a_trial_that_no_machine_can_hold_is_refused_instead_of_waiting_for_ever(write_spec: SpecWriter) -> None:
    with pytest.raises(ClusterError, match=r"asks for 1000 CPUs .* Ray has"):
        submit(write_spec({"fixed": FIXED}, resources={"cpus_per_trial": 1000}), backend="local")


def test_the_dashboard_is_on_loopback_and_asks_for_the_token(ray_cluster: str | None) -> None:
    import urllib.error
    import urllib.request

    assert ray_cluster is not None and ray_cluster.startswith("http://127.0.0.1:")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{ray_cluster}/api/jobs/", timeout=10)
    assert refused.value.code == 401


def test_ctrl_c_ends_a_run_within_15_s_and_resume_completes_it(write_spec: SpecWriter, home: Path) -> None:
    path = write_spec({"grown": GROWN, "fixed": FIXED})
    undisturbed = undisturbed_science(path)
    # Long enough to be caught in the middle: the second run trains the same, slower, then is cut off.
    long = {**GROWN, "growth": {**GROWN["growth"], "stop": {"max_epochs": 400}}}
    endless = write_spec({"grown": long, "fixed": FIXED}, name="endless")
    environment = {**os.environ, "GROWRES_HOME": str(home)}
    environment.pop("RAY_AUTH_MODE", None)
    run = subprocess.Popen(
        [sys.executable, "-m", "growres", "submit", str(endless)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    _wait_for_growth_step("endless", run)
    assert _listening_addresses(_descendants(run.pid)) == {"127.0.0.1"}
    started = time.monotonic()
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    stopping_s = time.monotonic() - started
    assert run.returncode == 130, err
    assert stopping_s < 15
    assert "resume" in err and "Traceback" not in err
    with Store.open() as store:
        statuses = [trial.status for trial in store.trials(store.find_experiment("endless").id)]
    assert statuses[0] == "stopped"
    witness = Witness(lambda trial_id, event: _interrupt_after_verdicts(witness, event))
    outcome = resume("endless", backend="inline", progress=witness)
    assert outcome.status == "stopped"
    rows = science(outcome.experiment_id)
    short = undisturbed["grown, seed 0"][2:]
    assert [row for row in short if "arm" in row][:6] == [row for row in rows["grown, seed 0"] if "arm" in row][:6]


def _descendants(pid: int) -> set[int]:
    """The process and all that it has started, as Linux's /proc tells it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found, waiting = set(), [pid]
    while waiting:
        found.add(waiting.pop())
        waiting += [child for parent in found for child in children.get(parent, []) if child not in found]
    return found


def _listening_addresses(pids: set[int]) -> set[str]:
    """Where these processes wait for TCP connections."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(descriptor))
    addresses = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:  # 0A: listening
                words = bytes.fromhex(fields[1].partition(":")[0])
                last = words[-4:][::-1]  # of an IPv6 address the part that holds a mapped IPv4 one
                addresses.add(".".join(str(byte) for byte in last))
    return addresses


def _wait_for_growth_step(name: str, run: subprocess.Popen[str], timeout_s: float = 90) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        assert run.poll() is None, run.communicate()[1]
        with Store.open() as store:
            named = [experiment for experiment in store.experiments() if experiment.name == name]
            if named and store.growth_steps(f"{named[0].id}-1"):
                return
        time.sleep(0.2)
    raise AssertionError(f"no growth step within {timeout_s} s")


def _interrupt_after_verdicts(witness: Witness, event: Event) -> None:
    verdicts = sum(isinstance(seen, GrowthStepDecided) for _, seen in witness.events)
    if isinstance(event, GrowthStepDecided) and verdicts > 3:
        os.kill(os.getpid(), signal.SIGINT)
