"""`growres power`: what one step of growth can tell from noise, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from growres.cli import figures
from growres.cli.tables import Column, Format, FormatOption, figure, print_rows
from growres.cli.talk import say, say_what_did_not_fit

_DROPS = (0.001, 0.003, 0.005, 0.01)
_MOST_IMAGES = 1_000_000_000
_USUAL, _GIVEN = "usual", "given"

Row = dict[str, Any]


def power(
    validation_images: Annotated[
        int,
        typer.Option("--validation-images", metavar="N", min=1, max=_MOST_IMAGES, help="Images of the split."),
    ],
    error: Annotated[
        float, typer.Option("--error", metavar="E", help="The error that the network has now, as in 0.06 for 6 %.")
    ],
    alpha: Annotated[
        float, typer.Option("--alpha", metavar="A", help="The step's level, one-sided: its share, where it is spent.")
    ] = 0.05,
    chance: Annotated[
        float, typer.Option("--power", metavar="P", help="How often a drop of that size is to be found.")
    ] = 0.8,
    drop: Annotated[
        float | None, typer.Option("--drop", metavar="D", help="A drop of yours, as in 0.002 for 0.2 points.")
    ] = None,
    discordant: Annotated[
        float | None,
        typer.Option("--discordant", metavar="F", help="The fraction of images that one network alone gets right."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Say how small a drop in error one growth step can detect, and how many images a given drop takes.

    The step compares the network before and after it on the same validation images, by McNemar's exact test. Errors
    and drops are fractions.
    """
    question = _Question(num_images=validation_images, error=error, alpha=alpha, power=chance)
    if drop is not None:
        question.images_needed(drop, discordant)  # a drop that cannot be is a mistake, not an empty column
    drops = sorted({*_DROPS, *([] if drop is None else [drop])})
    assumptions = _assumptions(error, discordant)
    rows = [question.row(assumption, fraction, drops) for assumption, fraction in assumptions.items()]
    if output is Format.TABLE:
        print(_sentence(next(row for row in rows if row["assumption"] in (_USUAL, _GIVEN))), end="\n\n")
    missing = print_rows(rows, _columns(drops), output)
    if output is Format.TABLE:
        say(_notes(rows))
        say_what_did_not_fit(missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A split and a test, whatever the discordant fraction."""

    num_images: int
    error: float
    alpha: float
    power: float

    def images_needed(self, drop: float, discordant: float | None) -> int:
        from growres.analysis.power import images_needed

        return images_needed(drop, self.error, alpha=self.alpha, power=self.power, discordant=discordant)

    def row(self, assumption: str, discordant: float, drops: Sequence[float]) -> Row:
        largest = min(self.error, discordant)  # a drop makes as many images discordant itself
        detectable = self.detectable_drop(discordant)
        return {
            "validation_images": self.num_images,
            "error": self.error,
            "alpha": self.alpha,
            "power": self.power,
            "assumption": assumption,
            "discordant": discordant,
            "detectable_drop": detectable if detectable <= largest else None,
            **{_key(drop): self.images_needed(drop, discordant) if drop <= largest else None for drop in drops},
        }

    def detectable_drop(self, discordant: float) -> float:
        from growres.analysis.power import detectable_drop

        return detectable_drop(self.num_images, self.error, alpha=self.alpha, power=self.power, discordant=discordant)


def _assumptions(error: float, discordant: float | None) -> dict[str, float]:
    """Fractions of images that exactly one of the networks gets right, by what each is, the smallest first."""
    from growres.analysis.power import most_discordant, unrelated_discordant, usual_discordant

    name, fraction = (_USUAL, usual_discordant(error)) if discordant is None else (_GIVEN, discordant)
    assumptions = {
        f"half the {name}": 0.5 * fraction,
        name: fraction,
        f"1.5 x the {name}": 1.5 * fraction,
        "unrelated networks": unrelated_discordant(error),
    }
    possible = {key: value for key, value in assumptions.items() if key == name or value < most_discordant(error)}
    return dict(sorted(possible.items(), key=lambda item: item[1]))


def _key(drop: float) -> str:
    return f"images_for_{drop:g}"


def _columns(drops: Sequence[float]) -> list[Column]:
    return [
        figure("discordant", show=figures.percent),
        Column(key="assumption", leave_out=2),
        figure("detectable_drop", title="detects", show=figures.points),
        *(figure(_key(drop), title=f"{100 * drop:g} pp takes", show=figures.whole, leave_out=1) for drop in drops),
    ]


def _sentence(row: Row) -> str:
    images = figures.number_of(row["validation_images"], "validation image")
    where = f"One step on {images}, at an error of {figures.percent(row['error'])},"
    how = f"{100 * row['power']:g}% of the time (McNemar's exact test, one-sided, alpha {row['alpha']:g})"
    if row["detectable_drop"] is None and row["discordant"] < row["error"]:
        largest = figures.points(row["discordant"])
        return f"{where} does not detect even a drop of {largest}, all that is discordant, {how}."
    if row["detectable_drop"] is None:
        return f"{where} does not detect even a drop to an error of 0 {how}."
    return f"{where} detects a true drop of {figures.points(row['detectable_drop'])} {how}; a smaller one less often."


def _notes(rows: Sequence[Row]) -> str:
    lines = [
        "Discordant: the images that exactly one of the two networks gets right, before or after the step.",
        "What is usual is an assumption; give what a growth of yours showed as --discordant.",
        "The columns on the right: the images that a drop takes. pp: percentage points.",
        "Where alpha is spent over the steps of a growth, give one step's share of it as --alpha.",
    ]
    if any(row["detectable_drop"] is None for row in rows):
        lines.insert(0, "Detects -: not even the largest drop that there is room for.")
    if any(value is None for row in rows for value in row.values()):
        lines.insert(0, "A drop is at most the error, and at most the discordant fraction; a larger one takes -.")
    return "\n" + "\n".join(lines)
