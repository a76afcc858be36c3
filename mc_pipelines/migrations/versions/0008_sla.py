"""Schema of sla."""

from __future__ import annotations

revision = "0008_sla"
down_revision = "0007_policy"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
