"""`growres zoo`: the networks that an experiment can name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from growres.cli import figures
from growres.cli.tables import Column, Format, FormatOption, figure, print_rows
from growres.errors import NotFoundError

if TYPE_CHECKING:
    from zoo import ModelEntry

app = typer.Typer(help="The networks that an experiment can name.", no_args_is_help=True)


def _in_short(arguments: Sequence[dict[str, Any]]) -> str:
    """`blocks widths block=basic`: those that must be given by name, the others with their default."""
    names = [a["name"] if a["required"] else f"{a['name']}={a['default']}" for a in arguments]
    return figures.text(names) if names else figures.ABSENT


_COLUMNS = (
    Column(key="name"),
    figure("year"),
    Column(key="grows"),
    Column(key="arguments", show=_in_short, min_width=20),
    figure("min_image_size", title="smallest", leave_out=1),
    Column(key="paper", min_width=16, leave_out=2),
)


@app.command("list")
def list_networks(
    pattern: Annotated[str, typer.Argument(help="A shell pattern, such as '*resnet*'.")] = "*",
    output: FormatOption = Format.TABLE,
) -> None:
    """List the networks: year, whether they can grow, arguments, the smallest image, the paper.

    The CIFAR ResNets and their twins exist at any depth of the form 6n + 2, beyond those listed.
    """
    import zoo

    names = zoo.list_models(pattern) or [_unlisted(pattern)]
    print_rows([_row(zoo.describe(name)) for name in names], _COLUMNS, output)


def _unlisted(name: str) -> str:
    """A depth that exists though it is not listed, such as resnet26.

    Raises:
        NotFoundError: there is none; the message names the nearest.
    """
    import zoo

    try:
        return zoo.describe(name).name
    except zoo.ModelError as error:
        reason = str(error).removesuffix("; see zoo list")
        raise NotFoundError(f"Cannot list {name}: {reason}. See them all: growres zoo list") from error


def _row(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "title": entry.title,
        "year": entry.year,
        "grows": entry.grows,
        "arguments": [
            {
                "name": argument.name,
                "required": argument.required,
                "default": getattr(argument, "default", None),
                "allowed": argument.allowed,
                "description": argument.description,
            }
            for argument in entry.arguments
        ],
        "min_image_size": entry.min_image_size,
        "paper": entry.paper,
    }
