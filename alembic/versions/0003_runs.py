"""Runs of an experiment with their heartbeats; who stopped a trial; what an attempt has to say.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_A_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "run",
        sa.Column("experiment_id", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("backend", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("job_id", sa.Text(), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("dashboard_url", sa.Text(), nullable=True),
        sa.Column("stop_requested", sa.Text(), nullable=True),
        sa.Column("submitted_at", _A_TIME, nullable=False),
        sa.Column("started_at", _A_TIME, nullable=True),
        sa.Column("heartbeat_at", _A_TIME, nullable=False),
        sa.Column("ended_at", _A_TIME, nullable=True),
        sa.CheckConstraint(
            "status IN ('queued', 'running', 'succeeded', 'failed', 'stopped', 'interrupted')",
            name=op.f("ck_run_status"),
        ),
        sa.CheckConstraint("stop_requested IN ('epoch', 'now')", name=op.f("ck_run_stop_requested")),
        sa.ForeignKeyConstraint(["experiment_id"], ["experiment.id"], name=op.f("fk_run_experiment_id")),
        sa.PrimaryKeyConstraint("experiment_id", "run", name=op.f("pk_run")),
    )
    op.add_column("trial", sa.Column("stopped_by", sa.Text(), nullable=True))
    op.add_column("attempt", sa.Column("note", sa.Text(), nullable=True))
    # Until now only the scheduler stopped a trial, or the end of the one whose twin it was to be.
    op.execute(
        "UPDATE trial SET stopped_by = CASE WHEN attempt = 0 THEN 'parent' ELSE 'scheduler' END "
        "WHERE status = 'stopped'"
    )


def downgrade() -> None:
    for table, column in (("attempt", "note"), ("trial", "stopped_by")):
        op.drop_column(table, column)
    op.drop_table("run")
