"""Fixes each day's counts of all tenants in the audit log before anybody knows what they will cost.

One Merkle tree a UTC day: a leaf is one tenant's day of slices with a salt of its own, so whoever holds a leaf and its
path proves that this tenant's counts stand in the day's root, and sees nothing of others but hashes that cannot be
guessed. The root goes into the audit log; a correction is a further root, never a change of the first.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.dialects.postgresql import distinct_on

from mc_pipelines.attest.checkpoint import LogProof
from mc_pipelines.attest.dsse import decode_base64
from mc_pipelines.attest.log import append, find_entry, inclusion_proof
from mc_pipelines.attest.merkle import grow, leaf_hash, prove_inclusion, root_of, verify_inclusion
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.foundation.canonical import canonical_json, parse_json, sha256_digest
from mc_pipelines.foundation.clock import Clock, parse_utc
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.sla import records
from mc_pipelines.sla.draft_store import lock
from mc_pipelines.sla.evidence import Evidence, parse_evidence
from mc_pipelines.sla.slices import SliceDay, slice_day_of

ACT = "sla.day-committed"
SALT_BYTES = 32
_HASH_BYTES = 32


def commit_days(
    database: Database,
    clock: Clock,
    salt: Callable[[int], bytes],
    *,
    first_day: date | None = None,
    last_day: date | None = None,
) -> list[date]:
    """Commit every UTC day whose counts are not those last committed; a second run finds nothing to do.

    Args:
        database: as mc_app.
        clock: stamps what is committed.
        salt: returns so many unpredictable bytes, such as ``secrets.token_bytes``.
        first_day: the first UTC day to look at; default: the first with slices.
        last_day: the last one, included; default: the last with slices.

    Returns:
        The days committed anew.
    """
    table = records.slice_day
    query = select(table.c.day).distinct().order_by(table.c.day)
    if first_day is not None:
        query = query.where(table.c.day >= first_day)
    if last_day is not None:
        query = query.where(table.c.day <= last_day)
    with database.begin() as connection:
        days = list(connection.execute(query).scalars())
    return [day for day in days if _commit(database, clock, salt, day)]


def _commit(database: Database, clock: Clock, salt: Callable[[int], bytes], day: date) -> bool:
    with database.begin() as connection:
        lock(connection, f"commit {day}")
        rows = _newest_slices(connection, day)
        known = _newest_leaves(connection, day)
        if {_key(row): row.digest for row in rows} == {_key(row): row.digest for row in known}:
            return False
        now, leaves = clock.now(), []
        for row in rows:
            secret = salt(SALT_BYTES)
            leaves.append((row, secret, salted_leaf(bytes(row.rows), secret)))
        leaves.sort(key=lambda leaf: leaf[2])
        revision = (max(row.revision for row in known) if known else 0) + 1
        hashes = [leaf[2] for leaf in leaves]
        content = commitment_content(day, revision, len(hashes), root_of(hashes))
        leaf_id = append(connection, act=ACT, subject=day.isoformat(), content=content, at=now)
        connection.execute(
            insert(records.commitment).values(
                day=day, revision=revision, leaves=b"".join(hashes), content=content, leaf_id=leaf_id, recorded_at=now
            )
        )
        connection.execute(
            insert(records.commitment_leaf),
            [
                {
                    "day": day,
                    "revision": revision,
                    "tenant": row.tenant,
                    "service": row.service,
                    "granule_ms": row.granule_ms,
                    "threshold_ms": row.threshold_ms,
                    "leaf_index": index,
                    "salt": secret,
                    "digest": row.digest,
                }
                for index, (row, secret, _) in enumerate(leaves)
            ],
        )
        return True


def salted_leaf(document: bytes, salt: bytes) -> bytes:
    """Return the hash of one tenant's day: SHA-256 of 0x00, the salt, the canonical document (RFC 6962 leaf)."""
    return leaf_hash(salt + document)


def commitment_content(day: date, revision: int, size: int, root: bytes) -> bytes:
    """Return the bytes that the audit log's leaf commits to."""
    return canonical_json({"day": day.isoformat(), "revision": revision, "root": root.hex(), "size": size})


def _key(row: Row[Any]) -> tuple[str, str, int, int]:
    return row.tenant, row.service, row.granule_ms, row.threshold_ms


def _newest_slices(connection: Connection, day: date) -> Sequence[Row[Any]]:
    table = records.slice_day
    key = (table.c.tenant, table.c.service, table.c.granule_ms, table.c.threshold_ms)
    query = select(*key, table.c.rows, table.c.digest).where(table.c.day == day)
    return list(connection.execute(query.ext(distinct_on(*key)).order_by(*key, table.c.revision.desc())))


def _newest_leaves(connection: Connection, day: date) -> Sequence[Row[Any]]:
    table = records.commitment_leaf
    newest = select(table.c.revision).where(table.c.day == day).order_by(table.c.revision.desc()).limit(1)
    query = select(table).where(table.c.day == day, table.c.revision == newest.scalar_subquery())
    return connection.execute(query).all()


