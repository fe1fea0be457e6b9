"""Experiments that the store calls running, and whose driver is gone: how they are told, and what is said of them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from growres.cli.talk import command, say

if TYPE_CHECKING:
    from growres.store import ExperimentRow, Store

STALE = "stale"
"""What `running` and `queued` are shown as where no driver has the experiment any more, or none ever came."""

_UNDER_WAY = ("queued", "running")


def stale_among(store: Store, experiments: Collection[ExperimentRow]) -> set[str]:
    """The ids of those whose driver has vanished: by its missing heartbeat, or at once where it was on this machine."""
    from growres.home import run_folder
    from jobs.driver_lock import driver_is_gone

    called = {experiment.id: experiment.status for experiment in experiments if experiment.status in _UNDER_WAY}
    if not called:
        return set()
    gone = set()
    for experiment_id, run in store.runs.newest_of(called).items():
        folder = run_folder(experiment_id)
        has_ended = not run.is_open and called[experiment_id] == "running"
        if has_ended or run.is_stale or driver_is_gone(run, folder):
            gone.add(experiment_id)
    # A driver may have ended properly since the experiments were read.
    return {experiment_id for experiment_id in gone if store.find_experiment(experiment_id).status in _UNDER_WAY}


def say_how_to_go_on(experiment: ExperimentRow) -> None:
    """On stderr, so that a pipe gets rows only."""
    say(
        f"{experiment.name} ({experiment.id}) is not being run: its driver is gone. What it said last: "
        f"{command()} logs {experiment.id}. Go on with: {command()} resume {experiment.id}"
    )
