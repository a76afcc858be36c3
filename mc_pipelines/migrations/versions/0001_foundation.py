"""Schema of foundation: the function behind INSERT-only tables; outbox, flags, tenants and people."""

from __future__ import annotations

from alembic import op

revision = "0001_foundation"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.execute("grant usage on schema public to mc_app")
    op.execute("grant select on alembic_version to mc_app")
    op.execute(
        """
        create function mc_refuse_change() returns trigger language plpgsql as $$
        begin
            raise exception 'table % is insert-only: % refused', tg_table_name, tg_op using errcode = 'P0001';
        end $$
        """
    )


def downgrade() -> None:
    """Drop the tables."""
    op.execute("drop function mc_refuse_change()")
