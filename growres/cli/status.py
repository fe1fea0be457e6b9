"""`growres status`: how far an experiment is, once or as it goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from growres.cli import figures
from growres.cli.experiments import ExperimentArgument, headline, open_store, without_empty
from growres.cli.staleness import say_how_to_go_on, stale_among
from growres.cli.tables import Column, Format, FormatOption, figure, is_colored, print_rows, table_lines, terminal_width
from growres.cli.talk import say, say_what_did_not_fit
from growres.errors import StoreError

if TYPE_CHECKING:
    from growres.store import ExperimentRow, Store

WATCH_EVERY_S = 1.0

_COLUMNS = (
    Column(key="trial_id", title="trial"),
    Column(key="variant", min_width=8),
    figure("seed"),
    Column(key="status"),
    figure("epochs"),
    figure("num_blocks", title="blocks"),
    figure("val_error", show=figures.percent),
    Column(key="last_verdict", title="last step", leave_out=3),
    figure("images_per_s", title="images/s", show=figures.whole, leave_out=4),
    figure("time_left_s", title="left at most", show=figures.seconds, leave_out=2),
    Column(key="updated_at", title="updated (UTC)", leave_out=5),
    Column(key="reason", min_width=12, leave_out=1),
)


@dataclass(frozen=True, slots=True)
class _Snapshot:
    experiment: ExperimentRow
    rows: list[dict[str, Any]]
    is_stale: bool
    is_starting: bool
    """Whether its driver is there and waits for its Ray, which takes half a minute."""

    @property
    def is_last(self) -> bool:
        return self.is_stale or self.experiment.status not in ("queued", "running")

    @property
    def headline(self) -> str:
        return headline(self.experiment, is_stale=self.is_stale) + ("; its Ray is starting" if self.is_starting else "")


def status(
    experiment: ExperimentArgument = "latest",
    watch_it: Annotated[
        bool, typer.Option("--watch", help="Refresh until the experiment is over, or not run any more.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show how far an experiment is, trial by trial."""
    if watch_it and output is not Format.TABLE:
        raise typer.BadParameter("a live view is a table; leave --format out, or --watch", param_hint="--watch")
    with open_store() as store:
        found = store.find_experiment(experiment)
        if watch_it:
            watch(store, found)
            return
        now = _snapshot(store, found.id, _EpochsToCome(store, found))
    if output in (Format.TABLE, Format.MD):
        print(now.headline, end="\n\n")
    say_what_did_not_fit(print_rows(now.rows, _columns(now.rows), output))
    if now.is_stale:
        say_how_to_go_on(found)


def watch(store: Store, experiment: ExperimentRow) -> None:
    """Shows the experiment until it is over. Watching is not the run: Ctrl-C ends it, and nothing else, quietly."""
    snapshots = _snapshots(store, experiment)
    try:
        last = _watch_live(snapshots) if sys.stdout.isatty() else _watch_in_lines(snapshots)
    except KeyboardInterrupt:
        return
    if last is not None and last.is_stale:
        say_how_to_go_on(last.experiment)


class _EpochsToCome:
    """How long trials that are under way will still take, at most: epochs that may come, at the pace of those past."""

    def __init__(self, store: Store, experiment: ExperimentRow) -> None:
        self._scheduler = experiment.spec.get("scheduler")
        self._most = {
            trial.id: self._most_epochs(trial.config)
            for trial in store.trials(experiment.id)
            if trial.status in ("queued", "running", "interrupted") and trial.config.get("training")
        }

    def _most_epochs(self, config: dict[str, Any]) -> int | None:
        """None where it has no bound, or where another growres wrote it."""
        from pydantic import ValidationError

        from growres.config.expansion import most_epochs
        from growres.config.experiment import AshaConfig, TrialConfig

        try:
            scheduler = AshaConfig.model_validate(self._scheduler) if self._scheduler else None
            return most_epochs(TrialConfig.model_validate(config), scheduler)
        except ValidationError:
            return None

    def of(self, row: dict[str, Any]) -> float | None:
        most, pace_s = self._most.get(row["trial_id"]), row["mean_epoch_s"]
        if row["status"] != "running" or most is None or pace_s is None:
            return None
        return float(max(0, most - row["epochs"]) * pace_s)


def _snapshot(store: Store, experiment_id: str, to_come: _EpochsToCome) -> _Snapshot:
    experiment = store.find_experiment(experiment_id)
    rows = [row | {"time_left_s": to_come.of(row)} for row in store.progress(experiment_id)]
    is_stale = bool(stale_among(store, [experiment]))
    is_starting = False
    if not is_stale and experiment.status == "running" and {row["status"] for row in rows} == {"queued"}:
        run = store.runs.newest(experiment.id)
        is_starting = run is not None and run.is_open and run.backend != "inline"
    return _Snapshot(experiment, rows, is_stale, is_starting)


def _snapshots(store: Store, experiment: ExperimentRow) -> Iterator[_Snapshot]:
    """The experiment as it is every so often; the last time when it is over, or stale.

    A database that is away is waited for: whoever only watches loses nothing by it.
    """
    is_away = False
    to_come = _EpochsToCome(store, experiment)
    while True:
        try:
            now = _snapshot(store, experiment.id, to_come)
        except StoreError as error:
            if not is_away:
                say(f"{error} Waiting for it.")
            is_away = True
        else:
            is_away = False
            yield now
            if now.is_last:
                return
        time.sleep(WATCH_EVERY_S)


def _columns(rows: Sequence[dict[str, Any]]) -> list[Column]:
    return without_empty(_COLUMNS, rows, "reason", "last_verdict", "time_left_s")


def _watch_live(snapshots: Iterator[_Snapshot]) -> _Snapshot | None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False)
    now = None
    # The whole table is left on the screen at the end, though a long one is cut to the screen while it changes.
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        for now in snapshots:
            lines = table_lines(
                now.rows, _columns(now.rows), width=terminal_width(sys.stdout), colored=is_colored(sys.stdout)
            )
            live.update(Text.from_ansi("\n".join([now.headline, "", *lines]), no_wrap=True), refresh=True)
    return now


def _watch_in_lines(snapshots: Iterator[_Snapshot]) -> _Snapshot | None:
    told: dict[str, str] = {}
    now = None
    for now in snapshots:
        headlines = [(now.experiment.id, now.headline)]
        for key, line in [*headlines, *((row["trial_id"], _progress_line(row)) for row in now.rows)]:
            if told.get(key) != line:
                told[key] = line
                print(line, flush=True)
    return now


def _progress_line(row: dict[str, Any]) -> str:
    """What is worth a new line when it changes: not every epoch."""
    words = [f"{row['trial_id']} {figures.text(row['variant'])}, seed {row['seed']}: {row['status']}"]
    if row["num_blocks"] is not None:
        words.append(f"{row['num_blocks']} blocks")
    if row["last_verdict"]:
        words.append(f"last step {row['last_verdict']}")
    if row["reason"]:
        words.append(figures.text(row["reason"]))
    return ", ".join(words)
