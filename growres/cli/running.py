"""Drivers and what one asks of them: `growres drive`, `stop` and `logs`."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import growres
from growres.cli import figures
from growres.cli.experiments import ExperimentArgument, open_store
from growres.cli.talk import command, say
from growres.errors import EXIT_INTERRUPTED, ClusterError, NotFoundError, StoreError

if TYPE_CHECKING:
    from growres.store import RunRow, Store

_LOOK_EVERY_S = 1.0


def drive(
    experiment: ExperimentArgument,
    run: Annotated[
        int | None, typer.Option("--run", min=1, help="Which run of the experiment this process is.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="Of a running Ray; auto: of the one this is in.")
    ] = None,
    dashboard_host: Annotated[str, typer.Option("--dashboard-host")] = "127.0.0.1",
    store: Annotated[
        str | None, typer.Option("--store", help="The database's address, where GROWRES_DATABASE_URL has none.")
    ] = None,
    home: Annotated[
        str | None,
        typer.Option("--home", metavar="HOST:PATH", help="GROWRES_HOME on that host, where none is set there."),
    ] = None,
    needed: Annotated[bool, typer.Option("--needed", help="Skip trials whose like has succeeded.")] = False,
) -> None:
    """Be the driver of a stored experiment, and log to stdout. This is what a detached run and a cluster's job do.

    Where an earlier driver is out of sight, it waits until that one is gone for
    good, and goes on. It may therefore be started again as often as one likes.
    """
    from growres.cli.logbook import on_stdout
    from growres.store.database import URL_VARIABLE

    if store and not os.environ.get(URL_VARIABLE):
        os.environ[URL_VARIABLE] = store
    host, _, path = (home or "").partition(":")
    if host == socket.gethostname():
        os.environ.setdefault("GROWRES_HOME", path)
    for package in ("growres", "jobs", "zoo"):
        logging.getLogger(package).setLevel(min(logging.INFO, logging.getLogger(package).level))
    from jobs.driver import RaySettings, drive_stored

    log = on_stdout()
    log.note(f"growres {growres.__version__} from {Path(growres.__file__).parent}, process {os.getpid()}")
    status = drive_stored(
        experiment,
        run,
        RaySettings(address=address, dashboard_host=dashboard_host, needed=needed),
        log,
    )
    if status == "failed":
        raise typer.Exit(1)
    if status == "interrupted":
        raise typer.Exit(EXIT_INTERRUPTED)


def stop(
    experiment: ExperimentArgument = "latest",
    now: Annotated[
        bool, typer.Option("--now", help="Do not wait for the running epochs; what they did so far is lost.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it has stopped, or at once.")] = True,
) -> None:
    """Stop an experiment, wherever it runs: the epochs under way end, checkpoints and results stay, resume goes on."""
    with open_store() as store:
        from jobs import control

        found = store.find_experiment(experiment)
        said = control.stop(store, found.id, "now" if now else "epoch")
        say(f"{found.name} ({found.id}): {said}")
        run = store.runs.newest(found.id)
        if wait and run is not None and run.is_open:
            try:
                run = _wait_for_end(store, run)
            except KeyboardInterrupt:
                say("It goes on stopping; only the waiting has ended.")
                raise
            again = {"succeeded": None, "failed": f"retry {found.id} --failed"}.get(run.status, f"resume {found.id}")
            say(f"{found.name} ({found.id}): {run.status}." + (f" Go on with: {command()} {again}" if again else ""))


def _wait_for_end(store: Store, run: RunRow) -> RunRow:
    while run.is_open and not run.is_stale:
        time.sleep(_LOOK_EVERY_S)
        run = store.runs.newest(run.experiment_id) or run
    return run


def logs(
    experiment: ExperimentArgument = "latest",
    trial: Annotated[
        str | None, typer.Option("--trial", metavar="TRIAL", help="Only of this trial: k3f9xa-3, or its number, 3.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the experiment is over.")] = False,
) -> None:
    """Show what an experiment's driver has logged: every epoch and verdict, and the tracebacks of what failed."""
    from jobs import control

    with open_store() as store:
        found = store.find_experiment(experiment)
        run = store.runs.newest(found.id)
        if run is None:
            raise NotFoundError(f"There is no log of {found.id}: no driver has ever had it. See: growres resume")
        trial_id = None
        if trial is not None:
            trial_id = store.find_trial(trial if not trial.isdecimal() else f"{found.id}-{trial}").id
        if follow:
            _follow(store, run, trial_id)
        else:
            _print_new(control.log_of(store, run), 0, trial_id)


def _follow(store: Store, run: RunRow, trial_id: str | None) -> None:
    """Prints what comes, until the run is over. A store or a cluster that is away is waited for: nothing is lost."""
    from jobs import control

    num_shown, is_away, job_id = 0, False, run.job_id
    try:
        while True:
            try:
                newest = store.runs.newest(run.experiment_id) or run
                is_over = not newest.is_open or newest.is_stale
                if newest.job_id != job_id:  # a log of its own
                    num_shown, job_id = 0, newest.job_id
                num_shown = _print_new(control.log_of(store, newest), num_shown, trial_id)
                is_away = False
            except (StoreError, ClusterError) as error:
                if not is_away:
                    say(f"{error} Waiting for it.")
                is_away = True
            else:
                if is_over:
                    return
            time.sleep(_LOOK_EVERY_S)
    except KeyboardInterrupt:
        return


def _print_new(text: str, num_shown: int, trial_id: str | None) -> int:
    """Prints the whole lines after those shown before; returns how many there are now."""
    from jobs import control

    lines = text[: text.rfind("\n") + 1].splitlines()
    new = lines[num_shown:]
    # A traceback follows its line, which may have been shown already: whose it is, only the lines before it tell.
    chosen = (
        new if trial_id is None else list(control.of_trial(lines, trial_id))[_num_of(lines[:num_shown], trial_id) :]
    )
    for line in chosen:
        print(figures.text(line))
    sys.stdout.flush()
    return len(lines)


def _num_of(lines: list[str], trial_id: str) -> int:
    from jobs import control

    return sum(1 for _ in control.of_trial(lines, trial_id))
