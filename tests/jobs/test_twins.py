from __future__ import annotations

import os
import signal

import pytest
from typer.testing import CliRunner

from growres.cli.app import app
from growres.events import AttemptEnded, EpochFinished, Event, TrialFinished
from growres.store import Store, TrialRow
from jobs import inline
from jobs.submission import resume, submit
from jobs.trial import run_attempt
from tests.jobs.conftest import DIVERGING, FIXED, GROWN, SpecWriter, Witness, science, undisturbed_science

TWINS = {"twins": ["same_epochs", "same_flops"]}
SMALL = {**GROWN, "growth": {"seed_epochs": 1, "epochs_per_step": 1, "control": True, "stop": {"max_epochs": 5}}}
LAYERWISE = {
    "procedure": "layerwise",
    "model": {"name": "resnet", "blocks": [1, 1], "widths": [4, 4]},
    "layerwise": {"epochs_per_layer": 1, "depth": 2},
}
BOOSTRESNET = {  # which drops its second block: four epochs of each are trained, and one block is the final network
    "procedure": "boostresnet",
    "model": {"name": "resnet", "blocks": [1, 2], "widths": [8, 8]},
    "training": {"batch_size": 25, "optimizer": {"name": "sgd", "lr": 0.5, "momentum": 0.9}, "augment": []},
    "boostresnet": {"epochs_per_block": 4, "min_gamma": 0.0},
}
NEVER_GROWN = {**SMALL, "training": DIVERGING["training"], **TWINS}


def trials(experiment: str = "latest") -> dict[str, TrialRow]:
    with Store.open() as store:
        return {trial.variant: trial for trial in store.trials(store.find_experiment(experiment).id)}


def flops_of_epochs(trial: TrialRow) -> list[int]:
    with Store.open() as store:
        return [epoch["train_flops"] for epoch in store.epochs(trial.id)]


@pytest.mark.parametrize(
    ("parent", "epochs"),
    [(SMALL, 5), (LAYERWISE, 2), pytest.param(BOOSTRESNET, 8, marks=pytest.mark.slow)],
    ids=["growth", "layerwise", "boostresnet"],
)
def test_twins_train_the_final_network_for_the_epochs_and_the_flops_of_their_parent(
    write_spec: SpecWriter, parent: dict[str, object], epochs: int
) -> None:
    waiting: list[dict[str, TrialRow]] = []
    witness = Witness(lambda trial_id, event: waiting.append(trials()) if isinstance(event, TrialFinished) else None)
    outcome = submit(write_spec({"v": {**parent, **TWINS}}), backend="inline", progress=witness)
    assert (outcome.status, outcome.num_succeeded) == ("succeeded", 3)
    before = waiting[0]  # when the parent had just finished
    assert [before[name].status for name in ("v.same_epochs", "v.same_flops")] == ["queued", "queued"]
    assert [before[name].config["training"]["epochs"] for name in ("v.same_epochs", "v.same_flops")] == [None, None]

    found = trials()
    grown, same_epochs, same_flops = found["v"], found["v.same_epochs"], found["v.same_flops"]
    assert (same_epochs.twin_of, same_epochs.twin) == (grown.id, "same_epochs")
    assert (same_flops.twin_of, same_flops.twin) == (grown.id, "same_flops")
    assert (grown.twin_of, grown.twin) == (None, None)
    for twin in (same_epochs, same_flops):
        assert twin.procedure == "end_to_end" and twin.seed == grown.seed
        assert twin.architecture == grown.architecture
        assert (twin.num_params, twin.num_blocks) == (grown.num_params, grown.num_blocks)
        assert twin.initial_blocks == grown.num_blocks
    assert same_epochs.epochs == grown.epochs == len(flops_of_epochs(grown)) == epochs
    (flops_of_an_epoch,) = set(flops_of_epochs(same_flops))
    assert grown.train_flops is not None and same_flops.train_flops is not None
    assert abs(same_flops.train_flops - grown.train_flops) <= flops_of_an_epoch / 2


