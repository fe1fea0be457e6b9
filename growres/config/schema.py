"""The JSON Schema of an experiment file, for editors: completion, descriptions, and most mistakes while one types.

It describes what a person writes, which is less than what a trial needs: the file's `training` and a variant's complete
each other, so in neither is any key required. Rules over several keys are only in `growres validate`.
"""

from __future__ import annotations

import copy
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

import zoo
from growres.config.experiment import (
    LONGEST_NAME,
    NAME_PATTERN,
    BoostResNetConfig,
    GrowthConfig,
    LayerwiseConfig,
    ModelConfig,
    TrainingConfig,
)
from growres.config.experiment_file import ExperimentFile, VariantEntry
from growres.config.sweeps import KINDS, SETTABLE_KEYS

Schema = dict[str, Any]

_SECTIONS: dict[str, type[BaseModel]] = {
    "growth": GrowthConfig,
    "layerwise": LayerwiseConfig,
    "boostresnet": BoostResNetConfig,
}
"""The procedures that have a section of their name, which the others refuse."""

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def experiment_schema() -> Schema:
    """The file's schema, draft 2020-12; the descriptions are the docstrings of the models."""
    models: list[type[BaseModel]] = [
        ExperimentFile,
        VariantEntry,
        TrainingConfig,
        *_SECTIONS.values(),
        ModelConfig,
        *KINDS.values(),
    ]
    _, generated = models_json_schema([(model, "validation") for model in models], ref_template="#/$defs/{model}")
    definitions: dict[str, Schema] = generated["$defs"]
    for definition in list(definitions.values()):
        _require_names(definition, definitions)
    training = _completable(definitions.pop("TrainingConfig"), definitions)
    definitions["Training"] = training
    definitions["ModelConfig"]["properties"]["name"]["examples"] = zoo.list_models()
    definitions["Sweep"] = _sweep()
    definitions["VariantEntry"] = _variant(definitions["VariantEntry"])
    return {"$schema": _DIALECT, **_file(definitions.pop("ExperimentFile")), "$defs": definitions}


def _file(schema: Schema) -> Schema:
    keys = schema["properties"]
    keys["seeds"].pop("minLength")  # pydantic's word for the list's length, meant for what the list is read into
    keys["training"] = {"$ref": "#/$defs/Training", "description": keys["training"]["description"]}
    keys["variants"] |= {"propertyNames": {"pattern": NAME_PATTERN, "maxLength": LONGEST_NAME}}
    keys["variants"]["additionalProperties"] = {"$ref": "#/$defs/VariantEntry"}
    return schema | {"title": "growres experiment"}


def _variant(schema: Schema) -> Schema:
    keys = schema["properties"]
    for key, definition in (("model", "ModelConfig"), ("training", "Training"), ("sweep", "Sweep")):
        description = {"description": keys[key]["description"]} if "description" in keys[key] else {}
        keys[key] = {"$ref": f"#/$defs/{definition}", **description}
    rules = []
    for section, model in _SECTIONS.items():
        keys[section]["anyOf"] = [{"$ref": f"#/$defs/{model.__name__}"}, {"type": "null"}]
        rules.append(
            {
                "if": {"properties": {"procedure": {"const": section}}},
                "then": {"required": [section]},
                "else": {"properties": {section: {"type": "null"}}},
            }
        )
    keys["twins"]["uniqueItems"] = True
    without_twins = {
        "if": {"properties": {"procedure": {"const": "end_to_end"}}},
        "then": {"properties": {"twins": {"maxItems": 0}}},
    }
    return schema | {"allOf": [*rules, without_twins]}


def _sweep() -> Schema:
    values = {"oneOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in KINDS.values()]}
    return {
        "type": "object",
        "properties": {key: values for key in SETTABLE_KEYS},
        "patternProperties": {r"^model\.[^.]+$": values},
        "additionalProperties": False,
    }


def _require_names(schema: Any, definitions: dict[str, Schema]) -> None:
    """A mapping that is one of several must say which, though each model knows its own name."""
    if isinstance(schema, list):
        for item in schema:
            _require_names(item, definitions)
    elif isinstance(schema, dict):
        for reference in schema.pop("discriminator", {}).get("mapping", {}).values():
            model = definitions[reference.removeprefix("#/$defs/")]
            model["required"] = sorted({"name", *model.get("required", [])})
        for item in schema.values():
            _require_names(item, definitions)


def _completable(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The mapping with no key required, nor any in the mappings within it; the items of lists stay whole.

    Without its name a mapping fits several models, so that one of them must fit, not exactly one.
    """
    schema = {key: value for key, value in copy.deepcopy(schema).items() if key != "required"}
    for inner in schema["properties"].values():
        if "oneOf" not in inner:
            continue
        options = [option["$ref"].removeprefix("#/$defs/") for option in inner.pop("oneOf")]
        inner["anyOf"] = [{"$ref": f"#/$defs/Partial{option}"} for option in options]
        for option in options:
            definitions[f"Partial{option}"] = _completable(definitions[option], definitions)
    return schema
