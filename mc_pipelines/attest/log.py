"""The audit log: acts enter in their own transaction, one sequencer gives them indices and signs the tree's head.

:func:`append` takes no global lock, so acts never wait for each other. :func:`sequence` runs under an advisory lock,
takes what is committed, and writes indices, tree nodes and one signed checkpoint in one transaction: it ran wholly or
not at all. What has no index yet has no proof and is not exported.

A leaf names its content by digest; the entry is canonical JSON of act, subject, time and that digest, so a proof binds
the time of the act. Name things in ``subject`` by their ids, never people: entries cannot be erased.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, func, insert, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert

from mc_pipelines.attest.checkpoint import Checkpoint, LogProof
from mc_pipelines.attest.merkle import (
    NodeId,
    covering_nodes,
    fold,
    grow,
    leaf_hash,
    prove_consistency,
    prove_inclusion,
)
from mc_pipelines.attest.note import EcdsaNoteSigner, NoteSigner, sign_note
from mc_pipelines.attest.records import (
    log_checkpoint,
    log_content,
    log_cosignature,
    log_entry,
    log_leaf,
    log_node,
    log_pending,
)
from mc_pipelines.attest.signer import Signer
from mc_pipelines.foundation.canonical import canonical_json, digest_of, sha256_digest
from mc_pipelines.foundation.clock import Clock, as_utc, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError, InputError, NotFoundError
from mc_pipelines.foundation.ids import Digest

DEFAULT_ORIGIN = "maestro-conductor.example/audit-log"
ENTRY_TYPE = "https://maestro-conductor.example/log-entry/v1"
MAX_BATCH = 1000
"""Leaves a call of :func:`sequence` takes at most: one batch signs in well under a second."""

_ACT = re.compile(r"[a-z0-9]+(?:[.-][a-z0-9]+)*")
_MAX_SUBJECT = 512
_SEQUENCER_LOCK = "select pg_try_advisory_xact_lock(hashtext('mc_attest_sequencer'))"


@dataclass(frozen=True)
class Entry:
    """One act in the log, as it is stored."""

    leaf_id: Digest
    act: str
    subject: str
    content_digest: Digest
    at: datetime
    entry: bytes
    index: int | None = None


def append(
    connection: Connection, *, act: str, subject: str, content: bytes, at: datetime, keep: bool = True
) -> Digest:
    """Put an act into the log, in the act's own transaction; return the leaf's id.

    An act is the same act when name, subject and content are the same: a retry adds nothing and keeps the first time.
    The content of an act that may recur must therefore hold what tells its occurrences apart (an id, a version).

    Args:
        connection: the transaction in which the act itself is recorded.
        act: what was done, such as ``credits.note-issued``.
        subject: what it was done to, by id; at most 512 characters, never a person's name.
        content: the bytes that the leaf commits to, such as a signed envelope.
        at: when it was done.
        keep: store the content with the log too; not for what another table or the object store keeps.

    Raises:
        InputError: the act's name or the subject is malformed, or the time has no zone.
    """
    moment = as_utc(at, field="at")
    if not _ACT.fullmatch(act):
        raise InputError("Not a name of an act", field="act", value=act, mend="write it such as credits.note-issued")
    if not 0 < len(subject) <= _MAX_SUBJECT or not subject.isprintable():
        raise InputError("A subject is 1 to 512 printable characters", field="subject", value=subject)
    digest = sha256_digest(content)
    leaf_id = digest_of({"act": act, "content": digest, "subject": subject})
    entry = entry_bytes(act=act, subject=subject, content_digest=digest, at=moment)
    leaf = {
        "leaf_id": leaf_id,
        "act": act,
        "subject": subject,
        "content_digest": digest,
        "at": moment,
        "entry": entry,
        "leaf_hash": leaf_hash(entry),
    }
    added = upsert(log_leaf).values(leaf).on_conflict_do_nothing().returning(log_leaf.c.leaf_id)
    if connection.execute(added).first() is not None:
        connection.execute(insert(log_pending).values(leaf_id=leaf_id))
        if keep:
            stored = {"content_digest": digest, "content": content}
            connection.execute(upsert(log_content).values(stored).on_conflict_do_nothing())
    return leaf_id


def entry_bytes(*, act: str, subject: str, content_digest: Digest, at: datetime) -> bytes:
    """Return the bytes of a log entry, which its leaf hash covers."""
    return canonical_json(
        {"act": act, "at": rfc3339(at), "content": content_digest, "subject": subject, "type": ENTRY_TYPE}
    )


def sequence(
    database: Database,
    signer: Signer,
    clock: Clock,
    *,
    origin: str = DEFAULT_ORIGIN,
    cosigners: Iterable[NoteSigner] = (),
    limit: int = MAX_BATCH,
) -> Checkpoint | None:
    """Give waiting leaves their indices, grow the tree and sign its head, in one transaction.

    Args:
        database: as the application role.
        signer: the service's signing key; its note key carries the log's origin as name.
        clock: tells when the checkpoint is signed.
        origin: the log's name.
        cosigners: further note keys, such as an Ed25519 key of the log.
        limit: how many leaves to take at most.

    Returns:
        The new checkpoint, or None where nothing waits or another sequencer is at work.
    """
    with database.begin() as connection:
        if not connection.execute(text(_SEQUENCER_LOCK)).scalar_one():
            return None
        waiting = connection.execute(
            select(log_pending.c.leaf_id, log_leaf.c.leaf_hash)
            .join(log_leaf, log_leaf.c.leaf_id == log_pending.c.leaf_id)
            .order_by(log_pending.c.position)
            .limit(limit)
        ).all()
        if not waiting:
            return None
        size = _size(connection)
        peaks = covering_nodes(0, size)
        nodes = dict(_read_nodes(connection, peaks))
        grown = dict(grow(size, nodes, [bytes(row.leaf_hash) for row in waiting]))
        new_size = size + len(waiting)
        root = fold([(nodes | grown)[node] for node in covering_nodes(0, new_size)])
        checkpoint = Checkpoint(origin, new_size, root)
        now = clock.now()
        connection.execute(
            insert(log_entry),
            [
                {"leaf_index": index, "leaf_id": row.leaf_id, "sequenced_at": now}
                for index, row in enumerate(waiting, start=size)
            ],
        )
        connection.execute(
            insert(log_node),
            [{"level": level, "node_index": at, "hash": value} for (level, at), value in grown.items()],
        )
        connection.execute(delete(log_pending).where(log_pending.c.leaf_id.in_([row.leaf_id for row in waiting])))
        note = sign_note(checkpoint.text, [EcdsaNoteSigner(origin, signer), *cosigners])
        connection.execute(insert(log_checkpoint).values(size=new_size, root=root, note=str(note), signed_at=now))
        return checkpoint


def latest_checkpoint(connection: Connection, *, at_least: int = 0) -> str | None:
    """Return the newest signed checkpoint note with its cosignatures, or None while the log is empty.

    Args:
        connection: any transaction.
        at_least: the least tree size that will do.
    """
    found = connection.execute(
        select(log_checkpoint.c.size, log_checkpoint.c.note)
        .where(log_checkpoint.c.size >= at_least)
        .order_by(log_checkpoint.c.size.desc())
        .limit(1)
    ).first()
    return None if found is None else _with_cosignatures(connection, found.size, found.note)


def find_entry(connection: Connection, leaf_id: str) -> Entry:
    """Return an act by its leaf id.

    Raises:
        NotFoundError: there is none.
    """
    found = _entries(connection, log_leaf.c.leaf_id == leaf_id)
    if not found:
        raise NotFoundError("No such entry in the log", field="leaf id", value=leaf_id)
    return found[0]


def find_content(connection: Connection, content: bytes) -> list[Entry]:
    """Return the acts that commit to exactly this content, oldest first."""
    return _entries(connection, log_leaf.c.content_digest == sha256_digest(content))


def contents_of_act(connection: Connection, act: str) -> list[tuple[str, Digest]]:
    """Return subject and content digest of every act of a name, sequenced or not, by time."""
    query = select(log_leaf.c.subject, log_leaf.c.content_digest).where(log_leaf.c.act == act)
    return [(row.subject, Digest(row.content_digest)) for row in connection.execute(query.order_by(log_leaf.c.at))]


def list_entries(connection: Connection, *, before: int | None = None, limit: int = 50) -> list[Entry]:
    """Return sequenced acts, newest first.

    Args:
        connection: any transaction.
        before: only those with a smaller index.
        limit: how many at most.
    """
    condition = log_entry.c.leaf_index.is_not(None) if before is None else log_entry.c.leaf_index < before
    return _entries(connection, condition, newest=limit)


def read_content(connection: Connection, digest: str) -> bytes:
    """Return the content that a leaf commits to.

    Raises:
        NotFoundError: it is kept elsewhere, or was erased.
    """
    found = connection.execute(select(log_content.c.content).where(log_content.c.content_digest == digest)).scalar()
    if found is None:
        raise NotFoundError("The log does not keep this content, or it was erased", field="content", value=digest)
    return bytes(found)


def inclusion_proof(connection: Connection, leaf_id: str) -> LogProof:
    """Return the proof that an act is in the log, against the newest checkpoint that a witness has cosigned.

    Where no witness has cosigned one that covers the act, the newest checkpoint is taken.

    Raises:
        NotFoundError: there is no such act.
        ConflictError: the act has no index yet.
    """
    entry = find_entry(connection, leaf_id)
    if entry.index is None:
        raise ConflictError(
            "The entry has no index yet", field="leaf id", value=leaf_id, mend="wait for the sequencer, then ask again"
        )
    witnessed = select(func.max(log_cosignature.c.size)).where(log_cosignature.c.size > entry.index)
    size = connection.execute(witnessed).scalar() or _size(connection)
    note = connection.execute(select(log_checkpoint.c.note).where(log_checkpoint.c.size == size)).scalar_one()
    hashes = prove_inclusion(lambda nodes: _read_nodes(connection, nodes), entry.index, size)
    return LogProof(entry.index, tuple(hashes), _with_cosignatures(connection, size, note), entry.entry)


def consistency_proof(connection: Connection, old_size: int, new_size: int) -> list[bytes]:
    """Return the proof that the log of ``new_size`` begins with the log of ``old_size``.

    Raises:
        InputError: the sizes are not those of an earlier and a later tree.
    """
    size = _size(connection)
    if new_size > size:
        raise InputError("The log is not that large yet", field="new size", value=new_size, size=size)
    return prove_consistency(lambda nodes: _read_nodes(connection, nodes), old_size, new_size)


def waiting(connection: Connection) -> tuple[int, datetime | None]:
    """Return how many leaves wait for an index, and since when the oldest does."""
    count, oldest = connection.execute(
        select(func.count(), func.min(log_leaf.c.at))
        .select_from(log_pending)
        .join(log_leaf, log_leaf.c.leaf_id == log_pending.c.leaf_id)
    ).one()
    return int(count), oldest


def _with_cosignatures(connection: Connection, size: int, note: str) -> str:
    table = log_cosignature
    query = select(table.c.line).where(table.c.size == size).order_by(table.c.witness)
    return note + "".join(connection.execute(query).scalars())


def _size(connection: Connection) -> int:
    found = connection.execute(select(func.max(log_checkpoint.c.size))).scalar()
    return int(found or 0)


def _read_nodes(connection: Connection, nodes: Sequence[NodeId]) -> Mapping[NodeId, bytes]:
    if not nodes:
        return {}
    rows = connection.execute(
        select(log_node.c.level, log_node.c.node_index, log_node.c.hash).where(
            tuple_(log_node.c.level, log_node.c.node_index).in_(list(nodes))
        )
    )
    return {(row.level, row.node_index): bytes(row.hash) for row in rows}


def _entries(connection: Connection, condition: object, *, newest: int | None = None) -> list[Entry]:
    query = (
        select(log_leaf, log_entry.c.leaf_index)
        .outerjoin(log_entry, log_entry.c.leaf_id == log_leaf.c.leaf_id)
        .where(condition)  # type: ignore[arg-type]
    )
    if newest is None:
        query = query.order_by(log_entry.c.leaf_index.asc().nulls_last(), log_leaf.c.leaf_id)
    else:
        query = query.order_by(log_entry.c.leaf_index.desc()).limit(newest)
    return [
        Entry(
            Digest(row.leaf_id),
            row.act,
            row.subject,
            Digest(row.content_digest),
            row.at,
            bytes(row.entry),
            row.leaf_index,
        )
        for row in connection.execute(query)
    ]