def test_a_twin_of_few_flops_still_trains_beyond_its_warm_up(write_spec: SpecWriter) -> None:
    training = {
        "batch_size": 50,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "schedule": {"name": "cosine", "warmup_epochs": 2.5},
    }
    layerwise = {"epochs_per_layer": 3, "depth": 1}  # of each block's training, most of the network is left out
    variant = {**LAYERWISE, "layerwise": layerwise, "training": training, "twins": ["same_flops"]}
    path = write_spec({"v": {**variant, "model": {"name": "resnet", "blocks": [1, 1], "widths": [2, 16]}}})
    assert submit(path, backend="inline").num_succeeded == 2
    assert trials()["v.same_flops"].epochs == 3


def test_each_seed_has_its_own_twin(write_spec: SpecWriter) -> None:
    submit(write_spec({"v": {**SMALL, "twins": ["same_epochs"]}}, seeds=[3, 5]), backend="inline")
    with Store.open() as store:
        found = store.trials(store.find_experiment("latest").id)
    assert [(trial.seed, trial.twin_of) for trial in found] == [
        (3, None),
        (5, None),
        (3, found[0].id),
        (5, found[1].id),
    ]


def test_the_twin_of_a_trial_that_failed_is_stopped_with_the_reason(write_spec: SpecWriter) -> None:
    outcome = submit(write_spec({"grown": NEVER_GROWN, "fixed": FIXED}), backend="inline")
    assert (outcome.status, outcome.num_succeeded, outcome.num_failed) == ("failed", 1, 1)
    twin = trials()["grown.same_flops"]
    assert twin.status == "stopped" and twin.attempt == 0
    assert twin.reason == f"its parent {trials()['grown'].id} failed: there is no final network to train"
    assert resume("latest", backend="inline").status == "failed", "a second look changes nothing"
    assert trials()["grown.same_flops"].status == "stopped"


def test_a_parent_that_is_tried_again_and_succeeds_gets_its_twins(
    write_spec: SpecWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(task):
        yield from ()
        raise MemoryError("the machine has no memory left")

    path = write_spec({"v": {**SMALL, "twins": ["same_epochs"]}}, max_failures=0)
    monkeypatch.setattr(inline, "run_attempt", failing)
    assert submit(path, backend="inline").status == "failed"
    assert trials()["v.same_epochs"].status == "stopped"
    monkeypatch.setattr(inline, "run_attempt", run_attempt)
    assert resume("latest", failed=True, backend="inline").num_succeeded == 2


@pytest.mark.parametrize(
    ("kind", "at"),
    [pytest.param(TrialFinished, 1, marks=pytest.mark.slow), (AttemptEnded, 1), (EpochFinished, 7)],
    ids=["the parent's result", "between the waves", "the first twin's second epoch"],
)
def test_interrupted_before_or_within_the_twins_it_ends_as_if_it_had_not_been(
    write_spec: SpecWriter, kind: type[Event], at: int
) -> None:
    path = write_spec({"v": {**SMALL, **TWINS}})
    undisturbed = undisturbed_science(path)
    seen: list[Event] = []

    def interrupt(trial_id: str, event: Event) -> None:
        if isinstance(event, kind):
            seen.append(event)
            if len(seen) == at:
                os.kill(os.getpid(), signal.SIGINT)

    outcome = submit(path, backend="inline", progress=Witness(interrupt))
    assert outcome.status == "stopped"
    assert trials()["v.same_flops"].stopped_by == "person"
    assert resume(outcome.experiment_id, backend="inline").status == "succeeded"
    assert science(outcome.experiment_id) == undisturbed


def test_show_says_whose_twin_a_trial_is_and_the_plan_what_it_will_train(write_spec: SpecWriter) -> None:
    path = write_spec({"v": {**SMALL, **TWINS}})
    plan = _run("submit", str(path), "--dry-run")
    assert "as many epochs as its parent" in plan and "as many FLOPs as its parent" in plan
    assert "1 variant, 3 trials" in _run("validate", str(path))
    submit(path, backend="inline")
    found = trials()
    shown = _run("show", found["v.same_epochs"].id)
    assert f"{found['v'].id} (same_epochs)" in shown and "twin of" in shown
    assert "twin of" not in _run("show", found["v"].id)


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


def test_a_layerwise_curve_begins_with_one_block(write_spec: SpecWriter) -> None:
    submit(write_spec({"v": LAYERWISE}), backend="inline")
    with Store.open() as store:
        curve = store.growth_curve(trials()["v"].id)
    assert [(row["step"], row["num_blocks"], row["verdict"]) for row in curve] == [(0, 1, None), (1, 2, "accepted")]
