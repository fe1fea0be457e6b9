"""What came of a trial, used: `growres predict` and `growres export`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from growres.cli import figures
from growres.cli.tables import Column, Format, FormatOption, figure, print_rows
from growres.cli.talk import say, say_what_did_not_fit

if TYPE_CHECKING:
    from torch import Tensor

    from growres.trained.model import Prediction, TrainedModel

EXIT_SOME_FAILED = 1
_READ_AT_A_TIME = 64
"""Files: so many images are held in memory, decoded."""

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="TRIAL", help="A trial's id: k3f9xa-3, digits-3 or latest-1; or a .pt file that export wrote."
    ),
]


def predict(
    trial: ModelArgument,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files of any kind and size.")],
    top: Annotated[
        int,
        typer.Option("--top", metavar="K", min=1, help="Name the K most probable classes (at most all)."),
    ] = 2,
    output: FormatOption = Format.TABLE,
) -> None:
    """Classify image files with the network of a trial.

    Images are converted and resized as those of the data set were. A file that
    cannot be read is told on stderr, and the exit code is 1; the others are
    classified all the same.
    """
    from growres.trained.loading import load_model

    model = load_model(trial)
    top = min(top, len(model.class_names))
    rows: list[dict[str, Any]] = []
    for start in range(0, len(images), _READ_AT_A_TIME):
        rows += _classified(model, images[start : start + _READ_AT_A_TIME], top)
    say_what_did_not_fit(print_rows(rows, _columns(top), output))
    if len(rows) < len(images):
        raise typer.Exit(EXIT_SOME_FAILED)


def _classified(model: TrainedModel, files: Sequence[Path], top: int) -> list[dict[str, Any]]:
    """A row for each file that can be read, and a line on stderr for each that cannot."""
    import torch

    readable = [(file, image) for file in files if (image := _read(model, file)) is not None]
    if not readable:
        return []
    rankings = model.rank(torch.stack([image for _, image in readable]), top=top)
    return [{"file": str(file)} | _ranked(ranking) for (file, _), ranking in zip(readable, rankings, strict=True)]


def _read(model: TrainedModel, file: Path) -> Tensor | None:
    from growres.errors import DataError

    try:
        return model.preprocess(file)
    except DataError as error:
        say(f"growres: {figures.text(error)}")
        return None


def _ranked(ranking: Sequence[Prediction]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for place, prediction in enumerate(ranking, start=1):
        fields[_key("class", place)] = prediction.class_name
        fields[_key("probability", place)] = prediction.probability
    return fields


def _key(field: str, place: int) -> str:
    """`class` of the most probable, `class_2` of the second."""
    return field if place == 1 else f"{field}_{place}"


def _columns(top: int) -> list[Column]:
    columns = [Column(key="file", min_width=16)]
    for place in range(1, top + 1):
        columns.append(Column(key=_key("class", place), min_width=8, leave_out=place - 1))
        columns.append(figure(_key("probability", place), show=figures.percent, leave_out=place - 1))
    return columns


def export(
    trial: ModelArgument,
    file: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FILE", help="net.pt2 (torch.export), net.onnx, or net.pt (growres's own)."
        ),
    ],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it exists.")] = False,
) -> None:
    """Write the network of a trial to a file that runs without growres.

    The preprocessing is inside but for the decoding: images go in as float32
    (N, C, H, W) in [0, 1], for any N; logits come out. Class names and the image
    size are in the file too, as growres.json. What was written was run and gave
    the network's own logits.
    """
    from growres.trained import export as exporting
    from growres.trained.loading import load_model

    exporting.check_target(file, overwrite=force)
    model = load_model(trial)
    exporting.export(model, file, overwrite=force)
    shape = figures.shape((model.channels, model.image_size, model.image_size))
    say(
        f"{figures.text(file)}: {figures.num_bytes(file.stat().st_size)}, images {shape} in [0, 1] -> "
        f"{len(model.class_names):,} classes"
    )
