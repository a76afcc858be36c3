"""The log as static files (C2SP tlog-tiles): a checkpoint, tiles of 256 hashes, bundles of entries."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, select

from mc_pipelines.attest.records import log_checkpoint, log_entry, log_leaf, log_node
from mc_pipelines.foundation.errors import NotFoundError

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
_PATH_BASE = 1000


def export_tiles(connection: Connection) -> Iterator[tuple[str, bytes]]:
    """Yield the path and content of every static resource of the newest checkpoint, the checkpoint last.

    Whoever stores them in this order never serves a checkpoint whose tiles are missing.

    Raises:
        NotFoundError: the log has no checkpoint yet.
    """
    head = connection.execute(
        select(log_checkpoint.c.size, log_checkpoint.c.note).order_by(log_checkpoint.c.size.desc()).limit(1)
    ).first()
    if head is None:
        raise NotFoundError("The log has no checkpoint yet", mend="run the sequencer after the first act")
    level = 0
    while (count := head.size >> (TILE_HEIGHT * level)) > 0:
        for number, width in _tiles(count):
            yield f"tile/{level}/{_tile_path(number, width)}", _hashes(connection, level, number, width)
        level += 1
    for number, width in _tiles(head.size):
        yield f"tile/entries/{_tile_path(number, width)}", _entries(connection, number, width)
    yield "checkpoint", head.note.encode()


def _tiles(count: int) -> Iterator[tuple[int, int]]:
    for number in range(-(-count // TILE_WIDTH)):
        yield number, min(TILE_WIDTH, count - number * TILE_WIDTH)


def _tile_path(number: int, width: int) -> str:
    path = f"{number % _PATH_BASE:03}"
    rest = number // _PATH_BASE
    while rest:
        path = f"x{rest % _PATH_BASE:03}/{path}"
        rest //= _PATH_BASE
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def _hashes(connection: Connection, level: int, number: int, width: int) -> bytes:
    first = number * TILE_WIDTH
    rows = connection.execute(
        select(log_node.c.hash)
        .where(log_node.c.level == TILE_HEIGHT * level)
        .where(log_node.c.node_index.between(first, first + width - 1))
        .order_by(log_node.c.node_index)
    )
    return b"".join(bytes(row.hash) for row in rows)


def _entries(connection: Connection, number: int, width: int) -> bytes:
    first = number * TILE_WIDTH
    rows = connection.execute(
        select(log_leaf.c.entry)
        .join(log_entry, log_entry.c.leaf_id == log_leaf.c.leaf_id)
        .where(log_entry.c.leaf_index.between(first, first + width - 1))
        .order_by(log_entry.c.leaf_index)
    )
    return b"".join(len(row.entry).to_bytes(2, "big") + bytes(row.entry) for row in rows)
