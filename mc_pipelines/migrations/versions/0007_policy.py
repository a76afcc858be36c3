"""Schema of policy."""

from __future__ import annotations

revision = "0007_policy"
down_revision = "0006_runner"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
