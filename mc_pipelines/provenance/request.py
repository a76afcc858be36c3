"""What may be asked of the graph, read strictly from text; and cursors, which nobody can make but us."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import parse_utc, rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.identity import NodeId, package_id, parse_node_id
from mc_pipelines.provenance.model import KIND_CODE, TYPE_CODE
from mc_pipelines.provenance.walk import ALL_KINDS, ALL_TYPES

MAXIMUM_DEPTH = 5
MAXIMUM_NODES = 5000
MAXIMUM_EDGES = 20_000
MAXIMUM_FAN_OUT = 100_000
MAXIMUM_PAGED = 200_000
"""Nodes that all pages of one answer may hold together."""

DIRECTIONS = ("ancestors", "descendants", "both", "undirected")
_NUMBER = re.compile(r"[0-9]{1,12}")
_MAC_BYTES = 16


class QueryError(InputError):
    """A query string that means nothing."""

    slug, title, status = "invalid-query", "Invalid query", 400


@dataclass(frozen=True, slots=True)
class GraphQuery:
    """A subgraph to fetch.

    Attributes:
        node: where to begin.
        depth: 1 to 5 steps.
        direction: ancestors, descendants, both (the union of the two one-way walks) or undirected.
        kinds: bit mask of kinds to enter; the start is always part of the answer.
        types: bit mask of edge types to follow.
        verified_only: keep to documents that we verified.
        limit: nodes of a page.
        edge_limit: edges of a page.
        fan_out: neighbours followed per node and direction.
        as_of: the moment at which claims must hold; None = now.
        known_at: leave out what was learnt later; None = nothing is left out.
        min_seq: an event that must be inside (read your own write).
        cursor: where the page before ended.
    """

    node: NodeId
    depth: int = 2
    direction: str = "both"
    kinds: int = ALL_KINDS
    types: int = ALL_TYPES
    verified_only: bool = False
    limit: int = 500
    edge_limit: int = MAXIMUM_EDGES
    fan_out: int = 1000
    as_of: datetime | None = None
    known_at: datetime | None = None
    min_seq: int = 0
    cursor: str | None = None

    def canonical(self) -> dict[str, Any]:
        """What is asked, without where the page begins."""
        return {
            "node": self.node,
            "depth": self.depth,
            "direction": self.direction,
            "kinds": self.kinds,
            "types": self.types,
            "verifiedOnly": self.verified_only,
            "limit": self.limit,
            "edgeLimit": self.edge_limit,
            "fanOut": self.fan_out,
            "asOf": None if self.as_of is None else rfc3339(self.as_of),
            "knownAt": None if self.known_at is None else rfc3339(self.known_at),
        }


def parse_query(given: Mapping[str, str]) -> GraphQuery:
    """Read a query from text parameters, as the query string has them.

    Raises:
        QueryError: an unknown parameter, or a value that means nothing; each by name.
    """
    unknown = sorted(set(given) - set(_READ) - {"node"})
    if unknown:
        raise QueryError("There is no such parameter", field=unknown[0], mend=f"use {', '.join(['node', *_READ])}")
    query = GraphQuery(parse_query_node(given.get("node"), field="node"))
    changes = {name: read(given[field], field) for field, (name, read) in _READ.items() if field in given}
    return replace(query, **changes)


def parse_query_node(text: str | None, *, field: str) -> NodeId:
    """Read a node id; a purl may come in any form and is looked up in its canonical one.

    Raises:
        QueryError: it is missing or no node id.
    """
    if not text:
        raise QueryError("A node is needed", field=field, mend="give a digest, a package URL, a receipt or a run")
    try:
        return package_id(text) if text.startswith("pkg:") else parse_node_id(text, field=field)
    except InputError as error:
        raise QueryError(error.detail, field=field, mend=error.mend) from error


def _whole(low: int, high: int) -> Any:
    def read(text: str, field: str) -> int:
        if not _NUMBER.fullmatch(text) or not low <= int(text) <= high:
            raise QueryError(f"Not a whole number from {low} to {high}", field=field, value=text)
        return int(text)

    return read


def _mask(codes: Mapping[str, int]) -> Any:
    def read(text: str, field: str) -> int:
        mask = 0
        for name in text.split(","):
            if name not in codes:
                raise QueryError("No such name", field=field, value=name, mend=f"use {', '.join(codes)}")
            mask |= 1 << codes[name]
        return mask

    return read


def _direction(text: str, field: str) -> str:
    if text not in DIRECTIONS:
        raise QueryError("No such direction", field=field, value=text, mend=f"use {', '.join(DIRECTIONS)}")
    return text


def _verified(text: str, field: str) -> bool:
    if text not in {"only", "any"}:
        raise QueryError("Neither only nor any", field=field, value=text)
    return text == "only"


def _moment(text: str, field: str) -> datetime:
    try:
        return parse_utc(text, field=field)
    except InputError as error:
        raise QueryError(error.detail, field=field, value=text, mend=error.mend) from error


def _text(text: str, _field: str) -> str:
    return text


_READ: dict[str, tuple[str, Any]] = {
    "depth": ("depth", _whole(1, MAXIMUM_DEPTH)),
    "direction": ("direction", _direction),
    "kinds": ("kinds", _mask(KIND_CODE)),
    "types": ("types", _mask(TYPE_CODE)),
    "verified": ("verified_only", _verified),
    "limit": ("limit", _whole(1, MAXIMUM_NODES)),
    "edgeLimit": ("edge_limit", _whole(1, MAXIMUM_EDGES)),
    "fanOut": ("fan_out", _whole(1, MAXIMUM_FAN_OUT)),
    "asOf": ("as_of", _moment),
    "knownAt": ("known_at", _moment),
    "minSeq": ("min_seq", _whole(0, 2**40)),
    "cursor": ("cursor", _text),
}


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: nodes and edges before, the events it was read at, the moment its claims held at."""

    nodes: int
    edges: int
    position: tuple[int, int]
    valid_at: int


class CursorKey:
    """Makes and reads cursors; each is bound to tenant, query and filter."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, cursor: Cursor, tenant: TenantId, query: GraphQuery, allowed: Digest) -> str:
        """Return the text of a cursor."""
        body = json.dumps([cursor.nodes, cursor.edges, *cursor.position, cursor.valid_at]).encode()
        return base64.urlsafe_b64encode(self._mac(body, tenant, query, allowed) + body).decode().rstrip("=")

    def read(self, text: str, tenant: TenantId, query: GraphQuery, allowed: Digest) -> Cursor:
        """Return the cursor of a text.

        Raises:
            QueryError: it was not made by us for this tenant, query and filter.
        """
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        except ValueError:
            raw = b""
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body, tenant, query, allowed)):
            raise QueryError("Not a cursor of this query", field="cursor", mend="begin again without a cursor")
        nodes, edges, own, shared, valid_at = json.loads(body)
        return Cursor(nodes, edges, (own, shared), valid_at)

    def _mac(self, body: bytes, tenant: TenantId, query: GraphQuery, allowed: Digest) -> bytes:
        bound = canonical_json([tenant, query.canonical(), allowed])
        return hmac.new(self._secret, bound + b"\0" + body, hashlib.sha256).digest()[:_MAC_BYTES]


def load_cursor_key(folder: Path) -> CursorKey:
    """Return the key of cursors kept in ``folder`` (mode 0600), making it at first use."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cursor.key"
    partial = folder / f"cursor.key.{os.getpid()}.tmp"
    if not path.exists():
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(os.urandom(32))
        try:
            os.link(partial, path)  # the first of several processes wins, whole
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return CursorKey(path.read_bytes())
