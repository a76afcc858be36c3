"""Rotation: exactly one new key wherever the process dies, and evidence that both keys signed."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from mc_pipelines.attest.dsse import Envelope, sign, verify
from mc_pipelines.attest.key_history import KeyStatus, find_key, key_at, load_history
from mc_pipelines.attest.records import log_leaf
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import statement_of
from mc_pipelines.attest.trust import follow, read_payload
from mc_pipelines.attest.trust_store import draft_trust, issue_trust, trust_of
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.foundation.object_store import open_object_store
from mc_pipelines.keys.evidence import PREDICATE_TYPE
from mc_pipelines.keys.provider import KEK_KEY, SIGNER_KEY, KeyState, KeyUse
from mc_pipelines.keys.providers.local import LocalKeyring
from mc_pipelines.keys.records import data_encryption_key_slot, kms_rotation
from mc_pipelines.keys.rotation import STEPS, Rotator, read_history
from mc_pipelines.keys.signers import active_signer
from mc_pipelines.keys.store import EncryptedObjectStore
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database

POINTS = {
    use: [f"{state}:{when}" for state in STEPS[use][1:] for when in ("begin", "effect", "recorded")] for use in KeyUse
}


class Killed(BaseException):
    """Stands for a process that dies: no handler of the product catches it."""


def killer(point: str) -> Callable[[str], None]:
    def observe(passed: str) -> None:
        if passed == point:
            raise Killed(point)

    return observe


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keyring.json"


@pytest.fixture
def keyring(path: Path, clock: FrozenClock) -> LocalKeyring:
    return LocalKeyring(path, clock=clock)


@pytest.fixture
def signer(database: TestDatabase, keyring: LocalKeyring, clock: FrozenClock) -> Signer:
    return active_signer(database.app, keyring, clock)


def signed_by(signer: Signer, count: int = 3) -> list[tuple[str, bytes]]:
    return [(f"receipt-{n}", sign(b"{}%d" % n, "text/plain", [signer]).to_json()) for n in range(count)]


@pytest.mark.parametrize("point", POINTS[KeyUse.SIGN])
def test_a_rotation_killed_at_any_point_ends_the_same(
    database: TestDatabase, keyring: LocalKeyring, clock: FrozenClock, signer: Signer, path: Path, point: str
) -> None:
    receipts = signed_by(signer)
    first = Rotator(database.app, keyring, clock, signed=lambda: receipts, observe=killer(point))
    planned = first.plan(SIGNER_KEY, reason="scheduled")
    with pytest.raises(Killed):
        first.run(planned.rotation_id)
    clock.advance(timedelta(minutes=5))
    # Between the two processes whoever signs is known to whoever verifies.
    between = active_signer(database.app, keyring, clock)
    with database.app.begin() as connection:
        assert key_at(load_history(connection), between.key_id, clock.now()).status is KeyStatus.ACTIVE

    again = Rotator(database.app, LocalKeyring(path, clock=clock), clock, signed=lambda: receipts)
    done = again.run(planned.rotation_id)
    with database.app.begin() as connection:
        history = read_history(connection, done.rotation_id)
        keys = load_history(connection)
        leaves = connection.execute(select(func.count()).select_from(log_leaf)).scalar_one()
        assert connection.execute(select(func.count()).select_from(kms_rotation)).scalar_one() == 1
    assert done.state == "RETIRED"
    assert [step["state"] for step in history] == list(STEPS[KeyUse.SIGN])
    assert leaves == len(STEPS[KeyUse.SIGN]), "each step but the first, and one version of the trust file"
    versions = keyring.inventory()
    assert [(one.ref, one.state, one.primary) for one in versions] == [
        ("local:signer/1", KeyState.DISABLED, False),
        ("local:signer/2", KeyState.ENABLED, True),
    ]
    assert done.evidence is not None
    envelope = Envelope.from_json(done.evidence)
    pems = {one.key_id: one.public_key_pem for one in keys}
    assert set(verify(envelope, pems, threshold=2)) == {one.check_value for one in versions}
    statement = statement_of(envelope)
    assert statement.predicate_type == PREDICATE_TYPE
    assert statement.predicate["verified"]["verified"] == 3
    assert {one.key_id: one.status for one in keys} == {
        versions[0].check_value: KeyStatus.RETIRED,
        versions[1].check_value: KeyStatus.ACTIVE,
    }


def test_the_new_key_is_published_before_it_signs_and_the_old_one_verifies_for_ever(
    database: TestDatabase, keyring: LocalKeyring, clock: FrozenClock, signer: Signer
) -> None:
    signed_at = clock.now()
    rotator = Rotator(database.app, keyring, clock)
    rotation = rotator.plan(SIGNER_KEY, reason="scheduled")
    states = []
    while not rotation.finished:
        clock.advance(timedelta(hours=1))
        rotation = rotator.advance(rotation.rotation_id)
        with database.app.begin() as connection:
            known = {one.key_id: one.status for one in load_history(connection)}
        states.append((rotation.state, [known.get(one.check_value) for one in keyring.inventory()]))
        assert known[active_signer(database.app, keyring, clock).key_id] is KeyStatus.ACTIVE
    active, pending, retired = KeyStatus.ACTIVE, KeyStatus.PENDING, KeyStatus.RETIRED
    assert states == [
        ("CREATED", [active, None]),
        ("PUBLISHED", [active, pending]),
        ("PROMOTED", [active, active]),
        ("VERIFIED", [active, active]),
        ("RETIRED", [retired, active]),
    ]
    with database.app.begin() as connection:
        history = load_history(connection)
    assert key_at(history, signer.key_id, signed_at)
    with pytest.raises(VerificationError, match="retired"):
        key_at(history, signer.key_id, clock.now())
    assert rotator.advance(rotation.rotation_id) == rotation


def test_a_receipt_that_no_longer_verifies_holds_the_rotation(
    database: TestDatabase, keyring: LocalKeyring, clock: FrozenClock, signer: Signer
) -> None:
    (name, good), *_ = signed_by(signer)
    envelope = Envelope.from_json(good)
    altered = Envelope(envelope.payload_type, b"altered", envelope.signatures).to_json()
    rotator = Rotator(database.app, keyring, clock, signed=lambda: [(name, good), ("receipt-9", altered)])
    held = rotator.run(rotator.plan(SIGNER_KEY, reason="scheduled").rotation_id)
    assert held.state == "FAILED_HELD"
    assert "receipt-9" in held.detail["FAILED_HELD"]["why"]
    assert held.evidence is None
    assert all(one.state is KeyState.ENABLED for one in keyring.inventory())


def test_a_second_plan_is_the_rotation_under_way(
    database: TestDatabase, keyring: LocalKeyring, clock: FrozenClock, signer: Signer
) -> None:
    rotator = Rotator(database.app, keyring, clock)
    first = rotator.plan(SIGNER_KEY, reason="scheduled")
    assert rotator.plan(SIGNER_KEY, reason="again") == first


def test_an_altered_history_is_found(
    database: TestDatabase, keyring: LocalKeyring, clock: FrozenClock, signer: Signer
) -> None:
    rotator = Rotator(database.app, keyring, clock)
    done = rotator.run(rotator.plan(SIGNER_KEY, reason="scheduled").rotation_id)
    with database.owner.begin() as connection:
        connection.execute(text("alter table kms_rotation_history disable trigger all"))
        connection.execute(text("update kms_rotation_history set at = at + interval '1 day' where version = 3"))
        with pytest.raises(VerificationError, match="altered"):
            read_history(connection, done.rotation_id)


@pytest.mark.parametrize("point", [None, *POINTS[KeyUse.WRAP]])
def test_rewrapping_moves_rows_and_no_object_wherever_it_is_killed(
    database: TestDatabase, keyring: LocalKeyring, clock: FrozenClock, signer: Signer, tmp_path: Path, point: str | None
) -> None:
    plain = open_object_store(f"file://{tmp_path}/objects")

    def store() -> EncryptedObjectStore:
        return EncryptedObjectStore(plain, keyring, database.app, clock=clock)

    writer = store()
    paths = [(f"receipts/{tenant}/r", tenant) for tenant in ("acme", "umbra", "vega")]
    for path, tenant in paths:
        writer.put(path, b"paid", tenant=tenant, kind="receipt", object_id="r", content_type="text/plain")
    before = {path: plain.get(path) for path, _ in paths}

    rotator = Rotator(database.app, keyring, clock, observe=killer(point or ""))
    rotation = rotator.plan(KEK_KEY, reason="scheduled")
    if point is not None:
        with pytest.raises(Killed):
            rotator.run(rotation.rotation_id)
        for path, tenant in paths:
            assert store().get(path, tenant=tenant) == b"paid"
    done = Rotator(database.app, keyring, clock).run(rotation.rotation_id)

    assert done.state == "RETIRED"
    assert {path: plain.get(path) for path, _ in paths} == before
    for reader in (writer, store()):
        assert all(reader.get(path, tenant=tenant) == b"paid" for path, tenant in paths)
    with database.app.begin() as connection:
        assert set(connection.execute(select(data_encryption_key_slot.c.kek_ref)).scalars()) == {"local:kek/2"}
    assert [one.ref for one in keyring.inventory() if one.key == KEK_KEY] == ["local:kek/1", "local:kek/2"]
    assert keyring.inventory()[0].state is KeyState.DISABLED
    assert done.evidence is not None
    assert verify(Envelope.from_json(done.evidence), {signer.key_id: signer.public_key_pem}) == (signer.key_id,)


def test_the_trust_file_follows_the_key(
    database: TestDatabase, keyring: LocalKeyring, clock: FrozenClock, signer: Signer
) -> None:
    """Whoever holds the version of before the rotation can follow to the one of after it, offline."""
    with database.app.begin() as connection:
        before = issue_trust(connection, draft_trust(connection, root=signer.key_id), [signer], now=clock.now())
    rotator = Rotator(database.app, keyring, clock)
    rotation = rotator.run(rotator.plan(SIGNER_KEY, reason="test").rotation_id)
    assert rotation.detail["VERIFIED"]["trust_version"] == 2
    new = active_signer(database.app, keyring, clock)
    with database.app.begin() as connection:
        handed_over = trust_of(connection, 2)
        after = issue_trust(connection, draft_trust(connection, root=new.key_id), [new], now=clock.now())
    trusted = follow(follow(read_payload(before), handed_over), after)
    assert trusted.root_keys == (new.key_id,)
    assert find_key(trusted.keys, signer.key_id).status is KeyStatus.RETIRED
