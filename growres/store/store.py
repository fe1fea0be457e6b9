"""The store as the rest of growres sees it: experiments and trials go in, frozen rows and plain dicts come out.

What a running trial reports is the recorder's to write (growres.store.recorder).
"""

from __future__ import annotations

import secrets
import statistics
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Connection, Select, Table, and_, case, false, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from growres.errors import NotFoundError, nearest
from growres.store import clock, migration
from growres.store.columns import storable
from growres.store.database import Database, resolve
from growres.store.rows import ExperimentRow, NewExperiment, NewTrial, Status, StoppedBy, TrialRow
from growres.store.runs import Runs
from growres.store.tables import GROWTH_CURVE, LEADERBOARD, Artifact, Attempt, Epoch, Experiment, GrowthStep, Trial
from growres.store.transitions import ENDED, close_attempts, move_trials

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"
_ID_LENGTH = 6
_PROVENANCE = ("git_commit", "git_dirty", "versions", "host", "device", "data_fingerprint", "data_splits")
_SHARED = ("experiment", "variant", "procedure", "model", "sweep_point")
_AVERAGED = ("num_params", "num_blocks", "train_flops", "wall_s", "epochs")


class Store:
    """An open store. Use it as a context manager, or close it.

    Every method raises StoreError if the database is away or refuses.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.runs = Runs(database)

    @classmethod
    def open(cls, url: str | None = None, *, upgrade: bool | None = None) -> Self:
        """Opens a store that has this program's schema.

        Args:
            url: sqlite:///FILE or postgresql://...; None: GROWRES_DATABASE_URL, or else growres.db in GROWRES_HOME.
            upgrade: bring an older schema up to date: True: always; False: never; None: the embedded store (after a
                backup) and an empty SQLite file.
        Raises:
            StoreError: if the database cannot be reached or used.
            SchemaMismatchError: if its schema is not this program's and may not be changed.
        """
        database = Database(resolve(url))
        try:
            migration.prepare(database, upgrade=upgrade)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @property
    def url_for_people(self) -> str:
        """The database's address without its password."""
        return self._database.address.for_people

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self.url_for_people!r})"

    # ------------------------------------------------------------------------------------------------- writing

    def add_experiment(self, new: NewExperiment) -> str:
        """Stores an experiment and its trials, all queued, in one transaction; returns the experiment's id."""
        with self._database.writing() as connection:
            now = _after_every_other(connection)
            experiment_id = _insert_experiment(connection, new, now)
            rows = [_trial_values(experiment_id, index, trial, now) for index, trial in enumerate(new.trials, start=1)]
            if rows:
                connection.execute(insert(Trial), rows)
        return experiment_id

    def add_provenance(self, experiment_id: str, provenance: dict[str, Any]) -> None:
        """Adds what only the run itself finds out, such as the data's fingerprint and the sizes of its splits."""
        with self._database.writing() as connection:
            this = update(Experiment).where(Experiment.id == experiment_id)
            connection.execute(this.values(_provenance_values(provenance)))

    def configure_trial(self, trial_id: str, config: dict[str, Any]) -> None:
        """Gives a trial that has not begun the configuration that only the machines it will run on could complete."""
        waiting = (Trial.id == trial_id, Trial.attempt == 0)
        values = {"config": storable(config), "updated_at": clock.now()}
        with self._database.writing() as connection:
            changed = connection.execute(update(Trial).where(*waiting).values(values)).rowcount
        assert changed == 1, f"{trial_id} has begun"

    def configure_twin(self, trial_id: str, config: dict[str, Any]) -> None:
        """Gives a twin the configuration that its parent's result completes; its model and blocks are told from it."""
        values = {
            "config": storable(config),
            "model": config["model"]["name"],
            "initial_blocks": _initial_blocks(config),
            "updated_at": clock.now(),
        }
        waiting = (Trial.id == trial_id, Trial.twin_of.is_not(None), Trial.attempt == 0)
        with self._database.writing() as connection:
            changed = connection.execute(update(Trial).where(*waiting).values(values)).rowcount
        assert changed == 1, f"{trial_id} is no twin that still waits for its parent"

    def mark_trials(
        self,
        experiment_id: str,
        from_statuses: Collection[Status],
        to_status: Status,
        reason: str | None = None,
        *,
        stopped_by: StoppedBy | None = None,
    ) -> int:
        """Gives those trials of an experiment that have one of `from_statuses` another status; returns their number.

        Attempts of theirs that are still open are ended with them. Who stops them says who it is in `stopped_by`.

        Raises:
            FinishedTrialError: if one of them succeeded; nothing is changed then.
        """
        return self._mark(Trial.experiment_id == experiment_id, from_statuses, to_status, reason, stopped_by)

    def mark_trial(
        self, trial_id: str, to_status: Status, reason: str | None = None, *, stopped_by: StoppedBy | None = None
    ) -> bool:
        """Gives one trial another status; False if it has one from which that cannot be reached.

        Raises:
            FinishedTrialError: if it succeeded: a finished trial is never changed.
        """
        from_statuses: list[Status] = ["queued", "running", *ENDED]
        return self._mark(Trial.id == trial_id, from_statuses, to_status, reason, stopped_by) > 0

    def queue_trials(self, experiment_id: str, *, unfinished: bool = True, failed: bool = False) -> list[str]:
        """Queues the trials of an experiment that are to be run; returns the ids of all that are queued then.

        Twins that were stopped only because of a parent that is queued now wait for it again.

        Args:
            unfinished: those that were interrupted, or stopped by a person.
            failed: those that failed.
        """
        now = clock.now()
        stopped = (Trial.status == "stopped", Trial.stopped_by == "person")
        chosen = [or_(Trial.status == "interrupted", and_(*stopped))] if unfinished else []
        chosen += [Trial.status == "failed"] if failed else []
        theirs = Trial.experiment_id == experiment_id
        parents = select(Trial.id).where(theirs, Trial.status == "queued")
        orphans = and_(Trial.stopped_by == "parent", Trial.twin_of.in_(parents))
        with self._database.writing() as connection:
            for which in (or_(false(), *chosen), orphans):
                from_statuses: list[Status] = ["interrupted", "stopped", "failed"]
                move_trials(connection, and_(theirs, which), "queued", from_statuses=from_statuses, reason=None, at=now)
            queued = select(Trial.id).where(theirs, Trial.status == "queued").order_by(Trial.trial_index)
            return list(connection.execute(queued).scalars())

    def _mark(
        self,
        which: ColumnElement[bool],
        from_statuses: Collection[Status],
        to_status: Status,
        reason: str | None,
        stopped_by: StoppedBy | None,
    ) -> int:
        now = clock.now()
        reason = storable(reason)
        with self._database.writing() as connection:
            moved = move_trials(
                connection,
                which,
                to_status,
                from_statuses=from_statuses,
                reason=reason,
                at=now,
                stopped_by=stopped_by,
            )
            if to_status != "running":
                theirs = Attempt.trial_id.in_(select(Trial.id).where(which, Trial.status == to_status))
                attempt_status: Status = to_status if to_status in ENDED else "interrupted"
                close_attempts(connection, theirs, attempt_status, reason=reason, at=now)
        return moved

    def set_experiment_status(self, experiment_id: str, status: Status, reason: str | None = None) -> None:
        """Sets an experiment's status, and with it when it started or ended."""
        now = clock.now()
        values: dict[str, Any] = {"status": status, "reason": storable(reason)}
        values["ended_at"] = now if status in ENDED else None
        if status == "running":
            values["started_at"] = func.coalesce(Experiment.started_at, now)
        with self._database.writing() as connection:
            connection.execute(update(Experiment).where(Experiment.id == experiment_id).values(values))

    def finish_experiment(self, experiment_id: str, reason: str | None = None) -> Status:
        """Ends an experiment with the status that its trials give it, and returns that.

        `interrupted` if a trial has not ended of itself, for there is something to go on with; else `stopped` if a
        person stopped one; else `failed` if one failed; else `succeeded`. Without a `reason` the trials are counted.
        """
        by_a_person = select(func.count()).where(Trial.experiment_id == experiment_id, Trial.stopped_by == "person")
        with self._database.reading() as connection:
            counts = _trial_counts(connection, [experiment_id]).get(experiment_id, {})
            num_stopped = connection.execute(by_a_person).scalar_one()
        status: Status = "failed" if "failed" in counts else "succeeded"
        if counts.keys() & {"queued", "running", "interrupted"}:
            status = "interrupted"
        elif num_stopped:
            status = "stopped"
        in_words = ", ".join(f"{number} {trial_status}" for trial_status, number in sorted(counts.items()))
        self.set_experiment_status(experiment_id, status, reason or f"trials: {in_words or 'none'}")
        return status

    # ------------------------------------------------------------------------------------------------- finding

    def experiments(self) -> list[ExperimentRow]:
        """All experiments, the newest first."""
        with self._database.reading() as connection:
            return _experiments(connection, _newest_first())

    def find_experiment(self, ref: str) -> ExperimentRow:
        """The experiment of an id, the newest of a name, or the newest of all for `latest`.

        Raises:
            NotFoundError: if there is none.
        """
        with self._database.reading() as connection:
            return _find_experiment(connection, ref)

    def find_trial(self, ref: str) -> TrialRow:
        """The trial of an id such as `k3f9xa-3`; the experiment before the dash may also be a name or `latest`.

        Raises:
            NotFoundError: if there is none.
        """
        with self._database.reading() as connection:
            if found := _trials(connection, Trial.id == ref):
                return found[0]
            head, dash, index = ref.rpartition("-")
            if not (dash and index.isdecimal()):
                raise NotFoundError(
                    f"No trial has the id {ref!r}: it is an experiment and a number, as in k3f9xa-3 or latest-1. "
                    "See: growres results"
                )
            experiment = _find_experiment(connection, head)
            trials = _trials(connection, Trial.id == f"{experiment.id}-{int(index)}")
        if not trials:
            raise NotFoundError(
                f"No trial has the id {ref!r}: experiment {experiment.id} ({experiment.name}) has trials 1 to "
                f"{experiment.num_trials}. See: growres results {experiment.id}"
            )
        return trials[0]

    def trials(self, experiment_id: str) -> list[TrialRow]:
        """An experiment's trials, in the order of its file."""
        with self._database.reading() as connection:
            return _trials(connection, Trial.experiment_id == experiment_id)

    def succeeded_on(self, data_fingerprint: str, version: str) -> list[TrialRow]:
        """The trials that have succeeded on these data with this version of growres, of all experiments."""
        with self._database.reading() as connection:
            experiments = _experiments(
                connection, _newest_first().where(Experiment.data_fingerprint == data_fingerprint)
            )
            ids = [found.id for found in experiments if (found.versions or {}).get("growres") == version]
            return _trials(connection, and_(Trial.experiment_id.in_(ids), Trial.status == "succeeded"))

    # ------------------------------------------------------------------------------------------------- results

    def leaderboard(self, experiment_id: str | None = None) -> list[dict[str, Any]]:
        """The view `leaderboard`, of one experiment or all, the lowest validation error first."""
        column = LEADERBOARD.c
        query = select(LEADERBOARD).order_by(
            column.val_error.is_(None), column.val_error, column.experiment, column.experiment_id, column.trial_index
        )
        if experiment_id is not None:
            query = query.where(LEADERBOARD.c.experiment_id == experiment_id)
        return self._dicts(query)

    def leaderboard_by_variant(self, experiment_id: str | None = None) -> list[dict[str, Any]]:
        """One row for each variant at each point of its sweep, so that a spread is one over seeds alone.

        Errors are the mean and the sample standard deviation (None below two) over the `n` trials that succeeded; sizes
        and costs are means over them; then come the numbers of trials by status. The lowest validation error first.
        """
        groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for row in self.leaderboard(experiment_id):
            groups.setdefault((row["experiment_id"], row["variant"], repr(row["sweep_point"])), []).append(row)
        summaries = [_summary(rows) for rows in groups.values()]
        return sorted(summaries, key=lambda row: (row["val_error"] is None, row["val_error"] or 0.0))

    def growth_curve(self, trial_id: str) -> list[dict[str, Any]]:
        """The view `growth_curve` of one trial: the network before any growth, and after each verdict."""
        return self._dicts(
            select(GROWTH_CURVE).where(GROWTH_CURVE.c.trial_id == trial_id).order_by(GROWTH_CURVE.c.step)
        )

    def growth_steps(self, trial_id: str) -> list[dict[str, Any]]:
        """A trial's proposals in their order, whatever their verdict."""
        return self._dicts(_rows_of(GrowthStep.__table__, trial_id).order_by(GrowthStep.step))

    def epochs(self, trial_id: str) -> list[dict[str, Any]]:
        """A trial's epochs: growth step by growth step, replicate by replicate, arm by arm."""
        arms = case({"network": 0, "screen": 1, "candidate": 2, "control": 3}, value=Epoch.arm)
        return self._dicts(
            _rows_of(Epoch.__table__, trial_id).order_by(Epoch.growth_step, Epoch.replicate, arms, Epoch.epoch)
        )

    def attempts(self, trial_id: str) -> list[dict[str, Any]]:
        """A trial's attempts in their order."""
        return self._dicts(_rows_of(Attempt.__table__, trial_id).order_by(Attempt.attempt))

    def artifacts(self, trial_id: str) -> list[dict[str, Any]]:
        """A trial's files; paths are relative to the run's folder."""
        return self._dicts(_rows_of(Artifact.__table__, trial_id).order_by(Artifact.kind, Artifact.path))

    def progress(self, experiment_id: str) -> list[dict[str, Any]]:
        """One row a trial, as it stands now.

        `epochs` counts all arms, and `images_per_s` is of the newest that is neither a control, which a candidate goes
        before, nor a screening, whose images are features made beforehand. `val_error` is that of the network as
        accepted so far, never that of a candidate under trial or rejected. `num_blocks` is None where neither the
        configuration nor a result tells it.
        """
        return self._dicts(_progress(experiment_id))

    def _dicts(self, query: Select[Any]) -> list[dict[str, Any]]:
        with self._database.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]


