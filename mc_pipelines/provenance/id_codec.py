# Numba infers the integers of compiled loops.
# mypy: disable-error-code="arg-type,assignment"
# ruff: noqa: PLR2004, SIM110 - byte values and lengths of the forms described below; loops that compile
"""Ids as bytes: a digest is 32 bytes, not 64 characters; and back, as JSON text.

The first byte tells the form: 1 = ``sha256:`` and 32 bytes; 2 = ``gitoid:blob:sha256:`` and 32 bytes;
3 = a prefix (its length, its text) and the 16 bytes of a UUID in canonical text; 0 = the text itself in UTF-8.
In a generation, 4 and above name a prefix of its own table, before the 16 bytes of a UUID: runs of one system
share theirs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mc_pipelines.provenance.compiling import compiled

_SHA256 = re.compile(rb"sha256:([0-9a-f]{64})")
_GITOID = re.compile(rb"gitoid:blob:sha256:([0-9a-f]{64})")
_UUID_END = re.compile(rb"(.{1,255}?)([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})", re.DOTALL)
TEXT, SHA256, GITOID, UUID_END = 0, 1, 2, 3
_PREFIX = {SHA256: b"sha256:", GITOID: b"gitoid:blob:sha256:"}


def encode_id(text: str) -> bytes:
    """Return the encoding of one id."""
    raw = text.encode()
    if found := _SHA256.fullmatch(raw):
        return b"\x01" + bytes.fromhex(found[1].decode())
    if found := _GITOID.fullmatch(raw):
        return b"\x02" + bytes.fromhex(found[1].decode())
    if found := _UUID_END.fullmatch(raw):
        prefix, end = found.groups()
        return b"\x03" + bytes([len(prefix)]) + prefix + bytes.fromhex(end.replace(b"-", b"").decode())
    return b"\x00" + raw


def decode_id(encoded: bytes) -> str:
    """Return the id of an encoding."""
    form = encoded[0]
    if form == TEXT:
        return encoded[1:].decode()
    if form == UUID_END:
        length = encoded[1]
        end = encoded[2 + length :].hex()
        parts = (end[:8], end[8:12], end[12:16], end[16:20], end[20:])
        return encoded[2 : 2 + length].decode() + "-".join(parts)
    return (_PREFIX[form] + encoded[1:].hex().encode()).decode()


def join_encoded(encoded: Sequence[bytes]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return start offsets (uint32, one more than ids) and the joined bytes."""
    starts = np.zeros(len(encoded) + 1, dtype=np.uint64)
    np.cumsum([len(each) for each in encoded], out=starts[1:])
    return starts.astype(np.uint32), np.frombuffer(b"".join(encoded), dtype=np.uint8)


@compiled
def _unhex(text: NDArray[Any], begin: int, out: NDArray[Any], at: int, count: int) -> bool:
    """Write ``count`` bytes from two lower-case digits each; tell whether all were digits. Without a branch inside."""
    digits, made = text[begin : begin + 2 * count], out[at : at + count]
    wrong = False
    for place in range(count):
        high, low = digits[2 * place], digits[2 * place + 1]
        # 0-9 are 0x30 to 0x39, a-f 0x61 to 0x66: the low half of a byte, and nine more for a letter.
        wrong |= (high < 48) | ((high > 57) & (high < 97)) | (high > 102)
        wrong |= (low < 48) | ((low > 57) & (low < 97)) | (low > 102)
        made[place] = ((high & 15) + 9 * (high >> 6)) << 4 | ((low & 15) + 9 * (low >> 6))
    return not wrong


@compiled
def _unhex_uuid(text: NDArray[Any], begin: int, out: NDArray[Any], at: int) -> bool:
    """Write the 16 bytes of a UUID in canonical text; tell whether it was one."""
    well = text[begin + 8] == 45 and text[begin + 13] == 45 and text[begin + 18] == 45 and text[begin + 23] == 45
    return (
        well
        and _unhex(text, begin, out, at, 4)
        and _unhex(text, begin + 9, out, at + 4, 2)
        and _unhex(text, begin + 14, out, at + 6, 2)
        and _unhex(text, begin + 19, out, at + 8, 2)
        and _unhex(text, begin + 24, out, at + 10, 6)
    )


