"""What the store holds of experiments: `growres list`, `status`, `results` and `show`."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from growres.cli import figures
from growres.cli.growth_notes import SCREENED_OUT, print_notes, shown_reason
from growres.cli.lineage import print_lineage
from growres.cli.staleness import STALE, say_how_to_go_on, stale_among
from growres.cli.tables import (
    Column,
    Format,
    FormatOption,
    figure,
    print_facts,
    print_json,
    print_rows,
)
from growres.cli.talk import command, say, say_what_did_not_fit
from growres.report.lineage import is_screened_out

if TYPE_CHECKING:
    from growres.store import ExperimentRow, Store, TrialRow

ExperimentArgument = Annotated[
    str, typer.Argument(metavar="EXPERIMENT", help="An id, a name (the newest that bears it), or latest.")
]

_LIST_COLUMNS = (
    Column(key="id"),
    Column(key="name", min_width=12),
    Column(key="status"),
    figure("num_trials", title="trials"),
    Column(key="trials", title="of these", show=lambda counts: _counts(counts), min_width=12, leave_out=2),
    Column(key="created_at", title="submitted (UTC)"),
    Column(key="host", min_width=8, leave_out=1),
)

_LEADERBOARD_COLUMNS = (
    Column(key="trial_id", title="trial"),
    Column(key="variant", min_width=8),
    Column(key="sweep_point", title="sweep point", show=lambda point: sweep_point(point), min_width=12),
    figure("seed"),
    Column(key="model", min_width=8, leave_out=3),
    figure("val_error", show=figures.percent),
    figure("test_error", show=figures.percent),
    figure("num_params", title="params", show=figures.count),
    figure("num_blocks", title="blocks"),
    figure("train_flops", title="trained on", show=figures.flops, leave_out=2),
    figure("wall_s", title="time", show=figures.seconds, leave_out=1),
    Column(key="status"),
    Column(key="reason", min_width=12, leave_out=4),
)

_VARIANT_COLUMNS = (
    Column(key="variant", min_width=8),
    Column(key="sweep_point", title="sweep point", show=lambda point: sweep_point(point), min_width=12),
    Column(key="model", min_width=8, leave_out=3),
    figure("num_params", title="params", show=figures.count),
    figure("num_blocks", title="blocks", show=figures.decimal, leave_out=4),
    figure("val_error_shown", title="val error"),
    figure("test_error_shown", title="test error"),
    figure("train_flops", title="trained on", show=figures.flops, leave_out=2),
    figure("wall_s", title="time", show=figures.seconds, leave_out=1),
    figure("n"),
    figure("failed"),
    figure("unfinished"),
)

_GROWTH_STEP_COLUMNS = (
    figure("step"),
    figure("round"),
    Column(key="kind"),
    figure("stage"),
    figure("block"),
    Column(key="initialiser", leave_out=5),
    figure("val_error_before", title="val before", show=figures.percent),
    figure("val_error_shown", title="with block"),
    figure("val_error_control", title="control", show=figures.percent),
    figure("num_replicates", title="seeds", leave_out=7),
    figure("p_value", title="p", show=figures.decimal, leave_out=1),
    Column(key="verdict"),
    figure("num_params_after", title="params", show=figures.count),
    figure("epochs", leave_out=2),
    figure("train_flops", title="trained on", show=figures.flops, leave_out=3),
    figure("wall_s", title="time", show=figures.seconds, leave_out=4),
    Column(key="reason", min_width=16, leave_out=6),
)

_ATTEMPT_COLUMNS = (
    figure("attempt"),
    Column(key="status"),
    Column(key="host", min_width=8),
    Column(key="device", min_width=8),
    Column(key="started_at", title="started (UTC)"),
    Column(key="ended_at", title="ended (UTC)", leave_out=1),
    Column(key="reason", min_width=16),
)

_ARTIFACT_COLUMNS = (
    Column(key="kind"),
    Column(key="path", min_width=16),
    figure("num_bytes", title="size", show=figures.num_bytes),
    Column(key="sha256", show=lambda digest: digest[:12], leave_out=1),
    Column(key="written_at", title="written (UTC)", leave_out=2),
)


def open_store() -> Store:
    """The store, opened; its library is imported here, which is most of what a short command does."""
    # What is imported stays to the end. It is not searched for garbage meanwhile, nor, frozen, again and again
    # afterwards: together that was 0.15 s of 0.55 s for the leaderboard of a thousand trials.
    gc.disable()
    try:
        from growres.store import Store

        store = Store.open()
    finally:
        gc.freeze()
        gc.enable()
    return store


def sweep_point(point: dict[str, Any]) -> str:
    """`lr=0.05 width=16`: the swept keys by their last names, in the keys' order, which every database gives back."""
    return " ".join(f"{key.rpartition('.')[2]}={figures.text(value)}" for key, value in sorted(point.items()))


