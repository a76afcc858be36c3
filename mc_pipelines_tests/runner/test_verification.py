from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

import mc_pipelines.runner.verification  # noqa: F401 - importing it registers the verifier
from mc_pipelines.attest.key_history import SERVICE, KeyRecord
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.statement import Statement, Subject
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.executions.manifest import manifest_of
from mc_pipelines.executions.receipt import PREDICATE_TYPE, Receipt, Timings
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines_tests.runner.scripted import ALL_HELD

NOON = datetime(2026, 1, 19, 12, tzinfo=UTC)
KEY, PERSON = LocalSigner.generate(), LocalSigner.generate()
TRUST = Trust(
    (
        KeyRecord(KEY.key_id, KEY.public_key_pem, NOON - timedelta(days=1), holder=SERVICE),
        KeyRecord(PERSON.key_id, PERSON.public_key_pem, NOON - timedelta(days=1), holder="ada"),
    ),
    (),
)


def receipt(**manifest: Any) -> Receipt:
    return Receipt(
        execution_id=UUID(int=7),
        attempt=1,
        fence=1,
        manifest=manifest_of({"tenant": "acme", "workflow": "w", "argv": ["true"]} | manifest),
        cloud="LOCAL",
        region="local",
        driver="local/1",
        outcome="succeeded",
        reason="exit code 0",
        exit_code=0,
        timings=Timings(NOON, NOON, NOON, NOON + timedelta(seconds=1)),
        log=b"hello\n",
        log_truncated=False,
        placement={},
        enforcement=ALL_HELD.document(),
        cost={"resourceMilliseconds": 1000},
        fault_owner="none",
        attempts=({"attempt": 1, "fence": 1, "end": "succeeded"},),
    )


def verified(one: Receipt, *, signer: LocalSigner = KEY, **own: Any) -> Report:
    predicate = one.predicate()
    predicate["maestro"] |= own
    statement = Statement((Subject.of(one.subject_name, one.log_digest),), PREDICATE_TYPE, predicate)
    return verify_file(statement.sign([signer]).to_json(), TRUST)


def test_a_receipt_says_what_it_proves_and_what_it_cannot() -> None:
    report = verified(receipt())
    assert report.ok, report.problems
    proved, not_proved = "\n".join(report.proved), "\n".join(report.not_proved)
    assert f"execution {UUID(int=7)} of acme succeeded on LOCAL/local" in proved
    assert sha256_digest(b"hello\n") in proved
    assert "readOnlyRoot was enforced by scripted" in proved
    assert f"the manifest {receipt().manifest.digest}" in proved
    assert "not what you can measure" in not_proved
    assert "When it was signed" in not_proved


def test_what_was_not_enforced_is_said_as_plainly() -> None:
    control = {"enforced": False, "mechanism": "none", "evidence": "an open network was asked for"}
    report = verified(receipt(), enforcement={"egress": control})
    assert report.ok
    assert "egress was not enforced: an open network was asked for." in report.not_proved


def test_secrets_keep_the_manifest_from_being_checked_and_the_report_says_so() -> None:
    report = verified(receipt(environment={"TOKEN": "x"}))
    assert report.ok
    assert any("environment are secret" in one for one in report.not_proved)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"log": {"digest": sha256_digest(b"other"), "bytes": 5, "truncated": False}}, "another log"),
        ({"attempts": []}, "lacks a part"),
        ({"attempts": [{"attempt": 1, "end": "failed"}]}, "last attempt"),
        ({"timings": {"published": "2026-01-19T12:00:00Z", "finished": "2026-01-19T11:00:00Z"}}, "out of order"),
        ({"enforcement": {"egress": "yes"}}, "lacks a part"),
    ],
)
def test_a_receipt_that_contradicts_itself_is_no_receipt(own: dict[str, Any], words: str) -> None:
    report = verified(receipt(), **own)
    assert not report.ok
    assert words in report.problems[0]


def test_another_manifest_under_the_digest_is_found() -> None:
    one = receipt()
    predicate = one.predicate()
    predicate["buildDefinition"]["externalParameters"]["argv"] = ["false"]
    statement = Statement((Subject.of(one.subject_name, one.log_digest),), PREDICATE_TYPE, predicate)
    report = verify_file(statement.sign([KEY]).to_json(), TRUST)
    assert "not the one of the digest" in report.problems[0]


def test_a_person_cannot_sign_a_receipt() -> None:
    report = verified(receipt(), signer=PERSON)
    assert not report.ok
    assert "signed by the service" in report.problems[0]


def test_provenance_of_another_builder_is_left_alone() -> None:
    predicate = {"buildDefinition": {"buildType": "https://example.org/build"}, "runDetails": {}}
    statement = Statement((Subject.of("x", sha256_digest(b"x")),), PREDICATE_TYPE, predicate)
    report = verify_file(statement.sign([KEY]).to_json(), TRUST)
    assert report.ok
    assert any("another builder" in one for one in report.not_proved)
