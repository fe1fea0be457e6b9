"""A variant laid over the file's defaults, expanded over its sweep, and checked at each point."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel

import zoo
from growres.config.checking import Checked, check
from growres.config.experiment import (
    LONGEST_NAME,
    NAME_PATTERN,
    BoostResNetConfig,
    GrowthConfig,
    LayerwiseConfig,
    ModelConfig,
    Name,
    Procedure,
    TrainingConfig,
    Twin,
    VariantDatasetConfig,
)
from growres.config.experiment_file import VariantEntry
from growres.config.problems import Problem, Problems, is_swept
from growres.config.rules import VariantPoint, Violation, variant_violations
from growres.config.shape import requirement
from growres.config.sweeps import Grid, Sweep, laid_at_point, read_sweep
from growres.config.tree import (
    Node,
    Path,
    Place,
    Unreadable,
    deepest,
    laid_over,
    plain,
    set_by_override,
    written_at,
)

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Variant:
    """A named entry of the file, and the file's training defaults that are laid under its own."""

    name: str
    node: Node
    defaults: Node | None
    sweep: Sweep
    samples: int

    @property
    def num_points(self) -> int:
        """The points of its sweep; one without a sweep."""
        return self.sweep.num_points(self.samples)


def read_variant(name: str, node: Node, defaults: Node | None, problems: Problems) -> Variant:
    """The variant with its sweep; its sections are still unchecked."""
    if len(name) > LONGEST_NAME or not re.fullmatch(NAME_PATTERN, name):
        problems.at_key(node, f"a variant must have {requirement(Name)}")
    samples = node.get("samples")
    if samples is not None and not _draws(node.get("sweep")):
        wrong = "nothing is drawn: samples needs choice, uniform, loguniform or randint in the sweep"
        problems.at_value(samples, wrong)
    number = samples.value if samples and isinstance(samples.value, int) else 1
    sweep = read_sweep(node.get("sweep"), problems)
    return Variant(name, node, defaults, sweep, max(number, 1))


def _draws(sweep: Node | None) -> bool:
    entries = sweep.entries.values() if sweep else ()
    return any(kind != Grid.kind for entry in entries for kind in entry.entries)


def _with_recipe(defaults: Node | None, recipe: Node) -> Node:
    """The file's defaults with the recipe's keys in place of theirs, whole sections, and over it what --set said."""
    if defaults is None:
        return recipe
    replaced = replace(defaults, value={**defaults.entries, **recipe.entries})
    said = set_by_override(defaults)
    return replaced if said is None else laid_over(replaced, said)


def find_recipe(model: str, recipe: str) -> Mapping[str, Any] | None:
    """The `training` section of a network's recipe; None where the zoo has no such network or recipe."""
    try:
        return zoo.describe(model).recipes[recipe].training
    except (zoo.ModelError, KeyError):
        return None


def hidden_by_recipe(defaults: Node | None, variant: Node, recipe: Mapping[str, Any]) -> list[str]:
    """The keys of the file's `training` that a recipe replaces by something else, where neither the variant nor --set
    has the last word."""
    own = variant.get("training")
    said = own.entries if own else {}
    return [
        key
        for key, default in (defaults.entries if defaults else {}).items()
        if key in recipe and key not in said and default.place.order[0] == 0 and plain(default) != recipe[key]
    ]


def _under_training(node: Node, layer: Node | None) -> Node:
    """The variant with a training section laid under its own."""
    if layer is None or not isinstance(node.value, dict):
        return node
    own = node.get("training")
    training = layer if own is None else laid_over(layer, own)
    return replace(node, value={**node.value, "training": training})


