"""`growres zoo`: the networks that an experiment can name, explained, compared, and their history."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from growres.cli import figures
from growres.cli.tables import Column, Format, FormatOption, figure, print_rows
from growres.cli.talk import command, say, say_what_did_not_fit
from growres.errors import ConfigError, NotFoundError, nearest

if TYPE_CHECKING:
    from zoo import ModelEntry

app = typer.Typer(help="The networks that an experiment can name: listed, explained, compared.", no_args_is_help=True)

# ------------------------------------------------------------------------------------------------------------- list

_LIST_COLUMNS = (
    Column(key="name"),
    figure("year", leave_out=2),
    figure("depth"),
    figure("num_params", title="params", show=figures.count),
    figure("macs", title="MACs", show=figures.count),
    figure("top1_error", title="top-1", show=figures.percent),
    figure("top5_error", title="top-5", show=figures.percent),
    Column(key="measured_on", title="on"),
    Column(key="protocol", min_width=16, leave_out=1),
    Column(key="source", min_width=16, leave_out=3),
)


@app.command("list")
def list_networks(
    patterns: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATTERN]...", help="Names, beginnings of names, or shell patterns such as '*resnet*'."
        ),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """List the networks: year, depth, size, work, and the error that was published for them, with its protocol.

    Counts are for the images and classes that a network was published for. The residual networks for small images and
    their twins exist at any depth of the form 6n + 2, beyond those listed.
    """
    import zoo

    wanted = {name for pattern in patterns or ["*"] for name in _matching(pattern)}
    names = [name for name in zoo.list_models() if name in wanted]
    names += sorted(wanted.difference(names))  # of depths that are not listed
    missing = print_rows([_row(zoo.describe(name)) for name in names], _LIST_COLUMNS, output)
    if output is Format.TABLE:
        say_what_did_not_fit(missing)
        say(f"\nOne of them, layer by layer and explained: {command(at_home=False)} zoo show {names[-1]}")


def _matching(pattern: str) -> list[str]:
    """The names that a pattern means: those that match; of a bare word that is no name, those that begin with it, or
    else those that hold it.

    Raises:
        NotFoundError: there are none; the message names the nearest.
    """
    import zoo

    word = pattern.lower()
    is_bare = not any(sign in word for sign in "*?[")
    for widened in (word, f"{word}*", f"*{word}*") if is_bare and word else (word,):
        if found := zoo.list_models(widened):
            return found
    if is_bare:
        return [_known(word, "list")]
    like = nearest(word.strip("*?"), zoo.list_models())
    guess = f" The nearest is {like}." if like else ""
    raise NotFoundError(f"No network matches {pattern!r}.{guess} See them all: growres zoo list")


def _known(name: str, verb: str) -> str:
    """The name, which may be a depth that exists though it is not listed, such as resnet26.

    Raises:
        NotFoundError: there is none; the message names the nearest.
    """
    import zoo

    try:
        return zoo.describe(name).name
    except zoo.ModelError as error:
        reason = str(error).removesuffix("; see zoo list")
        raise NotFoundError(f"Cannot {verb} {name}: {reason}. See them all: growres zoo list") from error


def _row(entry: ModelEntry) -> dict[str, Any]:
    from dataclasses import asdict

    from zoo.counted import totals

    counts = totals(entry)
    quoted = entry.published[0] if entry.published else None
    return {
        "name": entry.name,
        "title": entry.title,
        "year": entry.year,
        "depth": counts and counts.depth,
        "num_params": counts and counts.num_params,
        "macs": counts and counts.macs,
        "input_shape": list(entry.input_shape),
        "num_classes": entry.num_classes,
        "top1_error": quoted and quoted.top1,
        "top5_error": quoted and quoted.top5,
        "measured_on": quoted and quoted.data,
        "protocol": quoted and quoted.protocol,
        "source": quoted and quoted.source,
        "published": [asdict(error) for error in entry.published],
        "grows": entry.grows,
        "min_image_size": entry.min_image_size,
        "arguments": [
            {
                "name": argument.name,
                "required": argument.required,
                "default": argument.default,
                "allowed": argument.allowed,
                "description": argument.description,
            }
            for argument in entry.arguments
        ],
        "recipes": list(entry.recipes),
        "paper": entry.paper,
    }


# ------------------------------------------------------------------------------------------------------------- show

ImageSizeOption = Annotated[int | None, typer.Option("--image-size", min=1, max=4096, help="Pixels a side.")]
ChannelsOption = Annotated[int | None, typer.Option("--channels", min=1, max=64, help="1 is grey, 3 is RGB.")]
ClassesOption = Annotated[int | None, typer.Option("--classes", min=2, max=1_000_000, help="The number of classes.")]


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network, such as resnet20.")],
    image_size: ImageSizeOption = None,
    channels: ChannelsOption = None,
    classes: ClassesOption = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="An argument of the network, as in width=0.25. Repeatable."),
    ] = None,
    all_layers: Annotated[
        bool, typer.Option("--all-layers", help="Every layer a line, also where blocks repeat themselves.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Explain a network: its layers, where its weights and its work are, what it brought and why that works.

    Every figure is computed now, from the network, for the images and classes given; by default those that it was
    published for. It takes a few seconds. CSV has the layers only.
    """
    from growres.cli.network import print_network

    print_network(
        _known(name, "show"),
        _model_arguments(arguments or []),
        image_size=image_size,
        channels=channels,
        classes=classes,
        all_layers=all_layers,
        output=output,
    )


