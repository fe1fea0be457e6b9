"""The six tables and the two views.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

JSON_VALUE = sa.JSON().with_variant(JSONB(), "postgresql")
TIME = sa.DateTime(timezone=True)
STATUS_CHECK = "status IN ('queued', 'running', 'succeeded', 'failed', 'stopped', 'interrupted')"

LEADERBOARD = """
CREATE VIEW leaderboard AS
SELECT experiment.name AS experiment, trial.id AS trial_id, trial.variant, trial.seed, trial.procedure, trial.model,
       trial.status, trial.val_error, trial.test_error, trial.num_params, trial.num_blocks, trial.train_flops,
       trial.wall_s, trial.epochs, trial.sweep_point, trial.reason, trial.experiment_id, trial.trial_index
FROM trial
JOIN experiment ON experiment.id = trial.experiment_id
"""

# One row for each state of a growing network: step 0 is the network before any growth; the row of a later step is the
# network as it stands after that step's verdict, so a rejected step repeats its parent's figures. What the proposal
# itself reached stands in the *_candidate columns.
#
# `initial_blocks` is known where the configuration names the blocks; elsewhere the finished trial's count tells it.
# Before the first verdict, step 0 shows the newest epoch's validation error. The sums are over windows partitioned by
# trial, so that a condition on trial_id reads that trial alone.
GROWTH_CURVE = """
CREATE VIEW growth_curve AS
SELECT experiment.name AS experiment, trial.id AS trial_id, trial.variant, trial.seed,
       0 AS step,
       CAST(NULL AS TEXT) AS verdict,
       COALESCE(trial.initial_blocks, trial.num_blocks - CAST((
           SELECT count(*) FROM growth_step WHERE growth_step.trial_id = trial.id AND growth_step.verdict = 'accepted'
       ) AS INTEGER)) AS num_blocks,
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
       trial.experiment_id
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
           COALESCE(trial.initial_blocks, trial.num_blocks - state.accepted_in_all) + state.accepted_so_far AS INTEGER
       ),
       CASE WHEN state.verdict = 'accepted' THEN state.num_params_after ELSE state.num_params_before END,
       CASE WHEN state.verdict = 'accepted' THEN state.val_error_candidate ELSE state.val_error_before END,
       CASE WHEN state.verdict = 'accepted' THEN state.train_error_candidate ELSE state.train_error_before END,
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
       trial.experiment_id
