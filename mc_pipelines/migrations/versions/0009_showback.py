"""Schema of showback: none. Cost is computed from the execution facts whenever it is asked for, and kept nowhere."""

from __future__ import annotations

revision = "0009_showback"
down_revision = "0008_sla"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create nothing; the revision keeps its place in the chain."""


def downgrade() -> None:
    """Drop nothing."""
