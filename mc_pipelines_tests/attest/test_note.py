"""Signed notes and checkpoints: one form, unknown keys ignored, known keys never wrong."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mc_pipelines.attest.checkpoint import Checkpoint, LogProof, verify_checkpoint
from mc_pipelines.attest.merkle import leaf_hash, node_hash
from mc_pipelines.attest.note import EcdsaNoteSigner, Ed25519NoteSigner, NoteKey, parse_note, sign_note, verify_note
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.errors import InputError, VerificationError

ORIGIN = "log.example/audit"
SERVICE = EcdsaNoteSigner(ORIGIN, LocalSigner.generate())
LOG = Ed25519NoteSigner(ORIGIN, Ed25519PrivateKey.generate())
WITNESS = Ed25519NoteSigner("witness.example", Ed25519PrivateKey.generate())
LEAVES = [leaf_hash(b"a"), leaf_hash(b"b")]
CHECKPOINT = Checkpoint(ORIGIN, 2, node_hash(*LEAVES))
NOTE = str(sign_note(CHECKPOINT.text, [SERVICE, LOG, WITNESS]))


def test_both_keys_of_the_log_verify_and_a_witness_does_not_speak_for_it() -> None:
    assert parse_note(NOTE).text == CHECKPOINT.text
    assert str(parse_note(NOTE)) == NOTE
    checkpoint, keys = verify_checkpoint(NOTE, [SERVICE.key, LOG.key, WITNESS.key])
    assert checkpoint == CHECKPOINT
    assert keys == (SERVICE.key, LOG.key)
    with pytest.raises(VerificationError, match="No trusted key"):
        verify_checkpoint(NOTE, [WITNESS.key])


@pytest.mark.parametrize("key", [SERVICE.key, LOG.key])
def test_verifier_keys_survive_text(key: NoteKey) -> None:
    assert NoteKey.parse(str(key)) == key
    name, digest, encoded = str(key).split("+", 2)
    for wrong in (f"{name}+00000000+{encoded}", f"{name}x+{digest}+{encoded[:-4]}", f"{name}+{digest}", ""):
        with pytest.raises(InputError):
            NoteKey.parse(wrong)


def test_the_ecdsa_hash_is_that_of_the_spki_whatever_the_name() -> None:
    signer = LocalSigner.generate()
    assert EcdsaNoteSigner("a", signer).key.key_hash == EcdsaNoteSigner("b", signer).key.key_hash


def test_a_wrong_line_of_a_known_key_sinks_the_note() -> None:
    good = parse_note(NOTE)
    forged = sign_note(Checkpoint(ORIGIN, 3, CHECKPOINT.root).text, [SERVICE, LOG])
    mixed = type(good)(good.text, (good.signatures[0], forged.signatures[1]))
    with pytest.raises(VerificationError):
        verify_note(mixed, [SERVICE.key, LOG.key])


def test_no_flipped_byte_survives() -> None:
    note = str(sign_note(CHECKPOINT.text, [SERVICE])).encode()
    for position in range(len(note)):
        changed = bytearray(note)
        changed[position] ^= 1
        with pytest.raises((InputError, VerificationError)):
            verify_checkpoint(bytes(changed), [SERVICE.key])


@pytest.mark.parametrize(
    "text",
    [
        "", "text\n", "text\n\n", "text\n\n— name\n", "text\n\n— name AAAA\n", "text\n\n- name AAAAAAA=\n",
        "text\n\n— na+me AAAAAAA=\n", "text\n\n— name AAAAAAA=", "te\txt\n\n— name AAAAAAA=\n",
        "\n\n" + "— n AAAAAAA=\n" * 101,
    ],
)  # fmt: skip
def test_what_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_note(text)


def test_notes_that_are_too_large_or_no_text_are_refused() -> None:
    with pytest.raises(InputError, match="too large"):
        parse_note(b"x" * 1_000_001)
    with pytest.raises(InputError, match="UTF-8"):
        parse_note(b"\xff\n\n")
    with pytest.raises(InputError, match="newline"):
        sign_note("text", [SERVICE])


@pytest.mark.parametrize(
    "text",
    ["", "o\n1\n", "o\n01\nAA==\n", "o\n-1\nAA==\n", "o\n1\nAA==\n", "o\n1\n" + "A" * 43 + "=", "o\n\n1\n"],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Checkpoint.parse(text)


def test_a_proof_file_stands_alone() -> None:
    proof = LogProof(1, (LEAVES[0],), NOTE, b"b")
    read = LogProof.parse(str(proof))
    assert read == proof
    assert read.verify(b"b", [LOG.key]) == CHECKPOINT
    with pytest.raises(VerificationError):
        read.verify(b"c", [LOG.key])
    with pytest.raises(VerificationError):
        LogProof(0, (LEAVES[0],), NOTE).verify(b"b", [LOG.key])
    assert LogProof.parse(str(LogProof(1, (LEAVES[0],), NOTE))).entry is None


@pytest.mark.parametrize("change", [("@v1", "@v2"), ("index 1", "index 01"), ("index", "at"), ("\n\n", "\n")])
def test_a_malformed_proof_is_refused(change: tuple[str, str]) -> None:
    text = str(LogProof(1, (LEAVES[0],), NOTE, b"b")).replace(*change)
    with pytest.raises(InputError):
        LogProof.parse(text)
