"""MCE1: sealed objects with a committed key, streamed in bounded memory (docs/security/mce1.md).

AES-256-GCM in the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015) under a key that HKDF-SHA-512
(RFC 5869) derives for each object from the data key, a random salt and the header. The derivation also gives a
commitment, which is compared before any of the body is read: AES-GCM by itself lets one ciphertext open under
two keys (Albertini et al. 2022).
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256, sha512
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.keys.header import MAX_HEADER_BYTES, Defect, EnvelopeError, Header, Kind, read_header
from mc_pipelines.keys.slots import Slot, read_slots, write_slots
from mc_pipelines.keys.source import Source, reader_of

MAGIC = b"MCE1"
SUITE = 1
DEK_BYTES = 32
DEFAULT_CHUNK_LOG2 = 20
MAX_CHUNKS = 2**32 - 1
TAG_BYTES = 16

_FIXED = struct.Struct(">4sBBBBI")
_NONCE_TAIL = struct.Struct(">IB")
_DETACHED, _EMPTY = 1, 2
_ONLY_CHUNK = _NONCE_TAIL.pack(0, True)  # noqa: FBT003 - the last chunk's mark
_NO_SLOTS = write_slots(())
_KINDS = {int(kind): kind for kind in Kind}
_INNER, _OUTER = bytes(byte ^ 0x36 for byte in range(256)), bytes(byte ^ 0x5C for byte in range(256))
_SHA512_BLOCK = 128
_INNER_PAD, _OUTER_PAD = b"\x36" * _SHA512_BLOCK, b"\x5c" * _SHA512_BLOCK
_SHA512_BYTES, _MAX_BLOCKS = 64, 255
_SALT_BYTES = _COMMIT_BYTES = _MAC_BYTES = 32
_OKM_BYTES = 32 + 32 + 32 + 7
_MIN_LOG2, _MAX_LOG2 = 16, 24

FindKey = Callable[["Preamble"], bytes]
"""Given what an object says of itself, returns the data key (32 bytes) or raises."""


class Preamble(NamedTuple):
    """Everything that stands before the body.

    Nothing of it is proved until the data key is known; ``open_stream`` hands it to a ``FindKey`` for that.
    """

    header: Header
    slots: tuple[Slot, ...]
    chunk_log2: int
    detached: bool
    empty: bool
    fixed: bytes
    salt: bytes
    commit: bytes
    slot_bytes: bytes
    slots_mac: bytes

    @property
    def size(self) -> int:
        """Bytes before the body."""
        return len(self.fixed) + _SALT_BYTES + _COMMIT_BYTES + len(self.slot_bytes) + _MAC_BYTES


@dataclass(frozen=True, slots=True)
class Opened:
    """An object that is being opened: its proved header, and its plaintext as it is verified."""

    preamble: Preamble
    chunks: Iterator[bytes]

    @property
    def header(self) -> Header:
        """The header; the commitment has proved it."""
        return self.preamble.header


class _Keys(NamedTuple):
    body: bytes
    commit: bytes
    slots_mac: bytes
    nonce_prefix: bytes


def seal_stream(
    source: Source,
    header: Header,
    dek: bytes,
    *,
    slots: Sequence[Slot] = (),
    chunk_log2: int = DEFAULT_CHUNK_LOG2,
    random: Callable[[int], bytes] = os.urandom,
) -> Iterator[bytes]:
    """Seal a source of any length; hold at most two chunks of it.

    Args:
        source: bytes, a file open for reading, or an iterable of bytes.
        header: what the object says of itself; bound to the body through the key.
        dek: the data key, 32 bytes.
        slots: the data key wrapped, carried in the object; none means they stand in the table of data keys.
        chunk_log2: size of a chunk as a power of two, 16 to 24.
        random: source of the 32-byte salt.

    Raises:
        InputError: the data key, the chunk size, the header or a slot cannot be written.
    """
    if not _MIN_LOG2 <= chunk_log2 <= _MAX_LOG2:
        raise InputError("A chunk is 2**16 to 2**24 bytes", field="chunk_log2", value=chunk_log2)
    reader = reader_of(source)
    first = reader.take(1 << chunk_log2)
    preamble, keys = _write_preamble(header, dek, slots, chunk_log2, random(_SALT_BYTES), empty=not first)

    def chunks() -> Iterator[bytes]:
        yield preamble
        cipher, block, number = AESGCM(keys.body), first, 0
        while True:
            following = reader.take(1 << chunk_log2)
            if number >= MAX_CHUNKS:
                raise InputError(f"A sealed object holds at most {MAX_CHUNKS} chunks", field="source")
            yield cipher.encrypt(_nonce(keys.nonce_prefix, number, last=not following), block, None)
            if not following:
                return
            block, number = following, number + 1

    return chunks()


def seal(
    content: bytes,
    header: Header,
    dek: bytes,
    *,
    slots: Sequence[Slot] = (),
    chunk_log2: int = DEFAULT_CHUNK_LOG2,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Seal bytes; as :func:`seal_stream`."""
    if not _MIN_LOG2 <= chunk_log2 <= _MAX_LOG2 or len(content) > 1 << chunk_log2:
        return b"".join(seal_stream(content, header, dek, slots=slots, chunk_log2=chunk_log2, random=random))
    preamble, keys = _write_preamble(header, dek, slots, chunk_log2, random(_SALT_BYTES), empty=not content)
    return preamble + AESGCM(keys.body).encrypt(keys.nonce_prefix + _ONLY_CHUNK, content, None)


