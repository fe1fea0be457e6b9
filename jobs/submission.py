"""From an experiment file to a run: checked, stored, and given to a driver: here, in another process, on a cluster.

The experiment and its trials are in the store before any driver begins, and the driver finds them there.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from growres.config.experiment import Experiment, TrialConfig
from growres.config.loading import load_experiment
from growres.errors import BusyError, DataError, GrowresError, StoreError
from growres.home import run_folder
from growres.store import ExperimentRow, NewExperiment, NewTrial, RunRow, Store
from growres.store.runs import VANISHED
from jobs.checking import load_experiment_images, with_pinned_data
from jobs.driver import RaySettings, drive
from jobs.driver_lock import refuse_if_held
from jobs.launch import Backend, Launch
from jobs.needed import stop_what_is_not_needed, summary
from jobs.progress import Progress, Silence
from jobs.provenance import provenance
from jobs.trial import choose_device, describe_device
from jobs.twins import stored_config
from jobs.vanished import job_is_over, known_gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an experiment so far."""

    experiment_id: str
    name: str
    status: str
    reason: str | None
    num_succeeded: int
    num_failed: int
    num_unfinished: int
    """Queued, running, interrupted, or stopped by a person."""
    dashboard_url: str | None
    database: str
    run: RunRow | None
    """The newest; None where nothing was left to run."""
    is_left_running: bool
    """Whether its driver is elsewhere and goes on."""