@dataclass(frozen=True, slots=True)
class CommittedDay:
    """One tenant's whole UTC day with the proof that it stands in the day's committed root.

    Args:
        slices: the day, also outside of the billing period.
        salt: of its leaf.
        index: of its leaf.
        size: how many leaves the day's tree has.
        path: audit path, the leaf's sibling first.
        revision: of the commitment.
        root: of the day.
        log_proof: that the root is in the audit log, as a tlog-proof.
    """

    slices: SliceDay
    salt: bytes
    index: int
    size: int
    path: tuple[bytes, ...]
    revision: int
    root: bytes
    log_proof: str

    @property
    def day(self) -> date:
        """The UTC day."""
        return self.slices.day

    def to_bytes(self) -> bytes:
        """Return the canonical file."""
        return canonical_json(
            {
                "slices": self.slices.to_document(),
                "salt": base64.b64encode(self.salt).decode("ascii"),
                "index": self.index,
                "size": self.size,
                "path": [base64.b64encode(one).decode("ascii") for one in self.path],
                "revision": self.revision,
                "root": self.root.hex(),
                "logProof": self.log_proof,
            }
        )

    def verify(self, keys: Sequence[NoteKey]) -> datetime:
        """Check that the log holds the root and the root holds the day; return when it was committed.

        Raises:
            InputError: the log proof is malformed.
            VerificationError: it does not hold.
        """
        if len(self.salt) != SALT_BYTES:
            raise VerificationError(f"A salt is {SALT_BYTES} bytes", field=day_name(self.day), value=len(self.salt))
        leaf = salted_leaf(canonical_json(self.slices.to_document()), self.salt)
        verify_inclusion(leaf, self.index, self.size, self.path, self.root)
        proof = LogProof.parse(self.log_proof)
        entry = parse_json(proof.entry or b"", what="log entry")
        content = commitment_content(self.day, self.revision, self.size, self.root)
        if entry.get("content") != sha256_digest(content) or entry.get("act") != ACT:
            raise VerificationError("The log entry commits to another root", field=day_name(self.day))
        proof.verify(proof.entry or b"", keys)
        return parse_utc(str(entry.get("at")), field="at")


def parse_committed_day(content: bytes) -> CommittedDay:
    """Read a committed day.

    Raises:
        InputError: it is malformed or not in its canonical form.
    """
    document = parse_json(content, what="committed day")
    try:
        found = CommittedDay(
            slice_day_of(document["slices"]),
            decode_base64(document["salt"], field="salt"),
            int(document["index"]),
            int(document["size"]),
            tuple(decode_base64(one, field="path") for one in document["path"]),
            int(document["revision"]),
            bytes.fromhex(document["root"]),
            str(document["logProof"]),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"A committed day is malformed: {error!r}", field="days") from error
    if found.to_bytes() != content:
        raise InputError("A committed day is not in its canonical form", field="days", value=found.day.isoformat())
    return found


def day_name(day: date) -> str:
    """Return the name of a committed day's file in a pack."""
    return f"days/{day.isoformat()}.json"


def inside_of(whole: SliceDay, evidence: Evidence) -> SliceDay:
    """Return the part of a UTC day that lies in a period, as evidence holds it."""
    window = evidence.period.interval
    rows = tuple(row for row in whole.rows if window.start <= row.number * whole.granule_ms < window.end)
    return replace(whole, rows=rows)


def committed_days(connection: Connection, evidence: bytes) -> list[CommittedDay]:
    """Return the days of some evidence with their proofs: for each the oldest commitment that holds its counts.

    Days that were never committed, and commitments that have no index in the audit log yet, are left out.
    """
    seen = parse_evidence(evidence)
    found = []
    for slices in seen.slices:
        one = _committed(connection, slices, seen)
        found += [] if one is None else [one]
    return found


def _committed(connection: Connection, slices: SliceDay, evidence: Evidence) -> CommittedDay | None:
    leaf, head, stored = records.commitment_leaf, records.commitment, records.slice_day
    key = {
        "tenant": slices.tenant,
        "service": slices.service,
        "granule_ms": slices.granule_ms,
        "threshold_ms": slices.threshold_ms,
        "day": slices.day,
    }
    query = (
        select(leaf, head.c.leaves, head.c.leaf_id, stored.c.rows)
        .join(head, (head.c.day == leaf.c.day) & (head.c.revision == leaf.c.revision))
        .join(stored, (stored.c.digest == leaf.c.digest) & (stored.c.tenant == leaf.c.tenant))
        .where(*(leaf.c[name] == value for name, value in key.items()))
        .where(*(stored.c[name] == value for name, value in key.items()))
        .order_by(leaf.c.revision)
    )
    for row in connection.execute(query):
        whole = slice_day_of(parse_json(bytes(row.rows), what="slices"))
        if inside_of(whole, evidence).rows == slices.rows and find_entry(connection, row.leaf_id).index is not None:
            return _proved(connection, whole, row)
    return None


def _proved(connection: Connection, whole: SliceDay, row: Row[Any]) -> CommittedDay:
    joined = bytes(row.leaves)
    hashes = [joined[start : start + _HASH_BYTES] for start in range(0, len(joined), _HASH_BYTES)]
    nodes = dict(grow(0, {}, hashes))
    path = prove_inclusion(lambda wanted: {node: nodes[node] for node in wanted}, row.leaf_index, len(hashes))
    proof = inclusion_proof(connection, row.leaf_id)
    return CommittedDay(
        whole,
        bytes(row.salt),
        row.leaf_index,
        len(hashes),
        tuple(path),
        row.revision,
        root_of(hashes),
        str(proof),
    )
