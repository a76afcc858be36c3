"""MCE1: round trips, fixed vectors, and every attack of the specification's list."""

import hashlib
import io
import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import cbor2
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.keys import envelope
from mc_pipelines.keys import header as header_module
from mc_pipelines.keys.envelope import open_sealed, open_stream, read_preamble, replace_slots, seal, seal_stream
from mc_pipelines.keys.header import Defect, EnvelopeError, Header, Kind, read_header
from mc_pipelines.keys.slots import Slot
from mc_pipelines_tests.keys.gcm_collision import two_key_ciphertext

DEK = bytes(range(32))
CHUNK = 1 << 16
SEALED_CHUNK = CHUNK + 16
HEADER = Header(
    Kind.RECEIPT, "acme", "receipt-1", "application/json", UUID(int=5), datetime(2026, 1, 19, 17, tzinfo=UTC)
)
SLOTS = (Slot(1, "local:kek/1", b"w" * 60), Slot(1, "local:kek/2", b"x" * 60))
VECTORS = json.loads((Path(__file__).parent / "mce1_vectors.json").read_text())["cases"]


def pattern(length: int) -> bytes:
    return bytes((7 * i + i // 251) % 256 for i in range(length))


def sealed_of(content: bytes, header: Header = HEADER, **options: Any) -> bytes:
    return seal(content, header, DEK, chunk_log2=16, **options)


def defect_of(sealed: bytes, dek: bytes = DEK) -> Defect:
    with pytest.raises(EnvelopeError) as caught:
        open_sealed(sealed, lambda _: dek)
    return caught.value.defect


def split(sealed: bytes) -> tuple[bytes, list[bytes]]:
    at = read_preamble(sealed).size
    body = sealed[at:]
    return sealed[:at], [body[i : i + SEALED_CHUNK] for i in range(0, len(body), SEALED_CHUNK)]


@pytest.mark.parametrize("case", VECTORS, ids=[case["name"] for case in VECTORS])
def test_fixed_vectors_are_written_and_read(case: dict[str, Any]) -> None:
    header = Header(
        Kind(case["kind"]),
        case["tenant"],
        case["object_id"],
        case["content_type"],
        UUID(hex=case["dek_id"]),
        datetime.fromisoformat(case["created"]),
        UUID(hex=case["subject_key_id"]) if case["subject_key_id"] else None,
    )
    slots = tuple(Slot(one["provider"], one["kek_ref"], bytes.fromhex(one["wrapped"])) for one in case["slots"])
    content, dek, salt = pattern(case["plaintext_bytes"]), bytes.fromhex(case["dek"]), bytes.fromhex(case["salt"])
    sealed = seal(content, header, dek, slots=slots, chunk_log2=case["chunk_log2"], random=lambda _: salt)
    assert len(sealed) == case["sealed_bytes"]
    assert hashlib.sha256(sealed).hexdigest() == case["sealed_sha256"]
    assert sealed.hex() == case.get("sealed", sealed.hex())
    assert open_sealed(sealed, lambda _: dek) == (header, content)
    assert read_preamble(sealed).slots == slots


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
def test_every_source_gives_the_same_bytes_back(length: int) -> None:
    content = pattern(length)
    pieces = [content[i : i + 1000] for i in range(0, length, 1000)]
    for source in (content, io.BytesIO(content), iter(pieces), _Trickle(content)):
        sealed = b"".join(seal_stream(source, HEADER, DEK, chunk_log2=16))
        for again in (sealed, io.BytesIO(sealed), iter([sealed[:5], b"", sealed[5:]]), _Trickle(sealed)):
            opened = open_stream(again, lambda _: DEK)
            assert opened.header == HEADER
            assert b"".join(opened.chunks) == content


@given(st.binary(max_size=300), st.text(min_size=1, max_size=40), st.booleans())
@settings(max_examples=60, deadline=None)
def test_anything_opens_to_what_was_sealed(content: bytes, name: str, inline: bool) -> None:
    header = Header(Kind.LOG, "acme", name, "text/plain", UUID(int=9), HEADER.created, UUID(int=3))
    sealed = seal(content, header, DEK, slots=SLOTS if inline else ())
    assert open_sealed(sealed, lambda _: DEK) == (header, content)
    assert read_preamble(sealed[:512]).header == header


@given(st.binary(max_size=600))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_the_reader_fail_otherwise_than_by_name(noise: bytes) -> None:
    for content in (
        noise,
        b"MCE1\x01\x01\x14\x01" + noise,
        b"MCE1\x01\x01\x14\x01" + len(noise).to_bytes(4, "big") + noise,
    ):
        with pytest.raises(EnvelopeError):
            open_sealed(content, lambda _: DEK)


def test_header_bytes_are_deterministic_cbor_and_nothing_else() -> None:
    encoded = HEADER.to_cbor()
    members = cbor2.loads(encoded)
    assert list(members) == [1, 2, 3, 4, 5, 6]
    assert read_header(Kind.RECEIPT, encoded) == HEADER
    for altered in (
        {**members, 8: 1},
        {**members, 6: 2},
        {**members, 1: ""},
        {**members, 1: 7},
        {**members, 4: b"short"},
        {**members, 5: 2**63},
        {**members, 5: cbor2.CBORTag(4, [2, 3])},
        {key: members[key] for key in (2, 1, 3, 4, 5, 6)},
        {key: members[key] for key in (1, 2, 3)},
    ):
        with pytest.raises(EnvelopeError, match="malformed"):
            read_header(Kind.RECEIPT, cbor2.dumps(altered))
    long_form = encoded[:1] + b"\x18\x01" + encoded[2:]
    for altered_bytes in (encoded + b"\0", encoded[:-1], long_form, b"\xbf" + encoded[1:] + b"\xff", b"\x80"):
        with pytest.raises(EnvelopeError, match="malformed"):
            read_header(Kind.RECEIPT, altered_bytes)


HEADERS = st.builds(
    Header,
    st.sampled_from(Kind),
    st.text(min_size=1, max_size=40),
    st.text(min_size=1, max_size=300),
    st.text(min_size=1, max_size=40),
    st.uuids(),
    st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds the zone
    st.none() | st.uuids(),
)


@given(HEADERS)
@settings(deadline=None)
def test_our_encoder_writes_what_cbor2_writes(header: Header) -> None:
    members: dict[int, Any] = {
        1: header.tenant,
        2: header.object_id,
        3: header.content_type,
        4: header.dek_id.bytes,
        5: (header.created - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1),
        6: 1,
    }
    if header.subject_key_id is not None:
        members[7] = header.subject_key_id.bytes
    encoded = header.to_cbor()
    assert encoded == cbor2.dumps(members, canonical=True)
    assert read_header(header.kind, encoded) == header


@given(HEADERS, st.data())
@settings(deadline=None, max_examples=300)
def test_the_quick_reader_takes_nothing_that_the_strict_one_refuses(header: Header, data: st.DataObject) -> None:
    encoded = bytearray(header.to_cbor())
    for _ in range(data.draw(st.integers(0, 2))):
        encoded[data.draw(st.integers(0, min(60, len(encoded) - 1)))] = data.draw(st.integers(0, 255))
    content = bytes(encoded[: data.draw(st.sampled_from([len(encoded), len(encoded) - 1]))])
    quick = header_module._read_usual(header.kind, content)
    if quick is not None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(header_module, "_read_usual", lambda *_: None)
            assert read_header(header.kind, content) == quick


@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
@pytest.mark.parametrize("slots", [(), SLOTS])
def test_bytes_and_streams_give_the_same(length: int, slots: tuple[Slot, ...]) -> None:
    content, salt = pattern(length), bytes(32)
    sealed = seal(content, HEADER, DEK, slots=slots, chunk_log2=16, random=lambda _: salt)
    streamed = seal_stream(content, HEADER, DEK, slots=slots, chunk_log2=16, random=lambda _: salt)
    assert sealed == b"".join(streamed)
    opened = open_stream(sealed, lambda _: DEK)
    assert (opened.header, b"".join(opened.chunks)) == open_sealed(sealed, lambda _: DEK) == (HEADER, content)


def test_a_header_that_would_not_fit_a_range_read_is_not_written() -> None:
    long = Header(Kind.LOG, "acme", "x" * 500, "text/plain", UUID(int=1), HEADER.created)
    with pytest.raises(InputError, match="longer than 500 bytes"):
        seal(b"", long, DEK)


def test_every_bit_of_the_preamble_is_bound() -> None:
    sealed = sealed_of(b"paid", slots=SLOTS)
    for at in range(read_preamble(sealed).size):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[at] ^= 1 << bit
            defect_of(bytes(altered))


def test_every_bit_of_the_body_is_bound() -> None:
    sealed = sealed_of(b"paid")
    for at in range(read_preamble(sealed).size, len(sealed)):
        for bit in range(8):
            altered = bytearray(sealed)
            altered[at] ^= 1 << bit
            assert defect_of(bytes(altered)) is Defect.ALTERED


def test_truncation_is_found_at_every_edge_and_every_byte_of_the_last_chunk() -> None:
    sealed = sealed_of(pattern(2 * CHUNK + 40))
    start = read_preamble(sealed).size
    for length in range(start):
        assert defect_of(sealed[:length]) in {Defect.TRUNCATED, Defect.NOT_SEALED}
    assert defect_of(sealed[:start]) is Defect.TRUNCATED
    for edge in (start + SEALED_CHUNK, start + 2 * SEALED_CHUNK):
        assert defect_of(sealed[:edge]) is Defect.TRUNCATED
    for length in range(start + 2 * SEALED_CHUNK + 1, len(sealed)):
        assert defect_of(sealed[:length]) in {Defect.TRUNCATED, Defect.ALTERED}


def test_chunks_are_neither_swapped_nor_doubled_nor_dropped_nor_added() -> None:
    preamble, chunks = split(sealed_of(pattern(4 * CHUNK)))
    a, b, c, d = chunks
    for moved in ([b, a, c, d], [a, a, b, c, d], [a, c, d], [b, c, d], [d, a, b, c], [a, b, d, c], [d]):
        assert defect_of(preamble + b"".join(moved)) is Defect.ALTERED
    assert defect_of(preamble + b"".join([a, b, c])) is Defect.TRUNCATED
    assert defect_of(preamble + b"".join([a, b, c, d, d])) is Defect.TRAILING
    assert defect_of(preamble + b"".join(chunks) + b"x") is Defect.TRAILING
    short_preamble, short = split(sealed_of(b"short"))
    assert defect_of(short_preamble + short[0] + b"x") is Defect.ALTERED


def test_chunks_and_headers_of_another_object_are_refused_although_the_data_key_is_the_same() -> None:
    one, two = sealed_of(pattern(3 * CHUNK)), sealed_of(pattern(3 * CHUNK))
    (head_one, chunks_one), (head_two, chunks_two) = split(one), split(two)
    for number in range(3):
        mixed = [*chunks_one[:number], chunks_two[number], *chunks_one[number + 1 :]]
        assert defect_of(head_one + b"".join(mixed)) is Defect.ALTERED
    assert defect_of(head_two + b"".join(chunks_one)) is Defect.ALTERED
    fixed = len(read_preamble(one).fixed)
    other = Header(Kind.RECEIPT, "evil", "receipt-1", "application/json", UUID(int=5), HEADER.created)
    renamed = sealed_of(pattern(3 * CHUNK), other)
    assert defect_of(renamed[: len(read_preamble(renamed).fixed)] + one[fixed:]) is Defect.COMMITMENT


def test_nothing_is_released_beyond_the_verified_chunks() -> None:
    content = pattern(3 * CHUNK)
    preamble, chunks = split(sealed_of(content))
    altered = bytearray(chunks[1])
    altered[77] ^= 1
    opened = open_stream(preamble + chunks[0] + bytes(altered) + chunks[2], lambda _: DEK)
    released = [next(opened.chunks)]
    with pytest.raises(EnvelopeError, match="Chunk 1"):
        next(opened.chunks)
    assert list(opened.chunks) == []
    assert released == [content[:CHUNK]]


def test_slots_are_neither_added_nor_removed_nor_changed_without_the_data_key() -> None:
    sealed = sealed_of(b"paid", slots=SLOTS)
    old = read_preamble(sealed)
    front = len(old.fixed) + 64

    def with_block(slots: tuple[Slot, ...]) -> bytes:
        return sealed[:front] + envelope.write_slots(slots) + sealed[front + len(old.slot_bytes) :]

    for slots in (SLOTS[:1], SLOTS[::-1], (*SLOTS, Slot(1, "evil:kek/1", b"e" * 60)), (SLOTS[0], Slot(1, "e", b"e"))):
        assert defect_of(with_block(slots)) is Defect.SLOTS_MAC
    assert defect_of(with_block(())) is Defect.SLOTS
    detached = sealed_of(b"paid")
    at = len(read_preamble(detached).fixed) + 64
    assert defect_of(detached[:at] + envelope.write_slots(SLOTS) + detached[at + 2 :]) is Defect.SLOTS


def test_a_rewrap_leaves_the_body_and_replaces_the_slots() -> None:
    sealed = sealed_of(pattern(CHUNK + 9), slots=SLOTS)
    fresh = (Slot(2, "bao:transit/mc/7", b"n" * 90),)
    again = replace_slots(sealed, DEK, fresh)
    assert read_preamble(again).slots == fresh
    assert split(again)[1] == split(sealed)[1]
    assert open_sealed(again, lambda _: DEK)[1] == pattern(CHUNK + 9)
    with pytest.raises(EnvelopeError):
        replace_slots(sealed, b"z" * 32, fresh)
    with pytest.raises(InputError):
        replace_slots(sealed_of(b"detached"), DEK, fresh)


class _Exploding:
    """A source whose body must not be read."""

    def __init__(self, beginning: bytes) -> None:
        self._file = io.BytesIO(beginning)

    def read(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            pytest.fail("the body was read before the commitment was compared")
        return found


def test_one_ciphertext_under_two_keys_is_refused_by_the_commitment() -> None:
    """AES-GCM accepts the constructed body under both keys; MCE1 opens it under none but the committed one."""
    second_dek = bytes(range(32, 64))
    salt = b"s" * 32
    sealed = sealed_of(b"\0" * 32, random=lambda _: salt)
    preamble = read_preamble(sealed)
    first, second = (envelope._derive(dek, salt, preamble.fixed) for dek in (DEK, second_dek))
    nonces = [envelope._nonce(keys.nonce_prefix, 0, last=True) for keys in (first, second)]
    body = two_key_ciphertext(first.body, second.body, nonces[0], nonces[1], b"A" * 32)
    plain = [AESGCM(keys.body).decrypt(nonce, body, None) for keys, nonce in zip((first, second), nonces, strict=True)]
    assert plain[0] != plain[1]  # AES-GCM alone: one ciphertext, two meanings, both tags valid

    for committed, dek, other in ((first, DEK, second_dek), (second, second_dek, DEK)):
        mac = envelope._slots_mac(committed, preamble.slot_bytes)
        front = preamble.fixed + salt + committed.commit + preamble.slot_bytes + mac
        assert open_sealed(front + body, lambda _, dek=dek: dek)[1] in plain
        with pytest.raises(EnvelopeError) as caught:
            open_stream(_Exploding(front), lambda _, other=other: other)
        assert caught.value.defect is Defect.COMMITMENT


def test_unknown_forms_are_refused_by_name() -> None:
    sealed = sealed_of(b"paid")

    def with_byte(at: int, value: int) -> bytes:
        return sealed[:at] + bytes([value]) + sealed[at + 1 :]

    assert defect_of(b'{"plain": "receipt"}') is Defect.NOT_SEALED
    assert defect_of(b"") is Defect.NOT_SEALED
    assert defect_of(with_byte(4, 5)) is Defect.FLAGS
    assert defect_of(with_byte(5, 2)) is Defect.SUITE
    assert defect_of(with_byte(6, 15)) is Defect.CHUNK_SIZE
    assert defect_of(with_byte(6, 25)) is Defect.CHUNK_SIZE
    assert defect_of(with_byte(7, 9)) is Defect.KIND
    assert defect_of(with_byte(8, 1)) is Defect.HEADER
    assert defect_of(sealed, b"k" * 32) is Defect.COMMITMENT
    for bad in (b"", b"k" * 16, b"k" * 33):
        with pytest.raises(InputError, match="32 bytes"):
            open_sealed(sealed, lambda _, bad=bad: bad)
    with pytest.raises(InputError, match="chunk"):
        seal(b"", HEADER, DEK, chunk_log2=12)


def test_salts_differ_so_equal_objects_do_not_look_equal() -> None:
    sealed = [sealed_of(b"paid") for _ in range(50)]
    assert len(set(sealed)) == 50
    assert all(one[-20:] != two[-20:] for one, two in pairwise(sealed))


def test_memory_stays_within_a_few_chunks() -> None:
    total, piece = 24 << 20, b"p" * (1 << 20)

    def pieces() -> Iterator[bytes]:
        for _ in range(total // len(piece)):
            yield piece

    tracemalloc.start()
    try:
        opened = open_stream(seal_stream(pieces(), HEADER, DEK), lambda _: DEK)
        assert sum(map(len, opened.chunks)) == total
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20


class _Trickle:
    """A file that gives at most 777 bytes a read, like a pipe."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, count: int) -> bytes:
        return self._file.read(min(count, 777))