@compiled
def _matches(text: NDArray[Any], begin: int, prefix: NDArray[Any]) -> bool:
    for place in range(len(prefix)):
        if text[begin + place] != prefix[place]:
            return False
    return True


@compiled
def put_bytes(out: NDArray[Any], at: int, source: NDArray[Any], begin: int, end: int) -> int:
    """Copy ``source[begin:end]`` into ``out`` from ``at``; return where it ends."""
    length = end - begin
    here, there = out[at : at + length], source[begin:end]
    for place in range(length):  # over slices, so that no index can be negative and whole vectors are moved
        here[place] = there[place]
    return at + length


@compiled
def encode_texts(
    text: NDArray[Any], begins: NDArray[Any], lengths: NDArray[Any], sha256: NDArray[Any], gitoid: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Encode many ids that lie in ``text``; same forms as :func:`encode_id`, without making Python objects."""
    out = np.empty(lengths.sum() + 2 * len(lengths), dtype=np.uint8)
    starts = np.zeros(len(lengths) + 1, dtype=np.uint32)
    at = 0
    for row in range(len(lengths)):
        begin, length = begins[row], lengths[row]
        end = begin + length
        if length == 71 and _matches(text, begin, sha256) and _unhex(text, begin + 7, out, at + 1, 32):
            out[at] = 1
            at += 33
        elif length == 83 and _matches(text, begin, gitoid) and _unhex(text, begin + 19, out, at + 1, 32):
            out[at] = 2
            at += 33
        elif 37 <= length <= 291 and _unhex_uuid(text, end - 36, out, at + 2 + length - 36):
            out[at] = 3
            out[at + 1] = length - 36
            at = put_bytes(out, at + 2, text, begin, end - 36) + 16
        else:
            out[at] = 0
            at = put_bytes(out, at + 1, text, begin, end)
        starts[row + 1] = at
    return starts, out[:at].copy()


SHA256_PREFIX = np.frombuffer(_PREFIX[SHA256], dtype=np.uint8)
GITOID_PREFIX = np.frombuffer(_PREFIX[GITOID], dtype=np.uint8)
PREFIXES = np.frombuffer(_PREFIX[SHA256] + _PREFIX[GITOID], dtype=np.uint8)
PREFIX_START = np.array([0, 0, len(_PREFIX[SHA256]), len(PREFIXES), len(PREFIXES)], dtype=np.int64)
"""Where the text before the bytes of a form lies in :data:`PREFIXES`; a generation's table goes on from there."""
_MOST_PREFIXES = 250


@compiled
def _put_hex(out: NDArray[Any], at: int, ids: NDArray[Any], begin: int, end: int) -> int:
    """Write two digits for each byte by arithmetic, which is done on whole vectors, where a table would not be."""
    length = end - begin
    here, there = out[at : at + 2 * length], ids[begin:end]
    for place in range(length):
        high, low = there[place] >> 4, there[place] & 15
        here[2 * place] = high + 48 + 39 * (high > 9)
        here[2 * place + 1] = low + 48 + 39 * (low > 9)
    return at + 2 * length


@compiled
def _put_text(out: NDArray[Any], at: int, ids: NDArray[Any], begin: int, end: int, escape: bool) -> int:
    if escape:
        text = ids[begin:end]
        quoted = False
        for place in range(end - begin):
            quoted |= (text[place] == 34) | (text[place] == 92)
        if quoted:
            for place in range(begin, end):
                character = ids[place]
                if character == 34 or character == 92:  # noqa: PLR1714 - a set does not compile
                    out[at] = 92
                    at += 1
                out[at] = character
                at += 1
            return at
    return put_bytes(out, at, ids, begin, end)


@compiled
def _put_uuid(out: NDArray[Any], at: int, ids: NDArray[Any], begin: int) -> int:
    for part, until in ((0, 4), (4, 6), (6, 8), (8, 10), (10, 16)):
        if part:
            out[at] = 45
            at += 1
        at = _put_hex(out, at, ids, begin + part, begin + until)
    return at


@compiled
def put_id(
    out: NDArray[Any],
    at: int,
    ids: NDArray[Any],
    begin: int,
    end: int,
    prefixes: NDArray[Any],
    prefix_start: NDArray[Any],
    escape: bool,
) -> int:
    """Write the text of an encoded id into ``out`` from ``at``; return where it ends.

    Args:
        out: room for the text.
        at: where to begin.
        ids: encoded ids.
        begin: of this one.
        end: of this one.
        prefixes: :data:`PREFIXES`, or the generation's table.
        prefix_start: :data:`PREFIX_START`, or the generation's.
        escape: as inside a JSON string (ids hold no control characters).
    """
    form = ids[begin]
    begin += 1
    if form == 0:
        return _put_text(out, at, ids, begin, end, escape)
    if form == 3:
        prefix = begin + 1 + ids[begin]
        at = _put_text(out, at, ids, begin + 1, prefix, escape)
        return _put_uuid(out, at, ids, prefix)
    at = put_bytes(out, at, prefixes, prefix_start[form], prefix_start[form + 1])
    if form > 3:
        return _put_uuid(out, at, ids, begin)
    return _put_hex(out, at, ids, begin, end)


@compiled
def _prefix_hash(text: NDArray[Any], begin: int, length: int) -> int:
    hashed = length
    for place in range(begin, begin + length):
        hashed = (hashed * 31 + np.int64(text[place])) & 0xFFFFFFF
    return hashed & 1023


@compiled
def _share(
    starts: NDArray[Any], ids: NDArray[Any], old: NDArray[Any], old_start: NDArray[Any], most: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Encode prefixes by a table that begins with the one given; see :func:`share_prefixes`."""
    table = np.full(1024, -1, dtype=np.int64)
    known = np.zeros(most + 1, dtype=np.int64)
    text = np.empty(len(old) + most * 256, dtype=np.uint8)
    put_bytes(text, 0, old, 0, len(old))
    count = len(old_start) - 5
    for which in range(count):
        known[which] = old_start[which + 4]
        slot = _prefix_hash(old, old_start[which + 4], old_start[which + 5] - old_start[which + 4])
        while table[slot] >= 0:
            slot = (slot + 1) & 1023
        table[slot] = which
    known[count] = len(old)
    out = np.empty(len(ids), dtype=np.uint8)
    out_starts = np.zeros(len(starts), dtype=np.uint32)
    at = 0
    for row in range(len(starts) - 1):
        begin, end = np.int64(starts[row]), np.int64(starts[row + 1])
        which = -1
        if ids[begin] == 3:
            length = np.int64(ids[begin + 1])
            slot = _prefix_hash(ids, begin + 2, length)
            while table[slot] >= 0 and which < 0:
                first = known[table[slot]]
                same = known[table[slot] + 1] - first == length
                place = 0
                while same and place < length:
                    same = text[first + place] == ids[begin + 2 + place]
                    place += 1
                if same:
                    which = table[slot]
                else:
                    slot = (slot + 1) & 1023
            if which < 0 and count < most:
                table[slot] = count
                which = count
                count += 1
                known[count] = put_bytes(text, known[count - 1], ids, begin + 2, begin + 2 + length)
        if which >= 0:
            out[at] = 4 + which
            at = put_bytes(out, at + 1, ids, end - 16, end)
        else:
            at = put_bytes(out, at, ids, begin, end)
        out_starts[row + 1] = at
    return out_starts, out[:at].copy(), text[: known[count]].copy(), known[: count + 1].copy()


def share_prefixes(
    starts: NDArray[Any],
    ids: NDArray[Any],
    prefixes: NDArray[Any] = PREFIXES,
    prefix_start: NDArray[Any] = PREFIX_START,
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return encoded ids with their prefixes in a table: starts, ids, and the table's text and starts.

    Args:
        starts: where each id begins; one more than ids.
        ids: encoded ids without a table.
        prefixes: the table so far.
        prefix_start: where each of its prefixes begins.
    """
    out_starts, out, text, known = _share(starts, ids, prefixes, prefix_start, _MOST_PREFIXES)
    return out_starts, out, text, np.append(prefix_start[:4], known)


def unshared(encoded: bytes, prefixes: NDArray[Any], prefix_start: NDArray[Any]) -> bytes:
    """Return the encoding of one id by itself, without a table."""
    form = encoded[0]
    if form <= UUID_END:
        return encoded
    prefix = prefixes[prefix_start[form] : prefix_start[form + 1]].tobytes()
    return b"\x03" + bytes([len(prefix)]) + prefix + encoded[1:]
