"""Where a driver's events go: into the store, through its recorder, and to whoever watches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from growres.errors import DiskError, GrowresError
from growres.events import AttemptEnded, Event, TrialFinished
from growres.store import Recorder
from jobs.metrics import TrialMetrics
from jobs.progress import Progress
from jobs.stopping import StopRequest
from zoo import ModelError


class Recording:
    """Numbers the attempts of each trial and passes its events on. Nothing here raises into a driver.

    Args:
        attempts_before: how many attempts each trial had before this driver began.
        stop: what the driver has been asked; drivers look at it after every event.
    """

    def __init__(
        self, recorder: Recorder, progress: Progress, attempts_before: Mapping[str, int], stop: StopRequest
    ) -> None:
        self._recorder = recorder
        self._progress = progress
        self._attempt = Counter(attempts_before)
        self._open: set[str] = set()
        self._told_waiting: int | None = None
        self.stop = stop
        self.metrics: TrialMetrics | None = None
        """Where a Ray is there to serve them."""

    def begin_attempt(self, trial_id: str) -> None:
        """What follows belongs to the trial's next attempt."""
        self._attempt[trial_id] += 1
        self._open.add(trial_id)

    def event(self, trial_id: str, event: Event, *, gpu_mem_bytes: float | None = None) -> None:
        """Records an event of the trial's present attempt.

        Args:
            gpu_mem_bytes: what its worker holds of a GPU's memory.
        """
        if isinstance(event, AttemptEnded):
            self._open.discard(trial_id)
        self._recorder.record(trial_id, self._attempt[trial_id], event)
        self._progress.event(trial_id, event)
        if self.metrics is not None:
            self.metrics.event(trial_id, event, gpu_mem_bytes)

    def is_open(self, trial_id: str) -> bool:
        """Whether the trial has an attempt that has not ended."""
        return trial_id in self._open

    @property
    def open_trials(self) -> list[str]:
        """The trials whose attempts have not ended."""
        return sorted(self._open)

    def catch_up(self, trial_id: str, past: Iterable[Event]) -> None:
        """Records what a trial's checkpoint tells and its worker, cut off, perhaps could not."""
        finished = None
        for event in past:
            self._recorder.record(trial_id, self._attempt[trial_id], event)
            if isinstance(event, TrialFinished):
                finished = event
        if finished is not None:
            self.event(trial_id, AttemptEnded(status="succeeded", reason=finished.reason))

    def end_open_attempts(self, ended: AttemptEnded) -> None:
        """Ends every attempt that is still open."""
        for trial_id in self.open_trials:
            self.event(trial_id, ended)

    def tick(self) -> None:
        """Called often: writes what waits and is due."""
        self._recorder.tick()
        waiting = self._recorder.num_waiting
        if self.metrics is not None and waiting != self._told_waiting:
            self.metrics.spool(waiting)
            self._told_waiting = waiting

    def note(self, message: str) -> None:
        """A line for a person."""
        self._progress.note(message)

    def detail(self, trial_id: str, text: str) -> None:
        """What only who looks for a fault wants to read."""
        self._progress.detail(trial_id, text)


def stopped(stop: StopRequest) -> AttemptEnded:
    """The end of an attempt that a person stopped."""
    return AttemptEnded(status="stopped", reason=stop.reason, stopped_by="person")


def is_own_fault(error: BaseException) -> bool:
    """Whether the trial itself is to blame, so that another attempt would end the same way."""
    return isinstance(error, GrowresError | ModelError) and not isinstance(error, DiskError)


def describe_error(error: BaseException) -> str:
    """The reason that the store keeps: a message of ours as it is, another's with its type."""
    message = str(error).strip()
    return message if is_own_fault(error) else f"{type(error).__name__}: {message}"
