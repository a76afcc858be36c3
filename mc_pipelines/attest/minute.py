"""One leaf a minute for what is too much for a leaf each: the Merkle root over a minute's receipts or decisions.

Whoever keeps a receipt proves it by the path to the minute's root and the root's proof in the log. Digests are sorted,
so the root does not depend on the order in which rows were read, and the neighbours of an absent one show its absence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from sqlalchemy import Connection

from mc_pipelines.attest.log import append
from mc_pipelines.attest.merkle import covering_nodes, fold, grow, leaf_hash, prove_inclusion, verify_inclusion
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import as_utc, rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, parse_digest

MINUTE = timedelta(minutes=1)


@dataclass(frozen=True)
class MinuteProof:
    """Shows that a digest is in a minute's root.

    Attributes:
        index: place of the digest among the minute's, sorted.
        count: how many digests the minute has.
        hashes: the audit path.
    """

    index: int
    count: int
    hashes: tuple[bytes, ...]

    def verify(self, digest: Digest, root: bytes) -> None:
        """Check the proof.

        Raises:
            VerificationError: the digest is not proved to be in that root.
        """
        verify_inclusion(leaf_hash(digest.encode()), self.index, self.count, self.hashes, root)


def append_minute(
    connection: Connection, *, act: str, minute: datetime, digests: Iterable[str], now: datetime
) -> Digest | None:
    """Put one leaf for a closed minute into the log; return its id, or None where nothing happened.

    The same minute with the same digests is the same leaf. A minute is therefore written when nothing can come any
    more, that is by when rows were *recorded*; a minute that got more rows later would get a second leaf.

    Args:
        connection: the transaction that marks the rows as entered.
        act: such as ``executions.minute`` or ``decisions.minute``.
        minute: its first instant.
        digests: of the minute's receipts or log rows, each once, in any order.
        now: the present moment.

    Raises:
        InputError: the minute is not whole or not over, or a digest is malformed or comes twice.
    """
    start = as_utc(minute, field="minute")
    if start.second or start.microsecond:
        raise InputError("Not the first instant of a minute", field="minute", value=rfc3339(start))
    if as_utc(now, field="now") < start + MINUTE:
        raise InputError("The minute is not over yet", field="minute", value=rfc3339(start))
    ordered = _ordered(digests)
    if not ordered:
        return None
    facts = {"count": len(ordered), "minute": rfc3339(start), "root": _root(ordered).hex()}
    return append(connection, act=act, subject=rfc3339(start), content=canonical_json(facts), at=now)


def prove_in_minute(digests: Iterable[str], digest: str) -> tuple[MinuteProof, bytes]:
    """Return the proof that a digest is among a minute's, and the minute's root.

    Raises:
        InputError: it is not among them, or a digest is malformed or comes twice.
    """
    ordered = _ordered(digests)
    if digest not in ordered:
        raise InputError("The digest is not of this minute", field="digest", value=digest)
    nodes = dict(grow(0, {}, (leaf_hash(one.encode()) for one in ordered)))
    index = ordered.index(Digest(digest))
    hashes = prove_inclusion(lambda wanted: {node: nodes[node] for node in wanted}, index, len(ordered))
    return MinuteProof(index, len(ordered), tuple(hashes)), _root(ordered)


def _ordered(digests: Iterable[str]) -> list[Digest]:
    ordered = sorted(parse_digest(one, field="digest") for one in digests)
    for before, after in pairwise(ordered):
        if before == after:
            raise InputError("A digest comes twice in one minute", field="digest", value=after)
    return ordered


def _root(ordered: list[Digest]) -> bytes:
    nodes = dict(grow(0, {}, (leaf_hash(one.encode()) for one in ordered)))
    return fold([nodes[node] for node in covering_nodes(0, len(ordered))])