def _model_arguments(settings: Sequence[str]) -> dict[str, Any]:
    """The network's arguments of `--set KEY=VALUE`, their values read as YAML."""
    from growres.config.problems import Problems
    from growres.config.tree import plain
    from growres.config.yaml_tree import Source, parse

    problems = Problems()
    given: dict[str, Any] = {}
    for index, setting in enumerate(settings):
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting}: must be KEY=VALUE, as in width=0.25")
        given[key.strip()] = plain(parse(value, Source(f"--set {setting}", override=index), problems))
    problems.raise_if_any()
    return given


# ---------------------------------------------------------------------------------------------------------- compare

_COMPARE_COLUMNS = (
    Column(key="name"),
    figure("num_params", title="params", show=figures.count),
    figure("macs", title="MACs", show=figures.count),
    figure("depth"),
    figure("shortest_path", title="shortest path", leave_out=2),
    Column(key="receptive_field", title="sees", show=lambda field: figures.pixels(field), leave_out=1),
    figure("images_per_s", title="images/s", show=figures.whole),
    figure("spread", title="slowest..quickest", leave_out=3),
)


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Two networks or more.")],
    image_size: Annotated[int, typer.Option("--image-size", min=1, max=4096, help="Pixels a side.")] = 32,
    channels: Annotated[int, typer.Option("--channels", min=1, max=64, help="1 is grey, 3 is RGB.")] = 3,
    classes: Annotated[int, typer.Option("--classes", min=2, max=1_000_000, help="The number of classes.")] = 10,
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, max=65_536)] = 32,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, max=3600, help="How long each network is trained for its speed.")
    ] = 3.0,
    cpus: Annotated[int, typer.Option("--cpus", min=1, max=1024, help="Threads, as resources.cpus_per_trial.")] = 1,
    gpu: Annotated[bool, typer.Option("--gpu", help="Train on the GPU.")] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Put networks side by side for the same images, with the speed at which this machine trains them.

    The speed is that of growres's own loop with SGD, in the precision that precision: auto would take, measured in
    turns: the median of five.
    """
    from growres.cli.zoo_comparison import compare_networks

    rows = compare_networks(
        [_known(name, "compare") for name in names],
        image_shape=(channels, image_size, image_size),
        num_classes=classes,
        batch_size=batch_size,
        seconds=seconds,
        cpus=cpus,
        gpu=gpu,
    )
    say_what_did_not_fit(print_rows(rows, _COMPARE_COLUMNS, output))


# ---------------------------------------------------------------------------------------------------------- history

_HISTORY_COLUMNS = (
    figure("year"),
    Column(key="team"),
    Column(key="method", min_width=16, wraps=True),
    figure("depth"),
    figure("top5_error", title="top-5 error", show=figures.percent, wraps=True),
    Column(key="network", title="in the zoo", leave_out=1, wraps=True),
    Column(key="note", min_width=16, leave_out=2, wraps=True),
)


@app.command()
def history(
    picture: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Also draw it: an .svg or .png file.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the record of ImageNet's classification challenge by year, with the depth of the networks that set it.

    The errors are those of the entries on the sealed test images; from 2012 on each is several networks together.
    """
    from dataclasses import asdict

    from zoo.history import HUMAN_TOP5_ERROR, WINNERS

    if picture is not None:
        from growres.report.drawing import check_picture_path

        check_picture_path(picture)
    missing = print_rows([asdict(winner) for winner in WINNERS], _HISTORY_COLUMNS, output)
    if output is Format.TABLE:
        say(f"\nOne trained person: {figures.percent(HUMAN_TOP5_ERROR)} (Russakovsky et al. 2015, section 6.4).")
        say_what_did_not_fit(missing)
    if picture is not None:
        from growres.report.history import draw_history

        draw_history(picture)
        say(f"Drawn: {picture}")
