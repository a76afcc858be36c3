"""Versions of the trust file: signed, each following from the one before, also over a change of the root key."""

from dataclasses import replace

import pytest
from typer.testing import CliRunner

from mc_pipelines.attest.key_history import KeyRecord, KeyStatus, record_key
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.trust import Trust, follow, read_payload
from mc_pipelines.attest.trust_store import draft_trust, issue_trust, newest_trust, trust_of
from mc_pipelines.cli.log import app
from mc_pipelines.foundation.errors import InputError, NotFoundError, VerificationError

pytestmark = pytest.mark.database
OLD, NEW, STRANGER = (LocalSigner.generate() for _ in range(3))


def know(connection, signer, clock, **more):
    record = KeyRecord(signer.key_id, signer.public_key_pem, clock.now(), **more)
    record_key(connection, record, now=clock.now())


@pytest.fixture
def issue(database, clock):
    with database.app.begin() as connection:
        know(connection, OLD, clock, status=KeyStatus.ACTIVE)

    def issued(root, *signers):
        with database.app.begin() as connection:
            return issue_trust(connection, draft_trust(connection, root=root.key_id), signers, now=clock.now())

    return issued


def test_the_same_again_is_the_same_version_and_a_new_key_is_a_new_one(database, clock, issue):
    first = issue(OLD, OLD)
    assert read_payload(first).version == 1
    assert issue(OLD, OLD) == first
    with database.app.begin() as connection:
        know(connection, STRANGER, clock, holder="person/x")
    second = issue(OLD, OLD)
    assert follow(read_payload(first), second).version == 2
    with database.app.begin() as connection:
        assert (trust_of(connection, 1), newest_trust(connection)) == (first, second)
        with pytest.raises(NotFoundError):
            trust_of(connection, 3)


def test_a_new_root_key_takes_the_old_ones_signature(database, clock, issue):
    first = issue(OLD, OLD)
    with database.app.begin() as connection:
        know(connection, NEW, clock, status=KeyStatus.PENDING)
    for signers in ([NEW], [OLD], [STRANGER, NEW]):
        with pytest.raises(VerificationError):
            issue(NEW, *signers)
    second = issue(NEW, OLD, NEW)
    assert follow(read_payload(first), second).root_keys == (NEW.key_id,)


def test_an_envelope_that_its_own_roots_did_not_sign_is_no_trust_file(issue):
    content = issue(OLD, OLD).to_json()
    assert Trust.from_json(content).version == 1
    trust = read_payload(issue(OLD, OLD))
    with pytest.raises(VerificationError):
        Trust.from_json(trust.signed([STRANGER]).to_json())
    with pytest.raises(VerificationError, match="no root keys"):
        Trust.from_json(replace(trust, root_keys=()).signed([OLD]).to_json())
    for at in range(12, len(content) - 12, 97):
        damaged = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        try:
            found = Trust.from_json(damaged)
        except (VerificationError, InputError):
            continue
        assert found == trust, "only what nobody reads was damaged"


def test_following_offline(database, clock, issue, tmp_path):
    paths = [tmp_path / f"trust-{number}.json" for number in (1, 2, 3)]
    paths[0].write_bytes(issue(OLD, OLD).to_json())
    with database.app.begin() as connection:
        know(connection, NEW, clock, status=KeyStatus.PENDING)
    paths[1].write_bytes(issue(NEW, OLD, NEW).to_json())
    with database.app.begin() as connection:
        know(connection, STRANGER, clock, holder="person/x")
    paths[2].write_bytes(issue(NEW, NEW).to_json())
    run = CliRunner()
    out = tmp_path / "mine.json"
    done = run.invoke(app, ["follow", *map(str, paths), "--out", str(out)])
    assert (done.exit_code, out.read_bytes()) == (0, paths[2].read_bytes())
    skipped = run.invoke(app, ["follow", str(paths[0]), str(paths[2])])
    assert skipped.exit_code == 1
    assert "does not follow version 1" in skipped.output
