"""Old signatures keep their worth; a compromised key's do not; the trust file is followed, not believed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from mc_pipelines.attest.key_history import (
    KeyRecord,
    KeyStatus,
    find_key,
    key_at,
    load_history,
    next_record,
    record_key,
)
from mc_pipelines.attest.note import NoteKey
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.trust import Trust, follow
from mc_pipelines.foundation.errors import ConflictError, InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId
from mc_pipelines_tests.conftest import TestDatabase

START = datetime(2026, 1, 19, 17, 0, tzinfo=UTC)
DAY = timedelta(days=1)
OLD, NEW, OTHER = (LocalSigner.generate() for _ in range(3))


def record(signer: LocalSigner, status: KeyStatus = KeyStatus.ACTIVE) -> KeyRecord:
    return KeyRecord(signer.key_id, signer.public_key_pem, START, status=status)


def test_a_retired_key_still_verifies_what_it_signed_in_its_window() -> None:
    retired = next_record(record(OLD), KeyStatus.RETIRED, START + DAY)
    assert key_at([retired], OLD.key_id, START) == retired
    assert key_at([retired], OLD.key_id, START + DAY - timedelta(microseconds=1)) == retired
    for moment in (START - timedelta(microseconds=1), START + DAY):
        with pytest.raises(VerificationError):
            key_at([retired], OLD.key_id, moment)
    with pytest.raises(VerificationError, match="not in the trusted history"):
        find_key([retired], NEW.key_id)
    with pytest.raises(InputError, match="zone"):
        key_at([retired], OLD.key_id, START.replace(tzinfo=None))


def test_status_moves_only_forward_except_for_a_rollback() -> None:
    pending = record(NEW, KeyStatus.PENDING)
    active = next_record(pending, KeyStatus.ACTIVE, START + DAY)
    assert active.valid_from == START + DAY
    retired = next_record(active, KeyStatus.RETIRED, START + 2 * DAY)
    back = next_record(retired, KeyStatus.ACTIVE, START + 3 * DAY)
    assert (back.valid_from, back.valid_until) == (START + DAY, None)
    compromised = next_record(retired, KeyStatus.COMPROMISED, START + 5 * DAY)
    assert compromised.valid_until == START + 2 * DAY  # never later than it was
    with pytest.raises(ConflictError):
        next_record(compromised, KeyStatus.ACTIVE, START)
    assert next_record(active, KeyStatus.ACTIVE, START) == active


def test_a_compromise_before_the_window_empties_it() -> None:
    gone = next_record(record(OLD), KeyStatus.COMPROMISED, START - DAY)
    with pytest.raises(VerificationError):
        key_at([gone], OLD.key_id, START)


def test_malformed_records_are_refused() -> None:
    with pytest.raises(InputError, match="thumbprint"):
        KeyRecord(KeyId("x"), OLD.public_key_pem, START)
    with pytest.raises(InputError, match="ends before"):
        replace(record(OLD), valid_until=START - DAY)
    with pytest.raises(InputError, match="needs an end"):
        record(OLD, KeyStatus.RETIRED)
    with pytest.raises(InputError, match="holder"):
        replace(record(OLD), holder="")


@pytest.mark.database
def test_the_history_is_kept_and_a_retry_adds_nothing(database: TestDatabase) -> None:
    first = record(OLD)
    retired = next_record(first, KeyStatus.RETIRED, START + DAY)
    with database.app.begin() as connection:
        assert record_key(connection, first, now=START) == 1
        assert record_key(connection, first, now=START + DAY) == 1
        assert record_key(connection, retired, now=START + DAY) == 2
        assert record_key(connection, record(NEW), now=START) == 1
        assert set(load_history(connection)) == {retired, record(NEW)}
        with pytest.raises(ConflictError, match="somebody else"):
            record_key(connection, replace(retired, holder="p1"), now=START)
        compromised = next_record(retired, KeyStatus.COMPROMISED, START)
        assert record_key(connection, compromised, now=START) == 3
        for wrong in (first, replace(compromised, valid_until=START + DAY)):
            with pytest.raises(ConflictError):
                record_key(connection, wrong, now=START)


def trust(*signers: LocalSigner, version: int = 1, threshold: int = 1) -> Trust:
    return Trust(
        tuple(record(one) for one in signers),
        (NoteKey.ecdsa("log.example", signers[0].public_key_pem),),
        version,
        tuple(one.key_id for one in signers),
        threshold,
    )


def test_a_trust_file_survives_json() -> None:
    retired = next_record(record(OLD), KeyStatus.RETIRED, START + DAY)
    given = Trust((retired, record(NEW)), (NoteKey.ecdsa("log.example", NEW.public_key_pem),), 3, (NEW.key_id,))
    assert Trust.from_json(given.to_json()) == given
    assert Trust.from_json(given.signed([NEW]).to_json()) == given


def test_the_next_version_needs_both_old_and_new_roots() -> None:
    first = trust(OLD)
    second = trust(NEW, OTHER, version=2, threshold=2)
    assert follow(first, second.signed([OLD, NEW, OTHER])) == second
    for signers in ([NEW, OTHER], [OLD, NEW], [OLD]):
        with pytest.raises(VerificationError):
            follow(first, second.signed(signers))
    with pytest.raises(VerificationError, match="does not follow"):
        follow(first, trust(OLD, version=3).signed([OLD]))
    with pytest.raises(VerificationError, match="does not follow"):
        follow(first, trust(OLD).signed([OLD]))
    rootless = Trust((record(OLD),), version=2)
    with pytest.raises(VerificationError, match="no root keys"):
        follow(first, rootless.signed([OLD]))


@pytest.mark.parametrize(
    "change", [{"_type": "x"}, {"keys": None}, {"version": True}, {"version": 0}, {"threshold": 2}, {"rootKeys": ["x"]}]
)
def test_a_malformed_trust_file_is_refused(change: dict[str, object]) -> None:
    from mc_pipelines.foundation.canonical import canonical_json

    with pytest.raises(InputError):
        Trust.from_json(canonical_json(trust(OLD).to_document() | change))
