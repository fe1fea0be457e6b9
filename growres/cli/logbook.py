"""A driver's log: what happens in every trial, a line each, with the time and the trial's id at its beginning.

    2026-01-02 03:04:05 k3f9xa-3 simons, seed 0: epoch 4: train loss 0.1432, val error 4.18%, 5,120 images/s

`growres logs` reads it, and tells a trial's lines by the id.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from growres.cli import figures
from growres.cli.progress import TrialProgress, sentence
from growres.events import AttemptStarted, EpochFinished, Event, GrowthStepDecided

if TYPE_CHECKING:
    from jobs.progress import Progress


class Logbook:
    """Writes a run into a stream, line by line. Like every display of a run, it never raises.

    Args:
        stream: None: what is told is kept until `open_at` names a file for it.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._kept: list[str] = []
        self._trials: dict[str, TrialProgress] = {}
        self._replayed: dict[str, int] = {}
        """Events of a trial that are still to be told again by an attempt that goes on from earlier ones."""

    def started(
        self, experiment_id: str, name: str, trials: Sequence[tuple[str, str, int]], dashboard_url: str | None
    ) -> None:
        """The run begins."""
        self._trials = {trial_id: TrialProgress(trial_id, variant, seed) for trial_id, variant, seed in trials}
        dashboard = f", dashboard at {dashboard_url}" if dashboard_url else ""
        self._write(experiment_id, f"{name}: {figures.number_of(len(trials), 'trial')}{dashboard}")

    def event(self, trial_id: str, event: Event) -> None:
        """Something happened in a trial."""
        trial = self._trials.get(trial_id)
        if trial is None:
            return
        trial.follow(event)
        if isinstance(event, AttemptStarted):
            self._replayed[trial_id] = event.epochs_before + event.growth_steps_before
        elif isinstance(event, EpochFinished | GrowthStepDecided) and self._replayed.get(trial_id):
            self._replayed[trial_id] -= 1
            return
        line = _epoch(trial, event) if isinstance(event, EpochFinished) else sentence(trial, event)
        if line:
            self._write("", line)  # it begins with the trial's id

    def note(self, message: str) -> None:
        """Something that belongs to no trial."""
        self._write("-", message)

    def detail(self, trial_id: str, text: str) -> None:
        """A traceback."""
        self._write(trial_id, text.rstrip())

    def close(self) -> None:
        """Nothing: lines are written when they are told."""

    def write_to(self, stream: TextIO) -> None:
        """Everything goes there from now on, and first what was kept."""
        self._stream = stream
        for line in self._kept:
            self._print(line)
        self._kept = []

    def end(self) -> None:
        """Closes the file that it was given."""
        if self._stream is not None:
            with contextlib.suppress(OSError):
                self._stream.close()

    def _write(self, first: str, message: str) -> None:
        moment = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        text = "\n".join(figures.text(line) for line in message.splitlines())
        line = " ".join(part for part in (moment, first, text) if part)
        if self._stream is None:
            self._kept.append(line)
        else:
            self._print(line)

    def _print(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk ends no trial for the sake of its log
            print(line, file=self._stream, flush=True)


def _epoch(trial: TrialProgress, event: EpochFinished) -> str:
    where = f" of step {event.growth_step}, {event.arm}" if event.growth_step else ""
    return (
        f"{trial.label}: epoch {event.epoch}{where}: train loss {event.train_loss:.4g}, "
        f"val error {figures.percent(event.val_error)}, {figures.whole(event.images_per_s)} images/s"
    )


class _Both:
    """Tells two."""

    def __init__(self, shown: Progress, logbook: Logbook) -> None:
        self._shown = shown
        self._logbook = logbook

    def started(
        self, experiment_id: str, name: str, trials: Sequence[tuple[str, str, int]], dashboard_url: str | None
    ) -> None:
        self._open(experiment_id)
        self._shown.started(experiment_id, name, trials, dashboard_url)
        self._logbook.started(experiment_id, name, trials, dashboard_url)

    def event(self, trial_id: str, event: Event) -> None:
        self._shown.event(trial_id, event)
        self._logbook.event(trial_id, event)

    def note(self, message: str) -> None:
        self._shown.note(message)
        self._logbook.note(message)

    def detail(self, trial_id: str, text: str) -> None:
        self._shown.detail(trial_id, text)
        self._logbook.detail(trial_id, text)

    def close(self) -> None:
        self._shown.close()

    def _open(self, experiment_id: str) -> None:
        from jobs.detaching import log_path

        try:
            path = log_path(experiment_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._logbook.write_to(path.open("a", encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            self._shown.note(f"there will be no log: {error}")


@contextmanager
def with_logbook(shown: Progress) -> Iterator[Progress]:
    """A progress that shows what it is told, and also writes it into the experiment's log once that has an id."""
    logbook = Logbook()
    try:
        yield _Both(shown, logbook)
    finally:
        logbook.end()


def on_stdout() -> Logbook:
    """The log of a driver whose whole output is the log."""
    return Logbook(sys.stdout)
