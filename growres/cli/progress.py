"""What a run looks like while it runs: a live display on a terminal, plain lines elsewhere, always on stderr.

A display is no part of the run: it swallows its own failures, so that a closed terminal ends no experiment.
"""

from __future__ import annotations

import functools
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TextIO

from growres.cli import figures
from growres.cli.tables import Column, figure, table_lines
from growres.events import AttemptEnded, AttemptStarted, EpochFinished, Event, GrowthStepDecided, TrialFinished

if TYPE_CHECKING:
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

logger = logging.getLogger(__name__)

MAX_RUNNING_LINES = 12
REFRESHES_PER_S = 4


@dataclass(slots=True)
class TrialProgress:
    """What is known of one trial while it runs; the events move it on."""

    trial_id: str
    variant: str
    seed: int
    status: str = "queued"
    epochs: int = 0
    """Over all attempts, all arms together."""
    growth_steps: int = 0
    kept_blocks: int = 0
    val_error: float | None = None
    """Of the network as accepted so far."""
    candidate_error: float | None = None
    """The validation error of the candidate under trial, if there is one."""
    images_per_s: float | None = None
    verdict: str | None = None

    @property
    def label(self) -> str:
        return f"{self.trial_id} {figures.text(self.variant)}, seed {self.seed}"

    @property
    def is_over(self) -> bool:
        return self.status not in ("queued", "running")

    @property
    def blocks(self) -> str | None:
        return f"{self.kept_blocks:+d}" if self.growth_steps else None

    def follow(self, event: Event) -> None:
        """Takes over what the event tells."""
        match event:
            case AttemptStarted():  # it tells everything that earlier attempts did once more
                self.status = "running"
                self.epochs = self.growth_steps = self.kept_blocks = 0
                self.candidate_error = None
            case EpochFinished():
                self.status = "running"
                self.epochs += 1
                self.images_per_s = event.images_per_s
                if event.arm == "network":
                    self.val_error = event.val_error
                elif event.arm == "candidate":
                    self.candidate_error = event.val_error
            case GrowthStepDecided():
                accepted = event.verdict == "accepted"
                self.growth_steps += 1
                self.kept_blocks += accepted * (-1 if event.kind == "remove" else 1)
                self.verdict = event.verdict
                self.candidate_error = None
                if accepted:
                    self.val_error = event.val_error_candidate
            case TrialFinished():
                self.val_error = event.val_error
            case AttemptEnded():
                self.status = event.status


class Display(Protocol):
    """One way of showing a run; `ProgressView` guards it."""

    def started(self, headline: str, trials: Sequence[TrialProgress]) -> None: ...

    def moved(self, trial: TrialProgress, event: Event) -> None: ...

    def note(self, message: str) -> None: ...

    def close(self) -> None: ...


_P = ParamSpec("_P")


