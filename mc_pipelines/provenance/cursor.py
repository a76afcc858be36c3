"""Cursors: where a page of an answer ended. Nobody can make one but us, and each fits one question of one reader.

A page is read at the events and the moment of the first one, so what is ingested or compacted meanwhile changes
nothing. What retention removes meanwhile does: such a cursor is refused, because its pages would not join.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from pathlib import Path

import orjson

from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.request import QueryError, Scope

_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended.

    Attributes:
        nodes: nodes on the pages before.
        edges: edges on them.
        followed: edges that the walk had followed, repetitions counted.
        position: the events it was read at, the tenant's and the shared ones.
        valid_at: the moment at which its claims held, microseconds since 1970.
    """

    nodes: int
    edges: int
    followed: int
    position: tuple[int, int]
    valid_at: int


class CursorKey:
    """Makes and reads cursors; each is bound to tenant, query and filter."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def write(self, cursor: Cursor, tenant: TenantId, query: Scope, allowed: Digest) -> str:
        """Return the text of a cursor."""
        body = json.dumps([cursor.nodes, cursor.edges, cursor.followed, *cursor.position, cursor.valid_at]).encode()
        return base64.urlsafe_b64encode(self._mac(body, tenant, query, allowed) + body).decode().rstrip("=")

    def read(self, text: str, tenant: TenantId, query: Scope, allowed: Digest) -> Cursor:
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
        nodes, edges, followed, own, shared, valid_at = json.loads(body)
        return Cursor(nodes, edges, followed, (own, shared), valid_at)

    def _mac(self, body: bytes, tenant: TenantId, query: Scope, allowed: Digest) -> bytes:
        bound = orjson.dumps([tenant, query.canonical(), allowed])
        return hmac.new(self._secret, bound + b"\0" + body, hashlib.sha256).digest()[:_MAC_BYTES]


def load_cursor_key(folder: Path) -> CursorKey:
    """Return the key of cursors kept in ``folder`` (mode 0600), making it at first use."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "cursor.key"
    partial = folder / f"cursor.key.{os.urandom(8).hex()}.tmp"
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
