"""Replicates of a proposal, rounds of proposals, blocks that are taken away again, twins.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# SQLite changes a table by copying it, and would forget this on the way.
_AS_BEFORE = {"sqlite_with_rowid": False}

_OLD_ARMS = "'network', 'candidate', 'control'"
_NEW_IN_GROWTH_STEP = ("kind", "round", "val_loss_before", "val_loss_candidate", "val_loss_control", "num_replicates")

# One row for each state of a growing network, as in revision 0001. A step may now also take a block away, and what is
# told after the accepted proposal of a round stands on that one.
GROWTH_CURVE = """
CREATE VIEW growth_curve AS
SELECT experiment.name AS experiment, trial.id AS trial_id, trial.variant, trial.seed,
       0 AS step,
       CAST(NULL AS TEXT) AS verdict,
       CAST(COALESCE(trial.initial_blocks, trial.num_blocks - COALESCE((
           SELECT sum(CASE WHEN growth_step.kind = 'remove' THEN -1 ELSE 1 END) FROM growth_step
           WHERE growth_step.trial_id = trial.id AND growth_step.verdict = 'accepted'
       ), 0)) AS INTEGER) AS num_blocks,
       COALESCE(first_step.num_params_before, trial.num_params) AS num_params,
       COALESCE(first_step.val_error_before, (
           SELECT epoch.val_error FROM epoch
           WHERE epoch.trial_id = trial.id AND epoch.growth_step = 0 ORDER BY epoch.epoch DESC LIMIT 1
       )) AS val_error,
       first_step.train_error_before AS train_error,
       CAST((
           SELECT sum(epoch.train_flops) FROM epoch WHERE epoch.trial_id = trial.id AND epoch.growth_step = 0
       ) AS BIGINT) AS train_flops_total,
       (SELECT count(*) FROM epoch WHERE epoch.trial_id = trial.id AND epoch.growth_step = 0) AS epochs_total,
       CAST(NULL AS INTEGER) AS stage,
       CAST(NULL AS INTEGER) AS block,
       CAST(NULL AS DOUBLE PRECISION) AS val_error_candidate,
       CAST(NULL AS DOUBLE PRECISION) AS train_error_candidate,
       CAST(NULL AS DOUBLE PRECISION) AS val_error_control,
       CAST(NULL AS DOUBLE PRECISION) AS p_value,
       CAST(NULL AS TEXT) AS reason,
       trial.experiment_id,
       CAST(NULL AS TEXT) AS kind,
       CAST(NULL AS INTEGER) AS round
FROM trial
JOIN experiment ON experiment.id = trial.experiment_id
LEFT JOIN growth_step AS first_step ON first_step.trial_id = trial.id AND first_step.step = 1
WHERE trial.procedure <> 'end_to_end'
  AND EXISTS (SELECT 1 FROM epoch WHERE epoch.trial_id = trial.id AND epoch.growth_step = 0)
UNION ALL
SELECT experiment.name, trial.id, trial.variant, trial.seed,
       state.step,
       state.verdict,
       CAST(
           COALESCE(trial.initial_blocks, trial.num_blocks - state.added_in_all) + state.added_so_far AS INTEGER
       ),
       CASE WHEN state.verdict = 'accepted' THEN state.num_params_after
            ELSE COALESCE(kept.num_params_after, state.num_params_before) END,
       CASE WHEN state.verdict = 'accepted' THEN state.val_error_candidate
            ELSE COALESCE(kept.val_error_candidate, state.val_error_before) END,
       CASE WHEN state.verdict = 'accepted' THEN state.train_error_candidate
            ELSE COALESCE(kept.train_error_candidate, state.train_error_before) END,
       CAST(COALESCE((
           SELECT sum(epoch.train_flops) FROM epoch WHERE epoch.trial_id = trial.id AND epoch.growth_step = 0
       ), 0) + state.train_flops_so_far AS BIGINT),
       CAST((
           SELECT count(*) FROM epoch WHERE epoch.trial_id = trial.id AND epoch.growth_step = 0
       ) + state.epochs_so_far AS BIGINT),
       state.stage,
       state.block,
       state.val_error_candidate,
       state.train_error_candidate,
       state.val_error_control,
       state.p_value,
       state.reason,
       trial.experiment_id,
       state.kind,
       state.round
FROM (
    SELECT growth_step.*,
           sum(CASE WHEN verdict <> 'accepted' THEN 0 WHEN kind = 'remove' THEN -1 ELSE 1 END)
               OVER (PARTITION BY trial_id ORDER BY step) AS added_so_far,
           sum(CASE WHEN verdict <> 'accepted' THEN 0 WHEN kind = 'remove' THEN -1 ELSE 1 END)
               OVER (PARTITION BY trial_id) AS added_in_all,
           sum(train_flops) OVER (PARTITION BY trial_id ORDER BY step) AS train_flops_so_far,
           sum(epochs) OVER (PARTITION BY trial_id ORDER BY step) AS epochs_so_far
    FROM growth_step
) AS state
LEFT JOIN growth_step AS kept
    ON kept.trial_id = state.trial_id AND kept.round = state.round AND kept.step < state.step
    AND kept.verdict = 'accepted'
