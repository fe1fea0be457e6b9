"""`growres compare`: which variants of an experiment differ, with what certainty, and at what cost."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from growres.cli import figures
from growres.cli.experiments import ExperimentArgument, open_store, without_empty
from growres.cli.tables import Column, Format, FormatOption, figure, print_json, print_rows
from growres.cli.talk import say, say_what_did_not_fit

if TYPE_CHECKING:
    from growres.analysis.comparison import VariantComparison, VariantDifference
    from growres.report.comparison import ExperimentResults
    from growres.store import ExperimentRow

Row = dict[str, Any]

_COSTS = {"num_params": "params", "train_flops": "FLOPs", "wall_s": "time"}

_VARIANT_COLUMNS = (
    Column(key="variant", min_width=12),
    figure("num_trials", title="n"),
    figure("test_error", title="test error"),
    figure("num_params", title="params", show=figures.count),
    figure("train_flops", title="trained on", show=figures.flops, leave_out=1),
    figure("wall_s", title="time", show=figures.seconds, leave_out=2),
    Column(key="fronts", title="Pareto fronts"),
    figure("left_out", title="left out", leave_out=3),
)


def compare(
    experiment: ExperimentArgument = "latest",
    baseline: Annotated[
        str | None,
        typer.Option("--baseline", metavar="VARIANT", help="Compare the others with this one, not with the default."),
    ] = None,
    alpha: Annotated[
        float, typer.Option("--alpha", metavar="A", help="The chance that any of the differences found is none.")
    ] = 0.05,
    picture: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Also draw error against costs: FILE.svg or FILE.png."),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Say which variants differ in test error, and what each costs.

    Differences are paired: over the same seeds, and over the same test images.
    One is called so only where both tell it from luck, corrected for all
    comparisons made. With a single seed only the images can tell, and the verdict
    is about those two networks: 'better (one seed)'. The baseline is the first variant of the file that grows,
    or else the first; to compare with another, choose it before you see the
    results. Twins are compared with their parents as well. To choose a network,
    go by the validation error: growres results.
    """
    from growres.analysis.comparison import compare_variants
    from growres.home import run_folder
    from growres.report.comparison import read_results
    from growres.report.drawing import check_picture_path
    from growres.report.pareto import draw_pareto

    if picture is not None:
        check_picture_path(picture)
    with open_store() as store:
        found = store.find_experiment(experiment)
        results = read_results(store, found.id, run_folder(found.id))
    chosen = results.baseline(baseline)
    pairs = [(pair.parent, pair.variant) for pair in results.twins]
    comparison = compare_variants(results.trials, baseline=chosen, also=pairs, alpha=alpha)
    if picture is not None:
        title = f"{figures.text(found.name)} ({found.id})"
        draw_pareto(picture, comparison, results.trials, baseline=chosen, title=title)
    _print(_head(found, chosen, results, comparison), results, comparison, output)
    _say_what_is_missing(results)
    if output is Format.TABLE:
        _say_how_to_read_it(comparison, chosen, "as asked for" if baseline else results.why_baseline(chosen))
    if picture is not None:
        say(f"Drawn: {figures.text(picture)}")


def _head(experiment: ExperimentRow, baseline: str, results: ExperimentResults, comparison: VariantComparison) -> Row:
    return {
        "experiment": experiment.id,
        "name": experiment.name,
        "baseline": baseline,
        "alpha": comparison.alpha,
        "power": comparison.power,
        "left_out": results.left_out,
        "without_images": results.without_images,
    }


def _print(head: Row, results: ExperimentResults, comparison: VariantComparison, output: Format) -> None:
    variants = _variant_rows(comparison, results)
    kinds = {(pair.parent, pair.variant): pair.twin for pair in results.twins}
    against = [
        _difference_row(one, kinds.get((one.baseline, one.variant))) for one in comparison.against(head["baseline"])
    ]
    twins = [_difference_row(comparison.between(*pair), twin) for pair, twin in kinds.items()]
    others = [row for row in against if row["twin"] is None]
    match output:
        case Format.JSON:
            print_json(head | {"variants": variants, "differences": against, "twins": twins})
        case Format.CSV:  # two tables in one stream are no CSV; that of variants is growres results --by variant
            print_rows([*others, *twins], _difference_columns("variant"), output)
        case _:
            missing = print_rows(*_shown_variants(variants), output)
            missing += _print_differences(
                f"Against {figures.text(head['baseline'])}", others, _difference_columns("variant"), output
            )
            twin_of = Column(key="baseline", title="twin of", min_width=12)
            missing += _print_differences("Twins", twins, [*_difference_columns("twin"), twin_of], output)
            _print_sentences([*others, *twins], output)
            say_what_did_not_fit(missing)


# ---------------------------------------------------------------------------------------------------------- variants


def _variant_rows(comparison: VariantComparison, results: ExperimentResults) -> list[Row]:
    return [
        dataclasses.asdict(summary)
        | {
            "fronts": [front.cost for front in comparison.fronts if summary.variant in front.variants],
            "left_out": results.left_out.get(summary.variant, Counter()),
        }
        for summary in comparison.variants
    ]


