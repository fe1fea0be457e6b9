"""`growres submit`, `resume` and `retry`: run an experiment, watch it, and show what came of it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from growres.cli import specs
from growres.cli.experiments import ExperimentArgument, open_store, print_growth_steps, print_leaderboard
from growres.cli.logbook import with_logbook
from growres.cli.progress import ProgressView
from growres.cli.specs import OverridesOption, SpecArgument
from growres.cli.status import watch
from growres.cli.tables import Format, FormatOption, print_json
from growres.cli.talk import command, say
from growres.errors import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from growres.store import Store
    from jobs.launch import Launch
    from jobs.progress import Progress
    from jobs.submission import Outcome

EXIT_SOME_FAILED = 1

Backend = Literal["inline", "local", "cluster"]
_BACKENDS = (
    "inline: in this process, a trial at a time; local: Ray on this machine; cluster: a job on a running Ray cluster."
)
BackendOption = Annotated[Backend, typer.Option("--backend", help=_BACKENDS)]
AgainOption = Annotated[Backend | None, typer.Option("--backend", help=f"{_BACKENDS} Default: as it was run last.")]
AddressOption = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="URL",
        help="Of the cluster's dashboard, http://HEAD:8265; with --backend local, of a running Ray to use.",
    ),
]
DetachOption = Annotated[
    bool, typer.Option("--detach", help="Leave a driver behind that outlives this terminal. A cluster's always does.")
]
WatchOption = Annotated[
    bool, typer.Option("--watch", help="Follow a driver that was left behind until it is done; Ctrl-C ends only that.")
]
ShipCodeOption = Annotated[
    bool, typer.Option("--ship-code", help="Send this growres along with the job; else the cluster's own runs.")
]
DashboardHostOption = Annotated[
    str,
    typer.Option(
        "--dashboard-host",
        metavar="HOST",
        help="Where the dashboard of the own Ray listens; wider than this machine only with a token.",
    ),
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
    detach: DetachOption = False,
    watch_it: WatchOption = False,
    needed: Annotated[
        bool,
        typer.Option("--needed", help="Skip trials whose like (configuration, seed, data, version) has succeeded."),
    ] = False,
    ship_code: ShipCodeOption = False,
    dashboard_host: DashboardHostOption = "127.0.0.1",
    as_json: JsonOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Run an experiment: every variant, sweep point and seed of the file as a trial."""
    output = Format.JSON if as_json else output
    if dry_run:
        specs.print_plan(spec, overrides or [], output)
        return
    path = specs.find_spec(spec)
    from jobs.launch import Launch

    launch = Launch(
        backend=backend,
        address=address,
        detach=detach or (watch_it and backend != "cluster"),
        ship_code=ship_code,
        needed=needed,
        dashboard_host=dashboard_host,
    )
    launch.check()  # before torch is imported, which takes seconds
    from jobs import submission

    _run(
        lambda progress: submission.submit(path, overrides=overrides or [], launch=launch, progress=progress),
        watch_it,
        output,
    )


def resume(
    experiment: ExperimentArgument,
    failed: Annotated[bool, typer.Option("--failed", help="Also run trials again that failed.")] = False,
    backend: AgainOption = None,
    address: AddressOption = None,
    detach: DetachOption = False,
    watch_it: WatchOption = False,
    ship_code: ShipCodeOption = False,
    dashboard_host: DashboardHostOption = "127.0.0.1",
    as_json: JsonOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Go on with an experiment that was stopped or interrupted: only what is not finished, from its last event."""
    launch = _launch_again(experiment, backend, address, detach, watch_it, ship_code, dashboard_host)
    from jobs import submission

    _run(
        lambda progress: submission.resume(experiment, failed=failed, launch=launch, progress=progress),
        watch_it,
        Format.JSON if as_json else output,
    )


def retry(
    experiment: ExperimentArgument,
    failed: Annotated[
        bool, typer.Option("--failed", help="The trials that failed; there is no other choice yet.")
    ] = True,
    backend: AgainOption = None,
    address: AddressOption = None,
    detach: DetachOption = False,
    watch_it: WatchOption = False,
    ship_code: ShipCodeOption = False,
    dashboard_host: DashboardHostOption = "127.0.0.1",
    as_json: JsonOption = False,
    output: FormatOption = Format.TABLE,
) -> None:
    """Run the trials of an experiment again that failed, each from its last event, and no others."""
    launch = _launch_again(experiment, backend, address, detach, watch_it, ship_code, dashboard_host)
    from jobs import submission

    _run(
        lambda progress: submission.resume(
            experiment, failed=failed, unfinished=False, launch=launch, progress=progress
        ),
        watch_it,
        Format.JSON if as_json else output,
    )


def _launch_again(
    experiment: str,
    backend: Backend | None,
    address: str | None,
    detach: bool,
    watch_it: bool,
    ship_code: bool,
    dashboard_host: str,
) -> Launch:
    """As the experiment was run last, where the options do not say otherwise; checked before torch is imported."""
    from jobs.launch import Launch, launch_of_newest_run

    before = launch_of_newest_run(experiment)
    chosen = backend or before.backend
    launch = Launch(
        backend=chosen,
        address=address or (before.address if chosen == before.backend else None),
        detach=detach or (watch_it and chosen != "cluster"),
        ship_code=ship_code,
        dashboard_host=dashboard_host,
    )
    launch.check()
    return launch


def _run(start: Callable[[Progress], Outcome], watch_it: bool, output: Format) -> None:
    view = ProgressView()
    try:
        with with_logbook(view) as progress:
            outcome = start(progress)
    finally:
        view.close()
    if not outcome.is_left_running:
        _conclude(outcome, output)
    elif watch_it:
        with open_store() as store:
            watch(store, store.find_experiment(outcome.experiment_id))
        _conclude(_as_it_is_now(outcome), output)
    else:
        _say_what_was_left_running(outcome, output)


# ------------------------------------------------------------------------------------------------ what came of it


def _as_it_is_now(outcome: Outcome) -> Outcome:
    from jobs.submission import outcome_of

    with open_store() as store:
        return outcome_of(store, outcome.experiment_id)


def _say_what_was_left_running(outcome: Outcome, output: Format) -> None:
    run = outcome.run
    assert run is not None
    if output is Format.JSON:
        print_json(_summary(outcome, []))
        return
    where = f"as the job {run.job_id} on {run.address}" if run.job_id else f"by process {run.pid} on {run.host}"
    print(outcome.experiment_id)
    say(f"{outcome.name} ({outcome.experiment_id}) is run {where}.")
    say(f"Watch it:  {command()} status {outcome.experiment_id} --watch")
    say(f"Its log:   {command()} logs {outcome.experiment_id} --follow")
    say(f"End it:    {command()} stop {outcome.experiment_id}")


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
        say(f"To try them again: {command()} retry {reference} --failed")
    if outcome.num_unfinished:
        say(f"To go on: {command()} resume {reference}")
        raise typer.Exit(EXIT_INTERRUPTED)
    if outcome.num_failed:
        raise typer.Exit(EXIT_SOME_FAILED)


def _summary(outcome: Outcome, leaderboard: list[dict[str, Any]]) -> dict[str, Any]:
    run = outcome.run
    return {
        "experiment": outcome.experiment_id,
        "name": outcome.name,
        "status": outcome.status,
        "reason": outcome.reason,
        "run": run.run if run else None,
        "job": run.job_id if run else None,
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
