"""Reads bytes, files and iterables alike: so many bytes at a time, fewer only at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, Protocol, cast

Source = bytes | BinaryIO | Iterable[bytes]
"""What can be sealed or opened."""


class Reader(Protocol):
    """Hands out a source piece by piece."""

    def take(self, count: int) -> bytes:
        """Return exactly ``count`` bytes, or what is left at the end of the source."""
        ...


def reader_of(source: Source) -> Reader:
    """Return a reader of bytes, a binary file or an iterable of bytes."""
    if isinstance(source, bytes | bytearray | memoryview):
        return _Memory(source)
    if hasattr(source, "read"):
        return _File(cast("BinaryIO", source))
    return _Pieces(iter(source))


class _Memory:
    def __init__(self, content: bytes | bytearray | memoryview) -> None:
        self._content, self._position = content if isinstance(content, bytes) else memoryview(content), 0

    def take(self, count: int) -> bytes:
        start = self._position
        found = bytes(self._content[start : start + count])  # of bytes: the slice itself, not another copy
        self._position = start + len(found)
        return found


class _File:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def take(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) == count or not found:
            return found
        # A pipe or socket may give less than asked for before its end.
        parts, missing = [found], count - len(found)
        while missing and (more := self._file.read(missing)):
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)


class _Pieces:
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, bytearray()

    def take(self, count: int) -> bytes:
        while len(self._held) < count and (piece := next(self._pieces, None)) is not None:
            self._held += piece
        found = bytes(self._held[:count])
        del self._held[:count]
        return found