def read_preamble(source: Source) -> Preamble:
    """Read what stands before the body, without any key.

    Raises:
        EnvelopeError: it is not a sealed object of a form known here.
    """
    return _read_preamble(reader_of(source).take)


def read_header_of(beginning: bytes) -> Header:
    """Read the header alone, out of the first 512 bytes of an object.

    Raises:
        EnvelopeError: it is not a sealed object of a form known here.
    """
    return _read_fixed(reader_of(beginning).take)[1]


def open_stream(source: Source, find_key: FindKey) -> Opened:
    """Begin to open a sealed object; the chunks are released one by one, each after its tag verified.

    The plaintext is complete only when the iterator ends without an error: a consumer that acts before
    that acts on a verified beginning, not on the whole.

    Raises:
        EnvelopeError: the object is not sealed, the key is another one, or the slots were altered; and,
            while the chunks are consumed, the body was altered, cut off, reordered or added to.
    """
    reader = reader_of(source)
    preamble = _read_preamble(reader.take)
    return Opened(preamble, _open_chunks(reader.take, preamble, _prove(preamble, find_key)))


def _prove(preamble: Preamble, find_key: FindKey) -> _Keys:
    """Return an object's keys once commitment and slots have proved that they are its own."""
    keys = _derive(find_key(preamble), preamble.salt, preamble.fixed)
    if not hmac.compare_digest(keys.commit, preamble.commit):
        raise EnvelopeError(Defect.COMMITMENT, "The data key is not the one this object was sealed with")
    if not hmac.compare_digest(_slots_mac(keys, preamble.slot_bytes), preamble.slots_mac):
        raise EnvelopeError(Defect.SLOTS_MAC, "The key slots are not those that were written with the data key")
    return keys


def open_sealed(sealed: bytes, find_key: FindKey) -> tuple[Header, bytes]:
    """Open sealed bytes; return the header and the whole plaintext, or nothing of it.

    Raises:
        EnvelopeError: as :func:`open_stream`.
    """
    preamble = _read_detached(sealed)
    if preamble is None or len(sealed) - preamble.size > (1 << preamble.chunk_log2) + TAG_BYTES:
        opened = open_stream(sealed, find_key)
        return opened.header, b"".join(opened.chunks)
    keys = _prove(preamble, find_key)
    plain = _open_chunk(AESGCM(keys.body), keys.nonce_prefix, 0, sealed[preamble.size :], last=True)
    _check_empty(plain, preamble, first=True)
    return preamble.header, plain


def replace_slots(sealed: bytes, dek: bytes, slots: Sequence[Slot]) -> bytes:
    """Return a sealed object with other slots: a rewrap that touches no byte of the body.

    Raises:
        EnvelopeError: the object does not open with this data key.
        InputError: the object keeps its slots in the table of data keys, or none are given.
    """
    opened = open_stream(sealed, lambda _: dek)
    old = opened.preamble
    if old.detached or not slots:
        raise InputError("Only slots carried in the object are replaced, by at least one", field="slots")
    block = write_slots(slots)
    keys = _derive(dek, old.salt, old.fixed)
    return b"".join((old.fixed, old.salt, old.commit, block, _slots_mac(keys, block), sealed[old.size :]))