# ----------------------------------------------------------------------------------------------------- the queries


def _new_id() -> str:
    return "".join(secrets.choice(_ID_LETTERS) for _ in range(_ID_LENGTH))


def _after_every_other(connection: Connection) -> datetime:
    """Now, or where the clock was set back since, the moment after the newest experiment: `latest` stays the latest."""
    newest = connection.execute(select(func.max(Experiment.created_at))).scalar()
    now = clock.now()
    return now if newest is None else max(now, newest + timedelta(microseconds=1))


def _insert_experiment(connection: Connection, new: NewExperiment, now: datetime) -> str:
    values = {
        "name": new.name,
        "status": "queued",
        "spec_text": storable(new.spec_text),
        "spec": storable(new.spec),
        "created_at": now,
        **_provenance_values(new.provenance),
    }
    while True:
        experiment_id = _new_id()
        try:
            with connection.begin_nested():
                connection.execute(insert(Experiment).values(id=experiment_id, **values))
        except IntegrityError:
            if connection.execute(select(Experiment.id).where(Experiment.id == experiment_id)).scalar() is None:
                raise
        else:
            return experiment_id


def _provenance_values(provenance: dict[str, Any]) -> dict[str, Any]:
    unknown = provenance.keys() - set(_PROVENANCE)
    assert not unknown, f"no columns for the provenance {sorted(unknown)}; there are {_PROVENANCE}"
    return {key: storable(value) for key, value in provenance.items()}