def headline(experiment: ExperimentRow, *, is_stale: bool = False) -> str:
    """`digits (k3f9xa): running since 12:00:00 UTC on host`, with the reason where there is one."""
    moment = experiment.ended_at or experiment.started_at or experiment.created_at
    preposition = "at" if experiment.ended_at else "begun" if is_stale else "since"
    since = f"{preposition} {figures.time(moment)}"
    host = f" on {figures.text(experiment.host)}" if experiment.host else ""
    reason = f" ({figures.text(experiment.reason)})" if experiment.reason else ""
    status = STALE if is_stale else experiment.status
    return f"{figures.text(experiment.name)} ({experiment.id}): {status} {since} UTC{host}{reason}"


_EMPTY: tuple[Any, ...] = (None, "", {})


def without_empty(columns: Iterable[Column], rows: Sequence[dict[str, Any]], *keys: str) -> list[Column]:
    """The columns, less those of the given keys that no row has a value for."""
    filled = {key for key in keys if any(row[key] not in _EMPTY for row in rows)}
    return [column for column in columns if column.key not in keys or column.key in filled]


def print_leaderboard(rows: Sequence[dict[str, Any]], output: Format) -> None:
    """The trials in the order given; why one did not succeed is told where that happened."""
    columns = without_empty(_LEADERBOARD_COLUMNS, rows, "sweep_point")
    if all(row["status"] == "succeeded" for row in rows):
        columns = [column for column in columns if column.key not in ("status", "reason")]
    say_what_did_not_fit(print_rows(rows, columns, output))


def print_growth_steps(trial: TrialRow, steps: Sequence[dict[str, Any]], output: Format) -> None:
    """A trial's proposals with their verdicts; what is the same in every ordinary growth only where it is not."""
    rows = [step | {"val_error_shown": _error_of_candidate(step)} for step in steps]
    columns = without_empty(_GROWTH_STEP_COLUMNS, rows, "val_error_control", "p_value")
    ordinary = {
        "round": all(row["round"] == row["step"] for row in rows),
        "kind": all(row["kind"] == "append" for row in rows),
        "num_replicates": all(row["num_replicates"] == 1 for row in rows),
    }
    missing = print_rows(rows, [column for column in columns if not ordinary.get(column.key)], output)
    say_what_did_not_fit(missing)
    print_notes(trial, steps)


def _error_of_candidate(step: dict[str, Any]) -> str:
    mark = SCREENED_OUT if is_screened_out(step) else ""
    return f"{figures.percent(step['val_error_candidate'])}{mark}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in counts.items() if number)


# ---------------------------------------------------------------------------------------------------------- list


def list_experiments(output: FormatOption = Format.TABLE) -> None:
    """List the experiments in the store, newest first."""
    with open_store() as store:
        experiments = store.experiments()
        stale = stale_among(store, experiments)
    rows = [_listed(experiment, experiment.id in stale) for experiment in experiments]
    say_what_did_not_fit(print_rows(rows, _LIST_COLUMNS, output))
    for experiment in experiments:
        if experiment.id in stale:
            say_how_to_go_on(experiment)
    if not rows:
        say(f"There is no experiment yet. Begin with: {command()} submit digits")


def _listed(experiment: ExperimentRow, is_stale: bool) -> dict[str, Any]:
    return {
        "id": experiment.id,
        "name": experiment.name,
        "status": STALE if is_stale else experiment.status,
        "reason": experiment.reason,
        "num_trials": experiment.num_trials,
        "trials": experiment.trial_counts,
        "created_at": experiment.created_at,
        "started_at": experiment.started_at,
        "ended_at": experiment.ended_at,
        "host": experiment.host,
        "device": experiment.device,
    }


# ------------------------------------------------------------------------------------------------------- results