def _write_preamble(
    header: Header, dek: bytes, slots: Sequence[Slot], chunk_log2: int, salt: bytes, *, empty: bool
) -> tuple[bytes, _Keys]:
    encoded = header.to_cbor()
    if _FIXED.size + len(encoded) > MAX_HEADER_BYTES:
        raise InputError(
            f"The header would be longer than {MAX_HEADER_BYTES} bytes",
            field="header",
            value=_FIXED.size + len(encoded),
            mend="shorten the object id or the content type",
        )
    flags = (0 if slots else _DETACHED) | (_EMPTY if empty else 0)
    fixed = _FIXED.pack(MAGIC, flags, SUITE, chunk_log2, header.kind, len(encoded)) + encoded
    keys = _derive(dek, salt, fixed)
    block = write_slots(slots) if slots else _NO_SLOTS
    return b"".join((fixed, salt, keys.commit, block, _slots_mac(keys, block))), keys


def _read_preamble(take_some: Callable[[int], bytes]) -> Preamble:
    def take(count: int) -> bytes:
        found = take_some(count)
        if len(found) != count:
            raise EnvelopeError(Defect.TRUNCATED, "The object ends before its body")
        return found

    fixed, header, chunk_log2, flags = _read_fixed(take_some)
    salt, commit = take(_SALT_BYTES), take(_COMMIT_BYTES)
    slots, block = read_slots(take)
    detached = bool(flags & _DETACHED)
    if detached == bool(slots):
        raise EnvelopeError(Defect.SLOTS, f"The object carries {len(slots)} slots, which its flags deny")
    return Preamble(
        header=header,
        slots=slots,
        chunk_log2=chunk_log2,
        detached=detached,
        empty=bool(flags & _EMPTY),
        fixed=fixed,
        salt=salt,
        commit=commit,
        slot_bytes=block,
        slots_mac=take(_MAC_BYTES),
    )


def _read_detached(sealed: bytes) -> Preamble | None:
    """Read the preamble of an object in memory that carries no slots, in one pass; None where it is another."""
    if len(sealed) < _FIXED.size or not sealed.startswith(MAGIC):
        return None
    _, flags, suite, chunk_log2, kind_code, length = _FIXED.unpack_from(sealed)
    salt = _FIXED.size + length
    commit, slots = salt + _SALT_BYTES, salt + _SALT_BYTES + _COMMIT_BYTES
    body = slots + len(_NO_SLOTS) + _MAC_BYTES
    if not flags & _DETACHED or len(sealed) < body or sealed[slots : slots + len(_NO_SLOTS)] != _NO_SLOTS:
        return None
    kind = _check_fixed(flags, suite, chunk_log2, kind_code, length)
    return Preamble(
        header=read_header(kind, sealed[_FIXED.size : salt]),
        slots=(),
        chunk_log2=chunk_log2,
        detached=True,
        empty=bool(flags & _EMPTY),
        fixed=sealed[:salt],
        salt=sealed[salt:commit],
        commit=sealed[commit:slots],
        slot_bytes=_NO_SLOTS,
        slots_mac=sealed[slots + len(_NO_SLOTS) : body],
    )


def _read_fixed(take_some: Callable[[int], bytes]) -> tuple[bytes, Header, int, int]:
    head = take_some(_FIXED.size)
    if head[: len(MAGIC)] != MAGIC:
        raise EnvelopeError(Defect.NOT_SEALED, "The object is not sealed: it does not begin with MCE1")
    if len(head) != _FIXED.size:
        raise EnvelopeError(Defect.TRUNCATED, "The object ends before its body")
    _, flags, suite, chunk_log2, kind_code, length = _FIXED.unpack(head)
    kind = _check_fixed(flags, suite, chunk_log2, kind_code, length)
    encoded = take_some(length)
    if len(encoded) != length:
        raise EnvelopeError(Defect.TRUNCATED, "The object ends within its header")
    return head + encoded, read_header(kind, encoded), chunk_log2, flags


def _check_fixed(flags: int, suite: int, chunk_log2: int, kind: int, length: int) -> Kind:
    if suite != SUITE:
        raise EnvelopeError(Defect.SUITE, f"Suite {suite} is unknown here", field="suite", value=suite)
    if flags & ~(_DETACHED | _EMPTY):
        raise EnvelopeError(Defect.FLAGS, f"Flags {flags:#04x} are unknown here", field="flags", value=flags)
    if not _MIN_LOG2 <= chunk_log2 <= _MAX_LOG2:
        raise EnvelopeError(Defect.CHUNK_SIZE, f"A chunk of 2**{chunk_log2} bytes is not allowed")
    if kind not in _KINDS:
        raise EnvelopeError(Defect.KIND, f"Kind {kind} is unknown here", field="kind", value=kind)
    if _FIXED.size + length > MAX_HEADER_BYTES:
        raise EnvelopeError(Defect.HEADER, f"A header of {length} bytes is too long")
    return _KINDS[kind]


