"""One network on the terminal: what `growres zoo show` prints."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
import typer
import yaml

import zoo
from growres.cli import figures
from growres.cli.tables import Column, Format, figure, is_colored, print_json, print_rows
from growres.cli.talk import say_what_did_not_fit
from growres.errors import ConfigError
from zoo.counting import Counts, LayerCounts, seen_in_image
from zoo.explained import Claim, Subject, explain, subject_of

_TEXT_WIDTH = 100
_LONGEST_PERIOD = 40
"""Layers of the longest block whose repetition is recognised."""

LAYER_COLUMNS = (
    Column(key="name", title="layer", min_width=16, tells_apart=True),
    Column(key="kind", min_width=12, wraps=True, leave_out=1),
    Column(key="output_shape", title="output", show=lambda shape: figures.shape(shape)),
    figure("num_params", title="params", show=figures.whole),
    figure("connections", show=figures.whole, leave_out=3),
    figure("macs", title="MACs", show=figures.whole),
    Column(key="receptive_field", title="sees", show=lambda field: figures.pixels(field), leave_out=2),
)
_PART_COLUMNS = (
    Column(key="name", title="part", min_width=12, tells_apart=True),
    Column(key="output_shape", title="output", show=lambda shape: figures.shape(shape)),
    figure("num_params", title="params", show=figures.whole),
    figure("params_share", title="share", show=figures.percent),
    figure("macs", title="MACs", show=figures.whole),
    figure("macs_share", title="share", show=figures.percent),
    Column(key="receptive_field", title="sees", show=lambda field: figures.pixels(field), leave_out=1),
)
_PUBLISHED_COLUMNS = (
    Column(key="data", title="data set"),
    figure("top1", title="top-1 error", show=figures.percent, wraps=True),
    figure("top5", title="top-5 error", show=figures.percent, wraps=True),
    Column(key="protocol", min_width=12, wraps=True),
    Column(key="source", min_width=12, wraps=True),
)
_ARGUMENT_COLUMNS = (
    Column(key="name", title="argument"),
    Column(key="default"),
    Column(key="allowed"),
    Column(key="description", title="what it does"),
)


def print_network(
    name: str,
    kwargs: Mapping[str, Any],
    *,
    image_size: int | None,
    channels: int | None,
    classes: int | None,
    all_layers: bool,
    output: Format,
) -> None:
    """Prints a network's portrait in the format; what is not given is as the network was published.

    Raises:
        ConfigError: the network has no shape of its own, and none is given.
        ModelError: the network cannot be made so.
    """
    entry = zoo.describe(name)
    if missing := [argument.name for argument in entry.arguments if argument.required and argument.name not in kwargs]:
        shape = " ".join(f"--set '{argument}=[2, 2]'" for argument in missing)
        raise ConfigError(f"Cannot show {name}: it has no shape of its own. Give it one, as in {shape}")
    torch.set_num_threads(1)  # more wait for each other on a machine that is busy, and here there is little to share
    in_channels, published_size, _ = entry.input_shape
    subject = subject_of(
        name,
        kwargs,
        num_classes=classes or entry.num_classes,
        in_channels=channels or in_channels,
        image_size=image_size or published_size,
    )
    match output:
        case Format.JSON:
            print_json(_document(subject))
        case Format.CSV:
            print_rows([asdict(layer) for layer in subject.counts.layers], LAYER_COLUMNS, output)
        case _:
            _Portrait(output).print(subject, all_layers=all_layers)


def _document(subject: Subject) -> dict[str, Any]:
    entry, counts = subject.entry, seen_in_image(subject.counts, subject.image_size)
    return {
        "name": entry.name,
        "title": entry.title,
        "year": entry.year,
        "paper": entry.paper,
        "remark": entry.remark,
        "settings": subject.settings,
        "input_shape": [subject.in_channels, subject.image_size, subject.image_size],
        "num_classes": subject.num_classes,
        "num_params": counts.num_params,
        "macs": counts.macs,
        "connections": counts.connections,
        "depth": counts.depth,
        "shortest_path": counts.shortest_path,
        "receptive_field": list(counts.receptive_field),
        "min_image_size": entry.min_image_size,
        "published": [asdict(error) for error in entry.published],
        "recipes": {name: asdict(recipe) for name, recipe in entry.recipes.items()},
        "parts": _part_rows(counts),
        "layers": [asdict(layer) for layer in counts.layers],
        "claims": [asdict(claim) for claim in explain(subject)],
    }


class _Portrait:
    """A network told in sections, for a terminal or as Markdown."""

    def __init__(self, output: Format) -> None:
        self._output = output
        self._colored = is_colored(sys.stdout)
        self._width = min(_TEXT_WIDTH, shutil.get_terminal_size((_TEXT_WIDTH, 24)).columns)
        self._missing: dict[str, None] = {}
        """The headings of columns that did not fit, in the order in which they were met."""

    def print(self, subject: Subject, *, all_layers: bool) -> None:
        """Writes every section; what takes long comes last, so that the rest is there to be read meanwhile."""
        entry = subject.entry
        self._headline(f"{entry.name}: {entry.title}, {entry.year}")
        self._say(f"{entry.paper}.")
        print()
        for line in _facts(subject):
            self._say(line)
        if entry.published:
            self._section("Published", [asdict(error) for error in entry.published], _PUBLISHED_COLUMNS)
        self._arguments(list(_argument_rows(subject)))
        counts = seen_in_image(subject.counts, subject.image_size)
        rows = [{**asdict(layer), "name": _short_name(layer)} for layer in counts.layers]
        self._section("Layers", [*(rows if all_layers else folded(rows)), _total(counts)], LAYER_COLUMNS)
        self._section("Parts", _part_rows(counts), _PART_COLUMNS)
        print()
        self._recipes(subject)
        self._headline("What it brought, and why that works")
        sys.stdout.flush()
        for number, claim in enumerate(explain(subject), start=1):
            self._claim(number, claim)
        say_what_did_not_fit(list(self._missing))

    def _arguments(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table in Markdown; on a terminal a list, whose sentences would be cut in a table."""
        if rows and self._output is Format.MD:
            self._section("Arguments of the model", rows, _ARGUMENT_COLUMNS)
        elif rows:
            print()
            self._headline("Arguments of the model")
            for row in rows:
                self._say(f"{row['name']}: {row['allowed']}; by default {row['default']}", hanging=4)
                self._say(f"    {row['description']}", hanging=4)

    def _recipes(self, subject: Subject) -> None:
        if not subject.entry.recipes:
            return
        self._headline("Recipes of training")
        for name, recipe in subject.entry.recipes.items():
            self._say(f"recipe: {name} ({recipe.cost})")
            for line in _as_yaml(recipe.training, width=self._width):
                print(f"    {line}")
            if recipe.differs:
                self._say(f"Differs: {recipe.differs}.")
            print()

    def _claim(self, number: int, claim: Claim) -> None:
        title = f"{number}. {claim.title}"
        print(f"### {title}\n" if self._output is Format.MD else self._bold(title))
        self._say(claim.text)
        print()
        columns = [
            Column(
                key=str(index),
                title=heading or " ",
                show=_cell,
                right=_is_figure([row[index] for row in claim.rows]),
                wraps=True,
            )
            for index, heading in enumerate(claim.columns)
        ]
        rows = [{str(index): cell for index, cell in enumerate(row)} for row in claim.rows]
        print_rows(rows, columns, self._output)
        print()

    def _section(self, title: str, rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> None:
        print()
        self._headline(title)
        self._missing |= dict.fromkeys(print_rows(rows, columns, self._output))

    def _headline(self, text: str) -> None:
        wrapped = textwrap.fill(text, self._width)
        print(f"## {text}\n" if self._output is Format.MD else self._bold(wrapped))

    def _bold(self, text: str) -> str:
        return typer.style(text, bold=True) if self._colored else text

    def _say(self, text: str, *, hanging: int = 0) -> None:
        wrapped = textwrap.fill(text, self._width, subsequent_indent=" " * hanging)
        print(text if self._output is Format.MD else wrapped)


def _facts(subject: Subject) -> Iterator[str]:
    counts = subject.counts
    size = f"{subject.image_size}x{subject.image_size}"
    yield (
        f"For images of {subject.in_channels}x{size} and {subject.num_classes:,} classes: "
        f"{counts.num_params:,} parameters, {counts.macs:,} MACs, {counts.connections:,} connections."
    )
    fixed = sum(layer.macs > 0 and layer.num_params == 0 for layer in counts.layers)
    trained = f" ({counts.depth - fixed} whose weights are trained, {fixed} with fixed codes)" if fixed else ""
    yield (
        f"{counts.depth} layers that hold weights on the longest path{trained}, {counts.shortest_path} on the "
        f"shortest; {_sight(subject)}."
    )
    if subject.entry.remark:
        yield subject.entry.remark
    chooses_itself = subject.entry.argument("small_input") is not None and "small_input" not in subject.kwargs
    if chooses_itself and subject.settings["small_input"]:
        own = subject.entry.input_shape[1]
        yield f"This is the form for small images; --image-size {own} shows the one for large images."
    smallest = subject.entry.min_image_size
    if smallest is not None:
        yield f"The smallest image is {smallest}x{smallest}."


def _sight(subject: Subject) -> str:
    """What a value of the last map sees, and what its windows would cover if the image went on."""
    reach = subject.counts.receptive_field
    seen = seen_in_image(subject.counts, subject.image_size).receptive_field
    beyond = f", which is all of them: its windows reach over {figures.pixels(reach)}" if reach != seen else ""
    return f"a value of the last map sees up to {figures.pixels(seen)} pixels{beyond}"


def _argument_rows(subject: Subject) -> Iterator[dict[str, Any]]:
    for argument in subject.entry.arguments:
        default = "none: it must be given" if argument.required else figures.text(argument.default)
        if argument.only_with is not None:
            key, values = argument.only_with
            default += f"; only with {key}: {' or '.join(values)}"
        yield {
            "name": argument.name,
            "default": default,
            "allowed": argument.allowed,
            "description": argument.description,
        }


def _part_rows(counts: Counts) -> list[dict[str, Any]]:
    return [
        {
            **asdict(part),
            "params_share": part.num_params / counts.num_params,
            "macs_share": part.macs / counts.macs,
        }
        for part in counts.parts
    ]


def _short_name(layer: LayerCounts) -> str:
    """The layer's name from its stage on, without the container that holds the stages."""
    start = layer.name.find(f"{layer.part}.")
    return layer.name[start:] if start > 0 else layer.name


def _total(counts: Counts) -> dict[str, Any]:
    return {
        "name": "total",
        "kind": "",
        "output_shape": (),
        "num_params": counts.num_params,
        "connections": counts.connections,
        "macs": counts.macs,
        "receptive_field": counts.layers[-1].receptive_field,
    }


def _as_yaml(training: Mapping[str, Any], *, width: int) -> list[str]:
    """The section as a person would write it: a key a line, what it holds beside it."""
    # PyYAML breaks a line behind the entry that passes the width, and our lines are indented.
    at_last = 110 if width >= _TEXT_WIDTH else width - 28
    text: str = yaml.safe_dump(dict(training), sort_keys=False, default_flow_style=None, width=at_last)
    return text.splitlines()


def _cell(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return figures.whole(value)
    return figures.decimal(value) if isinstance(value, float) else figures.text(value)


def _is_figure(cells: Sequence[Any]) -> bool:
    """Whether a column holds numbers, or texts that begin with one, such as 4.1x and 37.7%."""
    texts = [cell for cell in cells if isinstance(cell, str) and cell]
    return all(text[0] in "+->0123456789" and "x" not in text[:-1] and " " not in text for text in texts)


# ---------------------------------------------------------------------------------------------------------- folding

Row = Mapping[str, Any]


def folded(rows: Sequence[Row]) -> list[Row]:
    """Layers with each run of like blocks told once: the first of them, then a line that stands for the others."""
    told: list[Row] = []
    start = 0
    while start < len(rows):
        begins_a_block = start == 0 or _block(rows[start]) != _block(rows[start - 1])
        period, repetitions = _longest_run(rows, start) if begins_a_block else (1, 1)
        told += rows[start : start + period]
        if repetitions > 1:
            told.append(_stand_in(rows[start + period : start + period * repetitions], period, repetitions - 1))
        start += period * repetitions
    return told


def _longest_run(rows: Sequence[Row], start: int) -> tuple[int, int]:
    """The period and number of the repetitions that begin here and save the most lines; (1, 1) where none does."""
    best, most_saved = (1, 1), 1
    for period in range(2, min(_LONGEST_PERIOD, (len(rows) - start) // 2) + 1):
        pattern = [_likeness(row) for row in rows[start : start + period]]
        repetitions = 1
        while [_likeness(row) for row in rows[start + repetitions * period :][:period]] == pattern:
            repetitions += 1
        saved = (repetitions - 1) * period - 1
        if saved > most_saved:
            best, most_saved = (period, repetitions), saved
    return best


def _block(row: Row) -> tuple[str, ...]:
    """The stage and the numbers in a layer's name."""
    return row["part"], *(part for part in row["name"].split(".") if part.isdigit())


def _likeness(row: Row) -> tuple[Any, ...]:
    """What like layers of like blocks have in common: all but the block's number and what they see of the image."""
    place = ".".join("#" if part.isdigit() else part for part in row["name"].split("."))
    stage = row["part"].rstrip("0123456789")
    place = place.replace(row["part"], stage, 1)
    return place, stage, row["kind"], row["output_shape"], row["num_params"], row["macs"]


def _block_name(layer: str) -> str:
    """The name of the block that a layer stands in: up to the last number in the layer's own name, if it has one."""
    parts = layer.split(".")
    last = max((place for place, part in enumerate(parts) if part.isdigit()), default=len(parts))
    return ".".join(parts[: last + 1])


def _stand_in(rows: Sequence[Row], period: int, repetitions: int) -> Row:
    last = rows[-1]
    return {
        **last,
        "name": f"... to {_block_name(last['name'])}",
        "kind": f"{figures.number_of(repetitions, 'time')} more the same {period} layers",
        "num_params": sum(row["num_params"] for row in rows),
        "connections": sum(row["connections"] for row in rows),
        "macs": sum(row["macs"] for row in rows),
    }
