"""Tables of the provenance log: append-only claims, keyed by tenant first, in commit order per tenant.

``seq`` counts a tenant's events (a document ingested, a document pruned). It is taken while the tenant's row
of ``provenance_heads`` is locked, so its order is the order of commits and it has no gaps: who has read up to
``seq`` has read everything before it, and ``min_seq`` is read-your-writes.

The claims are partitioned by the UTC day on which we learnt them. A document belongs to one day and
``(tenant, digest)`` of documents is unique, so a claim's key is unique over all partitions.
Row-level security is the second lock: a transaction sees the tenant that ``mc.tenant`` names and the
shared partition, and writes the former only.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from mc_pipelines.foundation.database import metadata

TYPE_MENTIONS = 4
"""Type code of a claim row that names a node without an edge (source = target)."""

heads = Table(
    "provenance_heads",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    comment="The last event of each tenant; its row lock makes the order of seq the order of commits.",
)

documents = Table(
    "provenance_documents",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("digest", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("valid_from", DateTime(timezone=True), nullable=False),
    Column("valid_to", DateTime(timezone=True)),
    Column("series", Text),
    Column("version", Integer, nullable=False),
    Column("label", SmallInteger, nullable=False, comment="see mc_pipelines.provenance.labels"),
    Column("prunable", Boolean, nullable=False, comment="low value, and nothing but uses edges"),
    Column("verification", JSONB, nullable=False),
    Column("remarks", JSONB, nullable=False),
    Column("nodes", Integer, nullable=False),
    Column("edges", Integer, nullable=False),
    UniqueConstraint("tenant", "digest"),
    comment="One row a document that a tenant ingested: when it holds, when we learnt it, our verdict on it.",
)

claims = Table(
    "provenance_claims",
    metadata,
    Column("recorded_on", Date, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("source", Uuid, nullable=False),
    Column("target", Uuid, nullable=False),
    Column("type", SmallInteger, nullable=False),
    CheckConstraint(f"type between 0 and {TYPE_MENTIONS}", name="type"),
    postgresql_partition_by="RANGE (recorded_on)",
    comment="The edge log: every claim of every document, by the keys of its ends.",
)


def _said() -> list[Column[Any]]:
    """Columns of one document's description of a node."""
    return [
        Column("rank", BigInteger, nullable=False, comment="the highest that a reader may see stands; see rank.py"),
        Column("covers_from", DateTime(timezone=True), comment="of a document that never ends: since when it holds"),
        Column("mark", SmallInteger, nullable=False, comment="the label of the document; see labels.py"),
        Column("kind", SmallInteger, nullable=False),
        Column("stub", Boolean, nullable=False, comment="named by the document, not described by it"),
    ]


nodes = Table(
    "provenance_nodes",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("node", Uuid, primary_key=True, comment="BLAKE2b-128 of the id"),
    Column("id", Text, nullable=False),
    Column("seq", BigInteger, nullable=False, comment="the first event that named it; 0 = retention removed that"),
    *_said(),
    Column("label", Text),
    Column("attributes", JSONB),
    comment="Nodes, and what the first document that named each says of it; later ones are in the descriptions.",
)

descriptions = Table(
    "provenance_descriptions",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("node", Uuid, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    *_said(),
    Column("label", Text, comment="null where the rank is that of the node's row, whose label it then is"),
    Column("attributes", JSONB, comment="as label"),
    comment="What later documents say of a node, but for what an earlier one says to every reader of theirs.",
)

aliases = Table(
    "provenance_aliases",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("first", Uuid, primary_key=True),
    Column("second", Uuid, primary_key=True),
    comment="Claims that two ids name one thing; resolved when asked, never merged.",
)

closures = Table(
    "provenance_closures",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, comment="the event by which we learnt it"),
    Column("closed_seq", BigInteger, primary_key=True, comment="the document it is about"),
    Column("valid_to", DateTime(timezone=True), comment="superseded from then on; null = pruned"),
    Column("rule", Text, nullable=False),
    Column("recorded_at", DateTime(timezone=True), nullable=False),
    Column("cold", Text, comment="where in the object store pruned claims lie; null = nowhere"),
    comment="What ended a document's claims: a newer version of its series, or a retention rule.",
)

tombstones = Table(
    "provenance_tombstones",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("node", Uuid, primary_key=True),
    Column("type", SmallInteger, primary_key=True),
    Column("direction", SmallInteger, primary_key=True, comment="0 = towards ancestors, 1 = towards descendants"),
    Column("edges", Integer, nullable=False),
    Column("rule", Text, nullable=False),
    Column("pruned_at", DateTime(timezone=True), nullable=False),
    Column("root", LargeBinary, nullable=False, comment="sha256 over the sorted claims that were removed"),
    comment="What was pruned at a node: how many edges, when, by which rule, and their digest; no ids of the others.",
)

roots = Table(
    "provenance_roots",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("node", Uuid, primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("id", Text, nullable=False),
    Column("since", DateTime(timezone=True), nullable=False),
    Column("until", DateTime(timezone=True)),
    CheckConstraint("reason in ('live', 'hold')", name="reason"),
    comment="Nodes whose ancestors no retention rule may touch: live bundles and legal holds.",
)

generations = Table(
    "provenance_generations",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("generation", Text, primary_key=True, comment="BLAKE2b of the file"),
    Column("seq", BigInteger, nullable=False, comment="everything up to this event is inside"),
    Column("path", Text, nullable=False, comment="below the folder of generations"),
    Column("nodes", BigInteger, nullable=False),
    Column("edges", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("built_at", DateTime(timezone=True), nullable=False),
    comment="Generation files that were built.",
)

pointers = Table(
    "provenance_pointers",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("generation", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    comment="The current generation of each tenant; moved by compare-and-set, forward only.",
)

run_events = Table(
    "provenance_run_events",
    metadata,
    Column("tenant", Text, primary_key=True),
    Column("run", Text, primary_key=True, comment="id of the execution"),
    Column("document", Text, primary_key=True, comment="digest of the document of lineage events"),
    Column("completed", Boolean, nullable=False, comment="whether it says that the run completed"),
    Column("waiting", JSONB, nullable=False, comment="outputs that count once any document says so"),
    comment="What lineage events leave open about runs; see mc_pipelines.provenance.run_events.",
)

SECURED = (documents, claims, nodes, descriptions, aliases, closures, tombstones, roots, run_events)
"""Tables under row-level security: what they hold is a tenant's own."""
