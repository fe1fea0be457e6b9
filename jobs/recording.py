"""Where a driver's events go: into the store, through its recorder, and to whoever watches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from growres.errors import DiskError, GrowresError
from growres.events import AttemptEnded, Event
from growres.store import Recorder
from jobs.progress import Progress
from zoo import ModelError


class Recording:
    """Numbers the attempts of each trial and passes its events on. Nothing here raises into a driver.

    Args:
        attempts_before: how many attempts each trial had before this driver began.
    """

    def __init__(self, recorder: Recorder, progress: Progress, attempts_before: Mapping[str, int]) -> None:
        self._recorder = recorder
        self._progress = progress
        self._attempt = Counter(attempts_before)
        self._open: set[str] = set()

    def begin_attempt(self, trial_id: str) -> None:
        """What follows belongs to the trial's next attempt."""
        self._attempt[trial_id] += 1
        self._open.add(trial_id)

    def event(self, trial_id: str, event: Event) -> None:
        """Records an event of the trial's present attempt."""
        if isinstance(event, AttemptEnded):
            self._open.discard(trial_id)
        self._recorder.record(trial_id, self._attempt[trial_id], event)
        self._progress.event(trial_id, event)

    def is_open(self, trial_id: str) -> bool:
        """Whether the trial has an attempt that has not ended."""
        return trial_id in self._open

    def interrupt_open_attempts(self, reason: str) -> None:
        """Ends every attempt that is still open as interrupted."""
        for trial_id in sorted(self._open):
            self.event(trial_id, AttemptEnded(status="interrupted", reason=reason))

    def tick(self) -> None:
        """Called often: writes what waits and is due."""
        self._recorder.tick()

    def note(self, message: str) -> None:
        """A line for a person."""
        self._progress.note(message)


def is_own_fault(error: BaseException) -> bool:
    """Whether the trial itself is to blame, so that another attempt would end the same way."""
    return isinstance(error, GrowresError | ModelError) and not isinstance(error, DiskError)


def describe_error(error: BaseException) -> str:
    """The reason that the store keeps: a message of ours as it is, another's with its type."""
    message = str(error).strip()
    return message if is_own_fault(error) else f"{type(error).__name__}: {message}"
