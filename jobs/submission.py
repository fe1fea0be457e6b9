"""From an experiment file to finished trials: checked, stored, run by a driver, and settled, whatever happened."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from growres.config.experiment import AshaConfig, Experiment, ResourcesConfig, TrialConfig
from growres.config.loading import load_experiment
from growres.data.loading import load_images, pin_source
from growres.errors import GrowresError
from growres.home import growres_home
from growres.store import ExperimentRow, NewExperiment, NewTrial, Recorder, Status, Store, TrialRow
from jobs.driver_lock import only_driver
from jobs.inline import run_inline
from jobs.interruption import second_interrupt_exits
from jobs.progress import Progress, Silence
from jobs.provenance import provenance
from jobs.recording import Recording
from jobs.trial import TrialTask, choose_device, describe_device
from jobs.twins import ready_twins, stored_config, with_stopped_twins

Backend = Literal["inline", "local"]

_UNFINISHED: tuple[Status, ...] = ("queued", "running", "interrupted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an experiment."""

    experiment_id: str
    name: str
    status: str
    num_succeeded: int
    num_failed: int
    num_interrupted: int
    dashboard_url: str | None
    database: str


def submit(
    spec: Path,
    *,
    overrides: Sequence[str] = (),
    backend: Backend = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Runs an experiment file to its end, or to its interruption.

    The file, the models and the data are checked before anything is stored. Ctrl-C while trials run gives an Outcome
    whose status is `interrupted`; a second one ends the process at once.

    Raises:
        GrowresError: if the experiment cannot begin.
    """
    progress = progress or Silence()
    loaded = load_experiment(spec, overrides)
    for note in loaded.notes:
        progress.note(note)
    experiment = _with_pinned_data(loaded.experiment)
    device = _device_here(experiment, backend, address)
    with Store.open() as store:  # before the images, which may take long: a database that is away is said at once
        progress.note(f"preparing the images of {experiment.dataset.path or experiment.dataset.source}")
        images = load_images(experiment.dataset, growres_home())
        loaded.check_models(num_classes=images.num_classes, in_channels=images.channels, image_size=images.image_size)
        experiment_id = store.add_experiment(
            NewExperiment(
                name=experiment.name,
                spec_text=loaded.text,
                spec=loaded.effective,
                trials=tuple(_new_trial(trial) for trial in experiment.trials),
                provenance=provenance(images, device),
            )
        )
        return _run(store, store.find_experiment(experiment_id), _UNFINISHED, backend, address, progress)


def resume(
    reference: str,
    *,
    failed: bool = False,
    backend: Backend = "local",
    address: str | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Runs what is not finished of a stored experiment, each trial from its last event.

    Args:
        reference: an experiment's id, its name, or `latest`.
        failed: also try failed trials again.
    Raises:
        GrowresError: if there is no such experiment, or another driver is running it.
    """
    statuses: tuple[Status, ...] = (*_UNFINISHED, "failed") if failed else _UNFINISHED
    with Store.open() as store:
        return _run(store, store.find_experiment(reference), statuses, backend, address, progress or Silence())


class RunSettings(BaseModel):
    """What a driver needs of a stored experiment beside its trials."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    resources: ResourcesConfig = ResourcesConfig()
    scheduler: AshaConfig | None = None
    max_failures: int = Experiment.model_fields["max_failures"].default


def _run(
    store: Store,
    experiment: ExperimentRow,
    statuses: Collection[Status],
    backend: Backend,
    address: str | None,
    progress: Progress,
) -> Outcome:
    home = growres_home()
    folder = home / "runs" / experiment.id
    dashboard_url = None
    with only_driver(folder, experiment.id), closing(Recorder(None, folder / "spool.jsonl")) as recorder:
        stored = store.trials(experiment.id)
        trials = with_stopped_twins(stored, [trial for trial in stored if trial.status in statuses])
        if not trials:
            progress.note("nothing is left to run" + _say_of_failed(experiment))
            return _outcome(store, experiment.id, None)
        recording = Recording(recorder, progress, {trial.id: trial.attempt for trial in trials})
        store.set_experiment_status(experiment.id, "running")
        store.mark_trials(experiment.id, [status for status in statuses if status != "queued"], "queued")
        for trial in trials:
            if trial.status == "stopped":
                store.mark_trial(trial.id, "queued")
        if backend == "local":
            progress.note("starting Ray" if address in (None, "local") else f"joining Ray at {address}")
        try:
            with second_interrupt_exits(), _backend(backend, address, home) as dashboard_url:
                progress.started(
                    experiment.id,
                    experiment.name,
                    [(trial.id, trial.variant, trial.seed) for trial in trials],
                    dashboard_url,
                )
                _drive(backend, _waves(store, recorder, trials, folder, home), recording, experiment, folder)
        except KeyboardInterrupt:
            progress.note("interrupted: what every trial has done up to its last event is kept")
        except GrowresError:
            progress.note(f"{experiment.name} is stored; once the cause is gone: growres resume {experiment.id}")
            raise
        finally:
            recording.interrupt_open_attempts("the driver ended")
            recorder.flush()
            store.mark_trials(experiment.id, ("queued", "running"), "interrupted", "its experiment was interrupted")
            store.finish_experiment(experiment.id)
            progress.close()
    return _outcome(store, experiment.id, dashboard_url)


def _say_of_failed(experiment: ExperimentRow) -> str:
    failed = experiment.trial_counts.get("failed", 0)
    return f"; the {failed} failed are tried again with --failed" if failed else ""


def _waves(
    store: Store, recorder: Recorder, trials: Sequence[TrialRow], folder: Path, home: Path
) -> Iterator[list[TrialTask]]:
    """First the trials that stand on their own, then the twins of those that have succeeded."""
    yield [_task(trial, folder, home) for trial in trials if trial.twin_of is None]
    recorder.flush()  # a twin's network and epochs are its parent's result, as the store has it
    twins = [trial for trial in trials if trial.twin_of is not None]
    yield [_task(trial, folder, home) for trial in ready_twins(store, twins, home)]


def _drive(
    backend: Backend,
    waves: Iterable[Sequence[TrialTask]],
    recording: Recording,
    experiment: ExperimentRow,
    folder: Path,
) -> None:
    settings = RunSettings.model_validate(experiment.spec)
    if backend == "inline":
        if settings.scheduler is not None:
            recording.note("the inline backend has no scheduler: every trial runs to its end")
        for tasks in waves:
            run_inline(tasks, recording, max_failures=settings.max_failures)
        return
    from jobs.tuner import run_with_tune

    for tasks in waves:
        if tasks:
            run_with_tune(
                tasks,
                recording,
                resources=settings.resources,
                scheduler=settings.scheduler,
                max_failures=settings.max_failures,
                run_folder=folder,
            )


def _backend(backend: Backend, address: str | None, home: Path) -> AbstractContextManager[str | None]:
    if backend == "inline":
        return nullcontext()
    from jobs.cluster import ray_session  # Ray takes seconds to import, and inline does without it

    return ray_session(address, home)


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


def _device_here(experiment: Experiment, backend: Backend, address: str | None) -> str | None:
    """What the trials will run on, checked to be there; None where a running Ray, which may be elsewhere, decides."""
    if backend == "local" and address not in (None, "local"):
        return None
    return describe_device(choose_device(experiment.resources))


def _task(trial: TrialRow, folder: Path, home: Path) -> TrialTask:
    return TrialTask(
        trial_id=trial.id,
        config=trial.config,
        run_folder=str(folder),
        home=str(home),
    )


def _with_pinned_data(experiment: Experiment) -> Experiment:
    """The data set as any worker, and a later resume, finds it: an absolute path, a commit for a revision."""
    dataset = pin_source(experiment.dataset, growres_home()).model_dump()
    trials = [
        {**trial.model_dump(), "dataset": {**dataset, "label_noise": trial.dataset.label_noise}}
        for trial in experiment.trials
    ]
    return Experiment.model_validate({**experiment.model_dump(), "dataset": dataset, "trials": trials})


def _outcome(store: Store, experiment_id: str, dashboard_url: str | None) -> Outcome:
    experiment = store.find_experiment(experiment_id)
    return Outcome(
        experiment_id=experiment.id,
        name=experiment.name,
        status=experiment.status,
        num_succeeded=experiment.trial_counts.get("succeeded", 0),
        num_failed=experiment.trial_counts.get("failed", 0),
        num_interrupted=experiment.trial_counts.get("interrupted", 0),
        dashboard_url=dashboard_url,
        database=store.url_for_people,
    )
