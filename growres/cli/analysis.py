"""`growres analyze TRIAL`: what one growth is evidence of, as tables, as JSON and as pictures."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from growres.cli import figures
from growres.cli.experiments import open_store
from growres.cli.tables import Column, Format, figure, print_json, print_rows, terminal_width
from growres.cli.talk import say
from growres.errors import AnalysisError

if TYPE_CHECKING:
    from growres.analysis.controls import ControlComparison
    from growres.report.evidence import Boosting, Controls, CostShare, Decay, Evidence, Omitted
    from growres.report.growth import StoredGrowth

Row = dict[str, Any]


def analyze(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id: k3f9xa-3, digits-3 or latest-1.")],
    pictures: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="A folder for all pictures, or FILE.svg or .png for one."),
    ] = None,
    level: Annotated[float, typer.Option("--level", metavar="L", help="Of all intervals, between 0 and 1.")] = 0.9,
    output: Annotated[
        Format, typer.Option("--format", help="How to write it: json carries every figure, raw; csv cannot.")
    ] = Format.TABLE,
) -> None:
    """Say what a growth shows: its decay law, boosting, blocks against their control arms, and where the cost went.

    What there is too little of, too few points or files of another machine, is
    left out, and why is said. -o FOLDER draws error against blocks and FLOPs, the
    boosting figures and every proposal, as SVG and PNG; -o FILE.svg or FILE.png
    draws the error against blocks alone.
    """
    if output is Format.CSV:
        raise typer.BadParameter("an analysis is more than one table; use table, md or json", param_hint="--format")
    if not 0 < level < 1:
        raise typer.BadParameter(f"{level:g} is not between 0 and 1; 0.9 is usual", param_hint="--level")
    if pictures is not None:
        _check_target(pictures)
    from growres.report.evidence import gather_evidence, grown_with_other_seeds
    from growres.report.growth import read_growth

    with open_store() as store:
        growth = read_growth(store, trial)
        other_seeds = grown_with_other_seeds(store, growth)
    evidence = gather_evidence(growth, level=level, other_seeds=other_seeds)
    if output is Format.JSON:
        print_json(_document(growth, evidence, level))
    else:
        _Page(output).show(growth, evidence)
    if not growth.is_finished:
        say(f"Trial {growth.trial.id} is {growth.trial.status}: it was analysed as far as it is.")
    if pictures is not None:
        _draw(pictures, growth, evidence)


# -------------------------------------------------------------------------------------------------------- pictures


def _is_folder(target: Path) -> bool:
    return target.is_dir() or not target.suffix


def _check_target(target: Path) -> None:
    from growres.report.drawing import check_picture_path

    if target.is_dir():
        check_picture_path(target / "boosting.svg")
    else:  # of a folder that is yet to be made, the one it is to stand in must be there
        check_picture_path(target.with_suffix(".svg") if _is_folder(target) else target)


def _draw(target: Path, growth: StoredGrowth, evidence: Evidence) -> None:
    from growres.report.evidence import ALL, Omitted
    from growres.report.growth_figures import draw_decay_of, draw_growth

    if _is_folder(target):
        drawn = draw_growth(target, growth, evidence)
        say(f"{figures.number_of(len(drawn.files), 'picture')} in {figures.text(str(target))}")
        for name, reason in drawn.omitted.items():
            say(f"not drawn: {name}: {figures.text(reason)}")
        return
    decay = evidence.decay["error", ALL]
    if isinstance(decay, Omitted):
        raise AnalysisError(f"Cannot draw {target}: {decay.reason}")
    draw_decay_of(target, growth, decay)
    say(figures.text(str(target)))


# ------------------------------------------------------------------------------------------------------------ page


def _law_columns(*, is_error: bool) -> list[Column]:
    unit = " (%)" if is_error else ""
    return [
        Column(key="law"),
        Column(key="formula", leave_out=4),
        Column(key="plausible", title="not excluded"),
        figure("delta_aic", title="delta AIC", show=lambda value: f"{value:.1f}"),
        figure("delta_aicc", title="delta AICc", show=lambda value: f"{value:.1f}", leave_out=6),
        figure("weight", show=lambda value: f"{value:.2f}", leave_out=5),
        figure("forecast", title="forecast off by"),
        figure("a", title=f"a{unit}", leave_out=2),
        figure("b", leave_out=2),
        figure("c", title=f"c{unit}", leave_out=1),
        figure("d", leave_out=3),
    ]


_BOOSTING_COLUMNS = (
    figure("step"),
    figure("growth_step", title="growth step", leave_out=6),
    figure("num_blocks", title="blocks", leave_out=5),
    figure("edge", show=figures.decimal),
    figure("gamma", show=figures.decimal),
    figure("covariance", show=lambda value: f"{value:.2g}"),
    Column(key="weak_learning", title="held"),
    figure("alpha", show=figures.decimal, leave_out=2),
    figure("z", title="Z/m", show=lambda value: f"{value:.3g}", leave_out=2),
    figure("best_z", title="least Z/m", show=lambda value: f"{value:.3g}"),
    figure("bound", show=lambda value: f"{value:.3g}"),
    figure("train_error", title="train error", show=figures.percent),
    figure("margin_5", title="5% margin", show=lambda value: f"{value:.3f}", leave_out=3),
    figure("margin_50", title="median margin", show=lambda value: f"{value:.3f}", leave_out=4),
)

_CONTROL_COLUMNS = (
    Column(key="blocks"),
    figure("num_steps", title="steps"),
    figure("num_rounds", title="rounds", leave_out=2),
    figure("num_better", title="better"),
    figure("num_equal", title="equal"),
    figure("num_worse", title="worse"),
    figure("difference", title="mean drop", show=figures.points),
    figure("interval_shown", title="interval"),
    figure("p_value_two_sided", title="p", show=figures.decimal, leave_out=1),
)

_COST_COLUMNS = (
    Column(key="part", title="spent on"),
    figure("epochs", leave_out=1),
    figure("train_flops", title="FLOPs", show=figures.flops),
    figure("share_of_flops", title="share", show=figures.percent),
    figure("wall_s", title="time", show=figures.seconds),
    figure("share_of_seconds", title="share", show=figures.percent),
)


class _Page:
    """An analysis for a person: a section for each part, tables with the sentences that follow from them."""

    def __init__(self, output: Format) -> None:
        self._output = output

    def show(self, growth: StoredGrowth, evidence: Evidence) -> None:
        """Writes all of it to stdout."""
        print(_headline(growth), end="\n\n")
        for quantity in ("error", "loss"):
            self._title(f"Decay of the validation {quantity}")
            for (of, series), decay in evidence.decay.items():
                if of == quantity:
                    self._show_decay(series, decay)
            if quantity == "error":
                self._say(_reason_or(evidence.floor))
        self._title("Boosting")
        self._show_boosting(evidence.boosting)
        self._title("Blocks against their control arms")
        self._show_controls(evidence.controls)
        self._title("Cost")
        print_rows([_cost_row(share) for share in evidence.costs], _COST_COLUMNS, self._output)

    def _show_decay(self, series: str, decay: Decay | Omitted) -> None:
        from growres.report.evidence import ALL, Omitted

        if isinstance(decay, Omitted):
            self._say(f"{series.capitalize()}: {_left_out(decay)}")
            return
        print(f"{series.capitalize()}, {figures.number_of(len(decay.networks), 'network')}:", end="\n\n")
        rows = _law_rows(decay)
        columns = _law_columns(is_error=decay.quantity == "error")
        self._rows(rows, [column for column in columns if any(row[column.key] is not None for row in rows)])
        self._say(decay.analysis.sentence)
        self._say(decay.weighting)
        if series == ALL:  # what accepted steps alone forecast, they forecast by how they were chosen
            self._say(decay.gain.sentence)

    def _show_boosting(self, boosting: Boosting | Omitted) -> None:
        from growres.report.evidence import Omitted

        if isinstance(boosting, Omitted):
            self._say(f"Boosting: {_left_out(boosting)}")
            return
        self._rows(_boosting_rows(boosting), _BOOSTING_COLUMNS)
        self._say(boosting.analysis.sentence)

    def _show_controls(self, controls: Controls | Omitted) -> None:
        from growres.report.evidence import Omitted

        if isinstance(controls, Omitted):
            self._say(f"Control arms: {_left_out(controls)}")
            return
        compared = _compared(controls)
        self._rows([_control_row(blocks, one) for blocks, one in compared.items()], _CONTROL_COLUMNS)
        for blocks, comparison in compared.items():
            self._say(f"{blocks.capitalize()}: {comparison.sentence}")
        if len(compared) > 1:
            self._say(
                "Accepted blocks were chosen by this same validation error, which flatters them: what a block is worth "
                "stands in the row of all proposals."
            )

    def _title(self, title: str) -> None:
        print(f"{'## ' if self._output is Format.MD else ''}{title}", end="\n\n")

    def _rows(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        print_rows(rows, columns, self._output)
        print()

    def _say(self, words: str) -> None:
        width = terminal_width(sys.stdout)
        words = figures.text(words)
        print(textwrap.fill(words, width, break_on_hyphens=False) if width else words, end="\n\n")


def _headline(growth: StoredGrowth) -> str:
    trial = growth.trial
    proposals = figures.number_of(len(growth.networks) - 1, "growth step")
    so_far = "" if growth.is_finished else ", as far as it is"
    images = growth.num_validation_images
    split = "" if images is None else f", {figures.number_of(images, 'validation image')}"
    accepted = len(growth.accepted) - 1
    return (
        f"{trial.id} {figures.text(trial.variant)}, seed {trial.seed}: {trial.procedure}, {trial.status}{so_far}, "
        f"{proposals}, {accepted} accepted{split}"
    )


def _reason_or(part: Any) -> str:
    from growres.report.evidence import Omitted

    return f"Noise floor: {_left_out(part)}" if isinstance(part, Omitted) else str(part.sentence)


def _left_out(part: Omitted) -> str:
    return f"left out: {part.reason.rstrip('.')}."


def _law_rows(decay: Decay) -> list[Row]:
    """The laws' figures as they are read, each parameter with its interval; errors in percent."""
    is_error = decay.quantity == "error"
    return [
        {
            "law": fit.law.label,
            "formula": fit.law.formula,
            "plausible": fit.plausible,
            "delta_aic": fit.delta_aic,
            "delta_aicc": fit.delta_aicc,
            "weight": fit.weight,
            "forecast": _forecast(fit.forecast_rmse, is_error=is_error),
            **{
                name: _parameter(row, name, 100.0 if is_error and name in ("a", "c") else 1.0)
                for name in ("a", "b", "c", "d")
            },
        }
        for fit, row in zip(decay.analysis.fits, decay.analysis.rows(), strict=True)
    ]


