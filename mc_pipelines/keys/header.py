"""The authenticated header of an MCE1 object: who it belongs to, what it is, which key opens it.

docs/security/mce1.md is the specification. The header is written in the deterministic encoding of RFC 8949 section
4.2.1 (tests hold it to cbor2's) and read by the strict reader below: a header comes from whoever wrote the object, so
no CBOR tag ever reaches a general decoder, and bytes that are not the one encoding of what they say are refused.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.errors import InputError, VerificationError

MAX_HEADER_BYTES = 500
"""Fixed part and CBOR together, so that a range read of 512 bytes always holds the whole header."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNSIGNED, _BYTES, _TEXT, _MAP = 0, 2, 3, 5
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_UUID_BYTES = 16
_INLINE = 24
_USUAL_MAP = b"\xa6"
_TEXT_HEAD = 0x60
_USUAL_TAIL = struct.Struct(">2s16s2sQ2s")
_USUAL_HEADS = (b"\x04\x50", b"\x05\x1b", b"\x06\x01")
_FOUR_BYTES = 1 << 32
_LAST_MICROSECOND = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _MICROSECOND
_SCHEMA = 1
_SUBJECT_KEY = 7


class Kind(IntEnum):
    """What the plaintext is."""

    RECEIPT = 1
    LOG = 2
    INPUT = 3

    @property
    def label(self) -> str:
        """The name used in tables, paths and wrap contexts."""
        return self.name.lower()

    @classmethod
    def of(cls, label: str) -> Kind:
        """Return the kind of a label.

        Raises:
            InputError: there is no such kind.
        """
        try:
            return cls[label.upper()]
        except (AttributeError, KeyError) as error:
            raise InputError(
                "Not a kind of object", field="kind", value=label, mend="use receipt, log or input"
            ) from error


class Defect(StrEnum):
    """What is wrong with an object; a reader can tell an attack from an accident by it."""

    NOT_SEALED = "not-sealed"
    SUITE = "unknown-suite"
    FLAGS = "unknown-flags"
    CHUNK_SIZE = "chunk-size"
    KIND = "unknown-kind"
    HEADER = "malformed-header"
    SLOTS = "malformed-slots"
    COMMITMENT = "wrong-key"
    SLOTS_MAC = "slots-altered"
    TRUNCATED = "truncated"
    TRAILING = "data-after-the-end"
    ALTERED = "altered"
    EMPTY = "empty-flag"
    CONTEXT = "other-object"


class EnvelopeError(VerificationError):
    """An object is not the sealed object it should be; ``defect`` says how."""

    slug, title = "envelope-refused", "Sealed object refused"

    def __init__(self, defect: Defect, detail: str, **members: Any) -> None:
        super().__init__(f"{detail} ({defect.value})", **members)
        self.defect = defect


@dataclass(frozen=True, slots=True)
class Header:
    """The authenticated facts about one object.

    Args:
        kind: what the plaintext is.
        tenant: whose it is.
        object_id: the identity of the object within tenant and kind.
        content_type: media type of the plaintext.
        dek_id: the data encryption key that opens it.
        created: when it was sealed; aware, microseconds.
        subject_key_id: the key of one data subject, if the object is sealed for one.
    """

    kind: Kind
    tenant: str
    object_id: str
    content_type: str
    dek_id: UUID
    created: datetime
    subject_key_id: UUID | None = None

    def to_cbor(self) -> bytes:
        """Return the deterministic CBOR map of the header; its kind is in the fixed part, not here."""
        for field, text in (
            ("tenant", self.tenant),
            ("object_id", self.object_id),
            ("content_type", self.content_type),
        ):
            if not text:
                raise InputError("A sealed object names its tenant, id and content type", field=field, value=text)
        subject = self.subject_key_id
        return b"".join(
            (
                b"\xa6" if subject is None else b"\xa7",
                b"\x01" + _kept_text(self.tenant),
                b"\x02" + _text(self.object_id),
                b"\x03" + _kept_text(self.content_type),
                b"\x04\x50" + self.dek_id.bytes,
                b"\x05" + _unsigned(_microseconds(self.created)),
                b"\x06\x01",
                b"" if subject is None else b"\x07\x50" + subject.bytes,
            )
        )


def read_header(kind: Kind, content: bytes) -> Header:
    """Read the CBOR map of a header.

    Raises:
        EnvelopeError: it is not the deterministic encoding of such a map.
    """
    found = _read_usual(kind, content)
    if found is not None:
        return found
    members = _read_map(content)
    if not {1, 2, 3, 4, 5, 6} <= members.keys() <= {1, 2, 3, 4, 5, 6, 7}:
        raise _malformed(f"it has the members {sorted(members)}")
    types = (str, str, str, bytes, int, int, bytes)
    for number, value in members.items():
        if type(value) is not types[number - 1]:
            raise _malformed(f"member {number} has another type")
    if not (members[1] and members[2] and members[3]):
        raise _malformed("tenant, object id and content type are not empty")
    if members[6] != _SCHEMA:
        raise _malformed(f"schema {members[6]} is unknown here")
    if any(len(members[number]) != _UUID_BYTES for number in (4, 7) if number in members):
        raise _malformed("a key id is 16 bytes")
    try:
        created = _EPOCH + timedelta(microseconds=members[5])
    except OverflowError as error:
        raise _malformed("the time is out of range") from error
    subject = UUID(bytes=members[7]) if _SUBJECT_KEY in members else None
    return Header(kind, members[1], members[2], members[3], UUID(bytes=members[4]), created, subject)


