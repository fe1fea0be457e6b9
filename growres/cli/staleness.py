"""Experiments that the store calls running, and whose driver is gone: how they are told, and what is said of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from growres.cli.talk import command, say

if TYPE_CHECKING:
    from growres.store import ExperimentRow, Store

STALE = "stale"
"""What the status `running` is shown as where nobody runs the experiment any more."""


def stale_among(store: Store, experiments: Collection[ExperimentRow]) -> set[str]:
    """The ids of those whose driver has vanished: by its missing heartbeat, or at once where it was on this machine."""
    from growres.home import growres_home
    from jobs.driver_lock import driver_is_gone

    running = [experiment.id for experiment in experiments if experiment.status == "running"]
    if not running:
        return set()
    runs = store.runs.newest_of(running)
    gone = set()
    for experiment_id in running:
        run = runs.get(experiment_id)
        folder = growres_home() / "runs" / experiment_id
        if run is not None and (not run.is_open or run.is_stale or driver_is_gone(run, folder)):
            gone.add(experiment_id)
    # A driver may have ended properly since the experiments were read.
    return {experiment_id for experiment_id in gone if store.find_experiment(experiment_id).status == "running"}


def say_how_to_go_on(experiment: ExperimentRow) -> None:
    """On stderr, so that a pipe gets rows only."""
    say(
        f"{experiment.name} ({experiment.id}) is not being run: its driver is gone. "
        f"Go on with: {command()} resume {experiment.id}"
    )
