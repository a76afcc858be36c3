"""Statements: what we write, in-toto's own library reads; what is malformed is refused by name."""

from __future__ import annotations

import json

import pytest
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.v1.statement import Statement as OracleStatement

from mc_pipelines.attest.dsse import sign, verify
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.statement import Statement, Subject, parse_statement, predicate_type, statement_of
from mc_pipelines.foundation.canonical import is_canonical, sha256_digest
from mc_pipelines.foundation.errors import InputError

STATEMENT = Statement(
    (Subject.of("note-2026-000001", sha256_digest(b"note")),),
    predicate_type("sla-credit-note"),
    {"amount": {"currency": "USD", "minor": "1250"}, "periodStart": "2026-01-01T07:00:00Z"},
)


def test_the_oracle_reads_and_validates_what_we_write() -> None:
    content = STATEMENT.to_bytes()
    message = json_format.Parse(content, statement_pb2.Statement())
    OracleStatement.copy_from_pb(message).validate()
    assert message.predicate_type == "https://maestro-conductor.example/attestations/sla-credit-note/v1"
    assert is_canonical(content)


def test_what_is_written_is_read_back() -> None:
    assert parse_statement(STATEMENT.to_bytes()) == STATEMENT
    assert STATEMENT.subjects[0].sha256 == sha256_digest(b"note")


def test_a_statement_travels_in_an_envelope() -> None:
    signer = LocalSigner.generate()
    envelope = STATEMENT.sign([signer])
    verify(envelope, {signer.key_id: signer.public_key_pem})
    assert statement_of(envelope) == STATEMENT
    with pytest.raises(InputError, match="payloadType"):
        statement_of(sign(STATEMENT.to_bytes(), "text/plain", [signer]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "_type"),
        ({"predicateType": ""}, "predicateType"),
        ({"predicate": []}, "predicate"),
        ({"subject": []}, "subject"),
        ({"subject": [{"name": "x"}]}, r"subject\[0\].digest"),
        ({"subject": [{"name": "x", "digest": {}}]}, r"subject\[0\].digest"),
        ({"subject": [{"name": "x", "digest": {"sha256": "AB"}}]}, "sha256"),
        ({"subject": [{"name": "x", "digest": {"sha512": 1}}]}, "sha512"),
        ({"subject": [{"name": 1, "digest": {"sha256": "0" * 64}}]}, "name"),
    ],
)
def test_a_malformed_statement_is_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        parse_statement(json.dumps(STATEMENT.to_document() | change).encode())


def test_what_json_cannot_carry_exactly_is_not_signed() -> None:
    with pytest.raises(InputError):
        Statement(STATEMENT.subjects, "x", {"count": 2**53 + 1}).to_bytes()
    with pytest.raises(InputError, match="subject"):
        Statement((), "x", {}).to_bytes()
