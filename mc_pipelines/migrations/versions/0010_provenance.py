"""Schema of provenance."""

from __future__ import annotations

revision = "0010_provenance"
down_revision = "0009_showback"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
