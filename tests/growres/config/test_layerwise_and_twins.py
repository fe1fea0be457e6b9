from __future__ import annotations

import re

import jsonschema
import pytest

from growres.config.expansion import describe_plan
from growres.config.problems import Problems
from growres.config.schema import experiment_schema
from growres.config.tree import plain
from growres.config.yaml_tree import Source, parse

LAYERWISE = """\
name: rivals
dataset: {source: digits}
seeds: [0, 1]
training:
  epochs: 20
  optimizer: {name: sgd, lr: 0.1}
  schedule: {name: cosine, warmup_epochs: 1}
variants:
  greedy:
    procedure: layerwise
    model: {name: resnet, blocks: [2, 1], widths: [8, 16]}
    layerwise: {epochs_per_layer: 5, depth: 2}
    twins: [same_epochs, same_flops]
  grown:
    procedure: growth
    model: {name: resnet, blocks: [1, 1], widths: [8, 16]}
    growth: {seed_epochs: 3, epochs_per_step: 2, stop: {max_epochs: 9}}
    twins: [same_flops]
  fixed: {procedure: end_to_end, model: {name: resnet8}}
"""


def fits(text: str) -> bool:
    validator = jsonschema.Draft202012Validator(experiment_schema())
    return validator.is_valid(plain(parse(text, Source("x.yaml"), Problems())))


def test_a_layerwise_trial_has_its_section_and_exactly_its_epochs(load) -> None:
    experiment = load(LAYERWISE).experiment
    trial = experiment.trials[0]
    assert trial.procedure == "layerwise" and trial.growth is None
    assert trial.layerwise is not None and (trial.layerwise.epochs_per_layer, trial.layerwise.depth) == (5, 2)
    plan = describe_plan(experiment, num_train=10).trials[0]
    assert (plan.epochs_min, plan.epochs_max, plan.images_max) == (15, 15, 150)


@pytest.mark.parametrize("name", ["resnet14", "{name: plain, blocks: [1, 1, 1, 1, 1, 1], widths: [4, 4, 4, 4, 4, 4]}"])
def test_any_residual_network_and_its_plain_twin_can_be_trained_in_layers(load, name: str) -> None:
    model = name if name.startswith("{") else f"{{name: {name}}}"
    text = LAYERWISE.replace("{name: resnet, blocks: [2, 1], widths: [8, 16]}", model)
    assert describe_plan(load(text).experiment).trials[0].epochs_max == 6 * 5


def test_its_keys_can_be_swept(load) -> None:
    sweep = "    sweep: {layerwise.depth: {grid: [1, 3]}}\n    twins: [same_epochs, same_flops]\n"
    trials = load(LAYERWISE.replace("    twins: [same_epochs, same_flops]\n", sweep)).experiment.trials
    assert [trial.layerwise.depth for trial in trials[:4] if trial.layerwise] == [1, 1, 3, 3]
    assert [trial.twin_of for trial in trials[4:8]] == [1, 2, 3, 4], "one twin for each point and seed"


def test_twins_stand_after_the_trials_that_they_are_twins_of(load) -> None:
    trials = load(LAYERWISE).experiment.trials
    assert [(trial.variant, trial.seed, trial.twin_of) for trial in trials] == [
        *[("greedy", 0, None), ("greedy", 1, None)],
        *[("greedy.same_epochs", 0, 1), ("greedy.same_epochs", 1, 2)],
        *[("greedy.same_flops", 0, 1), ("greedy.same_flops", 1, 2)],
        *[("grown", 0, None), ("grown", 1, None)],
        *[("grown.same_flops", 0, 7), ("grown.same_flops", 1, 8)],
        *[("fixed", 0, None), ("fixed", 1, None)],
    ]
    twin = trials[2]
    assert (twin.procedure, twin.layerwise, twin.training.epochs) == ("end_to_end", None, None)
    assert twin.training.schedule == trials[0].training.schedule


def test_the_plan_counts_twins_as_its_parents(load) -> None:
    plan = describe_plan(load(LAYERWISE).experiment).trials
    assert [(trial.twin, trial.epochs_min, trial.epochs_max) for trial in plan[2:9:2]] == [
        ("same_epochs", 15, 15),
        ("same_flops", 1, 15),
        (None, 3, 9),
        ("same_flops", 1, 9),
    ]


def test_twins_want_a_schedule_that_fits_any_number_of_epochs(load, refuse) -> None:
    multistep = LAYERWISE.replace("{name: cosine, warmup_epochs: 1}", "{name: multistep, milestones: [1], factor: 0.1}")
    assert any("multistep cannot know" in line for line in refuse(multistep))
    load(multistep.replace("    twins: [same_epochs, same_flops]\n", "").replace("    twins: [same_flops]\n", ""))


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("    layerwise: {epochs_per_layer: 5, depth: 2}\n", "", "missing key 'layerwise'"),
        ("epochs_per_layer: 5, ", "", "missing key 'epochs_per_layer'"),
        ("depth: 2", "depth: 4", r"layerwise\.depth: must be 1, 2 or 3|layerwise\.depth: must be"),
        ("procedure: layerwise", "procedure: growth", "takes no layerwise"),
        ("name: resnet8}", "name: resnet8}, layerwise: {epochs_per_layer: 1}", "end_to_end takes no layerwise"),
        ("    growth: {", "    layerwise: {epochs_per_layer: 1}\n    growth: {", "growth takes no layerwise"),
        ("name: resnet8}", "name: resnet8}, twins: [same_epochs]", "end_to_end takes no twins"),
        ("[same_flops]", "[same_flop]", r"twins\.0: must be .*did you mean 'same_flops'"),
        ("[same_flops]", "[same_flops, same_flops]", r"twins\.1: same_flops stands in the list twice"),
    ],
)
def test_a_mistake_is_named_by_the_loader_and_does_not_fit_the_schema(load, refuse, old: str, new: str, wrong: str):
    assert LAYERWISE.count(old) == 1 and fits(LAYERWISE)
    text = LAYERWISE.replace(old, new)
    assert any(re.search(wrong, line) for line in refuse(text)), refuse(text)
    assert not fits(text)


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("warmup_epochs: 1", "warmup_epochs: 5", r"must be less than layerwise.epochs_per_layer \(5\)"),
        ("{name: resnet, blocks: [2, 1], widths: [8, 16]}", "{name: vgg11}", "vgg11 has no residual stages to train"),
        ("  fixed:", "  greedy.same_flops:", r"variants\.greedy\.same_flops: the twins of greedy have this name"),
    ],
)
def test_what_no_schema_knows_the_loader_does(refuse, old: str, new: str, wrong: str) -> None:
    lines = refuse(LAYERWISE.replace(old, new))
    assert any(re.search(wrong, line) for line in lines), lines
