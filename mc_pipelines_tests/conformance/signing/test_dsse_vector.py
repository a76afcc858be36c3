"""The test vector of the DSSE protocol document; its signature is raw r||s, so it is converted to DER first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mc_pipelines.attest.dsse import Envelope, Signature, pae, verify
from mc_pipelines.attest.signer import der_from_raw, thumbprint
from mc_pipelines.foundation.errors import VerificationError


def test_protocol_vector(data_dir: Path) -> None:
    vector = json.loads((data_dir / "signing" / "dsse" / "protocol-vector.json").read_text("utf-8"))
    assert pae(vector["payloadType"], vector["payload_utf8"].encode()) == vector["pae"].encode()
    numbers = ec.EllipticCurvePublicNumbers(int(vector["key"]["x"]), int(vector["key"]["y"]), ec.SECP256R1())
    pem = numbers.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    raw = Envelope.from_document(vector["envelope"])
    assert raw.payload == b"hello world"
    with pytest.raises(VerificationError):
        verify(raw, {thumbprint(pem): pem})
    signatures = tuple(Signature(one.keyid, der_from_raw(one.sig)) for one in raw.signatures)
    assert verify(Envelope(raw.payload_type, raw.payload, signatures), {thumbprint(pem): pem}) == (thumbprint(pem),)
