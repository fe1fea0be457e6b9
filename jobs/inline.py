"""The inline driver: one trial after the other in this process, without Ray."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from growres.events import AttemptEnded, TrialFinished
from jobs.recording import Recording, describe_error, is_own_fault
from jobs.trial import TrialTask, run_attempt

logger = logging.getLogger(__name__)


def run_inline(tasks: Sequence[TrialTask], recording: Recording, *, max_failures: int) -> None:
    """Runs the trials to their ends. A trial that fails leaves the others alone.

    Raises:
        KeyboardInterrupt: at once; the trial under way is recorded as interrupted, at its last event.
    """
    for task in tasks:
        try:
            _run_with_retries(task, recording, max_failures)
        except KeyboardInterrupt:
            recording.interrupt_open_attempts("interrupted by the user")
            raise


def _run_with_retries(task: TrialTask, recording: Recording, max_failures: int) -> None:
    for failures in range(max_failures + 1):
        recording.begin_attempt(task.trial_id)
        try:
            finished = _run_once(task, recording)
        except Exception as error:
            logger.debug("trial %s failed", task.trial_id, exc_info=True)
            recording.event(task.trial_id, AttemptEnded(status="failed", reason=describe_error(error)))
            if is_own_fault(error):
                return
            if failures < max_failures:
                recording.note(
                    f"{task.trial_id} failed and is tried again from its last event: {describe_error(error)}"
                )
        else:
            recording.event(task.trial_id, AttemptEnded(status="succeeded", reason=finished.reason))
            return


def _run_once(task: TrialTask, recording: Recording) -> TrialFinished:
    finished = None
    for event in run_attempt(task):
        recording.event(task.trial_id, event)
        if isinstance(event, TrialFinished):
            finished = event
    assert finished is not None, "a procedure's last event is TrialFinished"
    return finished
