"""Schema of showback."""

from __future__ import annotations

revision = "0009_showback"
down_revision = "0008_sla"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
