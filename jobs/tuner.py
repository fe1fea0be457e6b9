"""The local driver: trials as Ray Tune trials, their events recorded by a callback in this process."""

from __future__ import annotations

import dataclasses
import traceback
import uuid
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler
from ray.tune.trainable.function_trainable import wrap_function

from growres import events
from growres.config.experiment import AshaConfig, ResourcesConfig
from growres.errors import ClusterError
from growres.events import AttemptEnded, EpochFinished, Event, GrowthStepDecided, TrialFinished
from jobs.cluster import check_resources
from jobs.recording import Recording, describe_error, is_own_fault, stopped
from jobs.trial import TrialTask, run_attempt

_METRIC = "val_error"
_TIME = "epochs_trained"


def run_with_tune(
    tasks: Sequence[TrialTask],
    recording: Recording,
    *,
    resources: ResourcesConfig,
    scheduler: AshaConfig | None,
    max_failures: int,
    run_folder: Path,
    experiment: str | None = None,
) -> None:
    """Runs the trials on the Ray that this process is connected to, as many at a time as fit.

    A trial that failed is tried again, from its last event, unless the fault is its own.

    A stop that was asked for takes effect in each trial after its next epoch or verdict, and no further trial begins.

    Args:
        experiment: its name, which each trial's actor then carries with the variant and the seed, so that Ray's
            dashboard says what runs where. Ray asks an actor for its name once, when it starts: every trial then has a
            worker process of its own. None: a worker process is kept for the next trial, as it has imported torch
            already, and bears no trial's name.
    Raises:
        ClusterError: if not even one trial fits into the cluster, or Ray itself fails.
    """
    check_resources(resources)
    callback = RecorderCallback(recording)
    per_trial = {"CPU": resources.cpus_per_trial, "GPU": resources.gpus_per_trial}
    tuner = tune.Tuner(
        NamedTrial
        if experiment is not None
        else tune.with_resources(run_trial, tune.PlacementGroupFactory([per_trial])),
        param_space={
            "task": tune.grid_search([dataclasses.asdict(task) for task in tasks]),
            "experiment": experiment,
            "resources": per_trial,
        },
        tune_config=tune.TuneConfig(
            reuse_actors=experiment is None,
            scheduler=_make_scheduler(scheduler),
            max_concurrent_trials=resources.max_concurrent_trials,
            trial_name_creator=_trial_id,
            trial_dirname_creator=_trial_id,
        ),
        run_config=tune.RunConfig(
            # A folder of its own for each driver: Tune would mix two runs of one name.
            name=f"tune-{uuid.uuid4().hex[:8]}",
            storage_path=str(run_folder),
            callbacks=[callback],
            stop=callback.stopper,
            failure_config=tune.FailureConfig(max_failures=max_failures),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except (ray.exceptions.RayError, tune.TuneError) as error:
        reason = f"Ray failed: {type(error).__name__}: {error}"
        raise ClusterError(f"{reason}. What every trial has done up to its last event is kept.") from error


def run_trial(config: dict[str, Any]) -> None:
    """One attempt, in a worker: every event is a report to Tune."""
    task = TrialTask(**config["task"])
    standing = Standing()
    try:
        for event in run_attempt(task):
            standing.follow(event)
            _report(event, standing)
    except Exception as error:
        ended = AttemptEnded(status="failed", reason=describe_error(error))
        _report(ended, standing, traceback=traceback.format_exc())
        if not is_own_fault(error):
            raise  # Tune tries again
    else:
        _report(AttemptEnded(status="succeeded", reason=standing.reason), standing)


class NamedTrial(wrap_function(run_trial)):  # type: ignore[misc]
    """`run_trial` as an actor that says which trial it is: `digits simons seed 0`."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What one trial takes; Tune asks the class, and knows no other way but one that takes its name away."""
        return tune.PlacementGroupFactory([config["resources"]])

    def setup(self, config: dict[str, Any]) -> None:
        """Begins with the name: Ray asks for it as soon as the actor is made."""
        trial = config["task"]["config"]
        self._label = f"{config['experiment']} {trial['variant']} seed {trial['seed']}"
        super().setup(config)

    def __repr__(self) -> str:
        return self._label


class Standing:
    """What a scheduler may compare trials by: the network's validation error, over the epochs trained so far."""

    def __init__(self) -> None:
        self.val_error: float | None = None
        self.epochs_trained = 0
        self.reason = ""

    def follow(self, event: Event) -> None:
        """Takes the event into account. A candidate's error counts once its block is accepted."""
        match event:
            case EpochFinished(arm=arm, val_error=val_error):
                self.epochs_trained += 1
                if arm == "network":
                    self.val_error = val_error
            case GrowthStepDecided(verdict="accepted", val_error_candidate=val_error):
                self.val_error = val_error
            case TrialFinished(reason=reason):
                self.reason = reason
            case _:
                pass


def _report(event: Event, standing: Standing, **more: Any) -> None:
    metrics: dict[str, Any] = {"event": events.to_dict(event), _TIME: standing.epochs_trained, **more}
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        metrics["gpu_mem_bytes"] = torch.cuda.memory_reserved()
    if standing.val_error is not None:
        metrics[_METRIC] = standing.val_error
    tune.report(metrics)


class StopWhenAsked(tune.Stopper):  # type: ignore[misc]
    """Ends each trial after its next epoch or verdict once a stop was asked for, and all when none is under way."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial that reported this is to end."""
        if self._recording.stop.how is None:
            return False
        kind = result.get("event", {}).get("event")
        is_turned_away = not self._recording.is_open(result["config"]["task"]["trial_id"])
        return is_turned_away or kind in (EpochFinished.__name__, GrowthStepDecided.__name__)

    def stop_all(self) -> bool:
        """Whether nothing is left to wait for."""
        return self._recording.stop.how is not None and not self._recording.open_trials


class RecorderCallback(tune.Callback):  # type: ignore[misc]
    """Hands what the workers report to the recording; the only way from a trial to the store.

    It is pickled into Tune's run folder, and takes nothing along there.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.stopper = StopWhenAsked(recording)

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """About ten times a second."""
        self._recording.tick()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A first attempt, or another; none any more once a stop was asked for, though Tune goes on starting trials."""
        if self._recording.stop.how is None:
            self._recording.begin_attempt(_trial_id(trial))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """A worker's report carries one event."""
        trial_id = _trial_id(trial)
        if "event" not in result or not self._recording.is_open(trial_id):
            return
        if "traceback" in result:
            self._recording.detail(trial_id, result["traceback"])
        try:
            event = events.from_dict(result["event"])
        except (LookupError, TypeError) as error:  # raised into Tune, it would end the other trials too
            reason = f"its worker tells what this growres does not know ({error}): the machines have different versions"
            event = AttemptEnded(status="failed", reason=reason)
        self._recording.event(trial_id, event, gpu_mem_bytes=result.get("gpu_mem_bytes"))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A worker says itself how its attempt ended; one that did not was stopped by a person or the scheduler."""
        if self._recording.stop.how is not None:
            self._end(trial, stopped(self._recording.stop))
        else:
            reason = "stopped early by the scheduler asha"
            self._end(trial, AttemptEnded(status="stopped", reason=reason, stopped_by="scheduler"))

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The attempt ended too soon, and Tune will begin another."""
        reason = "it failed"  # as its worker has said itself
        if self._recording.is_open(_trial_id(trial)):
            reason = _why_the_worker_died(trial)
            self._end(trial, AttemptEnded(status="interrupted", reason=reason))
        self._recording.note(f"{_trial_id(trial)} is tried again from its last event: {reason}")

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """The last attempt ended too soon. A worker that dies again and again on a machine that lives is itself to
        blame, most likely for the memory that it takes."""
        reason = _why_the_worker_died(trial)
        if reason.startswith(LOST_MACHINE):
            self._end(trial, AttemptEnded(status="interrupted", reason=reason))
        else:
            attempts = f"{trial.num_failures} attempts" if trial.num_failures > 1 else "its only attempt"
            hint = "Does it take more memory than there is? A smaller batch_size or fewer trials at a time take less."
            self._end(trial, AttemptEnded(status="failed", reason=f"{reason} (so ended {attempts}). {hint}"))

    def _end(self, trial: Trial, ended: AttemptEnded) -> None:
        if self._recording.is_open(_trial_id(trial)):
            self._recording.event(_trial_id(trial), ended)


def _trial_id(trial: Trial) -> str:
    return str(trial.config["task"]["trial_id"])


LOST_MACHINE = "it lost its machine"
_LOST_WORKER = "its worker process died"


def _why_the_worker_died(trial: Trial) -> str:
    """In words, from the traceback that Tune wrote down for the trial."""
    lines: list[str] = []
    with suppress(OSError):
        lines = Path(trial.error_file or "").read_text(errors="replace").split("\n")
    told = [line.strip() for line in lines if line.strip()]
    last = told[-1] if told else "no traceback was left"
    text = "\n".join(told)
    lost_machine = any(sign in text for sign in ("NodeDiedError", "node has died", "node was terminated", "node died"))
    return f"{LOST_MACHINE if lost_machine else _LOST_WORKER}: {last}"


def _make_scheduler(config: AshaConfig | None) -> ASHAScheduler | None:
    if config is None:
        return None
    return ASHAScheduler(
        time_attr=_TIME,
        metric=_METRIC,
        mode="min",
        max_t=config.max_epochs,
        grace_period=config.grace_epochs,
        reduction_factor=config.reduction_factor,
        stop_last_trials=False,  # a trial that came so far ends by itself, and then looks at the test split
    )
