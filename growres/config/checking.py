"""A part of the document checked against its model, every error in words at the node that it is about."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from growres.config.experiment import DatasetConfig, ResourcesConfig, TrainingConfig
from growres.config.experiment_file import ExperimentFile, VariantEntry
from growres.config.problems import Problem, Problems, did_you_mean, listed, shown
from growres.config.shape import Spot, choices_of, follow, key_paths, models_of, requirement, stand_in
from growres.config.tree import Node, Path, Place, Unreadable, deepest, plain
from growres.config.yaml_tree import LARGEST_INT

ModelT = TypeVar("ModelT", bound=BaseModel)

_ABSENT = {"missing", "union_tag_not_found"}
_NOUNS = {"augment": "augmentation", "accept": "acceptance rule"}


@dataclass(frozen=True, slots=True)
class Checked(Generic[ModelT]):
    """What a part of the document holds, with stand-ins where it is at fault: enough to ask the other rules of it."""

    model: ModelT | None
    """None where no stand-in would do."""
    faulty: frozenset[Place] = frozenset()
    """Where values were reported; a rule over them would only say so twice."""
    missing: frozenset[Path] = frozenset()
    """Keys that were reported as missing, from the root of what was checked."""

    @property
    def sound(self) -> ModelT | None:
        """The model, if nothing in it is a stand-in."""
        return None if self.faulty or self.missing else self.model


def check(model: type[ModelT], node: Node, problems: Problems, *, partial: bool = False) -> Checked[ModelT]:
    """The node as a model; what is wrong with it goes to `problems`.

    Args:
        partial: keys may be missing, as in defaults that a variant completes.
    """
    values = plain(node)
    try:
        return Checked(_parsed(model, values))
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False)
    faulty = {place for error in errors if (place := _report(model, error, node, problems, partial))}
    missing = {follow(model, error["loc"]).path for error in errors if error["type"] == "missing"}
    try:
        parsed = _parsed(model, _mended(model, values, errors))
    except ValidationError:
        parsed = None
    return Checked(parsed, frozenset(faulty), frozenset(missing))


def _parsed(model: type[ModelT], values: Any) -> ModelT:
    # As JSON, strict means what a person means: a list is a tuple, 1 is a float, but "1" and true are no numbers.
    return model.model_validate_json(json.dumps(values), strict=True)


def _mended(model: type[BaseModel], values: Any, errors: list[ErrorDetails]) -> Any:
    """The values without unknown keys, and with stand-ins for those that are wrong or missing."""
    document = {"root": values}
    for error in errors:
        spot = follow(model, error["loc"])
        inside: Any = document
        for part in ("root", *spot.path)[:-1]:
            inside = inside[part]
        last = spot.path[-1] if spot.path else "root"
        if error["type"] == "extra_forbidden":
            del inside[last]
        elif isinstance(inside, list) and last == len(inside):
            inside.append(stand_in(spot.annotation))
        else:
            inside[last] = stand_in(spot.annotation)
    return document["root"]


def _report(model: type[BaseModel], error: ErrorDetails, root: Node, problems: Problems, partial: bool) -> Place | None:
    """Says what is wrong. Returns the place of a value that is at fault, None where a key is, or is missing."""
    spot = follow(model, error["loc"])
    node = deepest(root, spot.path)
    if isinstance(node.value, Unreadable):
        return node.place
    if partial and error["type"] in _ABSENT:
        return None
    match error["type"]:
        case "extra_forbidden":
            allowed = list(spot.owner.model_fields)
            name = spot.path[-1]
            misplaced = spot.owner is ExperimentFile and name in VariantEntry.model_fields
            guess = _place_elsewhere(str(name), spot.path[:-1]) or did_you_mean(name, allowed)
            guess = f"; {name} belongs in a variant" if misplaced else guess
            problems.at_key(node, f"unknown key; allowed: {listed(allowed)}{guess}")
            return None
        case "missing" if isinstance(spot.path[-1], str):
            problems.at_key(node, f"missing key {spot.path[-1]!r}")
            return None
        case "union_tag_not_found":
            problems.at_key(node, f"missing key 'name'; allowed: {listed(choices_of(spot.annotation))}")
        case "union_tag_invalid":
            node = node.get("name") or node
            _unknown_name(node, spot.path, choices_of(spot.annotation), problems)
        case "literal_error" if spot.path[-1] == "name":
            _unknown_name(node, spot.path[:-1], choices_of(spot.annotation), problems)
        case "missing":  # of a list that is too short
            _unfit_value(node, follow(model, error["loc"][:-1]), problems)
        case "value_error":
            problems.at_value(node, str(error["ctx"]["error"]))
        case _:
            _unfit_value(node, spot, problems)
    return node.place


def _place_elsewhere(name: str, path: Path) -> str:
    """`, did you mean 'training.optimizer.lr'?` where the key stands in another section, the nearest first."""
    known = [*key_paths(TrainingConfig, "training"), *key_paths(DatasetConfig, "dataset")]
    known += key_paths(ResourcesConfig, "resources")
    found = [key for key in known if key.endswith(f".{name}") and name != "name"]
    found.sort(key=lambda key: not key.startswith(f"{path[0] if path else ''}."))
    return f", did you mean {found[0]!r}?" if found else ""


def _unknown_name(node: Node, path: Path, choices: list[str], problems: Problems) -> None:
    """The name of an optimizer, a schedule and so on that does not exist."""
    key = next((str(part) for part in reversed(path) if isinstance(part, str)), "name")
    guess = did_you_mean(node.value, choices)
    wrong = f"unknown {_NOUNS.get(key, key)} {shown(node)}; allowed: {listed(choices)}{guess}"
    problems.add(Problem(node.place, node.path, wrong))


def _unfit_value(node: Node, spot: Spot, problems: Problems) -> None:
    annotation = spot.annotation
    if len(models_of(annotation)) > 1 and not isinstance(node.value, dict):
        choices = choices_of(annotation)
        problems.at_value(node, f"must be a mapping with a name, which is one of: {listed(choices)}")
        return
    wanted = requirement(annotation)
    hint = did_you_mean(node.value, choices_of(annotation)) or _slip(node.value, wanted)
    problems.at_value(node, f"must be {wanted}", hint=hint)


def _slip(value: Any, wanted: str) -> str:
    """What a right value with the wrong look should be written as."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_INT
    if is_whole and wanted.startswith("a whole number"):
        return f", did you mean {int(value)}?"
    if isinstance(value, str) and "number" in wanted and value.replace(".", "", 1).isdigit():
        return ", write it without quotes"
    if isinstance(value, int | float) and wanted.startswith(("text", "a name")):
        return ", write it in quotes"
    if isinstance(value, str) and "true or false" in wanted and value.lower() in ("on", "off", "yes", "no"):
        return f", did you mean {'true' if value.lower() in ('on', 'yes') else 'false'}?"
    return ""
