"""The section boostresnet: what is taken, what is refused, what a trial of it costs."""

from __future__ import annotations

import jsonschema
import pytest

from growres.config.expansion import describe_plan
from growres.config.problems import Problems
from growres.config.schema import experiment_schema
from growres.config.tree import plain
from growres.config.yaml_tree import Source, parse

BOOST = """\
name: boost
dataset: {source: digits}
training: {optimizer: {name: sgd, lr: 0.1}}
variants:
  boost:
    procedure: boostresnet
    model: {name: resnet, blocks: [2, 3], widths: [4, 8]}
    boostresnet: {epochs_per_block: 4, min_gamma: 0.1, refine_epochs: 2}
"""
SWEEP = "    sweep: {boostresnet.min_gamma: {grid: [0.0, 0.2]}}\n"
SECTION = "boostresnet: {epochs_per_block: 4, min_gamma: 0.1, refine_epochs: 2}"


def test_a_trial_has_its_section_and_knows_its_most_epochs(load) -> None:
    experiment = load(BOOST + SWEEP).experiment
    assert [trial.boostresnet.min_gamma for trial in experiment.trials] == [0.0, 0.2]
    assert all(trial.growth is None and trial.procedure == "boostresnet" for trial in experiment.trials)
    plan = describe_plan(experiment, num_train=10).trials[0]
    assert (plan.epochs_min, plan.epochs_max, plan.images_max) == (4 + 2, 5 * 4 + 2, 220)


def test_without_a_threshold_every_block_is_kept(load) -> None:
    (trial,) = load(BOOST.replace("min_gamma: 0.1", "min_gamma: null")).experiment.trials
    assert trial.boostresnet.min_gamma is None


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        (SECTION, "", "missing key 'boostresnet': the procedure boostresnet needs it"),
        (
            "procedure: boostresnet",
            "procedure: growth",
            "takes no boostresnet; remove it, or write procedure: boostres",
        ),
        ("epochs_per_block: 4", "epochs_per_blok: 4", "did you mean 'epochs_per_block'"),
        ("refine_epochs: 2", "refine_epochs: -1", "refine_epochs: must be"),
        ("{name: resnet, blocks: [2, 3], widths: [4, 8]}", "{name: lenet5}", "lenet5 has no residual stages"),
        ("lr: 0.1}", "lr: 0.1}, schedule: {name: cosine, warmup_epochs: 3}", "less than boostresnet.refine_epochs"),
    ],
)
def test_a_mistake_is_said(refuse, old: str, new: str, wrong: str) -> None:
    assert old in BOOST
    assert wrong in "\n".join(refuse(BOOST.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new"), [("resnet", "resnet"), (SECTION, ""), ("procedure: boostresnet", "procedure: growth")]
)
def test_the_schema_takes_and_refuses_it(old: str, new: str) -> None:
    validator = jsonschema.Draft202012Validator(experiment_schema())
    text = BOOST.replace(old, new)
    wrong = list(validator.iter_errors(plain(parse(text, Source("x.yaml"), Problems()))))
    assert bool(wrong) == (old != new)
