"""Schema of keys."""

from __future__ import annotations

revision = "0003_keys"
down_revision = "0002_attest"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""


def downgrade() -> None:
    """Drop the tables."""
