"""The JSON Schema takes what the loader takes, and refuses most of what it refuses."""

from __future__ import annotations

import json

import jsonschema
import pytest

from growres.config.problems import Problems
from growres.config.schema import experiment_schema
from growres.config.tree import plain
from growres.config.yaml_tree import Source, parse
from zoo import list_models


@pytest.fixture(scope="module")
def validator():
    return jsonschema.Draft202012Validator(experiment_schema())


def read(text):
    return plain(parse(text, Source("x.yaml"), Problems()))


def test_it_is_a_schema_of_its_dialect(validator):
    jsonschema.Draft202012Validator.check_schema(validator.schema)
    assert validator.schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(validator.schema)) == validator.schema


def test_the_documented_file_fits(validator, digits):
    assert list(validator.iter_errors(read(digits))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("model: {name: lenet5}", "model: {name: lenet5}, training: {optimizer: {lr: 1e-3}}"),
        ("model: {name: lenet5}", "model: {name: lenet5}, training: {optimizer: {name: adamw, lr: 1e-3}, augment: []}"),
        ("{name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 1e-4}", "{weight_decay: 1e-4}"),
        ("[crop]", "[{name: crop, padding: 2}, flip]"),
        ("seeds: [0, 1]", "seeds: 3"),
        ("{grid: [0.05, 0.1]}", "{loguniform: [1e-4, 1]}"),
        ("training.optimizer.lr: {grid: [0.05, 0.1]}", "model.shortcut: {choice: [option_a, option_b]}"),
        ("    model: {name: resnet14}", "    samples: 2\n    growth: null\n    model: {name: resnet14}"),
    ],
)
def test_what_people_write_fits(validator, digits, old, new):
    assert list(validator.iter_errors(read(digits.replace(old, new)))) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("epochs: 20", "epoch: 20"),
        ("epochs: 20", "epochs: 0"),
        ("epochs: 20", "epochs: '20'"),
        ("momentum: 0.9", "momentm: 0.9"),
        ("name: sgd", "name: sdg"),
        ("name: sgd", "name: adamw"),
        ("[crop]", "[crp]"),
        ("[crop]", "[{padding: 2}]"),
        ("[crop]", "crop"),
        ("name: digits", "name: two words"),
        ("source: digits", "source: digit"),
        ("seeds: [0, 1]", "seeds: []"),
        ("seeds: [0, 1]", "seeds: [-1]"),
        ("  lenet5:", "  le net:"),
        ("procedure: end_to_end, ", ""),
        ("procedure: end_to_end, ", "procedure: end_to_end, growth: {seed_epochs: 1, epochs_per_step: 1, stop: {}}, "),
        ("procedure: end_to_end, ", "procedure: growth, "),
        ("seed_epochs: 5 ", "seed_epoch: 5 "),
        ("name: round_robin", "name: round_robbin"),
        ("training.optimizer.lr", "training.optimizer.ls"),
        ("{grid: [0.05, 0.1]}", "{gird: [0.05, 0.1]}"),
        ("{grid: [0.05, 0.1]}", "{grid: []}"),
        ("{grid: [0.05, 0.1]}", "{grid: [1], uniform: [1, 2]}"),
        ("cpus_per_trial: 1", "cpus_per_trial: 0"),
        ("model: {name: lenet5}", "model: lenet5"),
    ],
)
def test_a_mistake_does_not_fit(validator, digits, refuse, old, new):
    text = digits.replace(old, new)
    assert list(validator.iter_errors(read(text)))
    assert refuse(text)


def test_it_carries_the_docstrings_and_the_zoos_names(validator):
    definitions = validator.schema["$defs"]
    assert definitions["GrowthConfig"]["properties"]["control"]["description"].startswith("Also train the parent")
    assert definitions["CosineSchedule"]["properties"]["final_lr_fraction"]["description"]
    assert definitions["ModelConfig"]["properties"]["name"]["examples"] == list_models()
    assert all(definition.get("additionalProperties") in (False, True) for definition in definitions.values())
    assert [name for name, definition in definitions.items() if definition["additionalProperties"]] == ["ModelConfig"]
