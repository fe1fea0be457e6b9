"""What a model's annotations say about a place in the file: which keys it knows, which values it takes, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from growres.config.tree import Path


@dataclass(frozen=True, slots=True)
class Spot:
    """Where pydantic's location leads: the path in the file, what may stand there, the model that it belongs to."""

    path: Path
    annotation: Any
    """None where the model knows no such key."""
    owner: type[BaseModel]


def follow(model: type[BaseModel], location: tuple[int | str, ...]) -> Spot:
    """Pydantic's location without what it adds: the tags of unions of models, the labels of other unions."""
    annotation: Any = model
    owner = model
    path: list[int | str] = []
    parts = list(location)
    while parts:
        models = models_of(annotation)
        if len(models) > 1:
            annotation = next(option for option in models if name_of(option) == parts[0])
            parts.pop(0)
        elif models:
            owner = models[0]
            path.append(parts[0])
            field = owner.model_fields.get(str(parts.pop(0)))
            if field is None:
                return Spot(tuple(path), None, owner)
            annotation = annotation_of(field)
        elif (inner := _inside(annotation, parts[0])) is not None:
            path.append(parts.pop(0))
            annotation = inner
        else:
            break
    return Spot(tuple(path), annotation, owner)


def annotation_of(field: FieldInfo) -> Any:
    """The field's annotation with its constraints, as it was written."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def alternatives(annotation: Any) -> list[tuple[Any, list[Any]]]:
    """The types that a value may have, None left out, each with its constraints."""
    constraints: list[Any] = []
    while get_origin(annotation) is Annotated:
        annotation, *more = get_args(annotation)
        for item in more:
            constraints.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    if get_origin(annotation) in (Union, UnionType):
        members = (member for member in get_args(annotation) if member is not NoneType)
        return [alternative for member in members for alternative in alternatives(member)]
    return [(annotation, constraints)]


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The models among the alternatives; several are told apart by their `name`."""
    return [kind for kind, _ in alternatives(annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)]


def name_of(model: type[BaseModel]) -> str:
    """The `name` by which a file chooses this model among others."""
    return str(get_args(model.model_fields["name"].annotation)[0])


def choices_of(annotation: Any) -> list[str]:
    """The words among the values that are allowed: those of literals, and the names of models to choose from."""
    words = [word for kind, _ in alternatives(annotation) if get_origin(kind) is Literal for word in get_args(kind)]
    models = models_of(annotation)
    return [str(word) for word in words] + ([name_of(model) for model in models] if len(models) > 1 else [])


def key_paths(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """The dotted path of every key below a section, those of each alternative included."""
    for key, field in model.model_fields.items():
        yield f"{prefix}.{key}"
        for inner in models_of(annotation_of(field)):
            yield from key_paths(inner, f"{prefix}.{key}")


def requirement(annotation: Any) -> str:
    """What a value must be, in words that follow 'must be'."""
    kinds = alternatives(annotation)
    for _, constraints in kinds:
        for constraint in constraints:
            if isinstance(constraint, BeforeValidator) and len(kinds) == 1:
                return requirement(constraint.json_schema_input_type)
    words = [_in_words(kind, constraints) for kind, constraints in kinds]
    return " or ".join(dict.fromkeys(words))


def stand_in(annotation: Any) -> Any:
    """Some value, as JSON, that may stand there: it lets the rest of a section be read around a faulty one."""
    kind, constraints = alternatives(annotation)[0]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        fields = kind.model_fields.items()
        return {key: stand_in(annotation_of(field)) for key, field in fields if field.is_required() or key == "name"}
    if get_origin(kind) is Literal:
        return get_args(kind)[0]
    if get_origin(kind) is tuple:
        return [stand_in(item) for item in get_args(kind) if item is not Ellipsis]
    if get_origin(kind) is dict:
        return {"x": stand_in(get_args(kind)[1])}
    if kind in (int, float):
        return _number_within(kind, constraints)
    return {bool: False, str: "x"}.get(kind)


def _number_within(kind: type[int] | type[float], constraints: list[Any]) -> Any:
    names = ("ge", "gt", "le", "lt")
    bounds = {name: getattr(item, name) for item in constraints for name in names if hasattr(item, name)}
    low = bounds.get("ge", bounds.get("gt", 0))
    if kind is int:
        return low + 1 if "gt" in bounds else low
    return (low + bounds.get("le", bounds.get("lt", low + 2))) / 2


def _inside(annotation: Any, part: int | str) -> Any:
    """What may stand at an index of a list; None where the annotation is no list."""
    for kind, _ in alternatives(annotation):
        if get_origin(kind) is tuple and isinstance(part, int):
            items = get_args(kind)
            return items[0] if items[-1] is Ellipsis else items[min(part, len(items) - 1)]
        if get_origin(kind) is dict and isinstance(part, str):
            return get_args(kind)[1]
    return None


def _in_words(kind: Any, constraints: list[Any]) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(repr(word) for word in get_args(kind))
    if get_origin(kind) is tuple:
        items = get_args(kind)
        return f"a list{_length('value', constraints)}" if items[-1] is Ellipsis else f"a list of {len(items)} values"
    if get_origin(kind) is dict:
        return f"a mapping{_length('entry', constraints)}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a mapping"
    if kind is bool:
        return "true or false"
    if kind is int:
        return f"a whole number{_bounds([_closed(constraint) for constraint in constraints])}"
    if kind is float:
        return f"a number{_bounds(constraints)}"
    if any(getattr(constraint, "pattern", None) for constraint in constraints):
        letters = "letters, digits, '.', '_' and '-' that begins with a letter or a digit"
        return f"a name of {letters}{_characters(constraints)}"
    return f"text{_characters(constraints)}"


def _closed(constraint: Any) -> Any:
    """Of whole numbers, more than 0 is at least 1."""
    return Ge(constraint.gt + 1) if hasattr(constraint, "gt") else constraint


def _bounds(constraints: list[Any]) -> str:
    words = []
    for constraint in constraints:
        match constraint:
            case Ge(ge=bound):
                words.append(f"of at least {_figure(bound)}")
            case Gt(gt=bound):
                words.append(f"greater than {_figure(bound)}")
            case Le(le=bound):
                words.append(f"at most {_figure(bound)}")
            case Lt(lt=bound):
                words.append(f"less than {_figure(bound)}")
    return f" {' and '.join(words)}" if words else ""


def _figure(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def _length(item: str, constraints: list[Any]) -> str:
    needs_one = any(isinstance(constraint, MinLen) and constraint.min_length == 1 for constraint in constraints)
    return f" of at least one {item}" if needs_one else ""


def _characters(constraints: list[Any]) -> str:
    most = next((constraint.max_length for constraint in constraints if isinstance(constraint, MaxLen)), None)
    return f", at most {most} characters" if most else ""