def results(
    experiment: ExperimentArgument = "latest",
    by: Annotated[
        Literal["trial", "variant"],
        typer.Option("--by", help="A line for each trial, or for each variant with mean +- standard deviation and n."),
    ] = "trial",
    output: FormatOption = Format.TABLE,
) -> None:
    """Show the leaderboard of an experiment.

    Trials and variants stand by their validation error, which is what to choose
    by. The deviation is that over seeds, n - 1 in the denominator, in percentage
    points.
    """
    with open_store() as store:
        found = store.find_experiment(experiment)
        if by == "trial":
            print_leaderboard(store.leaderboard(found.id), output)
        else:
            _print_variants(store.leaderboard_by_variant(found.id), output)
    if output is Format.TABLE:
        say(f"\n{headline(found)}")


def _print_variants(rows: Sequence[dict[str, Any]], output: Format) -> None:
    if output in (Format.JSON, Format.CSV):
        print_rows(rows, (), output)
        return
    shown = [
        row
        | {
            "val_error_shown": figures.percent_with_spread(row["val_error"], row["val_error_std"]),
            "test_error_shown": figures.percent_with_spread(row["test_error"], row["test_error_std"]),
            "failed": row["failed"] or None,
            "unfinished": sum(row[status] for status in ("queued", "running", "stopped", "interrupted")) or None,
        }
        for row in rows
    ]
    columns = without_empty(_VARIANT_COLUMNS, shown, "sweep_point", "failed", "unfinished")
    say_what_did_not_fit(print_rows(shown, columns, output))


# ---------------------------------------------------------------------------------------------------------- show


def show(
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="A trial's id: k3f9xa-3, digits-3 or latest-1.")],
    lineage: Annotated[
        bool, typer.Option("--lineage", help="Draw the tree of proposals instead, accepted and rejected.")
    ] = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show one trial: its result, its growth steps with their verdicts and figures, the final architecture."""
    with open_store() as store:
        found = store.find_trial(trial)
        if lineage:
            print_lineage(found, store.growth_curve(found.id), store.growth_steps(found.id), output)
            return
        facts = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
        growth_steps = store.growth_steps(found.id)
        attempts = store.attempts(found.id)
        artifacts = store.artifacts(found.id)
    match output:
        case Format.JSON:
            print_json({**facts, "growth_steps": growth_steps, "attempts": attempts, "artifacts": artifacts})
        case Format.CSV:
            print_rows([facts], (), output)
        case _:
            print_facts(_readable_facts(facts, shown_reason(found, growth_steps)), output)
            if growth_steps:
                _print_title("Growth steps", output)
                print_growth_steps(found, growth_steps, output)
            if attempts:
                _print_title("Attempts", output)
                columns = without_empty(_ATTEMPT_COLUMNS, attempts, "reason")
                say_what_did_not_fit(print_rows(attempts, columns, output))
            if artifacts:
                _print_title("Artifacts", output)
                say_what_did_not_fit(print_rows(artifacts, _ARTIFACT_COLUMNS, output))


def _readable_facts(facts: dict[str, Any], reason: str | None) -> dict[str, str | None]:
    architecture = facts["architecture"]
    readable = {
        "trial": facts["id"],
        "experiment": f"{facts['experiment']} ({facts['experiment_id']})",
        "variant": facts["variant"],
        "sweep point": sweep_point(facts["sweep_point"]) or None,
        "seed": facts["seed"],
        "procedure": facts["procedure"],
        "twin of": f"{facts['twin_of']} ({facts['twin']})" if facts["twin_of"] else None,
        "model": facts["model"],
        "status": facts["status"],
        "reason": reason,
        "val error": figures.percent(facts["val_error"]),
        "test error": figures.percent(facts["test_error"]),
        "parameters": figures.whole(facts["num_params"]),
        "blocks": facts["num_blocks"],
        "architecture": None if architecture is None else _architecture(architecture),
        "epochs": facts["epochs"],
        "trained on": figures.flops(facts["train_flops"]),
        "time": figures.seconds(facts["wall_s"]),
        "started (UTC)": facts["started_at"],
        "ended (UTC)": facts["ended_at"],
    }
    return {name: value for name, value in readable.items() if value not in (None, figures.ABSENT)}


def _architecture(architecture: dict[str, Any]) -> str:
    """`preact_resnet, blocks 3 2, widths 16 32, block basic`: blocks and widths stage by stage."""
    # In an order of our own: PostgreSQL does not keep that in which they were stored.
    keys = sorted(architecture.keys() - {"name"}, key=lambda key: (key != "blocks", key != "widths", key))
    return ", ".join([str(architecture["name"]), *(f"{key} {figures.text(architecture[key])}" for key in keys)])


def _print_title(title: str, output: Format) -> None:
    print(f"\n{'## ' if output is Format.MD else ''}{title}\n")