def _open_chunks(take: Callable[[int], bytes], preamble: Preamble, keys: _Keys) -> Iterator[bytes]:
    cipher, size = AESGCM(keys.body), (1 << preamble.chunk_log2) + TAG_BYTES
    block, number = take(size), 0
    while True:
        following = take(size) if len(block) == size else b""
        plain = _open_chunk(cipher, keys.nonce_prefix, number, block, last=not following)
        if not following:
            _check_empty(plain, preamble, first=number == 0)
            if plain:
                yield plain
            return
        yield plain
        block, number = following, number + 1
        if number >= MAX_CHUNKS:
            raise EnvelopeError(Defect.TRAILING, "The object has more chunks than the format allows")


def _check_empty(plain: bytes, preamble: Preamble, *, first: bool) -> None:
    """Check the last chunk against the flag: it is empty only where the body is."""
    if bool(plain) == preamble.empty or not (first or plain):
        raise EnvelopeError(Defect.EMPTY, "The object is empty where its flags deny it, or the reverse")


def _open_chunk(cipher: AESGCM, prefix: bytes, number: int, block: bytes, *, last: bool) -> bytes:
    if len(block) < TAG_BYTES:
        raise EnvelopeError(Defect.TRUNCATED, f"The object ends within chunk {number}")
    try:
        return cipher.decrypt(_nonce(prefix, number, last=last), block, None)
    except InvalidTag as error:
        raise _explain(cipher, prefix, number, block, last=last) from error


def _explain(cipher: AESGCM, prefix: bytes, number: int, block: bytes, *, last: bool) -> EnvelopeError:
    """Tell a cut or an addition at a chunk's edge from a change: the chunk verifies with the other end mark."""
    try:
        cipher.decrypt(_nonce(prefix, number, last=not last), block, None)
    except InvalidTag:
        detail = f"Chunk {number} does not verify: it was altered, moved, cut or comes from another object"
        return EnvelopeError(Defect.ALTERED, detail)
    if last:
        return EnvelopeError(Defect.TRUNCATED, f"The object ends after chunk {number}, which is not its last")
    return EnvelopeError(Defect.TRAILING, f"Data follow chunk {number}, which is the last")


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + _NONCE_TAIL.pack(number, last)


def _derive(dek: bytes, salt: bytes, fixed: bytes) -> _Keys:
    if len(dek) != DEK_BYTES:
        raise InputError("A data key is 32 bytes", field="dek", value=f"{len(dek)} bytes")
    info = MAGIC + sha256(fixed).digest()
    okm = hkdf_sha512(dek, salt=salt, info=info, length=_OKM_BYTES)
    return _Keys(okm[:32], okm[32:64], okm[64:96], okm[96:])


def hkdf_sha512(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    """Return ``length`` bytes of HKDF-SHA-512 (RFC 5869).

    HMAC (RFC 2104) is written out, two hashes each: for a few dozen bytes the set-up that the libraries do for every
    call costs more than the hashing. The Wycheproof cases hold it.

    Raises:
        InputError: RFC 5869 allows at most 255 blocks.
    """
    if not 0 < length <= _MAX_BLOCKS * _SHA512_BYTES:
        raise InputError("HKDF-SHA-512 gives 1 to 16,320 bytes", field="length", value=length)
    inner, outer = _pads(salt)
    inner, outer = _pads(sha512(outer + sha512(inner + secret).digest()).digest())
    okm = block = sha512(outer + sha512(inner + info + b"\x01").digest()).digest()
    for number in range(2, -(-length // _SHA512_BYTES) + 1):
        block = sha512(outer + sha512(inner + block + info + bytes((number,))).digest()).digest()
        okm += block
    return okm[:length]


def _pads(key: bytes) -> tuple[bytes, bytes]:
    if len(key) > _SHA512_BLOCK:
        key = sha512(key).digest()
    return key.translate(_INNER) + _INNER_PAD[len(key) :], key.translate(_OUTER) + _OUTER_PAD[len(key) :]


def _slots_mac(keys: _Keys, block: bytes) -> bytes:
    key = keys.slots_mac  # 32 bytes; the rest of the block of 64 is padding
    inner = sha256(key.translate(_INNER) + _INNER_PAD[:_MAC_BYTES] + block).digest()
    return sha256(key.translate(_OUTER) + _OUTER_PAD[:_MAC_BYTES] + inner).digest()


__all__ = [
    "DEFAULT_CHUNK_LOG2",
    "DEK_BYTES",
    "Opened",
    "Preamble",
    "hkdf_sha512",
    "open_sealed",
    "open_stream",
    "read_header_of",
    "read_preamble",
    "replace_slots",
    "seal",
    "seal_stream",
]
