"""The log as static files (C2SP tlog-tiles): a checkpoint, tiles of 256 hashes, bundles of entries."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from mc_pipelines.attest.log import latest_checkpoint
from mc_pipelines.attest.records import log_checkpoint, log_entry, log_leaf, log_node
from mc_pipelines.foundation.errors import InputError, NotFoundError

TILE_HEIGHT = 8
TILE_WIDTH = 1 << TILE_HEIGHT
ENTRIES = "entries"
_PATH_BASE = 1000
_LEVEL_DIGITS = 1
"""Level 8 holds more leaves than any log will have."""
_PATH = re.compile(r"((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


def export_tiles(connection: Connection) -> Iterator[tuple[str, bytes]]:
    """Yield the path and content of every static resource of the newest checkpoint, the checkpoint last.

    Whoever stores them in this order never serves a checkpoint whose tiles are missing.

    Raises:
        NotFoundError: the log has no checkpoint yet.
    """
    head = connection.execute(select(log_checkpoint.c.size).order_by(log_checkpoint.c.size.desc()).limit(1)).first()
    if head is None:
        raise NotFoundError("The log has no checkpoint yet", mend="run the sequencer after the first act")
    note = latest_checkpoint(connection, at_least=head.size)
    level = 0
    while (count := head.size >> (TILE_HEIGHT * level)) > 0:
        for number, width in _tiles(count):
            yield f"tile/{level}/{_tile_path(number, width)}", _hashes(connection, level, number, width)
        level += 1
    for number, width in _tiles(head.size):
        yield f"tile/entries/{_tile_path(number, width)}", _entries(connection, number, width)
    yield "checkpoint", str(note).encode()


def read_tile(connection: Connection, level: str, path: str) -> bytes:
    """Return one tile by its path in the layout, such as ``("0", "x001/234")`` or ``("entries", "000.p/44")``.

    Raises:
        InputError: it is no path of a tile.
        NotFoundError: the log is not that large yet.
    """
    found = _PATH.fullmatch(path)
    if not found or not (level == ENTRIES or (level.isdecimal() and len(level) <= _LEVEL_DIGITS)):
        raise InputError("Not the path of a tile", field="tile", value=f"{level}/{path}", mend="see C2SP tlog-tiles")
    number = int(found[1].replace("x", "").replace("/", ""))
    width = TILE_WIDTH if found[2] is None else int(found[2])
    height = 0 if level == ENTRIES else int(level)
    size = connection.execute(select(func.max(log_checkpoint.c.size))).scalar() or 0
    there = (size >> (TILE_HEIGHT * height)) - number * TILE_WIDTH
    if not 0 < width <= min(there, TILE_WIDTH) or _tile_path(number, width) != path:
        raise NotFoundError("No such tile", field="tile", value=f"{level}/{path}", mend="read the checkpoint's size")
    return _entries(connection, number, width) if level == ENTRIES else _hashes(connection, height, number, width)


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