def _trial_values(experiment_id: str, index: int, trial: NewTrial, now: datetime) -> dict[str, Any]:
    return {
        "id": f"{experiment_id}-{index}",
        "experiment_id": experiment_id,
        "trial_index": index,
        "variant": trial.variant,
        "seed": trial.seed,
        "procedure": trial.procedure,
        "model": trial.model,
        "sweep_point": storable(trial.config.get("sweep_point") or {}),
        "config": storable(trial.config),
        "initial_blocks": _initial_blocks(trial.config),
        "twin_of": None if trial.twin_of is None else f"{experiment_id}-{trial.twin_of}",
        "twin": trial.twin,
        "status": "queued",
        "attempt": 0,
        "created_at": now,
        "updated_at": now,
    }


def _initial_blocks(config: dict[str, Any]) -> int | None:
    """The sum of the model's `blocks`, one number a stage; None for a model that has no such argument.

    Layer-wise training and BoostResNet have their first network when they have trained the first block, whatever the
    model's depth.
    """
    if config.get("procedure") in ("layerwise", "boostresnet"):
        return 1
    model = config.get("model")
    blocks = model.get("blocks") if isinstance(model, dict) else None
    if isinstance(blocks, list | tuple) and all(isinstance(number, int) for number in blocks):
        return sum(blocks)
    return None


