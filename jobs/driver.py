"""The driver: the process that runs the trials of an experiment, and settles the store, whatever happens to it.

One driver at a time has an experiment (growres.store.runs). On its own machine a lock in the run folder says so too,
which the kernel gives back when its holder dies: so what was killed a second ago can be gone on with at once.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from growres.config.experiment import AshaConfig, Experiment, ResourcesConfig
from growres.errors import BusyError, ConfigError, DataError, StoreError
from growres.events import AttemptEnded
from growres.home import growres_home, run_folder
from growres.store import ExperimentRow, Recorder, RunRow, Status, Store, TrialRow
from jobs.checking import check_where_it_runs
from jobs.driver_lock import driver_is_gone, only_driver
from jobs.heartbeat import STOPPED, heartbeat
from jobs.inline import run_inline
from jobs.needed import stop_what_is_not_needed, summary
from jobs.progress import Progress
from jobs.recording import Recording, stopped
from jobs.stopping import StopRequest
from jobs.trial import TrialTask, past_events
from jobs.twins import ready_twins

logger = logging.getLogger(__name__)

_WAIT_FOR_STORE_S = 600.0
"""How long a driver that is done waits for a database that is away."""
_WAIT_WHEN_STOPPED_S = 15.0
"""The same when it was told to stop: who sends SIGTERM sends SIGKILL soon after."""
_ASK_STORE_EVERY_S = 1.0
_LOOK_EVERY_S = 2.0

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RaySettings:
    """Which Ray a driver uses; nothing of it matters to the inline backend."""

    address: str | None = None
    """None or 'local': one of its own on this machine; 'auto': the one that it runs in; else where a Ray listens."""
    dashboard_host: str = "127.0.0.1"
    needed: bool = False
    """Skip trials whose like the store has finished, which could not be told where the experiment was submitted."""


class RunSettings(BaseModel):
    """What a driver needs of a stored experiment beside its trials."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    resources: ResourcesConfig = ResourcesConfig()
    scheduler: AshaConfig | None = None
    max_failures: int = Experiment.model_fields["max_failures"].default


def drive(store: Store, run: RunRow, ray: RaySettings, progress: Progress) -> None:
    """Runs the queued trials of an experiment to their ends, or until a stop is asked for.

    Args:
        run: claimed, and not begun.
    Raises:
        BusyError: if another driver has the experiment.
        GrowresError: if the trials cannot be run; what they have done so far is kept.
    """
    experiment = store.find_experiment(run.experiment_id)
    folder = run_folder(experiment.id)
    asked_for = {trial.id for trial in _to_run(store, experiment.id)}
    with only_driver(folder, experiment.id), closing(Recorder(None, folder / "spool.jsonl")) as recorder:
        # What an earlier driver left in the spool may have ended trials again that were queued for this one.
        for trial in store.trials(experiment.id):
            if trial.id in asked_for and trial.status in ("stopped", "interrupted"):
                store.mark_trial(trial.id, "queued")
        trials = _to_run(store, experiment.id)
        store.runs.begin(experiment.id, run.run, host=socket.gethostname(), pid=os.getpid())
        _Driver(store, experiment, trials, run, ray, recorder, progress).run()


def drive_stored(reference: str, number: int | None, ray: RaySettings, progress: Progress) -> Status:
    """Drives a stored experiment, or goes on where a driver before it was cut off; returns the experiment's status.

    Args:
        number: the run that this process is; None: whichever waits, or the next.
    Raises:
        GrowresError: as `drive` does.
    """
    with Store.open() as store:
        experiment_id = store.find_experiment(reference).id
        run = _run_to_drive(store, experiment_id, number, ray, progress)
        if run is None:
            progress.note(f"{experiment_id} is over: there is nothing to drive")
        else:
            if ray.address is None:
                ray = dataclasses.replace(ray, address="auto" if run.backend == "cluster" else run.address)
            drive(store, run, ray, progress)
        return store.find_experiment(experiment_id).status


def _run_to_drive(
    store: Store, experiment_id: str, number: int | None, ray: RaySettings, progress: Progress
) -> RunRow | None:
    """The run that waits for a driver. One that was begun is waited for until its driver is gone for good."""
    is_told = False
    while True:
        newest = store.runs.newest(experiment_id)
        if newest is None:
            return store.runs.claim(experiment_id, backend="local", address=ray.address)
        if number is not None and newest.run > number:
            raise BusyError(f"Cannot be run {number} of {experiment_id}: run {newest.run} has followed it.")
        if newest.is_open and newest.started_at is None:
            return newest
        was_never_begun = newest.started_at is None  # its submission failed, and whoever submitted it was told so
        if not newest.is_open and (newest.status != "interrupted" or was_never_begun):
            return None
        is_gone = newest.is_stale or driver_is_gone(newest, run_folder(experiment_id))
        if is_gone or not newest.is_open:
            progress.note(f"goes on where run {newest.run} was cut off")
            gone = newest.run if newest.is_open else None
            run = store.runs.claim(
                experiment_id,
                backend=newest.backend,
                address=newest.address,
                known_gone=gone,
                job_id=newest.job_id,  # the same job, if it is one that was started again
            )
            store.queue_trials(experiment_id)  # what was cut off; of a run that waits, its submission has chosen them
            return run
        if not is_told:
            progress.note(
                f"run {newest.run} has process {newest.pid} on {newest.host} for its driver: waiting for its end"
            )
            is_told = True
        time.sleep(_LOOK_EVERY_S)


