"""`growres data`: the data sets on this machine, and what one of them holds."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from growres.cli import figures
from growres.cli.tables import Column, Format, FormatOption, figure, print_facts, print_json, print_rows
from growres.cli.talk import command, say, say_what_did_not_fit
from growres.errors import DataError, NotFoundError

if TYPE_CHECKING:
    from growres.config.experiment import DatasetConfig

app = typer.Typer(help="The data sets on this machine, and what one of them holds.", no_args_is_help=True)

_LIST_COLUMNS = (
    Column(key="source"),
    Column(key="path", min_width=16),
    figure("images", show=figures.whole),
    figure("channels"),
    figure("image_size", title="pixels a side"),
    figure("bytes", title="cache", show=figures.num_bytes),
    Column(key="created_at", title="decoded", show=lambda moment: figures.text(moment)[:19], leave_out=1),
)

_CLASS_COLUMNS = (
    Column(key="class", min_width=8),
    figure("train", show=figures.whole),
    figure("validation", show=figures.whole),
    figure("test", show=figures.whole),
)


@app.command("list")
def list_sources(output: FormatOption = Format.TABLE) -> None:
    """List the data sets that are decoded on this machine, and digits, which is always there."""
    from growres.data import cached_sources

    say_what_did_not_fit(print_rows(cached_sources(), _LIST_COLUMNS, output))
    if output is Format.TABLE:
        say("\nAny other is decoded when it is first used: a folder of class folders, parquet files, a hub data set.")


@app.command()
def show(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="digits, a folder of class folders, a parquet file or folder, the name of a hub data set, "
            "or an experiment file, for its data set.",
        ),
    ],
    channels: Annotated[
        Literal["1", "3"] | None, typer.Option("--channels", help="Convert to grey (1) or RGB (3).")
    ] = None,
    image_size: Annotated[
        int | None, typer.Option("--image-size", metavar="PIXELS", min=4, max=1024, help="Resize to this many a side.")
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show what a data set holds: classes, splits, image size. It is decoded where it was not used before."""
    from growres.config.experiment import DatasetConfig
    from growres.data import describe_source

    changes = {"channels": channels and int(channels), "image_size": image_size}
    given = {key: value for key, value in changes.items() if value is not None}
    config = DatasetConfig.model_validate(_dataset(source).model_dump() | given)
    try:
        facts = describe_source(config)
    except DataError as error:
        if "dataset.image_size" not in str(error):
            raise
        raise DataError(f"{error} Here: {command()} data show {shlex.quote(source)} --image-size 32") from error
    match output:
        case Format.JSON:
            print_json(facts)
        case Format.CSV:
            print_rows(facts["classes"], _CLASS_COLUMNS, output)
        case _:
            print_facts(_readable(facts), output)
            print()
            print_rows(facts["classes"], _CLASS_COLUMNS, output)


def _dataset(source: str) -> DatasetConfig:
    from growres.config.experiment import DatasetConfig

    path = Path(os.path.expanduser(source))
    if source == "digits":
        return DatasetConfig(source="digits")
    if path.suffix in (".yaml", ".yml"):
        from growres.cli.specs import find_spec
        from growres.config.loading import load_experiment

        return load_experiment(find_spec(source)).experiment.dataset
    if os.path.exists(path):  # a name that is too long for a file is not there either
        return DatasetConfig(source=_kind_of_files(path), path=str(path))
    if path.is_absolute() or source.startswith((".", "~")):
        raise NotFoundError(
            f"There is no file or folder {source}. Name digits, a folder of class folders, a parquet file or folder, "
            "a hub data set, or an experiment file. See: growres data list"
        )
    return DatasetConfig(source="hub", path=source)


def _kind_of_files(path: Path) -> Literal["parquet", "imagefolder"]:
    """A file can only be parquet; a folder is of parquet files where it holds any, else of class folders."""
    return "parquet" if path.is_file() or next(path.rglob("*.parquet"), None) else "imagefolder"


def _readable(facts: dict[str, Any]) -> dict[str, str]:
    return {
        "name": facts["name"],
        "source": facts["source"],
        "images": ", ".join(f"{figures.whole(number)} {split}" for split, number in facts["splits"].items()),
        "classes": str(len(facts["classes"])),
        "image": f"{facts['image_size']}x{facts['image_size']}, {'grey' if facts['channels'] == 1 else 'RGB'}",
        "mean": figures.text([figures.decimal(value) for value in facts["mean"]]),
        "std": figures.text([figures.decimal(value) for value in facts["std"]]),
        "fingerprint": facts["fingerprint"],
        "cache": f"{facts['cache_path']} ({figures.num_bytes(facts['bytes'])})",
    }
