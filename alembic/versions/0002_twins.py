"""A trial may be the twin of another: its final network, trained from scratch.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In SQL, not with op.add_column: SQLite would have the whole table copied for the sake of the foreign key.
    op.execute("ALTER TABLE trial ADD COLUMN twin_of TEXT CONSTRAINT fk_trial_twin_of REFERENCES trial (id)")
    op.add_column("trial", sa.Column("twin", sa.Text(), nullable=True))


def downgrade() -> None:
    bind = op.get_bind()
    if bind.dialect.name != "sqlite":
        op.drop_column("trial", "twin")
        op.drop_column("trial", "twin_of")
        return
    views = bind.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'view'")).all()
    for name, _ in views:  # SQLite changes a table by copying it, and no view may refer to it meanwhile
        op.execute(f"DROP VIEW {name}")
    # SQLite forgets the name of a foreign key that stands at its column.
    naming = {"fk": "fk_%(table_name)s_%(column_0_N_name)s"}
    with op.batch_alter_table("trial", naming_convention=naming) as trial:
        trial.drop_constraint("fk_trial_twin_of", type_="foreignkey")
        trial.drop_column("twin_of")
        trial.drop_column("twin")
    for _, definition in views:
        op.execute(definition)
