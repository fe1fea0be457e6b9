"""The inline driver: one trial after the other in this process, without Ray."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Sequence

from growres.events import AttemptEnded, EpochFinished, GrowthStepDecided, TrialFinished
from jobs.recording import Recording, describe_error, is_own_fault, stopped
from jobs.trial import TrialTask, run_attempt

logger = logging.getLogger(__name__)


def run_inline(tasks: Sequence[TrialTask], recording: Recording, *, max_failures: int) -> None:
    """Runs the trials to their ends. A trial that fails leaves the others alone.

    A stop that was asked for takes effect after the next epoch or verdict, and no further trial begins.
    """
    for task in tasks:
        if recording.stop.how is not None:
            return
        _run_with_retries(task, recording, max_failures)


def _run_with_retries(task: TrialTask, recording: Recording, max_failures: int) -> None:
    for failures in range(max_failures + 1):
        recording.begin_attempt(task.trial_id)
        try:
            ended = _run_once(task, recording)
        except Exception as error:
            recording.detail(task.trial_id, traceback.format_exc())
            recording.event(task.trial_id, AttemptEnded(status="failed", reason=describe_error(error)))
            if is_own_fault(error):
                return
            if failures < max_failures:
                recording.note(
                    f"{task.trial_id} failed and is tried again from its last event: {describe_error(error)}"
                )
        else:
            recording.event(task.trial_id, ended)
            return


def _run_once(task: TrialTask, recording: Recording) -> AttemptEnded:
    finished = None
    for event in run_attempt(task):
        recording.event(task.trial_id, event)
        if isinstance(event, TrialFinished):
            finished = event
        if recording.stop.how is not None and isinstance(event, EpochFinished | GrowthStepDecided):
            return stopped(recording.stop)
    assert finished is not None, "a procedure's last event is TrialFinished"
    return AttemptEnded(status="succeeded", reason=finished.reason)