def submit(
    spec: Path,
    *,
    overrides: Sequence[str] = (),
    backend: Backend = "local",
    address: str | None = None,
    launch: Launch | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Runs an experiment file to its end, or to its interruption, or leaves that to a driver elsewhere.

    The file, the models and the data are checked before anything is stored; for a cluster, the models and the data are
    checked there, before any trial begins. Ctrl-C while trials run here gives an Outcome whose status is `stopped`; a
    second one ends the process at once.

    Args:
        launch: in place of `backend` and `address`, which are the most usual of its parts.
    Raises:
        GrowresError: if the experiment cannot begin.
    """
    launch = launch or Launch(backend=backend, address=address)
    launch.check()
    progress = progress or Silence()
    loaded = load_experiment(spec, overrides)
    for note in loaded.notes:
        progress.note(note)
    with Store.open() as store:  # before the images, which may take long: a database that is away is said at once
        if launch.backend == "cluster":
            _check_cluster(launch)
            experiment, facts = _as_a_cluster_sees_it(loaded.experiment), {}
        else:
            experiment = with_pinned_data(loaded.experiment)
            device = _device_here(experiment, launch)
            images = load_experiment_images(experiment, progress)
            loaded.check_models(
                num_classes=images.num_classes, in_channels=images.channels, image_size=images.image_size
            )
            facts = provenance(images, device)
        experiment_id = store.add_experiment(
            NewExperiment(
                name=experiment.name,
                spec_text=loaded.text,
                spec=loaded.effective,
                trials=tuple(_new_trial(trial) for trial in experiment.trials),
                provenance=facts,
            )
        )
        if launch.needed and facts:
            alike = stop_what_is_not_needed(store, experiment_id)
            if alike:
                progress.note(summary(alike, len(experiment.trials)))
        return _start(store, experiment_id, launch, progress)


def resume(
    reference: str,
    *,
    failed: bool = False,
    unfinished: bool = True,
    backend: Backend = "local",
    address: str | None = None,
    launch: Launch | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Runs what is not finished of a stored experiment, each trial from its last event.

    Args:
        reference: an experiment's id, its name, or `latest`.
        failed: also try failed trials again.
        unfinished: go on with trials that were interrupted, or stopped by a person.
        launch: in place of `backend` and `address`.
    Raises:
        GrowresError: if there is no such experiment, or another driver has it.
    """
    launch = launch or Launch(backend=backend, address=address)
    launch.check()
    progress = progress or Silence()
    with Store.open() as store:
        experiment = store.find_experiment(reference)
        if launch.backend == "cluster":
            _check_cluster(launch)
        return _start(store, experiment.id, launch, progress, failed=failed, unfinished=unfinished)


# ------------------------------------------------------------------------------------------------------ starting


def _start(
    store: Store,
    experiment_id: str,
    launch: Launch,
    progress: Progress,
    *,
    failed: bool = False,
    unfinished: bool = True,
) -> Outcome:
    if not _is_anything_left(store, experiment_id, failed=failed, unfinished=unfinished):
        experiment = store.find_experiment(experiment_id)
        progress.note("nothing is left to run" + _say_of_failed(experiment))
        newest = store.runs.newest(experiment_id)
        if experiment.status in ("queued", "running") and (newest is None or newest.is_stale or known_gone(newest)):
            status = store.finish_experiment(experiment_id)  # its driver vanished after the last trial
            if newest is not None:
                store.runs.end(experiment_id, newest.run, status, VANISHED)
        return outcome_of(store, experiment_id)
    newest = store.runs.newest(experiment_id)
    _refuse_if_its_job_runs(newest)
    refuse_if_held(run_folder(experiment_id), experiment_id)  # a driver that is only suspended still has its lock
    is_cluster = launch.backend == "cluster"
    run = store.runs.claim(
        experiment_id,
        backend=launch.backend,
        address=launch.address,
        known_gone=known_gone(newest),
        job_prefix=f"growres-{experiment_id}" if is_cluster else None,
    )
    try:
        store.queue_trials(experiment_id, failed=failed, unfinished=unfinished)
        if is_cluster or launch.detach:
            store.set_experiment_status(experiment_id, "queued")
        if is_cluster:
            _submit_job(store, run, launch, progress)
        elif launch.detach:
            from jobs.detaching import detach

            detach(store, run, _driver_options(launch))
        else:
            drive(store, run, RaySettings(address=launch.address, dashboard_host=launch.dashboard_host), progress)
            return outcome_of(store, experiment_id)
    except BaseException as error:
        with suppress(StoreError):  # then it is the database that is away, and the error says so
            _give_up(store, run, error, progress)
        if isinstance(error, OSError):
            raise GrowresError(f"Cannot start a driver for {experiment_id}: {error}") from error
        raise
    return outcome_of(store, experiment_id, is_left_running=True)


def _is_anything_left(store: Store, experiment_id: str, *, failed: bool, unfinished: bool) -> bool:
    wanted = {"queued", "running"} | ({"interrupted"} if unfinished else set()) | ({"failed"} if failed else set())
    return any(
        trial.status in wanted or (unfinished and trial.stopped_by == "person") for trial in store.trials(experiment_id)
    )


def _submit_job(store: Store, run: RunRow, launch: Launch, progress: Progress) -> None:
    from jobs.cluster_job import submit_job
    from jobs.shipping import shipped_code

    assert launch.address is not None
    with ExitStack() as stack:
        code = stack.enter_context(shipped_code()) if launch.ship_code else None
        experiment = store.find_experiment(run.experiment_id)
        progress.note(f"submitting the job {run.job_id} to {launch.address}")
        submit_job(launch.address, experiment, run, needed=launch.needed, code=code)


def _driver_options(launch: Launch) -> list[str]:
    options = ["--dashboard-host", launch.dashboard_host]
    return options + (["--address", launch.address] if launch.address else [])


def _give_up(store: Store, run: RunRow, error: BaseException, progress: Progress) -> None:
    """A run that could not even begin leaves the experiment as something to go on with."""
    newest = store.runs.newest(run.experiment_id)
    if newest is None or newest.run != run.run or newest.started_at is not None or not newest.is_open:
        return  # its driver has begun, and has settled it
    if job_is_over(run) is False:
        return  # the cluster took it, though its answer was lost
    reason = f"it could not be started: {str(error) or type(error).__name__}"
    store.mark_trials(run.experiment_id, ("queued", "running"), "interrupted", reason)
    store.finish_experiment(run.experiment_id, reason)
    store.runs.end(run.experiment_id, run.run, "interrupted", reason)
    name = store.find_experiment(run.experiment_id).name
    progress.note(f"{name} is stored; once the cause is gone: growres resume {run.experiment_id}")


def _refuse_if_its_job_runs(run: RunRow | None) -> None:
    """A driver that the database has not heard of for a while may still be there, if its cluster says so.

    Raises:
        BusyError: if it is.
    """
    if run is not None and run.is_stale and job_is_over(run) is False:
        raise BusyError(
            f"Experiment {run.experiment_id} still has its job {run.job_id} on {run.address}, though its driver has "
            f"not been heard of for {run.silent_s:.0f} s. End it with: growres stop {run.experiment_id} --now"
        )


def _check_cluster(launch: Launch) -> None:
    from jobs.cluster_job import check_store_is_shared

    assert launch.address is not None
    check_store_is_shared(launch.address)


def _as_a_cluster_sees_it(experiment: Experiment) -> Experiment:
    dataset = experiment.dataset
    if dataset.path is not None and dataset.source != "hub" and not Path(dataset.path).is_absolute():
        raise DataError(
            f"Cannot tell the cluster where the images are: dataset.path is {dataset.path!r}, relative to a folder of "
            "this machine. Give the whole path that they have on the cluster's machines."
        )
    return experiment


def _say_of_failed(experiment: ExperimentRow) -> str:
    failed = experiment.trial_counts.get("failed", 0)
    return f"; the {failed} failed are tried again with: growres retry {experiment.id} --failed" if failed else ""


def _new_trial(trial: TrialConfig) -> NewTrial:
    return NewTrial(
        variant=trial.variant,
        seed=trial.seed,
        procedure=trial.procedure,
        model=trial.model.name,
        config=stored_config(trial),
        twin_of=trial.twin_of,
        twin=trial.twin,
    )


def _device_here(experiment: Experiment, launch: Launch) -> str | None:
    """What the trials will run on, checked to be there; None where a running Ray, which may be elsewhere, decides."""
    if launch.backend == "local" and launch.address not in (None, "local"):
        return None
    return describe_device(choose_device(experiment.resources))


def outcome_of(store: Store, experiment_id: str, *, is_left_running: bool = False) -> Outcome:
    """What became of an experiment so far."""
    run = store.runs.newest(experiment_id)
    experiment = store.find_experiment(experiment_id)
    counts = experiment.trial_counts
    by_a_person = sum(trial.stopped_by == "person" for trial in store.trials(experiment_id))
    return Outcome(
        experiment_id=experiment.id,
        name=experiment.name,
        status=experiment.status,
        reason=experiment.reason,
        num_succeeded=counts.get("succeeded", 0),
        num_failed=counts.get("failed", 0),
        num_unfinished=sum(counts.get(status, 0) for status in ("queued", "running", "interrupted")) + by_a_person,
        dashboard_url=run.dashboard_url if run else None,
        database=store.url_for_people,
        run=run,
        is_left_running=is_left_running,
    )