def _to_run(store: Store, experiment_id: str) -> list[TrialRow]:
    return [trial for trial in store.trials(experiment_id) if trial.status in ("queued", "running")]


class _Driver:
    def __init__(
        self,
        store: Store,
        experiment: ExperimentRow,
        trials: list[TrialRow],
        run: RunRow,
        ray: RaySettings,
        recorder: Recorder,
        progress: Progress,
    ) -> None:
        self._store = store
        self._experiment = experiment
        self._run = run
        self._ray = ray
        self._recorder = recorder
        self._progress = progress
        self._home = growres_home()
        self._folder = run_folder(experiment.id)
        self._stop = StopRequest()
        self._tasks: dict[str, TrialTask] = {}
        self._is_unchecked = False
        self._trials = trials
        self._recording = Recording(recorder, progress, {trial.id: trial.attempt for trial in self._trials}, self._stop)

    def run(self) -> None:
        error: BaseException | None = None
        with self._stop.by_signals(), heartbeat(self._store, self._run, self._stop):
            try:
                self._check()
                with self._backend() as dashboard_url:
                    self._stop.hear_signals()  # Ray has put a handler of its own in place
                    self._tell_beginning(dashboard_url)
                    self._run_waves()
            except KeyboardInterrupt:
                self._stop.ask("now", "the user")
            except SystemExit:  # what Ray's own handler makes of a SIGTERM while it starts
                self._stop.ask("now", "SIGTERM")
            except BaseException as caught:
                error = caught
            self._stop.is_settling = True
            self._settle(error)
        if error is not None:
            self._progress.note(
                f"{self._experiment.name} is stored; once the cause is gone: growres resume {self._experiment.id}"
            )
            raise error

    def _check(self) -> None:
        """On a cluster, the images and the models for them; what fails there, fails every trial."""
        if self._experiment.data_fingerprint is not None:
            return
        self._is_unchecked = True
        self._once_stored(
            lambda: check_where_it_runs(self._store, self._experiment, self._folder, self._progress), _WAIT_FOR_STORE_S
        )
        self._is_unchecked = False
        self._once_stored(self._leave_out_what_is_not_needed, _WAIT_FOR_STORE_S)

    def _leave_out_what_is_not_needed(self) -> None:
        self._experiment = self._store.find_experiment(self._experiment.id)
        alike = stop_what_is_not_needed(self._store, self._experiment.id) if self._ray.needed else {}
        if alike:
            self._progress.note(summary(alike, len(self._trials)))
        self._trials = _to_run(self._store, self._experiment.id)

    def _backend(self) -> AbstractContextManager[str | None]:
        if self._run.backend == "inline" or not self._trials:
            return nullcontext()
        from jobs.cluster import ray_session  # Ray takes seconds to import, and inline does without it

        address = self._ray.address
        self._progress.note("starting Ray" if address in (None, "local") else f"joining Ray at {address}")
        return ray_session(address, self._home, dashboard_host=self._ray.dashboard_host)

    def _tell_beginning(self, dashboard_url: str | None) -> None:
        with suppress(StoreError):  # it can be done without
            self._store.runs.set_dashboard(self._experiment.id, self._run.run, dashboard_url)
        trials = [(trial.id, trial.variant, trial.seed) for trial in self._trials]
        self._progress.started(self._experiment.id, self._experiment.name, trials, dashboard_url)
        if self._run.backend != "inline":
            from jobs.metrics import TrialMetrics

            initial_blocks = {trial.id: trial.initial_blocks for trial in self._trials}
            self._recording.metrics = TrialMetrics(self._experiment.name, trials, initial_blocks)

    def _run_waves(self) -> None:
        settings = RunSettings.model_validate(self._experiment.spec)
        for trials in self._waves():
            tasks = [self._task(trial) for trial in trials]
            self._tasks |= {task.trial_id: task for task in tasks}
            if not tasks:
                continue
            if self._run.backend == "inline":
                if settings.scheduler is not None:
                    self._progress.note("the inline backend has no scheduler: every trial runs to its end")
                run_inline(tasks, self._recording, max_failures=settings.max_failures)
                continue
            from jobs.tuner import run_with_tune

            run_with_tune(
                tasks,
                self._recording,
                # On this machine alone, a worker that is kept for the next trial is worth more than its name.
                experiment=None if self._ray.address in (None, "local") else self._experiment.name,
                resources=settings.resources,
                scheduler=settings.scheduler,
                max_failures=settings.max_failures,
                run_folder=self._folder,
            )

    def _waves(self) -> Iterator[Sequence[TrialRow]]:
        """First the trials that stand on their own, then the twins of those that have succeeded."""
        yield [trial for trial in self._trials if trial.twin_of is None]
        twins = [trial for trial in self._trials if trial.twin_of is not None]
        if self._stop.how is None and twins:
            # A twin's network and epochs are its parent's result, as the store has it.
            yield self._once_stored(lambda: ready_twins(self._store, twins, self._home), _WAIT_FOR_STORE_S)

    def _task(self, trial: TrialRow) -> TrialTask:
        return TrialTask(trial_id=trial.id, config=trial.config, run_folder=str(self._folder), home=str(self._home))

    # ----------------------------------------------------------------------------------------------- settling

    def _settle(self, error: BaseException | None) -> None:
        """Writes down how everything stands. Nobody trains any more: Ray is shut down, or this process alone trained.

        Raises:
            StoreError: if the database stays away. What is not written waits in the spool for the next driver.
        """
        if self._stop.is_superseded:
            self._progress.note(f"{self._experiment.id} has another driver now; nothing more is written of it here")
            self._recorder.flush()
            self._progress.close()
            return
        self._catch_up()
        self._name_who_stopped()
        reason = self._reason(error)
        was_stopped = self._stop.how is not None and error is None
        ended = stopped(self._stop) if was_stopped else AttemptEnded(status="interrupted", reason=reason)
        if isinstance(error, ConfigError | DataError) and self._is_unchecked:
            ended = AttemptEnded(status="failed", reason=str(error))
        self._recording.end_open_attempts(ended)
        if was_stopped:
            self._progress.note(f"{reason}: what every trial has done up to its last event is kept")
        patience_s = _WAIT_WHEN_STOPPED_S if self._stop.how == "now" else _WAIT_FOR_STORE_S
        try:
            self._once_stored(lambda: self._write_end(ended, reason if was_stopped or error else None), patience_s)
        finally:
            self._progress.close()

    def _catch_up(self) -> None:
        for trial_id in self._recording.open_trials:
            try:
                self._recording.catch_up(trial_id, past_events(self._tasks[trial_id]))
            except Exception:  # such as no memory for its checkpoint: a resume tells of it
                logger.warning("trial %s: what its checkpoint tells could not be read", trial_id, exc_info=True)

    def _name_who_stopped(self) -> None:
        """A signal may be the quicker messenger of a stop that was asked for in the store."""
        if self._stop.by == "SIGTERM" and not self._recorder.degraded:
            with suppress(StoreError):
                asked = self._store.runs.beat(self._experiment.id, self._run.run).stop
                self._stop.by = STOPPED[asked] if asked else self._stop.by

    def _reason(self, error: BaseException | None) -> str:
        if error is not None:
            return f"its driver ended: {str(error).strip() or type(error).__name__}"
        return self._stop.reason if self._stop.how is not None else "its driver ended"

    def _write_end(self, ended: AttemptEnded, reason: str | None) -> None:
        experiment_id = self._experiment.id
        if not self._store.runs.beat(experiment_id, self._run.run).is_mine:
            self._progress.note(f"{experiment_id} has another driver now; how this one ended is not written of it")
            return
        self._store.mark_trials(
            experiment_id,
            ("queued", "running", "interrupted") if ended.status == "stopped" else ("queued", "running"),
            ended.status,
            ended.reason,
            stopped_by=ended.stopped_by,
        )
        status = self._store.finish_experiment(experiment_id)
        if reason is not None and status != "succeeded":
            self._store.set_experiment_status(experiment_id, status, reason)
        self._store.runs.end(experiment_id, self._run.run, status, reason)

    def _once_stored(self, action: Callable[[], _T], patience_s: float) -> _T:
        """Does something with the store, once all events are in it; waits for a database that is away."""
        give_up_at = time.monotonic() + patience_s
        is_told = False
        while True:
            try:
                self._recorder.flush()
                if self._recorder.degraded:
                    raise StoreError(f"Cannot write to the database {self._store.url_for_people}: it is away.")
                return action()
            except StoreError as error:
                if self._stop.is_hurried:
                    give_up_at = min(give_up_at, time.monotonic() + _WAIT_WHEN_STOPPED_S)
                    self._stop.is_hurried = False
                if time.monotonic() >= give_up_at:
                    raise StoreError(
                        f"{error} The last events wait in {self._folder / 'spool.jsonl'}; they are written by: "
                        f"growres resume {self._experiment.id}"
                    ) from error
                if not is_told:
                    self._progress.note(f"{error} Waiting for it, up to {patience_s:g} s.")
                    is_told = True
                time.sleep(_ASK_STORE_EVERY_S)
