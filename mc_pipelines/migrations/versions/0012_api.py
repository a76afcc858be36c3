"""Schema of api."""

from __future__ import annotations

revision = "0012_api"
down_revision = "0011_estimator"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
