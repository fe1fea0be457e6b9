"""Whether the driver of a run is known to be gone, though the store still waits for it: by its lock, or by its job."""

from __future__ import annotations

from growres.errors import ClusterError
from growres.home import run_folder
from growres.store import RunRow
from jobs.driver_lock import driver_is_gone


def known_gone(run: RunRow | None) -> int | None:
    """The number of a run that the store still calls alive, or waited for, and that is known to be gone."""
    if run is None or not run.is_open:
        return None
    if driver_is_gone(run, run_folder(run.experiment_id)):
        return run.run
    if (run.is_stale or run.started_at is None) and job_is_over(run):
        return run.run
    return None


def job_is_over(run: RunRow) -> bool | None:
    """Whether the run's job has ended or is not known any more; None without a job, or where its cluster is away."""
    if run.job_id is None or run.address is None:
        return None
    from jobs.cluster_job import job_state

    try:
        state = job_state(run.address, run.job_id)
    except ClusterError:
        return None
    return state is None or state.is_over