def _forecast(rmse: float | None, *, is_error: bool) -> str | None:
    if rmse is None:
        return None
    return figures.points(rmse) if is_error else f"{rmse:.3g}"


def _parameter(row: Row, name: str, scale: float) -> str | None:
    value, lower, upper = row[name], row[f"{name}_lower"], row[f"{name}_upper"]
    if value is None:
        return None
    shown = _short(scale * value)
    return shown if lower is None else f"{shown} [{_short(scale * lower)}, {_short(scale * upper)}]"


def _short(value: float) -> str:
    """Three digits; 1,750 rather than 1.75e+03."""
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e6 else f"{value:.3g}"


def _boosting_rows(boosting: Boosting) -> list[Row]:
    from growres.analysis.boosting import MARGIN_QUANTILES

    rows = []
    for step, network in zip(boosting.analysis.steps, boosting.networks, strict=True):
        margins = {f"margin_{100 * at:g}": value for at, value in zip(MARGIN_QUANTILES, step.margins, strict=True)}
        rows.append(
            {
                "step": step.step,
                "growth_step": network.step,
                "num_blocks": network.num_blocks,
                "edge": step.edge,
                "gamma": step.gamma,
                "covariance": step.covariance,
                "bound_covariance": step.bound_covariance,
                "weak_learning": step.weak_learning,
                "alpha": step.alpha,
                "z": step.z,
                "best_alpha": step.best_alpha,
                "best_z": step.best_z,
                "bound": step.bound,
                "bound_is_proved": step.bound_is_proved,
                "train_error": step.train_error,
                **margins,
            }
        )
    return rows


