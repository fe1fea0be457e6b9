"""`--needed`: trials whose like the store has finished already are not run again."""

from __future__ import annotations

import json
from typing import Any

import growres
from growres.store import Store, TrialRow


def stop_what_is_not_needed(store: Store, experiment_id: str) -> dict[str, str]:
    """Stops the queued trials of an experiment whose like has succeeded before; returns the like of each.

    Two trials are alike if they have the same variant configuration, seed, data (by fingerprint) and growres version;
    what resources they have does not matter. A trial that has a twin which is needed is needed itself, for its network.
    """
    experiment = store.find_experiment(experiment_id)
    assert experiment.data_fingerprint is not None, "what is alike is told by the data"
    done = store.succeeded_on(experiment.data_fingerprint, growres.__version__)
    finished = {_likeness(trial): trial.id for trial in done if trial.twin_of is None}
    twins_of = {trial.id: trial for trial in done}
    finished |= {
        _likeness_of_twin(trial, twins_of[trial.twin_of]): trial.id for trial in done if trial.twin_of in twins_of
    }
    trials = {trial.id: trial for trial in store.trials(experiment_id)}
    alike: dict[str, str] = {}
    for trial in trials.values():
        parent = trials.get(trial.twin_of or "")
        key = _likeness(trial) if parent is None else _likeness_of_twin(trial, parent)
        if trial.status == "queued" and key in finished:
            alike[trial.id] = finished[key]
    needed_parents = {trial.twin_of for trial in trials.values() if trial.twin_of and trial.id not in alike}
    alike = {trial_id: like for trial_id, like in alike.items() if trial_id not in needed_parents}
    for trial_id, like in alike.items():
        store.mark_trial(trial_id, "stopped", f"not needed: {like}, its like, has succeeded", stopped_by="needed")
    return alike


def _likeness(trial: TrialRow) -> str:
    config = {key: value for key, value in trial.config.items() if key not in ("resources", "dataset")}
    noise = (trial.config.get("dataset") or {}).get("label_noise")
    return json.dumps([config, noise], sort_keys=True)


def _likeness_of_twin(twin: TrialRow, parent: TrialRow) -> str:
    """A twin's own model and epochs are known when its parent is done; what it will be is told by its parent."""
    return json.dumps([twin.twin, twin.variant, twin.seed, _likeness(parent)])


def summary(alike: dict[str, Any], num_trials: int) -> str:
    """For a person: how many trials are spared."""
    examples = ", ".join(f"{trial_id} (as {like})" for trial_id, like in list(alike.items())[:3])
    more = ", ..." if len(alike) > 3 else ""
    return f"{len(alike)} of {num_trials} trials are not needed, for their likes have succeeded: {examples}{more}"
