"""Committing to a generation: its root becomes an act of the audit log, which nobody can change afterwards.

The rows that a proof needs again, roots of every 64 leaves, are kept in a small file beside the generation. They are
written before the act, so a crash between the two is mended by trying again: the same generation makes the same act,
and the log keeps an act once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
from sqlalchemy import Connection

from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.commitment import CHUNK, Leaves, Tree, grow_tree
from mc_pipelines.provenance.edge_log import known_tenants
from mc_pipelines.provenance.generation_file import ROOTS, GenerationFile, open_generation
from mc_pipelines.provenance.log_reader import read_closures
from mc_pipelines.provenance.pointer import current_generation

ACT = "provenance.generation-committed"
COMMITMENT_TYPE = "https://maestro-conductor.example/provenance-commitment/v1"
_MAGIC = b"MCROOTS1"
_HASH_BYTES = 32


@dataclass(frozen=True)
class Commitment:
    """What a generation commits to.

    Attributes:
        tenant: whose graph.
        generation: digest of its file (hex).
        seq: its last event.
        nodes: leaves of the tree.
        root: of the tree.
    """

    tenant: TenantId
    generation: str
    seq: int
    nodes: int
    root: bytes

    @property
    def content(self) -> bytes:
        """The bytes whose digest is in the audit log; the same for the same generation."""
        return canonical_json(
            {
                "_type": COMMITMENT_TYPE,
                "tenant": self.tenant,
                "generation": self.generation,
                "seq": self.seq,
                "nodes": self.nodes,
                "root": self.root.hex(),
            }
        )


def commitment_of(tenant: TenantId, file: GenerationFile, tree: Tree) -> Commitment:
    """Return the commitment of a generation with this tree."""
    return Commitment(tenant, file.path.stem, tree.seq, tree.nodes, tree.root)


def tree_of(leaves: Leaves) -> Tree:
    """Return the tree of a generation: from the rows kept beside it, or computed, and kept from then on."""
    path = leaves.file.path.with_suffix(ROOTS)
    kept = _read(path, leaves.nodes, leaves.seq)
    if kept is not None:
        return kept
    tree = grow_tree(leaves)
    partial = path.with_name(f"{uuid4().hex}.tmp")
    partial.write_bytes(_MAGIC + (tree.rows[0].tobytes() if tree.rows else b""))
    partial.replace(path)
    return tree


def commit_current(database: Database, folder: Path, tenant: TenantId, *, clock: Clock) -> Commitment | None:
    """Put the root of a tenant's current generation into the audit log; None where it has none.

    Args:
        database: the log, as the application role.
        folder: the folder of generations.
        tenant: whose; ``public`` for the shared partition.
        clock: tells when.

    Raises:
        OtherLayoutError: another release wrote the generation; the next build replaces it.
    """
    with database.begin(tenant=tenant) as connection:
        current = current_generation(connection, tenant)
        if current is None:
            return None
        closures = read_closures(connection, tenant, upto=current.seq)
    file = open_generation(folder / current.path)
    made = commitment_of(tenant, file, tree_of(Leaves(file, closures)))
    with database.begin(tenant=tenant) as connection:
        record(connection, made, clock=clock)
    return made


def record(connection: Connection, made: Commitment, *, clock: Clock) -> Digest:
    """Append a commitment to the audit log, once; return the id of its leaf."""
    subject = f"{made.tenant}/{made.generation}"
    return append(connection, act=ACT, subject=subject, content=made.content, at=clock.now())


def commit_all(database: Database, folder: Path, *, clock: Clock) -> list[Commitment]:
    """Commit to the current generation of every tenant that has one; see :func:`commit_current`."""
    with database.begin() as connection:
        tenants = known_tenants(connection)
    made = (commit_current(database, folder, tenant, clock=clock) for tenant in tenants)
    return [each for each in made if each is not None]


def _read(path: Path, nodes: int, seq: int) -> Tree | None:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if not content.startswith(_MAGIC) or len(content) != len(_MAGIC) + _HASH_BYTES * -(-nodes // CHUNK):
        return None
    chunks = np.frombuffer(content, dtype="<u8", offset=len(_MAGIC)).astype(np.uint64).reshape(-1, 4)
    return Tree.of(nodes, seq, chunks)