JOIN trial ON trial.id = state.trial_id
JOIN experiment ON experiment.id = trial.experiment_id
"""


def upgrade() -> None:
    drop_views()
    add_twins_to_trial()
    add_replicate_to_epoch()
    add_rounds_to_growth_step()
    op.execute(_first_revision().LEADERBOARD)
    op.execute(GROWTH_CURVE)


def downgrade() -> None:
    """Other replicates than a trial's own, screenings, and removals of blocks have no place in the older schema."""
    drop_views()
    op.execute("DELETE FROM epoch WHERE replicate <> 0 OR arm = 'screen'")
    op.execute("DELETE FROM growth_step WHERE kind = 'remove'")
    with op.batch_alter_table("growth_step", table_kwargs=_AS_BEFORE) as growth_step:
        growth_step.drop_constraint(op.f("ck_growth_step_kind"), type_="check")
        for column in _NEW_IN_GROWTH_STEP:
            growth_step.drop_column(column)
        growth_step.alter_column("initialiser", existing_type=sa.Text(), nullable=False)
    with op.batch_alter_table("epoch", table_kwargs=_AS_BEFORE) as epoch:
        epoch.drop_constraint(op.f("pk_epoch"), type_="primary")
        epoch.create_primary_key(op.f("pk_epoch"), ["trial_id", "growth_step", "arm", "epoch"])
        epoch.drop_constraint(op.f("ck_epoch_arm"), type_="check")
        epoch.create_check_constraint(op.f("ck_epoch_arm"), f"arm IN ({_OLD_ARMS})")
        epoch.drop_column("replicate")
    with op.batch_alter_table("trial") as trial:
        trial.drop_constraint(op.f("fk_trial_twin_of"), type_="foreignkey")
        trial.drop_column("twin_of")
        trial.drop_column("twin")
    op.execute(_first_revision().LEADERBOARD)
    op.execute(_first_revision().GROWTH_CURVE)


def drop_views() -> None:
    for view in ("growth_curve", "leaderboard"):
        op.execute(f"DROP VIEW {view}")


def add_twins_to_trial() -> None:
    with op.batch_alter_table("trial") as trial:
        trial.add_column(sa.Column("twin_of", sa.Text(), nullable=True))
        trial.add_column(sa.Column("twin", sa.Text(), nullable=True))
        trial.create_foreign_key(op.f("fk_trial_twin_of"), "trial", ["twin_of"], ["id"])


def add_replicate_to_epoch() -> None:
    with op.batch_alter_table("epoch", table_kwargs=_AS_BEFORE) as epoch:
        epoch.add_column(sa.Column("replicate", sa.Integer(), nullable=False, server_default="0"))
        epoch.drop_constraint(op.f("pk_epoch"), type_="primary")
        epoch.create_primary_key(op.f("pk_epoch"), ["trial_id", "growth_step", "arm", "replicate", "epoch"])
        epoch.drop_constraint(op.f("ck_epoch_arm"), type_="check")
        epoch.create_check_constraint(op.f("ck_epoch_arm"), f"arm IN ({_OLD_ARMS}, 'screen')")
    with op.batch_alter_table("epoch", table_kwargs=_AS_BEFORE) as epoch:
        epoch.alter_column("replicate", existing_type=sa.Integer(), existing_nullable=False, server_default=None)


def add_rounds_to_growth_step() -> None:
    """Every older step was a round of its own that appended a block."""
    with op.batch_alter_table("growth_step", table_kwargs=_AS_BEFORE) as growth_step:
        growth_step.add_column(sa.Column("kind", sa.Text(), nullable=False, server_default="append"))
        growth_step.add_column(sa.Column("round", sa.Integer(), nullable=False, server_default="0"))
        growth_step.add_column(sa.Column("val_loss_before", sa.Double(), nullable=True))
        growth_step.add_column(sa.Column("val_loss_candidate", sa.Double(), nullable=True))
        growth_step.add_column(sa.Column("val_loss_control", sa.Double(), nullable=True))
        growth_step.add_column(sa.Column("num_replicates", sa.Integer(), nullable=False, server_default="1"))
        growth_step.alter_column("initialiser", existing_type=sa.Text(), nullable=True)
        growth_step.create_check_constraint(op.f("ck_growth_step_kind"), "kind IN ('append', 'remove')")
    op.execute("UPDATE growth_step SET round = step")
    with op.batch_alter_table("growth_step", table_kwargs=_AS_BEFORE) as growth_step:
        for name, type_ in (("kind", sa.Text()), ("round", sa.Integer()), ("num_replicates", sa.Integer())):
            growth_step.alter_column(name, existing_type=type_, existing_nullable=False, server_default=None)


def _first_revision() -> Any:
    """The module of revision 0001, which holds the views as they were."""
    found = context.script.get_revision("0001")
    assert found is not None
    return found.module
