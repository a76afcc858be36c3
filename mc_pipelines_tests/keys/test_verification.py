"""The evidence of a rotation verifies offline; the metrics count it."""

from datetime import timedelta
from pathlib import Path

import pytest

from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.key_history import load_history
from mc_pipelines.attest.statement import Statement, statement_of
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.keys import verification
from mc_pipelines.keys.metrics import rotation_metrics
from mc_pipelines.keys.provider import SIGNER_KEY
from mc_pipelines.keys.providers.local import LocalKeyring
from mc_pipelines.keys.rotation import Rotator
from mc_pipelines.keys.signers import active_signer
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database


def test_evidence_verifies_offline_and_an_altered_history_does_not(
    database: TestDatabase, clock: FrozenClock, tmp_path: Path
) -> None:
    verification.register()
    keyring = LocalKeyring(tmp_path / "keyring.json", clock=clock)
    active_signer(database.app, keyring, clock)
    rotator = Rotator(database.app, keyring, clock)
    planned = rotator.plan(SIGNER_KEY, reason="scheduled")
    clock.advance(timedelta(days=7))

    def metrics() -> dict[str, dict[str, float]]:
        with database.app.begin() as connection:
            return {
                sample.name: {**sample.labels, "value": sample.value}
                for family in rotation_metrics(connection, clock.now())
                for sample in family.samples
            }

    labels = {"provider": "local", "key": "signer"}
    assert metrics() == {"mc_kms_rotation_pending_seconds": {**labels, "value": 7 * 86400.0}}
    done = rotator.run(planned.rotation_id)
    assert metrics() == {"mc_kms_rotations_total": {**labels, "outcome": "retired", "value": 1.0}}

    with database.app.begin() as connection:
        trust = Trust(load_history(connection))
    assert done.evidence is not None
    report = verify_file(done.evidence, trust)
    assert report.ok, report
    assert any("unbroken chain" in one for one in report.proved)

    statement = statement_of(Envelope.from_json(done.evidence))
    predicate = dict(statement.predicate)
    predicate["history"] = [predicate["history"][0], *predicate["history"][2:]]
    forged = Statement(statement.subjects, statement.predicate_type, predicate).sign(
        [active_signer(database.app, keyring)]
    )
    assert not verify_file(forged.to_json(), trust).ok

    # The statement binds both keys only if both signed it.
    assert any("both have signed" in one for one in report.proved)
    envelope = Envelope.from_json(done.evidence)
    assert len(envelope.signatures) == 2
    for signature in envelope.signatures:
        half = verify_file(envelope.single(signature.keyid).to_json(), trust)
        assert any("has not signed its statement" in one for one in half.problems)