def _newest_first() -> Select[Any]:
    return select(Experiment.__table__).order_by(Experiment.created_at.desc(), Experiment.id)


def _experiments(connection: Connection, query: Select[Any]) -> list[ExperimentRow]:
    rows = connection.execute(query).mappings().all()
    counts = _trial_counts(connection, [row["id"] for row in rows])
    return [ExperimentRow(**row, trial_counts=counts.get(row["id"], {})) for row in rows]


def _trial_counts(connection: Connection, experiment_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    query = select(Trial.experiment_id, Trial.status, func.count()).group_by(Trial.experiment_id, Trial.status)
    if len(experiment_ids) == 1:
        query = query.where(Trial.experiment_id == experiment_ids[0])
    counts: dict[str, dict[str, int]] = {}
    for experiment_id, status, number in connection.execute(query):
        counts.setdefault(experiment_id, {})[status] = number
    return counts


def _find_experiment(connection: Connection, ref: str) -> ExperimentRow:
    candidates = _newest_first()
    if ref != "latest":
        # An id goes before a name that happens to be spelt like it.
        by_id = select(Experiment.__table__).where(Experiment.id == ref)
        if found := _experiments(connection, by_id):
            return found[0]
        candidates = candidates.where(Experiment.name == ref)
    if found := _experiments(connection, candidates.limit(1)):
        return found[0]
    known = [name for row in connection.execute(select(Experiment.id, Experiment.name)) for name in row]
    if not known:
        raise NotFoundError(f"No experiment answers to {ref!r}: none is stored yet. Run one with: growres submit SPEC")
    likely = nearest(ref, known)
    suggestion = f" The nearest is {likely!r}." if likely else ""
    raise NotFoundError(f"No experiment has the id or the name {ref!r}.{suggestion} See: growres list")


def _trials(connection: Connection, which: ColumnElement[bool]) -> list[TrialRow]:
    query = (
        select(Trial.__table__, Experiment.name.label("experiment"))
        .join(Experiment, Experiment.id == Trial.experiment_id)
        .where(which)
        .order_by(Trial.trial_index)
    )
    return [TrialRow(**row) for row in connection.execute(query).mappings()]


def _rows_of(table: Any, trial_id: str) -> Select[Any]:
    assert isinstance(table, Table)
    return select(table).where(table.c.trial_id == trial_id)


def _progress(experiment_id: str) -> Select[Any]:
    """Reads each trial's epochs along their primary key, which puts the arm `network` after `candidate`."""
    own_epochs = select(Epoch).where(Epoch.trial_id == Trial.id)
    key = (Epoch.growth_step, Epoch.arm, Epoch.replicate, Epoch.epoch)
    backwards = own_epochs.order_by(*(column.desc() for column in key)).limit(1)
    own_steps = select(GrowthStep).where(GrowthStep.trial_id == Trial.id)
    newest_step = own_steps.order_by(GrowthStep.step.desc()).limit(1)
    accepted = GrowthStep.verdict == "accepted"
    blocks = func.coalesce(func.sum(case({"remove": -1}, value=GrowthStep.kind, else_=1)), 0)
    blocks_added = own_steps.where(accepted).with_only_columns(blocks).scalar_subquery()
    val_error = func.coalesce(
        Trial.val_error,
        # Epochs of the network after a growth step are those that follow the whole growth.
        backwards.where(Epoch.arm == "network", Epoch.growth_step > 0)
        .with_only_columns(Epoch.val_error)
        .scalar_subquery(),
        newest_step.where(accepted).with_only_columns(GrowthStep.val_error_candidate).scalar_subquery(),
        backwards.where(Epoch.arm == "network").with_only_columns(Epoch.val_error).scalar_subquery(),
    )
    return (
        select(
            Trial.id.label("trial_id"),
            Trial.trial_index,
            Trial.variant,
            Trial.seed,
            Trial.sweep_point,
            Trial.status,
            Trial.attempt,
            select(func.count()).where(Epoch.trial_id == Trial.id).scalar_subquery().label("epochs"),
            own_steps.with_only_columns(func.count()).scalar_subquery().label("growth_steps"),
            func.coalesce(Trial.num_blocks, Trial.initial_blocks + blocks_added).label("num_blocks"),
            val_error.label("val_error"),
            newest_step.with_only_columns(GrowthStep.verdict).scalar_subquery().label("last_verdict"),
            backwards.where(Epoch.arm.in_(("network", "candidate")))
            .with_only_columns(Epoch.images_per_s)
            .scalar_subquery()
            .label("images_per_s"),
            select(func.avg(Epoch.epoch_s)).where(Epoch.trial_id == Trial.id).scalar_subquery().label("mean_epoch_s"),
            Trial.started_at,
            Trial.updated_at,
            Trial.reason,
        )
        .where(Trial.experiment_id == experiment_id)
        .order_by(Trial.trial_index)
    )


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    done = [row for row in rows if row["status"] == "succeeded"]
    summary: dict[str, Any] = {key: rows[0][key] for key in _SHARED}
    summary["n"] = len(done)
    for error in ("val_error", "test_error"):
        values = [row[error] for row in done if row[error] is not None]
        summary[error] = statistics.fmean(values) if values else None
        summary[f"{error}_std"] = statistics.stdev(values) if len(values) > 1 else None
    for figure in _AVERAGED:
        values = [row[figure] for row in done if row[figure] is not None]
        summary[figure] = statistics.fmean(values) if values else None
    statuses = Counter(row["status"] for row in rows)
    summary.update({status: statuses[status] for status in ("queued", "running", *ENDED)})
    summary["experiment_id"] = rows[0]["experiment_id"]
    return summary