def _compared(controls: Controls) -> dict[str, ControlComparison]:
    every = {"all proposals": controls.every}
    return every if controls.accepted is None else every | {"accepted blocks": controls.accepted}


def _control_row(blocks: str, comparison: ControlComparison) -> Row:
    interval = comparison.interval
    return {
        "blocks": blocks,
        "num_steps": comparison.num_steps,
        "num_rounds": comparison.num_rounds,
        "num_better": comparison.num_better,
        "num_equal": comparison.num_equal,
        "num_worse": comparison.num_worse,
        "difference": comparison.difference,
        "interval_shown": None if interval is None else f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f} pp",
        "p_value_two_sided": comparison.p_value_two_sided,
    }


def _cost_row(share: CostShare) -> Row:
    return {column.key: getattr(share, column.key) for column in _COST_COLUMNS}


# ------------------------------------------------------------------------------------------------------------ JSON


def _document(growth: StoredGrowth, evidence: Evidence, level: float) -> Row:
    """Everything, nested; a part that cannot be had is an object with the one field `left_out`."""
    trial = growth.trial
    return {
        "trial_id": trial.id,
        "experiment": trial.experiment,
        "variant": trial.variant,
        "seed": trial.seed,
        "procedure": trial.procedure,
        "status": trial.status,
        "is_finished": growth.is_finished,
        "validation_images": growth.num_validation_images,
        "level": level,
        "networks": growth.networks,
        "decay": [
            {"quantity": quantity, "series": series} | _decay_document(decay)
            for (quantity, series), decay in evidence.decay.items()
        ],
        "noise_floor": _or_left_out(evidence.floor),
        "boosting": _boosting_document(evidence.boosting),
        "controls": _or_left_out(evidence.controls),
        "cost": evidence.costs,
    }


