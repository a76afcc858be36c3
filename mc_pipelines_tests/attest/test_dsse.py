"""Envelopes: against securesystemslib both ways, and against every single changed byte."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as OracleEnvelope
from securesystemslib.exceptions import VerificationError as OracleVerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from mc_pipelines.attest.dsse import Envelope, Signature, add_signature, decode_base64, pae, sign, verify
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.errors import InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId

MAKER, CHECKER, STRANGER = (LocalSigner.generate() for _ in range(3))
KEYS = {one.key_id: one.public_key_pem for one in (MAKER, CHECKER)}


def oracle_key(signer: LocalSigner) -> SSlibKey:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = SSlibKey.from_crypto(load_pem_public_key(signer.public_key_pem), scheme="ecdsa-sha2-nistp256")
    key.keyid = signer.key_id
    return key


def test_what_we_sign_securesystemslib_verifies() -> None:
    ours = sign(b'{"a":1}', "application/json", [MAKER, CHECKER])
    theirs = OracleEnvelope.from_dict(json.loads(ours.to_json()))
    verified = theirs.verify([oracle_key(MAKER), oracle_key(CHECKER)], 2)
    assert set(verified) == {MAKER.key_id, CHECKER.key_id}
    with pytest.raises(OracleVerificationError):
        theirs.verify([oracle_key(MAKER), oracle_key(STRANGER)], 2)


def test_what_securesystemslib_signs_we_verify() -> None:
    oracle = CryptoSigner.generate_ecdsa()
    theirs = OracleEnvelope(b"content", "text/plain", {})
    theirs.sign(oracle)
    pem = oracle.public_key.keyval["public"].encode()
    signer_id = LocalSigner.from_pem(oracle.private_bytes).key_id
    ours = Envelope.from_json(json.dumps(theirs.to_dict()))
    assert verify(ours, {signer_id: pem}) == (signer_id,)


@given(st.text(), st.binary())
def test_pae_equals_the_oracle(payload_type: str, payload: bytes) -> None:
    assert pae(payload_type, payload) == OracleEnvelope(payload, payload_type, {}).pae()


@given(st.text(min_size=1).filter(lambda text: text.isprintable()), st.binary())
def test_an_envelope_survives_json(payload_type: str, payload: bytes) -> None:
    envelope = sign(payload, payload_type, [MAKER])
    assert Envelope.from_json(envelope.to_json()) == envelope


def test_two_keys_two_persons() -> None:
    envelope = add_signature(sign(b"note", "text/plain", [MAKER]), CHECKER)
    assert verify(envelope, KEYS, threshold=2) == (MAKER.key_id, CHECKER.key_id)


def test_one_key_signing_twice_counts_once() -> None:
    once = sign(b"note", "text/plain", [MAKER])
    twice = Envelope(once.payload_type, once.payload, (*once.signatures, Signature(KeyId(""), MAKER.sign(once.pae()))))
    assert verify(twice, KEYS) == (MAKER.key_id,)
    with pytest.raises(VerificationError, match="1 of the 2"):
        verify(twice, KEYS, threshold=2)


def test_one_key_under_two_names_is_refused() -> None:
    with pytest.raises(InputError, match="thumbprint"):
        verify(sign(b"note", "text/plain", [MAKER]), KEYS | {KeyId("alias"): MAKER.public_key_pem}, threshold=2)


def test_a_stranger_and_a_borrowed_hint_are_refused() -> None:
    envelope = sign(b"note", "text/plain", [STRANGER])
    with pytest.raises(VerificationError):
        verify(envelope, KEYS)
    borrowed = Envelope(envelope.payload_type, envelope.payload, (Signature(MAKER.key_id, envelope.signatures[0].sig),))
    with pytest.raises(VerificationError):
        verify(borrowed, KEYS)


def test_an_unknown_hint_is_only_a_hint() -> None:
    envelope = sign(b"note", "text/plain", [MAKER])
    renamed = Envelope(envelope.payload_type, envelope.payload, (Signature(KeyId("x"), envelope.signatures[0].sig),))
    assert verify(renamed, KEYS) == (MAKER.key_id,)


def test_the_payload_type_is_signed() -> None:
    envelope = sign(b"note", "text/plain", [MAKER])
    with pytest.raises(VerificationError):
        verify(Envelope("text/html", envelope.payload, envelope.signatures), KEYS)


def test_signing_twice_with_one_key_or_with_none_is_refused() -> None:
    with pytest.raises(InputError):
        sign(b"", "text/plain", [])
    with pytest.raises(InputError):
        sign(b"", "text/plain", [MAKER, MAKER])
    with pytest.raises(InputError):
        add_signature(sign(b"", "text/plain", [MAKER]), MAKER)
    with pytest.raises(InputError):
        verify(sign(b"", "text/plain", [MAKER]), KEYS, threshold=0)


def test_a_single_signature_can_be_taken_out() -> None:
    both = sign(b"note", "text/plain", [MAKER, CHECKER])
    assert verify(both.single(CHECKER.key_id), KEYS) == (CHECKER.key_id,)
    with pytest.raises(InputError):
        both.single(STRANGER.key_id)


def test_no_flipped_byte_of_the_file_keeps_two_signatures_over_another_content() -> None:
    envelope = sign(b'{"amount":"12.50"}', "application/json", [MAKER, CHECKER])
    content = envelope.to_json()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1
        try:
            read = Envelope.from_json(bytes(changed))
            verify(read, KEYS, threshold=2)
        except (InputError, VerificationError):
            continue
        # Only the unauthenticated hint may change without harm.
        assert (read.payload_type, read.payload) == (envelope.payload_type, envelope.payload)
        assert [one.sig for one in read.signatures] == [one.sig for one in envelope.signatures]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"payload": None}, "payload"),
        ({"payload": "a"}, "payload"),
        ({"payload": "YQ"}, "payload"),
        ({"payload": "YR=="}, "canonical"),
        ({"payload": " YQ=="}, "payload"),
        ({"payload": "YQ==\n"}, "payload"),
        ({"payloadType": ""}, "payloadType"),
        ({"payloadType": 7}, "payloadType"),
        ({"signatures": []}, "signatures"),
        ({"signatures": {}}, "signatures"),
        ({"signatures": ["x"]}, r"signatures\[0\]"),
        ({"signatures": [{"sig": "?"}]}, r"signatures\[0\].sig"),
        ({"signatures": [{"keyid": 1, "sig": "YQ=="}]}, "keyid"),
        ({"signatures": [{"sig": "YQ=="}] * 65}, "at most 64"),
    ],
)
def test_a_malformed_envelope_is_refused_by_name(change: dict[str, object], named: str) -> None:
    document = sign(b"a", "text/plain", [MAKER]).to_document() | change
    with pytest.raises(InputError, match=named):
        Envelope.from_json(json.dumps(document))


def test_duplicate_members_and_other_json_are_refused() -> None:
    content = sign(b"a", "text/plain", [MAKER]).to_json()
    with pytest.raises(InputError, match="duplicate"):
        Envelope.from_json(content[:-1] + b',"payload":"Yg=="}')
    with pytest.raises(InputError, match="object"):
        Envelope.from_json(b"[]")


def test_both_alphabets_are_read_but_never_mixed() -> None:
    content = bytes([0xFB, 0xEF, 0xFF])
    assert decode_base64(base64.urlsafe_b64encode(content).decode(), field="x") == content
    with pytest.raises(InputError):
        decode_base64("-+//", field="x")