def _guarded(method: Callable[Concatenate[ProgressView, _P], None]) -> Callable[Concatenate[ProgressView, _P], None]:
    """The method, whose failure is told to whoever debugs and to nobody else."""

    @functools.wraps(method)
    def call(view: ProgressView, /, *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            method(view, *args, **kwargs)
        except Exception:
            logger.debug("the progress display failed", exc_info=True)

    return call


class ProgressView:
    """Shows a run to whoever waits for it. Drivers call it; it never raises.

    Args:
        stream: where to write, stderr by default. A terminal gets a live display, anything else plain lines.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        self._trials: dict[str, TrialProgress] = {}
        self._lock = threading.Lock()  # the live display reads from a thread of its own
        self._display: Display = LiveDisplay(stream, self._lock) if stream.isatty() else PlainDisplay(stream)

    @_guarded
    def started(
        self, experiment_id: str, name: str, trials: Sequence[tuple[str, str, int]], dashboard_url: str | None
    ) -> None:
        """The run begins. `trials` are (trial id, variant, seed) of those that it will run."""
        self._trials = {trial_id: TrialProgress(trial_id, variant, seed) for trial_id, variant, seed in trials}
        dashboard = f", dashboard at {dashboard_url}" if dashboard_url else ""
        headline = f"{figures.text(name)} ({experiment_id}): {figures.number_of(len(trials), 'trial')}{dashboard}"
        self._display.started(headline, list(self._trials.values()))

    @_guarded
    def event(self, trial_id: str, event: Event) -> None:
        """Something happened in a trial."""
        trial = self._trials[trial_id]
        with self._lock:
            trial.follow(event)
        self._display.moved(trial, event)

    @_guarded
    def note(self, message: str) -> None:
        """Something to say that belongs to no trial."""
        for line in message.splitlines():
            self._display.note(figures.text(line))

    def detail(self, trial_id: str, text: str) -> None:
        """Nothing: it is for the log."""

    @_guarded
    def close(self) -> None:
        """The run is over; the terminal is left as it was found."""
        self._display.close()


def sentence(trial: TrialProgress, event: Event) -> str | None:
    """The event as a line for a person; None for those too frequent or too small to tell."""
    match event:
        case AttemptStarted():
            note = f"; {figures.text(event.note)}" if event.note else ""
            return f"{trial.label}: {_begun(event)} on {figures.text(event.host)} ({figures.text(event.device)}){note}"
        case GrowthStepDecided():
            after = figures.percent(event.val_error_candidate)
            change = f"val error {figures.percent(event.val_error_before)} -> {after}"
            if event.val_error_candidate is None:
                change = figures.text(event.reason)
            elif (event.verdict == "accepted") != (event.val_error_candidate < event.val_error_before):
                change += f" ({figures.text(event.reason)})"  # the errors alone would have told the opposite
            doing = " taken away" if event.kind == "remove" else ""
            step = f"step {event.step} {event.verdict}, block {event.block} in stage {event.stage}{doing}"
            return f"{trial.label}: {step}, {change}"
        case TrialFinished():
            blocks = "" if event.num_blocks is None else f"{figures.number_of(event.num_blocks, 'block')}, "
            return (
                f"{trial.label}: finished, val error {figures.percent(event.val_error)}, "
                f"test error {figures.percent(event.test_error)}, {blocks}"
                f"{figures.count(event.num_params)} parameters, {figures.seconds(event.wall_s)}"
            )
        case AttemptEnded() if event.status != "succeeded":
            return f"{trial.label}: {event.status}: {figures.text(event.reason)}"
    return None


def _begun(event: AttemptStarted) -> str:
    """`started`, or where an attempt goes on from: what came before is told once more, and not shown again."""
    if not event.epochs_before:
        return "started"
    steps = f", {figures.number_of(event.growth_steps_before, 'growth step')}" if event.growth_steps_before else ""
    return f"goes on after {figures.number_of(event.epochs_before, 'epoch')}{steps}"


class PlainDisplay:
    """A line for each thing that is worth one: for logs, pipes and dumb terminals."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._steps_told: dict[str, int] = {}

    def started(self, headline: str, trials: Sequence[TrialProgress]) -> None:
        self.note(headline)

    def moved(self, trial: TrialProgress, event: Event) -> None:
        if isinstance(event, AttemptStarted):
            told = max(self._steps_told.get(trial.trial_id, 0), event.growth_steps_before)
            self._steps_told[trial.trial_id] = told
        if isinstance(event, GrowthStepDecided):
            if event.step <= self._steps_told.get(trial.trial_id, 0):
                return  # a retried attempt tells again what the one before it did
            self._steps_told[trial.trial_id] = event.step
        if line := sentence(trial, event):
            self.note(line)

    def note(self, message: str) -> None:
        print(message, file=self._stream, flush=True)

    def close(self) -> None:
        pass


_COLUMNS = (
    Column(key="trial_id", title="trial"),
    Column(key="variant", min_width=8),
    figure("seed"),
    figure("epochs"),
    figure("blocks", leave_out=1),
    figure("val_error", show=figures.percent),
    figure("candidate_error", title="candidate", show=figures.percent, leave_out=4),
    figure("images_per_s", title="images/s", show=figures.whole, leave_out=2),
    Column(key="verdict", title="last step", leave_out=3),
)


class LiveDisplay:
    """The running trials, a line each, over a bar of the finished ones; what ended scrolls away above them."""

    def __init__(self, stream: TextIO, lock: threading.Lock) -> None:
        self._stream = stream
        self._lock = lock
        self._headline = ""
        self._trials: Sequence[TrialProgress] = ()
        self._started_at = time.monotonic()
        self._live: Live | None = None

    def started(self, headline: str, trials: Sequence[TrialProgress]) -> None:
        from rich.console import Console
        from rich.live import Live

        self._headline, self._trials = headline, trials
        self._started_at = time.monotonic()
        self._live = Live(
            console=Console(file=self._stream, highlight=False, markup=False, emoji=False),
            get_renderable=self._picture,
            refresh_per_second=REFRESHES_PER_S,
            redirect_stdout=sys.stdout.isatty(),  # a pipe gets results only
            transient=True,
        )
        self._live.start()

    def moved(self, trial: TrialProgress, event: Event) -> None:
        match event:
            case TrialFinished() | AttemptStarted(note=str()):
                told_at_once = True
            case AttemptEnded():
                told_at_once = trial.is_over
            case _:
                told_at_once = False
        if told_at_once and (line := sentence(trial, event)):
            self.note(line)

    def note(self, message: str) -> None:
        if self._live is None:
            print(message, file=self._stream, flush=True)
        else:
            self._live.console.print(message, soft_wrap=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _picture(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        with self._lock:
            running = [trial for trial in self._trials if trial.status == "running"]
            rows = [
                {column.key: getattr(trial, column.key) for column in _COLUMNS} for trial in running[:MAX_RUNNING_LINES]
            ]
            num_over = sum(trial.is_over for trial in self._trials)
        width = self._live.console.width if self._live else None
        lines = table_lines(rows, _COLUMNS, width=width) if rows else []
        if len(running) > MAX_RUNNING_LINES:
            lines.append(f"and {len(running) - MAX_RUNNING_LINES} more are running")
        return Group(
            Text(self._headline, style="bold"), *(Text(line, no_wrap=True) for line in lines), self._bar(num_over)
        )

    def _bar(self, num_over: int) -> Text:
        from rich.text import Text

        total = max(1, len(self._trials))
        filled = round(30 * num_over / total)
        elapsed = figures.seconds(time.monotonic() - self._started_at)
        return Text.assemble(
            ("=" * filled, "green"), ("-" * (30 - filled), "dim"), f"  {num_over} of {total} finished, {elapsed}"
        )
