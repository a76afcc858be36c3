"""`mc verify`: what holds is said to hold, every changed byte is found, and what is unknown is said to be unknown."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mc_pipelines.attest.bundle import export_bundle, parse_bundle, verify_managed
from mc_pipelines.attest.checkpoint import Checkpoint, LogProof
from mc_pipelines.attest.key_history import KeyRecord, KeyStatus
from mc_pipelines.attest.log import DEFAULT_ORIGIN, entry_bytes
from mc_pipelines.attest.merkle import leaf_hash
from mc_pipelines.attest.note import EcdsaNoteSigner, sign_note
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.statement import Statement, Subject, predicate_type
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import Container, Evidence, register_container, register_verifier, verify_file
from mc_pipelines.cli.main import main
from mc_pipelines.cli.verify import app
from mc_pipelines.foundation.canonical import canonical_json, digest_of, sha256_digest
from mc_pipelines.foundation.errors import InputError, VerificationError

START = datetime(2026, 1, 19, 17, 0, tzinfo=UTC)
SERVICE, MAKER, CHECKER, STRANGER = (LocalSigner.generate() for _ in range(4))
LOG = EcdsaNoteSigner(DEFAULT_ORIGIN, SERVICE)


def record(signer: LocalSigner, holder: str) -> KeyRecord:
    return KeyRecord(signer.key_id, signer.public_key_pem, START, holder=holder)


TRUST = Trust((record(SERVICE, "service"), record(MAKER, "maker"), record(CHECKER, "checker")), (LOG.key,))
NOTE = {"creditUSD": 12.5, "noteNumber": "2026-000001", "tenant": "acme"}
ENVELOPE = Statement(
    (Subject.of("2026-000001", digest_of(NOTE)),), predicate_type("test-note"), {"amount": "12.50"}
).sign([MAKER, CHECKER])
SIGNED_NOTE = canonical_json(NOTE | {"signature": base64.b64encode(ENVELOPE.to_json()).decode()})


def proof_at(moment: datetime, content: bytes = ENVELOPE.to_json()) -> bytes:
    entry = entry_bytes(act="test.act", subject="x", content_digest=sha256_digest(content), at=moment)
    checkpoint = Checkpoint(DEFAULT_ORIGIN, 1, leaf_hash(entry))
    return str(LogProof(0, (), str(sign_note(checkpoint.text, [LOG])), entry)).encode()


def test_a_note_of_two_people_is_verified_and_says_what_is_not() -> None:
    report = verify_file(SIGNED_NOTE, TRUST)
    assert report.ok
    assert "2 different key holders signed exactly this content: maker, checker." in report.proved
    assert any("When it was signed" in one for one in report.not_proved)
    assert any("no verifier" in one for one in report.not_proved)


def test_a_log_proof_gives_the_time_and_old_keys_their_worth() -> None:
    retired = replace(record(MAKER, "maker"), status=KeyStatus.RETIRED, valid_until=START + timedelta(days=1))
    trust = replace(TRUST, keys=(TRUST.keys[0], retired, TRUST.keys[2]))
    inside = verify_file(ENVELOPE.to_json(), trust, proof=proof_at(START + timedelta(hours=1)))
    assert inside.ok
    assert any("entry 0 of log" in one for one in inside.proved)
    outside = verify_file(ENVELOPE.to_json(), trust, proof=proof_at(START + timedelta(days=1)))
    assert not outside.ok
    assert "retired by then" in outside.problems[0]
    assert any("retired now" in one for one in verify_file(ENVELOPE.to_json(), trust).not_proved)


def test_a_compromised_key_needs_a_log_proof() -> None:
    lost = replace(record(MAKER, "maker"), status=KeyStatus.COMPROMISED, valid_until=START + timedelta(days=1))
    trust = replace(TRUST, keys=(TRUST.keys[0], lost, TRUST.keys[2]))
    assert "compromised" in verify_file(ENVELOPE.to_json(), trust).problems[0]
    assert verify_file(ENVELOPE.to_json(), trust, proof=proof_at(START)).ok


def test_a_proof_of_something_else_or_of_another_log_sinks_the_file() -> None:
    assert "something else" in verify_file(SIGNED_NOTE, TRUST, proof=proof_at(START, b"other")).problems[0]
    assert not verify_file(SIGNED_NOTE, replace(TRUST, logs=()), proof=proof_at(START)).ok


def test_one_person_with_two_keys_is_one_holder() -> None:
    trust = replace(TRUST, keys=(record(MAKER, "maker"), record(CHECKER, "maker")))
    assert any(one.startswith("1 key holder signed") for one in verify_file(ENVELOPE.to_json(), trust).proved)


def test_no_flipped_byte_of_a_note_verifies() -> None:
    for position in range(len(SIGNED_NOTE)):
        changed = bytearray(SIGNED_NOTE)
        changed[position] ^= 1
        try:
            report = verify_file(bytes(changed), TRUST)
        except InputError:
            continue
        assert not report.ok, position


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda note: note + b"\n", "note"),
        (lambda note: note.replace(b"12.5", b"12.50"), "note"),
        (lambda note: note.replace(b'","tenant"', b'", "tenant"'), "note"),
        (lambda note: json.dumps(json.loads(note), sort_keys=False).encode(), "note"),
        (lambda note: note.replace(b'","tenant"', b'=","tenant"'), "signature"),
        (lambda note: _reencoded(note, b" "), "signature"),
        (lambda note: _reencoded(note, b"", behind="\n"), "signature"),
    ],
)
def test_a_note_has_one_file(change: Callable[[bytes], bytes], field: str) -> None:
    changed = change(SIGNED_NOTE)
    assert changed != SIGNED_NOTE
    report = verify_file(changed, TRUST)
    assert not report.ok
    assert field in report.problems[0]


def _reencoded(note: bytes, space: bytes, *, behind: str = "") -> bytes:
    """The same envelope in other base64, with white space that another parser might pass over."""
    encoded = base64.b64encode(ENVELOPE.to_json() + space).decode() + behind
    return canonical_json(json.loads(note) | {"signature": encoded})


def test_a_capability_judges_its_own_statements() -> None:
    seen: list[Evidence] = []

    def judge(evidence: Evidence, report: Report) -> None:
        seen.append(evidence)
        report.proved.append("The amount is right.")
        if evidence.signed_at is None:
            raise VerificationError("Not logged")

    kind = predicate_type("test-judged")
    register_verifier(kind, judge)
    envelope = Statement((Subject.of("x", digest_of(NOTE)),), kind, {}).sign([MAKER])
    assert verify_file(envelope.to_json(), TRUST).problems == ["Not logged."]
    assert verify_file(envelope.to_json(), TRUST, proof=proof_at(START, envelope.to_json())).ok
    assert seen[1].signed_at == START
    assert seen[1].holders == ("maker",)


def test_a_registered_container_is_handed_over() -> None:
    register_container(Container("test", lambda content: content == b"pack", lambda *_: Report("pack", ["All."])))
    assert verify_file(b"pack", TRUST).kind == "pack"


def test_checkpoints_proofs_and_bundles() -> None:
    checkpoint = str(sign_note(Checkpoint(DEFAULT_ORIGIN, 1, b"\1" * 32).text, [LOG])).encode()
    assert verify_file(checkpoint, TRUST).ok
    assert not verify_file(checkpoint, replace(TRUST, logs=())).ok
    assert verify_file(proof_at(START), TRUST).ok
    for signer in (MAKER, CHECKER):
        bundle = export_bundle(ENVELOPE, signer.key_id)
        assert verify_managed(parse_bundle(bundle), TRUST.pems) == signer.key_id
        report = verify_file(bundle, TRUST)
        assert report.ok
        assert any("second person" in one for one in report.not_proved)
    document = json.loads(export_bundle(ENVELOPE, MAKER.key_id))
    with pytest.raises(InputError, match="exactly one"):
        parse_bundle(json.dumps(document | {"dsseEnvelope": ENVELOPE.to_document()}))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"signature":1}', b"text"])
def test_what_is_nothing_of_ours_is_refused(content: bytes) -> None:
    with pytest.raises(InputError):
        verify_file(content, TRUST)


def test_the_command_finds_the_trust_file_and_the_proof(tmp_path: Path) -> None:
    note, trust = tmp_path / "note.json", tmp_path / "trust.json"
    note.write_bytes(SIGNED_NOTE)
    trust.write_bytes(TRUST.to_json())
    (tmp_path / "note.json.tlog-proof").write_bytes(proof_at(START))
    result = CliRunner().invoke(app, [str(note)])
    assert result.exit_code == 0, result.output
    assert "proved: It is entry 0 of log" in result.output
    note.write_bytes(SIGNED_NOTE.replace(b"12.5", b"99.5"))
    result = CliRunner().invoke(app, [str(note), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["ok"] is False


def test_the_command_exits_2_for_what_it_cannot_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    note = tmp_path / "note.json"
    note.write_bytes(b"{}")
    for arguments in (["verify", str(note)], ["verify", str(tmp_path / "absent")]):
        monkeypatch.setattr("sys.argv", ["mc", *arguments])
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2


def test_without_a_trust_file_it_says_where_one_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    receipt = tmp_path / "receipt.json"
    receipt.write_bytes(b"{}")
    with pytest.raises(InputError, match="no trust file") as caught:
        CliRunner().invoke(app, [str(receipt)], catch_exceptions=False)
    assert "`mc log trust --out FILE`" in str(caught.value.mend)
    assert "`--trust FILE`" in str(caught.value.mend)
