"""Tables of policy: rollouts, their transitions, paired evidence, and the pointers to bundles."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import metadata

rollouts = Table(
    "policy_rollout",
    metadata,
    Column("rollout_id", Uuid, primary_key=True),
    Column("pack", Text, nullable=False),
    Column("cohort", Text, nullable=False),
    Column("baseline", Text, nullable=False),
    Column("challenger", Text, nullable=False),
    Column("steps", JSONB, nullable=False),
    Column("declared", JSONB, nullable=False),
    Column("step", Integer, nullable=False),
    Column("phase", Text, nullable=False),
    Column("held", Boolean, nullable=False),
    Column("step_started_at", DateTime(timezone=True), nullable=False),
    Column("sequence", Integer, nullable=False),
    Index(
        "uq_policy_rollout_active",
        "pack",
        "cohort",
        unique=True,
        postgresql_where=text("phase in ('simulate', 'warn', 'enforce')"),
    ),
)
"""A rollout as it stands; at most one is active for a pack and cohort."""

transitions = Table(
    "policy_transition",
    metadata,
    Column("rollout_id", Uuid, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("act", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("document", JSONB, nullable=False),
    PrimaryKeyConstraint("rollout_id", "sequence"),
)
"""What happened, and why; INSERT-only. The key makes a second transition with the same number impossible."""

evidence = Table(
    "policy_evidence",
    metadata,
    Column("rollout_id", Uuid, nullable=False),
    Column("step", Integer, nullable=False),
    Column("window_start", DateTime(timezone=True), nullable=False),
    Column("tenant", Text, nullable=False),
    *(
        Column(name, BigInteger, nullable=False)
        for name in (
            "decisions",
            "harmed",
            "widened",
            "undeclared",
            "reasons_changed",
            "errors",
            "denied_old",
            "denied_new",
            "denied_both",
            "slow",
            "units",
            "units_harmed",
            "units_touched",
            "units_denied_old",
            "units_denied_new",
            "units_denied_both",
            "units_slow",
            "unreplayable",
        )
    ),
    PrimaryKeyConstraint("rollout_id", "step", "window_start", "tenant"),
)
"""Paired counts of a step, window and tenant; INSERT-only, so that a window counts once."""

approvals = Table(
    "policy_approval",
    metadata,
    Column("rollout_id", Uuid, nullable=False),
    Column("person_id", Uuid, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary, nullable=False, comment="DER, over the DSSE encoding of the rollout's proposal"),
    Column("signed_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("rollout_id", "person_id"),
)
"""Signatures of people on a rollout; INSERT-only."""

pointers = Table(
    "policy_pointer",
    metadata,
    Column("pack", Text, nullable=False),
    Column("cohort", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("active", Text, nullable=False),
    Column("last_known_good", Text),
    Column("challenger", Text),
    Column("percent", Integer, nullable=False),
    Column("warn_percent", Integer, nullable=False),
    Column("rollout_id", Uuid),
    Column("moved_at", DateTime(timezone=True), nullable=False),
    PrimaryKeyConstraint("pack", "cohort"),
)
"""Which revision decides for a cohort; moved only by compare-and-swap on ``version``, the fence of decisions."""
