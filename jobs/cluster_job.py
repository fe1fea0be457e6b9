"""A run on a Ray cluster as a job of Ray's Jobs API: submitted, looked at, stopped, its log read.

A job's entrypoint, metadata and environment are shown by the dashboard and written to Ray's logs: nothing secret goes
into them. The store's address travels without its password; the cluster has that in GROWRES_DATABASE_URL or in a
password file of its own. Ray refuses a second job of the same id, and so a run cannot be started twice.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import growres
from growres.errors import BusyError, ClusterError, ConfigError
from growres.home import growres_home
from growres.store import ExperimentRow, RunRow
from growres.store.database import URL_VARIABLE, resolve

JOB_PREFIX = "growres"

_STOP_WITHIN_S = 60
"""Between SIGTERM and SIGKILL; by default Ray gives a job three seconds, which a Tune run needs more than."""
_ANSWER_WITHIN_S = 30
_AGENT_WITHIN_S = 30.0
_ASK_AGAIN_S = 2.0
_DONE = ("STOPPED", "SUCCEEDED", "FAILED")


@dataclass(frozen=True, slots=True)
class JobState:
    """What Ray says of a job."""

    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    message: str

    @property
    def is_over(self) -> bool:
        return self.status in _DONE


def check_store_is_shared(address: str) -> None:
    """Returns if a driver on the cluster can have the store that this process has.

    Raises:
        ConfigError: if the store is a SQLite file, and the cluster is on another machine.
    """
    store = resolve(None)
    if store.is_sqlite and not is_on_this_machine(address):
        raise ConfigError(
            f"Cannot run on the cluster at {address}: the store is the file {store.path} on this machine, which the "
            f"cluster's machines do not see. Set {URL_VARIABLE} to a PostgreSQL database that both reach."
        )


def submit_job(address: str, experiment: ExperimentRow, run: RunRow, *, needed: bool, code: Path | None) -> str:
    """Starts the run's driver as a job; returns the job's id.

    Args:
        code: a folder with the packages zoo, growres and jobs to send along; None: the cluster has growres.
    Raises:
        BusyError: if the job is there already.
        ClusterError: if the cluster cannot be reached or refuses.
    """
    assert run.job_id is not None
    words = ["python", "-m", "growres", "drive", experiment.id, "--run", str(run.run)]
    words += ["--store", resolve(None).without_secrets] + (["--needed"] if needed else [])
    # Behind a loopback address may be a tunnel: the driver takes this folder only if it finds itself on this machine.
    words += ["--home", f"{socket.gethostname()}:{growres_home()}"] if is_on_this_machine(address) else []
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": str(_STOP_WITHIN_S), "PYTHONUNBUFFERED": "1"}
    runtime_env: dict[str, Any] = {"env_vars": environment}
    if code is not None:
        runtime_env["working_dir"] = str(code)
    with _client(address) as client:
        return submit_patiently(
            client,
            entrypoint=shlex.join(words),
            submission_id=run.job_id,
            runtime_env=runtime_env,
            metadata={
                "job_name": experiment.name,
                "experiment": experiment.name,
                "experiment_id": experiment.id,
                "run": str(run.run),
                "growres": growres.__version__,
            },
        )


def submit_patiently(client: Any, **job: Any) -> str:
    """Submits by Ray's client; a cluster that has just started gets half a minute to have an agent for the job."""
    give_up_at = time.monotonic() + _AGENT_WITHIN_S
    while True:
        try:
            return str(client.submit_job(**job))
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > give_up_at:
                raise
            time.sleep(_ASK_AGAIN_S)


def job_state(address: str, job_id: str) -> JobState | None:
    """What became of a job; None if the cluster knows no such job, as after it was started anew.

    Raises:
        ClusterError: if the cluster cannot be reached or refuses.
    """
    with _client(address) as client:
        try:
            details = client.get_job_info(job_id)
        except RuntimeError as error:
            if "does not exist" in str(error) or "404" in str(error):
                return None
            raise
        return JobState(str(details.status.value), details.message or "")


def stop_job(address: str, job_id: str) -> None:
    """Sends the job's driver SIGTERM, and SIGKILL if it is still there a minute later.

    Raises:
        ClusterError: if the cluster cannot be reached or refuses.
    """
    with _client(address) as client:
        client.stop_job(job_id)


def job_log(address: str, job_id: str) -> str:
    """All that a job's driver has said so far.

    Raises:
        ClusterError: if the cluster cannot be reached, refuses, or knows no such job.
    """
    with _client(address) as client:
        return str(client.get_job_logs(job_id))


def is_on_this_machine(address: str) -> bool:
    """Whether an address such as http://127.0.0.1:8265 is this machine's own."""
    host = urlsplit(address if "//" in address else f"//{address}").hostname or ""
    if host in ("localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@contextmanager
def _client(address: str) -> Iterator[Any]:
    """Ray's client for jobs; what it raises comes out as errors of ours."""
    # Ray goes to whatever these name, against the address that it is given.
    logging.getLogger("ray").setLevel(logging.ERROR)  # of its own progress in uploading code it tells on stderr
    hidden = {name: os.environ.pop(name) for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS") if name in os.environ}
    try:
        yield _patient_client(address)
    except (RuntimeError, OSError, ValueError) as error:
        raise _explained(address, error) from error
    except Exception as error:
        from ray.exceptions import RayError

        if not isinstance(error, RayError):
            raise
        raise _explained(address, error) from error
    finally:
        os.environ.update(hidden)


def _patient_client(address: str) -> Any:
    """Ray's own waits for ever for a server that takes a connection and does not answer."""
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):  # type: ignore[misc]
        def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
            return super()._do_request(method, endpoint, **{"timeout": _ANSWER_WITHIN_S, **options})

    return Client(address)


def _explained(address: str, error: Exception) -> ClusterError | BusyError:
    text = str(error).strip()
    if "already exists" in text:
        return BusyError(f"Cannot submit to {address}: it runs this very job already. See: growres list")
    first = text.partition("\n")[0].rstrip(".") or type(error).__name__
    if "timed out" in first:
        first = f"it has not answered within {_ANSWER_WITHIN_S} s"
    hint = "See that it is up and that the address, as in http://head:8265, is that of its dashboard."
    if any(sign in text for sign in ("401", "403", "nauthorized", "orbidden", "uthentication")):
        hint = (
            "It asks for a token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file that holds it "
            "(its administrator has it)."
        )
    return ClusterError(f"Cannot use the Ray cluster at {address}: {first}. {hint}")
