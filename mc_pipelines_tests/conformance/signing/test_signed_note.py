"""The example of C2SP signed-note, and Wycheproof's Ed25519 vectors through the note verifier."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mc_pipelines.attest.note import ED25519, NoteKey, parse_note, verify_note
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines_tests.conformance.signing.test_wycheproof import accepted, cases


def test_the_specification_example(data_dir: Path) -> None:
    example = json.loads((data_dir / "signing" / "tlog-signed-note.json").read_text("utf-8"))
    key = NoteKey.parse(example["vkey"])
    note = parse_note(example["note"])
    assert verify_note(note, [key]) == (key,)
    assert str(key) == example["vkey"]
    assert str(note) == example["note"]
    with pytest.raises(VerificationError):
        verify_note(parse_note(example["note"].replace("example message", "example massage")), [key])


def test_ed25519(data_dir: Path) -> None:
    wrong = []
    for pem, test in cases(data_dir, "ed25519_test.json"):
        public = load_pem_public_key(pem)
        assert isinstance(public, Ed25519PublicKey)
        key = NoteKey("wycheproof", ED25519, public.public_bytes_raw())
        message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
        try:
            text = message.decode()
        except UnicodeDecodeError:
            continue  # a note is UTF-8 text: what is not never reaches the signature
        verdict = accepted(lambda k=key, t=text, s=signature: k.verify(t, s))  # type: ignore[misc]
        if verdict != (test["result"] == "valid"):
            wrong.append(test["tcId"])
    assert wrong == []
