"""Schema of decision."""

from __future__ import annotations

revision = "0004_decision"
down_revision = "0003_keys"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
