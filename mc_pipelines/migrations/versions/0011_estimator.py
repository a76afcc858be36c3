"""Schema of estimator."""

from __future__ import annotations

revision = "0011_estimator"
down_revision = "0010_provenance"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
