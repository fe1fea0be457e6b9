"""What the driver's metrics say, as Prometheus reads them from a real Ray."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from growres.events import (
    AttemptEnded,
    AttemptStarted,
    EpochFinished,
    Event,
    GrowthStepDecided,
    TrialFinished,
)
from jobs import metrics
from jobs.metrics import MAX_LABEL_LENGTH, MAX_LABEL_SETS, OTHER, TrialMetrics

pytestmark = [pytest.mark.usefixtures("ray_cluster"), pytest.mark.xdist_group("ray")]

_numbers = count()
ENDED_NONE = {"succeeded": 0, "failed": 0, "stopped": 0, "interrupted": 0}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def name() -> str:
    """An experiment's name that no other test has used: all of them share one process's metrics."""
    return f"metrics-{next(_numbers)}"


def started(**values: Any) -> AttemptStarted:
    return AttemptStarted(**{"host": "here", "device": "cpu", "pid": 1, **values})


def epoch(number: int, *, arm: str = "network", growth_step: int = 0, **values: Any) -> EpochFinished:
    measured = {"train_loss": 0.5, "train_error": 0.1, "val_loss": 0.6, "val_error": 0.2, "lr": 0.1}
    cost = {"train_flops": 10, "images_per_s": 1000.0, "epoch_s": 1.0}
    fields: dict[str, Any] = {"growth_step": growth_step, "arm": arm, "epoch": number, **measured, **cost, **values}
    return EpochFinished(**fields)


def decided(step: int, verdict: str, *, val_error: float | None = 0.15, **values: Any) -> GrowthStepDecided:
    errors = {"train_error_before": 0.1, "train_error_candidate": 0.1, "val_error_before": 0.2}
    cost = {"num_params_before": 1, "num_params_after": 2, "epochs": 1, "train_flops": 10, "wall_s": 1.0}
    place = {"step": step, "round": step, "stage": 0, "block": 1, "initialiser": "zero_branch"}
    judged = {"verdict": verdict, "reason": "", "p_value": None, "max_logit_change": 0.0}
    fields: dict[str, Any] = {**place, **errors, **cost, **judged, **values}
    return GrowthStepDecided(val_error_candidate=val_error, val_error_control=None, **fields)


def finished(num_blocks: int | None) -> TrialFinished:
    cost = {"num_params": 1, "train_flops": 10, "epochs": 3, "wall_s": 1.0}
    fields: dict[str, Any] = {**cost, "num_blocks": num_blocks, "reason": "", "architecture": {}}
    return TrialFinished(val_error=0.125, test_error=0.2, **fields)


def scrape() -> Samples:
    """Every sample of ours that this machine's metrics port serves, by name and labels."""
    import ray

    (node,) = ray.nodes()
    assert node["NodeManagerAddress"] == "127.0.0.1"
    with urllib.request.urlopen(f"http://127.0.0.1:{node['MetricsExportPort']}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    samples: Samples = {}
    for line in text.splitlines():
        if found := re.fullmatch(r"(ray_growres_\w+)\{(.*)\} (\S+)", line):
            labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', found[2])
            ours = frozenset(label for label in labels if label[0] in ("experiment", "variant", "seed", "status"))
            samples[found[1], ours] = float(found[3])
    return samples


def wait_for(is_there: Callable[[Samples], bool], timeout_s: float = 60) -> Samples:
    """The samples once they are as awaited: Ray passes them on every few seconds."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if is_there(samples := scrape()):
            return samples
        time.sleep(0.5)
    raise AssertionError(f"not served within {timeout_s} s; there is {samples}")


def of_trial(samples: Samples, name: str, variant: str, seed: str = "0") -> dict[str, float]:
    labels = frozenset({("experiment", name), ("variant", variant), ("seed", seed)})
    return {metric: value for (metric, found), value in samples.items() if found == labels}


def tell(shown: TrialMetrics, trial_id: str, *events: Event) -> None:
    for event in events:
        shown.event(trial_id, event)


def test_a_growing_trial_is_shown_by_every_measure(name: str) -> None:
    shown = TrialMetrics(name, [("a-1", "grown", 0), ("a-2", "fixed", 1)], {"a-1": 2})
    tell(shown, "a-1", started(), epoch(1, val_error=0.25), epoch(1, arm="candidate", growth_step=1, train_loss=0.125))
    tell(shown, "a-1", decided(1, "accepted"), epoch(1, arm="control", growth_step=2, train_loss=9))
    tell(shown, "a-1", decided(2, "rejected"), decided(3, "undecided"))
    shown.event("a-1", epoch(2, arm="screen", growth_step=4, images_per_s=750.0), gpu_mem_bytes=3 * 2**30)
    shown.spool(17)
    samples = wait_for(lambda samples: ("ray_growres_spool_length", frozenset({("experiment", name)})) in samples)
    assert of_trial(samples, name, "grown") == {
        "ray_growres_val_error": 0.15,
        "ray_growres_train_loss": 0.125,
        "ray_growres_epochs": 4,
        "ray_growres_blocks": 3,
        "ray_growres_images_per_s": 750,
        "ray_growres_gpu_mem_bytes": 3 * 2**30,
        "ray_growres_proposals_accepted_total": 1,
        "ray_growres_proposals_rejected_total": 1,
        "ray_growres_proposals_undecided_total": 1,
    }
    assert samples["ray_growres_spool_length", frozenset({("experiment", name)})] == 17
    assert statuses(samples, name) == {"queued": 1, "running": 1, **ENDED_NONE}
    assert {metric for metric, labels in samples if ("experiment", name) in labels} == {
        measure.exported_name for measure in metrics.MEASURES
    }


def statuses(samples: Samples, name: str) -> dict[str, float]:
    return {
        dict(labels)["status"]: value
        for (metric, labels), value in samples.items()
        if metric == "ray_growres_trials" and ("experiment", name) in labels
    }


def test_a_retried_attempt_counts_no_proposal_twice_and_shows_nothing_old(name: str) -> None:
    shown = TrialMetrics(name, [("b-1", "grown", 0), ("b-2", "told", 0)], {"b-1": 2})
    told = [epoch(1, val_error=0.9), epoch(2, val_error=0.3), decided(1, "accepted", val_error=0.25)]
    tell(shown, "b-1", started(), *told, AttemptEnded(status="failed", reason="killed"))
    tell(shown, "b-1", started(epochs_before=2, growth_steps_before=1), *told[:1])
    samples = wait_for(lambda samples: statuses(samples, name).get("running") == 1)
    assert of_trial(samples, name, "grown")["ray_growres_val_error"] == 0.25, (
        "the first epoch is told, not shown, again"
    )
    tell(shown, "b-1", *told[1:], epoch(3, arm="candidate", growth_step=2), decided(2, "rejected"))
    tell(shown, "b-2", started(epochs_before=2, growth_steps_before=1), *told, decided(2, "accepted"))
    samples = wait_for(lambda samples: "ray_growres_proposals_accepted_total" in of_trial(samples, name, "told"))
    again = of_trial(samples, name, "grown")
    assert again["ray_growres_proposals_accepted_total"] == again["ray_growres_proposals_rejected_total"] == 1
    assert (again["ray_growres_epochs"], again["ray_growres_blocks"]) == (3, 3)
    by_another_driver = "what a driver before this one has counted is not counted by this one"
    assert of_trial(samples, name, "told")["ray_growres_proposals_accepted_total"] == 1, by_another_driver


def test_what_is_over_trains_no_images_and_holds_no_memory(name: str) -> None:
    shown = TrialMetrics(name, [("c-1", "grown", 0), ("c-2", "fixed", 0)])
    for trial_id, num_blocks in (("c-1", 4), ("c-2", None)):
        tell(shown, trial_id, started())
        shown.event(trial_id, epoch(1), gpu_mem_bytes=2**30)
        tell(shown, trial_id, finished(num_blocks), AttemptEnded(status="succeeded", reason=""))
    samples = wait_for(lambda samples: statuses(samples, name).get("succeeded") == 2)
    over = of_trial(samples, name, "grown")
    assert (over["ray_growres_images_per_s"], over["ray_growres_gpu_mem_bytes"]) == (0, 0)
    assert (over["ray_growres_val_error"], over["ray_growres_blocks"]) == (0.125, 4)
    assert "ray_growres_blocks" not in of_trial(samples, name, "fixed")
    assert statuses(samples, name) == {"queued": 0, "running": 0, **ENDED_NONE, "succeeded": 2}


def test_labels_are_bounded_in_number_and_length(name: str) -> None:
    long = "v" * 500
    trials = [("d-0", long, 0)] + [(f"d-{seed}", "many", seed) for seed in range(1, MAX_LABEL_SETS + 50)]
    shown = TrialMetrics(name, trials)
    for trial_id, _, _ in trials:
        tell(shown, trial_id, started(), epoch(1))
    samples = wait_for(lambda samples: bool(of_trial(samples, name, OTHER, OTHER)))
    shown_labels = {
        labels for metric, labels in samples if metric == "ray_growres_epochs" and ("experiment", name) in labels
    }
    assert len(shown_labels) == MAX_LABEL_SETS + 1
    assert max(len(value) for labels in shown_labels for _, value in labels) <= MAX_LABEL_LENGTH
    assert {key for labels in shown_labels for key, _ in labels} == {"experiment", "variant", "seed"}


def test_nothing_that_goes_wrong_reaches_the_driver(name: str) -> None:
    shown = TrialMetrics(name, [("e-1", 'odd "name"\n\x1b', 0)])
    shown.event("no-such-trial", epoch(1))
    tell(shown, "e-1", started(), epoch(1, val_error=float("nan"), train_loss=float("inf")))
    tell(shown, "e-1", decided(1, "accepted", val_error=None), decided(2, "no such verdict"), epoch(2, val_error=0.5))
    shown.event("e-1", epoch(3), gpu_mem_bytes="much")  # type: ignore[arg-type]
    shown.spool("long")  # type: ignore[arg-type]
    tell(shown, "e-1", epoch(4, val_error=0.125))
    samples = wait_for(lambda samples: 0.125 in errors_of(samples, name))
    assert errors_of(samples, name) == [0.125]


def errors_of(samples: Samples, name: str) -> list[float]:
    mine = ("experiment", name)
    return [
        value for (metric, labels), value in samples.items() if metric == "ray_growres_val_error" and mine in labels
    ]
