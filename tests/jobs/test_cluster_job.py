"""Experiments as jobs of a real cluster: three `ray start` processes, closed by a token, and results in PostgreSQL."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from growres.errors import BusyError
from growres.store import RunRow, Store
from jobs.cluster_job import job_state, stop_job, submit_job
from jobs.launch import Launch
from jobs.submission import submit
from tests.databases import CANARY, canaries_below, postgres_place
from tests.jobs.conftest import FIXED, GROWN, SpecWriter, science
from tests.jobs.ray_nodes import RayNodes

# One process takes these and the other tests on Ray, where the suite runs in several.
pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.slow]


@dataclass(frozen=True)
class Cluster:
    nodes: RayNodes
    home: Path

    @property
    def launch(self) -> Launch:
        return Launch(backend="cluster", address=self.nodes.address)


@pytest.fixture(scope="module")
def _cluster(
    postgres_server: URL, postgres_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Cluster, dict[str, str]]]:
    home = tmp_path_factory.mktemp("shared")
    for place in postgres_place(postgres_server, postgres_template):
        variables = {"GROWRES_HOME": str(home), "GROWRES_DATABASE_URL": place.url}
        nodes = RayNodes(variables)
        try:
            nodes.add_node()
            nodes.add_node()
            yield Cluster(nodes, home), {**variables, **nodes.client_variables}
        finally:
            nodes.close()


@pytest.fixture
def cluster(_cluster: tuple[Cluster, dict[str, str]], home: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, whose store and home are this process's too."""
    for name, value in _cluster[1].items():
        monkeypatch.setenv(name, value)
    return _cluster[0]


def growres(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "growres", *arguments], capture_output=True, text=True)
    assert not check or done.returncode == 0, done.stderr
    return done


def newest(experiment_id: str) -> RunRow:
    with Store.open() as store:
        found = store.runs.newest(experiment_id)
    assert found is not None
    return found


def wait_for(what: Callable[[], Any], timeout_s: float = 180.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {growres('logs', check=False).stdout[-4000:]}"
        time.sleep(0.2)


def wait_for_end(experiment_id: str) -> None:
    wait_for(lambda: not newest(experiment_id).is_open, timeout_s=300)


def num_epochs(experiment_id: str) -> dict[str, int]:
    with Store.open() as store:
        return {row["trial_id"]: row["epochs"] for row in store.progress(experiment_id)}


def workers(experiment_id: str) -> dict[str, int]:
    with Store.open() as store:
        attempts = {trial.id: store.attempts(trial.id) for trial in store.trials(experiment_id)}
    return {
        trial_id: found[-1]["pid"] for trial_id, found in attempts.items() if found and found[-1]["status"] == "running"
    }


def test_it_runs_under_its_name_outlives_a_node_and_shows_no_password(
    cluster: Cluster, write_spec: SpecWriter, tmp_path: Path
) -> None:
    from ray.job_submission import JobSubmissionClient
    from ray.util.state import list_actors

    longer = {**FIXED, "training": {"epochs": 150}}
    spec = write_spec({"grown": GROWN, "fixed": longer}, seeds=[0, 1], name="on_three")
    with pytest.MonkeyPatch.context() as alone:
        alone.delenv("GROWRES_DATABASE_URL")
        alone.setenv("GROWRES_HOME", str(tmp_path / "alone"))
        undisturbed = science(submit(spec, backend="inline").experiment_id)
    submitted = submit(spec, launch=cluster.launch)
    assert submitted.is_left_running and submitted.run is not None
    job_id = submitted.run.job_id
    assert job_id == f"growres-{submitted.experiment_id}-1"
    with Store.open() as store:
        stored = store.find_experiment(submitted.experiment_id)
    with pytest.raises(BusyError, match="runs this very job already"):
        submit_job(cluster.nodes.address, stored, submitted.run, needed=False, code=None)
    wait_for(lambda: len([number for number in num_epochs(stored.id).values() if number]) >= 2)
    details = JobSubmissionClient(cluster.nodes.address).get_job_info(job_id)
    assert details.metadata["job_name"] == "on_three" and details.metadata["experiment_id"] == stored.id
    actors = list_actors(
        cluster.nodes.address, [("state", "=", "ALIVE"), ("class_name", "=", "NamedTrial")], detail=True
    )
    assert any(actor.repr_name.startswith(("on_three grown seed", "on_three fixed seed")) for actor in actors)
    commands = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if _is_readable(path)]
    assert not [command for command in commands if CANARY.encode() in command]
    # A node leaves with the trial that it trained, and another comes.
    found: list[subprocess.Popen[bytes]] = []

    def a_node_trains() -> list[subprocess.Popen[bytes]]:
        running = workers(stored.id)
        found[:] = [node for node in cluster.nodes.nodes[1:] if _trains(node.pid, running)]
        return found

    wait_for(a_node_trains)
    cluster.nodes.kill(found[0])
    cluster.nodes.add_node()
    wait_for_end(stored.id)
    assert newest(stored.id).status == "succeeded"
    assert science(stored.id) == undisturbed
    with Store.open() as store:
        attempts = [attempt for trial in store.trials(stored.id) for attempt in store.attempts(trial.id)]
    lost = [attempt for attempt in attempts if attempt["status"] == "interrupted"]
    assert lost and all(attempt["reason"].startswith(("it lost its machine", "its worker")) for attempt in lost)
    log = growres("logs", stored.id).stdout
    assert f"{stored.id}-3 fixed, seed 0: finished" in log
    served = JobSubmissionClient(cluster.nodes.address).get_job_info(job_id)
    assert CANARY not in f"{served!r}{log}"
    assert canaries_below(cluster.home, cluster.nodes.folder) == []