class VariantCheck:
    """Checks the points of one variant. A section that no sweep touches is the same node at each, and checked once."""

    def __init__(self, variant: Variant, experiment: str, problems: Problems) -> None:
        self._variant = variant
        self._experiment = experiment
        self._problems = problems
        self._checked: dict[Node, Checked[Any]] = {}
        self._complete: dict[tuple[str | None, str | None], Node] = {}
        """The variant with what stands under its training, for each recipe and model, which a sweep may change."""

    def points(self) -> Iterator[tuple[dict[str, Any], Node, VariantPoint]]:
        """The swept values of each point, the variant with them, and its sections; problems are reported as met."""
        variant = self._variant
        swept = variant.sweep.points(variant.samples, experiment=self._experiment, variant=variant.name)
        twins: tuple[Twin, ...] = ()
        for index, values in enumerate(swept):
            node = laid_at_point(self._with_defaults(laid_at_point(variant.node, values)), values)
            if index == 0:
                entry = check(VariantEntry, node, self._problems).model
                twins = entry.twins if entry else ()
            yield {key: plain(value) for key, value in values.items()}, node, self._point(node, twins)

    def _with_defaults(self, at_point: Node) -> Node:
        """The variant as it was written, with the file's defaults and the recipe of the point's model under it."""
        recipe_node = at_point.get("recipe")
        recipe, model = _text(recipe_node), _text(deepest(at_point, ("model", "name")))
        key = (recipe, model)
        if key not in self._complete:
            training = find_recipe(model, recipe) if model is not None and recipe is not None else None
            defaults = self._variant.defaults
            if training is not None and recipe_node is not None:
                defaults = _with_recipe(defaults, written_at(recipe_node, training))
            self._complete[key] = _under_training(self._variant.node, defaults)
        return self._complete[key]

    def _point(self, node: Node, twins: tuple[Twin, ...]) -> VariantPoint:
        growth_node, layerwise_node = _written(node.get("growth")), _written(node.get("layerwise"))
        boostresnet_node = _written(node.get("boostresnet"))
        model = self._section(ModelConfig, node.get("model"))
        training = self._section(TrainingConfig, node.get("training"))
        growth = self._section(GrowthConfig, growth_node)
        layerwise = self._section(LayerwiseConfig, layerwise_node)
        boostresnet = self._section(BoostResNetConfig, boostresnet_node)
        dataset = self._section(VariantDatasetConfig, _written(node.get("dataset")))
        recipe = _text(node.get("recipe"))
        if isinstance(node.value, dict) and node.get("training") is None and recipe is None:
            self._problems.at_key(node, "missing key 'training', here or at the top level of the file")
        point = VariantPoint(
            procedure=_procedure(node.get("procedure")),
            model=model.model,
            recipe=recipe,
            training=training.model,
            growth=growth.model,
            has_growth=growth_node is not None,
            layerwise=layerwise.model,
            has_layerwise=layerwise_node is not None,
            boostresnet=boostresnet.model,
            has_boostresnet=boostresnet_node is not None,
            dataset=dataset.model,
            twins=twins,
        )
        reported = Reported.of(
            model=model, training=training, growth=growth, layerwise=layerwise, boostresnet=boostresnet, dataset=dataset
        )
        for violation in variant_violations(point):
            report(violation, node, reported, self._problems)
        return point

    def _section(self, model: type[ModelT], node: Node | None) -> Checked[ModelT]:
        if node is None:
            return Checked(None, frozenset())
        if node not in self._checked:
            self._checked[node] = check(model, node, self._problems)
        return self._checked[node]


def _written(node: Node | None) -> Node | None:
    """The section, unless its value is null, which is as good as none."""
    return node if node is not None and node.value is not None else None


def _text(node: Node | None) -> str | None:
    return node.value if node is not None and isinstance(node.value, str) else None


def _procedure(node: Node | None) -> Procedure | None:
    for procedure in get_args(Procedure):
        if node is not None and node.value == procedure:
            return cast(Procedure, procedure)
    return None


@dataclass(frozen=True, slots=True)
class Reported:
    """What was found wrong already; a rule that concerns any of it is not held against the writer too."""

    faulty: frozenset[Place] = frozenset()
    missing: frozenset[Path] = frozenset()

    @staticmethod
    def of(**sections: Checked[Any]) -> Reported:
        """What was reported of the sections, whose names begin their paths."""
        return Reported(
            frozenset(place for section in sections.values() for place in section.faulty),
            frozenset((name, *path) for name, section in sections.items() for path in section.missing),
        )

    def concerns(self, root: Node, path: Path) -> bool:
        """Whether the value at the path, or one that it lies in, was reported."""
        nodes = [deepest(root, path[:length]) for length in range(len(path) + 1)]
        return any(path[:length] in self.missing for length in range(len(path) + 1)) or any(
            node.place in self.faulty or isinstance(node.value, Unreadable) for node in nodes
        )


def report(violation: Violation, root: Node, reported: Reported, problems: Problems) -> None:
    """Says what rule is broken, at the key that the writer most likely has to change."""
    if any(reported.concerns(root, path) for path in violation.paths):
        return
    nodes = [(node, _is_at(root, path, node)) for path in violation.paths for node in [deepest(root, path)]]
    node, exact = max(nodes, key=lambda found: found[1] and _precedence(found[0]))
    of_value = exact and not violation.of_key and not isinstance(node.value, dict)
    place = node.place if of_value else node.key_place
    problems.add(Problem(place, node.path, violation.wrong, hint=_way_out(violation, root, node)))


def _way_out(violation: Violation, root: Node, blamed: Node) -> str:
    """What to write instead; and in which variant, where that is not told by the place that is blamed."""
    path = violation.paths[0]
    written = deepest(root, path)
    key, example = ".".join(map(str, path[:2])), f", {violation.remedy}" if violation.remedy else ""
    if path[0] == "training" and written.path[2:] == ("recipe",):
        return f"; so says the recipe of the variant {root.path[-1]}: give it its own {key}{example}"
    where = f" in the variant {root.path[-1]}" if written.path[:1] != blamed.path[:1] == ("training",) else ""
    return f"; write another {key}{where}{example}" if violation.remedy else ""


def _is_at(root: Node, path: Path, node: Node) -> bool:
    return not path or deepest(root, path[:-1]).get(path[-1]) is node


def _precedence(node: Node) -> int:
    """A value that was tried in a sweep or given by --set is what broke a rule, whatever else it is about."""
    if is_swept(node.path):
        return 3
    return 2 if node.place.order[0] > 0 else 1