def _shown_variants(rows: Sequence[Row]) -> tuple[list[Row], list[Column]]:
    shown = [
        row
        | {
            "test_error": figures.percent_with_spread(row["mean_test_error"], row["std_test_error"]),
            "fronts": " ".join(_COSTS[cost] for cost in row["fronts"]) or figures.ABSENT,
            "left_out": sum(row["left_out"].values()) or None,
        }
        for row in rows
    ]
    return shown, without_empty(_VARIANT_COLUMNS, shown, "left_out")


# ------------------------------------------------------------------------------------------------------- differences


def _difference_row(one: VariantDifference, twin: str | None) -> Row:
    return dataclasses.asdict(one) | {"twin": twin, "sentence": one.sentence}


def _difference_columns(what: str) -> list[Column]:
    return [
        Column(key="variant", title=what, min_width=12),
        figure("difference", title="drop", show=_signed_points),
        figure("interval_over_seeds", title="over seeds", show=_interval, leave_out=2),
        figure("interval_over_images", title="over images", show=_interval, leave_out=3),
        figure("p_value_adjusted", title="p", show=figures.decimal),
        figure("smallest_detectable", title="detects", show=_detectable, leave_out=1),
        figure("seeds", title="seeds", show=lambda seeds: str(len(seeds)), leave_out=4),
        figure("num_images", title="images", show=figures.whole, leave_out=5),
        Column(key="verdict"),
    ]


def _signed_points(fraction: float | None) -> str:
    return figures.ABSENT if fraction is None else f"{100 * fraction:+.2f} pp"


def _detectable(fraction: float | None) -> str:
    return "nothing" if fraction is not None and fraction > 1 else figures.points(fraction)


def _interval(interval: tuple[float, float] | None) -> str:
    return figures.ABSENT if interval is None else f"{100 * interval[0]:+.2f}..{100 * interval[1]:+.2f}"


def _print_differences(title: str, rows: Sequence[Row], columns: Sequence[Column], output: Format) -> list[str]:
    """Returns the headings that the terminal had no room for."""
    if not rows:
        return []
    print(f"\n{'## ' if output is Format.MD else ''}{title}\n")
    return print_rows([row | {"verdict": _verdict(row)} for row in rows], columns, output)


def _verdict(row: Row) -> str:
    """With what was not tested, where a difference was found without it."""
    verdict: str = row["verdict"]
    if verdict == "no difference found":
        return verdict
    if row["p_value_over_seeds"] is None:
        return f"{verdict} (one seed)"
    return verdict if row["num_images"] else f"{verdict} (seeds only)"


def _print_sentences(rows: Sequence[Row], output: Format) -> None:
    """Each pair once: a twin may be the baseline itself."""
    sentences = {frozenset((row["baseline"], row["variant"])): row["sentence"] for row in rows}
    if sentences:
        print()
    for sentence in map(figures.text, sentences.values()):
        print(f"- {sentence}" if output is Format.MD else sentence)


# -------------------------------------------------------------------------------------------------------------- talk


def _say_how_to_read_it(comparison: VariantComparison, baseline: str, why: str) -> None:
    if not comparison.differences:
        say(
            f"\nOnly one variant, {figures.text(baseline)}, has trials that succeeded: there is nothing to compare it "
            f"with."
        )
        return
    number = comparison.differences[0].num_comparisons
    say(f"\nBaseline: {figures.text(baseline)}, {why}.")
    say(
        f"Drop: its mean test error less the variant's; detects: what would have shown {100 * comparison.power:g}% of "
        f"the time; both in percentage points."
    )
    say(
        f"p: the larger one of seeds and images, corrected (Holm) for {figures.number_of(number, 'comparison')}; the "
        f"intervals hold together at {100 * (1 - comparison.alpha):g}%."
    )
    if any(one.num_images and len(one.seeds) == 1 for one in comparison.differences):
        say(
            "With one seed only the images are tested: a difference found is one of these networks, and another seed "
            "may show none."
        )
    if any(not one.num_images and len(one.seeds) > 1 for one in comparison.differences):
        say("Where it is not known which images were right, only the seeds are tested.")
    say("Pareto fronts: no other variant has a lower mean error for less of these, luck not counted.")


def _say_what_is_missing(results: ExperimentResults) -> None:
    left_out = sum(results.left_out.values(), start=Counter[str]())
    if left_out:
        counts = ", ".join(f"{number} {status}" for status, number in left_out.most_common())
        say(f"\nLeft out: {figures.number_of(left_out.total(), 'trial')} that did not succeed ({counts}).")
        absent = [name for name in results.left_out if name not in {trial.variant for trial in results.trials}]
        if absent:
            say(f"None has succeeded of: {', '.join(map(figures.text, absent))}.")
    if results.without_images:
        number, reasons = len(results.without_images), results.without_images.values()
        say(
            f"\nWhich test images they got right is not known of {number} of {len(results.trials)} trials, and what "
            f"has to do with their variants is compared over seeds only. The first reason: "
            f"{figures.text(next(iter(reasons)))}"
        )
