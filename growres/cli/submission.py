"""`growres submit` and `growres resume`: run an experiment, watch it, and show what came of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from growres.cli import specs
from growres.cli.experiments import open_store, print_growth_steps, print_leaderboard
from growres.cli.progress import ProgressView
from growres.cli.specs import OverridesOption, SpecArgument
from growres.cli.tables import Format, FormatOption, print_json
from growres.cli.talk import command, say
from growres.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from growres.store import Store
    from jobs.submission import Outcome

EXIT_SOME_FAILED = 1

Backend = Literal["inline", "local"]
BackendOption = Annotated[
    Backend, typer.Option("--backend", help="inline: in this process, a trial at a time; local: Ray on this machine.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="URL", help="A running Ray to use with --backend local instead of an own one."),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout and nothing else: the same as --format json.")
]


def submit(
    spec: SpecArgument,
    backend: BackendOption = "local",
    address: AddressOption = None,
    overrides: OverridesOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials that would run and what they cost. Touches no store.")
    ] = False,
    as_json: JsonOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Run an experiment: every variant, sweep point and seed of the file as a trial."""
    output = Format.JSON if as_json else output
    _check_address(backend, address)
    if dry_run:
        specs.print_plan(spec, overrides or [], output)
        return
    path = specs.find_spec(spec)
    from jobs import submission

    progress = ProgressView()
    try:
        outcome = submission.submit(
            path, overrides=overrides or [], backend=backend, address=address, progress=progress
        )
    finally:
        progress.close()
    _conclude(outcome, output)


def resume(
    experiment: Annotated[str, typer.Argument(help="An id, a name (the newest that bears it), or 'latest'.")],
    failed: Annotated[bool, typer.Option("--failed", help="Also run trials again that failed.")] = False,
    backend: BackendOption = "local",
    address: AddressOption = None,
    as_json: JsonOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Go on with an experiment that was interrupted: only what is not finished, from its last event."""
    output = Format.JSON if as_json else output
    _check_address(backend, address)
    from jobs import submission

    progress = ProgressView()
    try:
        outcome = submission.resume(experiment, failed=failed, backend=backend, address=address, progress=progress)
    finally:
        progress.close()
    _conclude(outcome, output)


def _check_address(backend: Backend, address: str | None) -> None:
    if address is not None and backend == "inline":
        raise typer.BadParameter(
            "the inline backend starts no Ray; leave --address out, or use --backend local", param_hint="--address"
        )


# ------------------------------------------------------------------------------------------------ what came of it


def _conclude(outcome: Outcome, output: Format) -> None:
    """Prints the results on stdout and the talk on stderr, and leaves with the outcome's exit code."""
    with open_store() as store:
        leaderboard = store.leaderboard(outcome.experiment_id)
        if output is Format.JSON:
            print_json(_summary(outcome, leaderboard))
        else:
            _print_results(store, outcome, leaderboard, output)
    reference = outcome.experiment_id
    if outcome.num_failed:
        say(f"Why trials failed: {command()} status {reference}")
        say(f"To try them again: {command()} resume {reference} --failed")
    if outcome.status == "interrupted" or outcome.num_interrupted:  # with a failed trial, the status is failed
        say(f"To go on: {command()} resume {reference}")
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.num_failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _summary(outcome: Outcome, leaderboard: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "experiment": outcome.experiment_id,
        "name": outcome.name,
        "status": outcome.status,
        "database": outcome.database,
        "trials": leaderboard,
    }


def _print_results(store: Store, outcome: Outcome, leaderboard: list[dict[str, Any]], output: Format) -> None:
    best_grown = _best_grown(leaderboard)
    say("")
    print_leaderboard(leaderboard, output)
    if best_grown is not None and output is not Format.CSV:  # two CSV tables in one stream are no CSV
        trial_id = best_grown["trial_id"]
        say(f"\nGrowth steps of {trial_id} ({best_grown['variant']}, seed {best_grown['seed']}):")
        print()
        print_growth_steps(store.find_trial(trial_id), store.growth_steps(trial_id), output)
    say(f"\n{outcome.name} ({outcome.experiment_id}) {outcome.status}; trials: {_counts(leaderboard)}")
    say(f"Database: {outcome.database.removeprefix('sqlite:///')}")
    if outcome.dashboard_url:
        say(f"The dashboard was at {outcome.dashboard_url} while Ray was up.")
    if outcome.status == "succeeded":
        _say_what_to_try(outcome.experiment_id, best_grown or leaderboard[0])


def _best_grown(leaderboard: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Chosen by validation error: the test error is there to be reported, not to choose by."""
    grown = [row for row in leaderboard if row["procedure"] == "growth" and row["val_error"] is not None]
    return min(grown, key=lambda row: row["val_error"], default=None)


def _counts(leaderboard: list[dict[str, Any]]) -> str:
    counts = Counter(row["status"] for row in leaderboard)
    return ", ".join(f"{number} {status}" for status, number in counts.most_common())


def _say_what_to_try(experiment_id: str, trial: dict[str, Any]) -> None:
    mine = f"experiment_id = '{experiment_id}'"
    sql = f"SELECT variant, avg(test_error) AS test_error FROM leaderboard WHERE {mine} GROUP BY variant"
    say("Try next:")
    say(f"  {command()} results {experiment_id} --by variant")
    say(f"  {command()} show {trial['trial_id']}")
    say(f'  {command()} query "{sql}"')