def _or_left_out(part: Any) -> Any:
    from growres.report.evidence import Omitted

    return {"left_out": part.reason} if isinstance(part, Omitted) else part


def _decay_document(decay: Decay | Omitted) -> Row:
    from growres.report.evidence import Omitted

    if isinstance(decay, Omitted):
        return {"left_out": decay.reason}
    analysis = decay.analysis
    return {
        "sentence": analysis.sentence,
        "family": analysis.family,
        "dispersion": analysis.dispersion,
        "seed_spread": decay.seed_spread,
        "weighting": decay.weighting,
        "points": [
            {"step": one.step, "num_blocks": one.num_blocks, "variance": variance}
            for one, variance in zip(decay.networks, decay.variances, strict=True)
        ],
        "laws": analysis.rows(),
        "laws_left_out": [{"law": one.law.name, "reason": one.reason} for one in analysis.left_out],
        "next_gain": decay.gain,
    }


def _boosting_document(boosting: Boosting | Omitted) -> Row:
    from growres.report.evidence import Omitted

    if isinstance(boosting, Omitted):
        return {"left_out": boosting.reason}
    analysis = boosting.analysis
    return {
        "sentence": analysis.sentence,
        "is_diagnostic": analysis.why_diagnostic is not None,
        "num_images": analysis.num_images,
        "num_classes": analysis.num_classes,
        "gamma_threshold": analysis.gamma_threshold,
        "num_holding": analysis.num_holding,
        "failed_steps": analysis.failed_steps,
        "steps": _boosting_rows(boosting),
    }