def _is_readable(path: Path) -> bool:
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _trains(node_pid: int, trials: dict[str, int]) -> bool:
    """Whether a process of a trial descends from a node's."""
    for pid in trials.values():
        while pid > 1:
            if pid == node_pid:
                return True
            try:
                pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                break
    return False


def test_a_job_that_is_stopped_or_killed_is_gone_on_with_by_another(cluster: Cluster, write_spec: SpecWriter) -> None:
    endless = {**FIXED, "training": {"epochs": 4000}}
    spec = write_spec({"endless": endless}, name="endless")
    experiment_id = submit(spec, launch=cluster.launch).experiment_id
    trial_id = f"{experiment_id}-1"
    wait_for(lambda: num_epochs(experiment_id)[trial_id] >= 2)
    # What `ray job stop` and the dashboard do.
    job_id = newest(experiment_id).job_id
    assert job_id is not None
    stop_job(cluster.nodes.address, job_id)
    wait_for(lambda: (state := job_state(cluster.nodes.address, job_id)) and state.is_over)
    run = newest(experiment_id)
    assert (run.status, run.reason, run.is_open) == ("stopped", "stopped by SIGTERM", False)
    with Store.open() as store:
        assert [attempt["status"] for attempt in store.attempts(trial_id)] == ["stopped"]
    kept = num_epochs(experiment_id)[trial_id]
    told = len(_events_of_checkpoint(cluster.home / "runs" / experiment_id / trial_id / "checkpoint.pt"))
    assert kept == told, "the rows tell all that the checkpoint does"
    # As it was run last: on the same cluster, as a job of its own.
    assert growres("resume", experiment_id).stdout.strip() == experiment_id
    wait_for(lambda: num_epochs(experiment_id)[trial_id] > kept)
    second = newest(experiment_id)
    assert second.job_id == f"growres-{experiment_id}-2" and second.pid is not None
    refused = growres("resume", experiment_id, check=False)
    assert refused.returncode == 2 and "being run by another" in refused.stderr
    os.kill(second.pid, signal.SIGKILL)
    wait_for(lambda: (state := job_state(cluster.nodes.address, str(second.job_id))) and state.is_over)
    kept = num_epochs(experiment_id)[trial_id]
    assert growres("resume", experiment_id).stdout.strip() == experiment_id
    wait_for(lambda: num_epochs(experiment_id)[trial_id] > kept)
    said = growres("stop", experiment_id).stderr
    assert f"resume {experiment_id}" in said
    with Store.open() as store:
        runs = [(run.status, run.reason) for run in store.runs.all(experiment_id)]
        trial = store.find_trial(trial_id)
    stopped = ("stopped", "stopped by growres stop")
    assert runs == [("stopped", "stopped by SIGTERM"), ("interrupted", "its driver vanished"), stopped]
    assert (trial.status, trial.stopped_by) == ("stopped", "person")


def _events_of_checkpoint(path: Path) -> list[dict[str, Any]]:
    from growres.training.checkpoint import load_checkpoint

    return [event for event in load_checkpoint(path)["events"] if event["event"] == "EpochFinished"]


def test_data_that_the_cluster_does_not_have_fails_the_experiment_before_any_trial(
    cluster: Cluster, write_spec: SpecWriter
) -> None:
    spec = write_spec({"fixed": FIXED}, dataset={"source": "imagefolder", "path": "/nowhere/pictures"})
    # Code is sent along here, where it ends before a trial: nodes that are one machine's unpack it over each other.
    launch = dataclasses.replace(cluster.launch, ship_code=True)
    experiment_id = submit(spec, launch=launch).experiment_id
    wait_for_end(experiment_id)
    with Store.open() as store:
        experiment, trial = store.find_experiment(experiment_id), store.trials(experiment_id)[0]
    assert (experiment.status, trial.status, trial.attempt) == ("failed", "failed", 0)
    assert "/nowhere/pictures" in str(experiment.reason)
    assert "working_dir_files" in growres("logs", experiment_id).stdout, "the code that was sent along is what ran"