def _read_usual(kind: Kind, content: bytes) -> Header | None:
    """Read the form that nearly every header has, in one pass; None where it is not quite that one.

    It takes nothing that the general reader below would refuse: every length is checked to be in its shortest form.
    """
    if content[:1] != _USUAL_MAP:
        return None
    try:
        tenant, position = _usual_text(content, 1, 1)
        object_id, position = _usual_text(content, 2, position)
        content_type, position = _usual_text(content, 3, position)
        dek_head, dek_id, created_head, created, schema = _USUAL_TAIL.unpack(content[position:])
    except (IndexError, ValueError, struct.error):
        return None
    if (dek_head, created_head, schema) != _USUAL_HEADS or not _FOUR_BYTES <= created <= _LAST_MICROSECOND:
        return None
    moment = _EPOCH + timedelta(microseconds=created)
    return Header(kind, tenant, object_id, content_type, UUID(bytes=dek_id), moment)


def _usual_text(content: bytes, number: int, position: int) -> tuple[str, int]:
    """Return member ``number``, a text of 1 to 255 bytes, and the position after it; ValueError = it is another."""
    length, start = content[position + 1] - _TEXT_HEAD, position + 2
    if length == _INLINE:
        length, start = content[start], start + 1
        if length < _INLINE:
            raise ValueError(length)
    elif not 0 < length < _INLINE:
        raise ValueError(length)
    end = start + length
    if content[position] != number or end > len(content):
        raise ValueError(number)
    return content[start:end].decode(), end


def _text(value: str) -> bytes:
    encoded = value.encode()
    return _encoded_head(_TEXT, len(encoded)) + encoded


_kept_text = lru_cache(maxsize=1024)(_text)
"""For tenants and content types, of which there are few."""


def _unsigned(value: int) -> bytes:
    return _encoded_head(_UNSIGNED, value)


def _encoded_head(major: int, argument: int) -> bytes:
    """Return the head of a data item in its shortest form (RFC 8949 section 4.2.1)."""
    if argument < _INLINE:
        return bytes((major << 5 | argument,))
    for low, width in _WIDTHS.items():
        if argument < 1 << 8 * width:
            return bytes((major << 5 | low,)) + argument.to_bytes(width, "big")
    raise InputError("A number in a header has at most eight bytes", field="created", value=argument)


def _microseconds(moment: datetime) -> int:
    return (as_utc(moment, field="created") - _EPOCH) // _MICROSECOND


def _malformed(why: str) -> EnvelopeError:
    return EnvelopeError(Defect.HEADER, f"The header is malformed: {why}")


def _read_map(content: bytes) -> dict[int, Any]:
    major, count, position = _head(content, 0)
    if major != _MAP:
        raise _malformed("it is not a map")
    members: dict[int, Any] = {}
    previous = -1
    for _ in range(count):
        major, number, position = _head(content, position)
        if major != _UNSIGNED or number <= previous:
            raise _malformed("its keys are not ascending integers")
        previous = number
        members[number], position = _value(content, position)
    if position != len(content):
        raise _malformed("bytes follow the map")
    return members


def _value(content: bytes, position: int) -> tuple[Any, int]:
    major, argument, start = _head(content, position)
    if major == _UNSIGNED:
        return argument, start
    if major not in {_BYTES, _TEXT}:
        raise _malformed("a value is no integer, bytes or text")
    end = start + argument
    if end > len(content):
        raise _malformed("a value runs past the end")
    raw = content[start:end]
    if major == _BYTES:
        return raw, end
    try:
        return raw.decode("utf-8"), end
    except UnicodeDecodeError as error:
        raise _malformed("a text is not UTF-8") from error


def _head(content: bytes, position: int) -> tuple[int, int, int]:
    """Read the major type, argument and next position of one data item, in its shortest form only."""
    if position >= len(content):
        raise _malformed("it ends early")
    major, low = content[position] >> 5, content[position] & 31
    position += 1
    if low < _INLINE:
        return major, low, position
    width = _WIDTHS.get(low)
    if width is None or position + width > len(content):
        raise _malformed("a length is indefinite or cut off")
    argument = int.from_bytes(content[position : position + width], "big")
    if argument < (_INLINE if width == 1 else 1 << 4 * width):
        raise _malformed("a length is not in its shortest form")
    return major, argument, position + width