FROM (
    SELECT growth_step.*,
           sum(CASE WHEN verdict = 'accepted' THEN 1 ELSE 0 END)
               OVER (PARTITION BY trial_id ORDER BY step) AS accepted_so_far,
           sum(CASE WHEN verdict = 'accepted' THEN 1 ELSE 0 END) OVER (PARTITION BY trial_id) AS accepted_in_all,
           sum(train_flops) OVER (PARTITION BY trial_id ORDER BY step) AS train_flops_so_far,
           sum(epochs) OVER (PARTITION BY trial_id ORDER BY step) AS epochs_so_far
    FROM growth_step
) AS state
JOIN trial ON trial.id = state.trial_id
JOIN experiment ON experiment.id = trial.experiment_id
"""


def upgrade() -> None:
    create_experiment_and_trial()
    create_attempt()
    create_epoch()
    create_growth_step()
    create_artifact()
    op.execute(LEADERBOARD)
    op.execute(GROWTH_CURVE)


def downgrade() -> None:
    for view in ("growth_curve", "leaderboard"):
        op.execute(f"DROP VIEW {view}")
    for table in ("artifact", "growth_step", "epoch", "attempt", "trial", "experiment"):
        op.drop_table(table)


def create_experiment_and_trial() -> None:
    op.create_table(
        "experiment",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("spec_text", sa.Text(), nullable=False),
        sa.Column("spec", JSON_VALUE, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("git_commit", sa.Text(), nullable=True),
        sa.Column("git_dirty", sa.Boolean(), nullable=True),
        sa.Column("versions", JSON_VALUE, nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("data_fingerprint", sa.Text(), nullable=True),
        sa.Column("data_splits", JSON_VALUE, nullable=True),
        sa.CheckConstraint(STATUS_CHECK, name=op.f("ck_experiment_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_experiment")),
    )
    op.create_index(op.f("ix_experiment_name"), "experiment", ["name"])
    op.create_table(
        "trial",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("experiment_id", sa.Text(), nullable=False),
        sa.Column("trial_index", sa.Integer(), nullable=False),
        sa.Column("variant", sa.Text(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("procedure", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("sweep_point", JSON_VALUE, nullable=False),
        sa.Column("config", JSON_VALUE, nullable=False),
        sa.Column("initial_blocks", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("val_error", sa.Double(), nullable=True),
        sa.Column("test_error", sa.Double(), nullable=True),
        sa.Column("num_params", sa.BigInteger(), nullable=True),
        sa.Column("num_blocks", sa.Integer(), nullable=True),
        sa.Column("train_flops", sa.BigInteger(), nullable=True),
        sa.Column("epochs", sa.Integer(), nullable=True),
        sa.Column("wall_s", sa.Double(), nullable=True),
        sa.Column("finish_reason", sa.Text(), nullable=True),
        sa.Column("architecture", JSON_VALUE, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        sa.CheckConstraint(STATUS_CHECK, name=op.f("ck_trial_status")),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiment.id"], name=op.f("fk_trial_experiment_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trial")),
        sa.UniqueConstraint("experiment_id", "trial_index", name=op.f("uq_trial_experiment_id_trial_index")),
    )


def create_attempt() -> None:
    op.create_table(
        "attempt",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("ended_at", TIME, nullable=True),
        sa.CheckConstraint(
            "status IN ('running', 'succeeded', 'failed', 'stopped', 'interrupted')", name=op.f("ck_attempt_status")
        ),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name=op.f("fk_attempt_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "attempt", name=op.f("pk_attempt")),
    )


def create_epoch() -> None:
    op.create_table(
        "epoch",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("growth_step", sa.Integer(), nullable=False),
        sa.Column("arm", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("train_loss", sa.Double(), nullable=True),
        sa.Column("train_error", sa.Double(), nullable=True),
        sa.Column("val_loss", sa.Double(), nullable=True),
        sa.Column("val_error", sa.Double(), nullable=True),
        sa.Column("lr", sa.Double(), nullable=True),
        sa.Column("images_per_s", sa.Double(), nullable=True),
        sa.Column("epoch_s", sa.Double(), nullable=True),
        sa.Column("train_flops", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("arm IN ('network', 'candidate', 'control')", name=op.f("ck_epoch_arm")),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name=op.f("fk_epoch_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "growth_step", "arm", "epoch", name=op.f("pk_epoch")),
        sqlite_with_rowid=False,
    )


def create_growth_step() -> None:
    op.create_table(
        "growth_step",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("stage", sa.Integer(), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("initialiser", sa.Text(), nullable=False),
        sa.Column("train_error_before", sa.Double(), nullable=True),
        sa.Column("train_error_candidate", sa.Double(), nullable=True),
        sa.Column("val_error_before", sa.Double(), nullable=True),
        sa.Column("val_error_candidate", sa.Double(), nullable=True),
        sa.Column("val_error_control", sa.Double(), nullable=True),
        sa.Column("p_value", sa.Double(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("num_params_before", sa.BigInteger(), nullable=False),
        sa.Column("num_params_after", sa.BigInteger(), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("train_flops", sa.BigInteger(), nullable=True),
        sa.Column("wall_s", sa.Double(), nullable=True),
        sa.Column("max_logit_change", sa.Double(), nullable=True),
        sa.CheckConstraint("verdict IN ('accepted', 'rejected', 'undecided')", name=op.f("ck_growth_step_verdict")),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name=op.f("fk_growth_step_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "step", name=op.f("pk_growth_step")),
        sqlite_with_rowid=False,
    )


def create_artifact() -> None:
    op.create_table(
        "artifact",
        sa.Column("trial_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("written_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["trial_id"], ["trial.id"], name=op.f("fk_artifact_trial_id")),
        sa.PrimaryKeyConstraint("trial_id", "kind", "path", name=op.f("pk_artifact")),
    )
