"""The encrypted store: sealed, in its place, one tenant's; data keys within their caps."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import delete, select, update

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from mc_pipelines.foundation.object_store import ObjectStore, open_object_store
from mc_pipelines.keys import dek
from mc_pipelines.keys.envelope import read_preamble, seal
from mc_pipelines.keys.header import Defect, EnvelopeError, Header, Kind
from mc_pipelines.keys.location import object_path
from mc_pipelines.keys.provider import KEK_KEY, KeyDisabledError, KeyUse
from mc_pipelines.keys.providers.local import LocalKeyring
from mc_pipelines.keys.records import data_encryption_key, data_encryption_key_slot
from mc_pipelines.keys.scanner import scan
from mc_pipelines.keys.store import EncryptedObjectStore, WriteIntent
from mc_pipelines_tests.conftest import TestDatabase

pytestmark = pytest.mark.database

PATH = "receipts/acme/2026/r-1.json"


@pytest.fixture
def plain(tmp_path: Path) -> ObjectStore:
    return open_object_store(f"file://{tmp_path}/objects")


@pytest.fixture
def keyring(tmp_path: Path, clock: FrozenClock) -> LocalKeyring:
    return LocalKeyring(tmp_path / "keyring.json", clock=clock)


Opener = Callable[[], EncryptedObjectStore]


@pytest.fixture
def fresh(plain: ObjectStore, keyring: LocalKeyring, database: TestDatabase, clock: FrozenClock) -> Opener:
    """A store as another process would open it: nothing cached."""
    return lambda: EncryptedObjectStore(plain, keyring, database.app, clock=clock)


@pytest.fixture
def store(fresh: Opener) -> EncryptedObjectStore:
    return fresh()


def put(store: EncryptedObjectStore, path: str = PATH, content: bytes = b'{"paid":true}', **members: str) -> str:
    facts = {"tenant": "acme", "kind": "receipt", "object_id": "r-1", "content_type": "application/json"} | members
    return store.put(path, content, **facts)


def rows(database: TestDatabase) -> list[dict]:
    with database.app.begin() as connection:
        order = data_encryption_key.c.epoch
        return [dict(row._mapping) for row in connection.execute(select(data_encryption_key).order_by(order))]


def test_what_is_put_is_sealed_and_comes_back(store: EncryptedObjectStore, plain: ObjectStore, fresh: Opener) -> None:
    digest = put(store)
    stored = plain.get(PATH)
    assert digest == sha256_digest(stored)
    assert stored.startswith(b"MCE1")
    assert b"paid" not in stored
    assert read_preamble(stored).detached
    assert fresh().get(PATH, tenant="acme") == b'{"paid":true}'
    header, _ = fresh().get_object(PATH, tenant="acme")
    assert (header.tenant, header.object_id, header.kind) == ("acme", "r-1", Kind.RECEIPT)


def test_a_second_put_changes_nothing_and_another_content_is_refused(
    store: EncryptedObjectStore, plain: ObjectStore, fresh: Opener
) -> None:
    first = put(store)
    stored = plain.get(PATH)
    assert put(fresh()) == first
    with pytest.raises(ConflictError, match="another object"):
        put(store, content=b"other")
    assert plain.get(PATH) == stored


def test_another_tenant_cannot_read_it_and_is_not_told_that_it_exists(store: EncryptedObjectStore) -> None:
    put(store)
    with pytest.raises(NotFoundError) as other:
        store.get(PATH, tenant="evil")
    with pytest.raises(NotFoundError):
        store.get("receipts/acme/2026/none.json", tenant="acme")
    assert "acme" not in str(other.value).replace(PATH, "")


@pytest.mark.parametrize(
    ("path", "members"),
    [
        ("receipts/evil/r-1.json", {}),
        ("logs/acme/r-1.json", {}),
        ("receipts/acme/r-2.json", {}),
        ("receipts/acme/r-1x", {}),
        ("receipts/acme/r-1", {"tenant": "evil"}),
        ("receipts/acme/r-1", {"kind": "log"}),
    ],
)
def test_a_path_that_belies_the_object_is_refused(
    store: EncryptedObjectStore, plain: ObjectStore, path: str, members: dict[str, str]
) -> None:
    with pytest.raises(EnvelopeError) as caught:
        put(store, path, **members)
    assert caught.value.defect is Defect.CONTEXT
    assert list(plain.list("")) == []


@pytest.mark.parametrize("path", ["facts/acme/r-1", "receipts/r-1", "r-1", "../r-1", "receipts/acme/../evil/r-1"])
def test_only_the_sealed_folders_are_written(store: EncryptedObjectStore, path: str) -> None:
    with pytest.raises(InputError, match="path"):
        put(store, path)


def test_unsealed_or_moved_objects_are_never_handed_out(store: EncryptedObjectStore, plain: ObjectStore) -> None:
    put(store)
    plain.put("receipts/acme/plain.json", b'{"paid":true}')
    with pytest.raises(EnvelopeError, match="not sealed"):
        store.get("receipts/acme/plain.json", tenant="acme")
    plain.put("receipts/acme/r-2", plain.get(PATH))
    plain.put("receipts/evil/r-1", plain.get(PATH))
    for path, tenant in (("receipts/acme/r-2", "acme"), ("receipts/evil/r-1", "evil")):
        with pytest.raises(EnvelopeError) as caught:
            store.get(path, tenant=tenant)
        assert caught.value.defect is Defect.CONTEXT


def test_a_header_that_borrows_another_tenants_data_key_is_refused(
    store: EncryptedObjectStore, plain: ObjectStore, clock: FrozenClock
) -> None:
    put(store)
    borrowed = read_preamble(plain.get(PATH)).header.dek_id
    header = Header(Kind.RECEIPT, "evil", "r-9", "text/plain", borrowed, clock.now())
    plain.put("receipts/evil/r-9", seal(b"mine", header, store.data_keys.for_opening(borrowed).secret))
    with pytest.raises(NotFoundError, match="another tenant"):
        store.get("receipts/evil/r-9", tenant="evil")


def test_the_write_policy_sees_the_bytes_and_can_refuse(
    plain: ObjectStore, keyring: LocalKeyring, database: TestDatabase, clock: FrozenClock
) -> None:
    seen: list[WriteIntent] = []

    def refuse(intent: WriteIntent) -> None:
        seen.append(intent)
        raise ForbiddenError("not this one")

    store = EncryptedObjectStore(plain, keyring, database.app, clock=clock, authorise=refuse)
    with pytest.raises(ForbiddenError):
        put(store)
    assert list(plain.list("")) == []
    assert (seen[0].path, seen[0].tenant, seen[0].kind, seen[0].suite) == (PATH, "acme", "receipt", 1)


def test_data_keys_are_one_per_tenant_kind_and_day(
    store: EncryptedObjectStore, database: TestDatabase, clock: FrozenClock, fresh: Opener, keyring: LocalKeyring
) -> None:
    keyring.create(KEK_KEY, KeyUse.WRAP)
    for number in range(5):
        put(store, f"receipts/acme/a-{number}", object_id=f"a-{number}")
    put(fresh(), "receipts/acme/b", object_id="b")
    put(store, "receipts/umbra/a", object_id="a", tenant="umbra")
    put(store, "logs/acme/a", object_id="a", kind="log")
    found = rows(database)
    assert sorted((row["tenant"], row["kind"], row["epoch"]) for row in found) == [
        ("acme", "log", 1),
        ("acme", "receipt", 1),
        ("umbra", "receipt", 1),
    ]
    reserved = next(row["reserved_objects"] for row in found if (row["tenant"], row["kind"]) == ("acme", "receipt"))
    assert reserved == 2 * dek.RESERVED_OBJECTS
    clock.advance(timedelta(hours=24))
    put(store, "receipts/acme/late", object_id="late")
    assert ("acme", "receipt", 2) in [(row["tenant"], row["kind"], row["epoch"]) for row in rows(database)]
    assert store.get("receipts/acme/a-0", tenant="acme") == b'{"paid":true}'


@pytest.mark.parametrize(
    ("column", "full"), [("reserved_objects", dek.MAX_OBJECTS - 10), ("reserved_bytes", dek.MAX_BYTES - 10)]
)
def test_a_full_data_key_is_left_for_the_next(
    store: EncryptedObjectStore, database: TestDatabase, fresh: Opener, column: str, full: int
) -> None:
    put(store)
    with database.app.begin() as connection:
        connection.execute(update(data_encryption_key).values({column: full}))
    put(fresh(), "receipts/acme/next", object_id="next")
    assert [row["epoch"] for row in rows(database)] == [1, 2]


def test_a_reservation_is_spent_before_the_next(
    store: EncryptedObjectStore, database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dek, "RESERVED_OBJECTS", 3)
    monkeypatch.setattr(dek, "RESERVED_BYTES", 1000)
    for number in range(7):
        put(store, f"receipts/acme/a-{number}", content=b"x", object_id=f"a-{number}")
    assert rows(database)[0]["reserved_objects"] == 9
    put(store, "receipts/acme/big", content=b"x" * 5000, object_id="big")
    assert rows(database)[0]["reserved_bytes"] == 3 * 1000 + 5000


def test_many_first_writers_make_one_data_key(fresh: Opener, database: TestDatabase) -> None:
    stores = [fresh() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda n: put(stores[n], f"receipts/acme/a-{n}", object_id=f"a-{n}"), range(6)))
    assert [row["epoch"] for row in rows(database)] == [1]
    with database.app.begin() as connection:
        assert len(connection.execute(select(data_encryption_key_slot)).all()) == 1


def test_a_disabled_key_is_dropped_from_every_cache_at_once(
    store: EncryptedObjectStore, keyring: LocalKeyring, fresh: Opener
) -> None:
    put(store)
    assert store.get(PATH, tenant="acme")
    assert store.data_keys.cached == 1
    old = keyring.primary(KEK_KEY)
    keyring.promote(keyring.rotate(KEK_KEY, token="t").ref)
    keyring.disable(old.ref)
    for one in (store, fresh()):
        with pytest.raises(KeyDisabledError):
            one.get(PATH, tenant="acme")
    keyring.enable(old.ref)
    assert store.get(PATH, tenant="acme")


def test_a_wrapping_moved_to_another_data_key_does_not_open(
    store: EncryptedObjectStore, database: TestDatabase, fresh: Opener
) -> None:
    put(store)
    put(store, "receipts/umbra/r-1", tenant="umbra")
    slots = data_encryption_key_slot
    with database.owner.begin() as connection:
        (one, two) = connection.execute(select(slots.c.dek_id, slots.c.wrapped)).all()
        connection.execute(update(slots).where(slots.c.dek_id == one.dek_id).values(wrapped=two.wrapped))
    outcomes = []
    for path, tenant in ((PATH, "acme"), ("receipts/umbra/r-1", "umbra")):
        try:
            outcomes.append(fresh().get(path, tenant=tenant))
        except Exception as error:  # noqa: BLE001 - which of the two fails depends on the rows' order
            outcomes.append(type(error).__name__)
    assert sorted(map(str, outcomes)) == sorted(["VerificationError", str(b'{"paid":true}')])


def test_a_shredded_data_key_opens_nothing(store: EncryptedObjectStore, database: TestDatabase, fresh: Opener) -> None:
    put(store)
    with database.app.begin() as connection:
        connection.execute(delete(data_encryption_key_slot))
    with pytest.raises(NotFoundError, match="destroyed"):
        fresh().get(PATH, tenant="acme")


def test_the_scanner_names_every_object_that_is_not_as_it_must_be(
    store: EncryptedObjectStore, plain: ObjectStore, keyring: LocalKeyring, database: TestDatabase, clock: FrozenClock
) -> None:
    put(store)
    put(store, object_path("log", "acme", "run-1", folder="2026/01", suffix=".log"), kind="log", object_id="run-1")
    clean = scan(plain, database.app, keyring)
    assert clean.ok
    assert (clean.scanned, clean.sealed, sum(clean.objects_by_data_key.values())) == (2, 2, 2)

    plain.put("receipts/acme/plain.json", json.dumps({"paid": True}).encode())
    plain.put("receipts/acme/empty", b"")
    plain.put("receipts/acme/r-7", plain.get(PATH))
    plain.put("receipts/cut", b"MCE1\x01\x01")
    plain.put("receipts/acme/cut", plain.get(PATH)[:40])
    stray = Header(Kind.LOG, "acme", "stray", "text/plain", UUID(int=7), clock.now())
    plain.put("logs/acme/stray", seal(b"x", stray, b"k" * 32))
    plain.put("facts/day=2026-01-19/a.parquet", b"PAR1")
    report = scan(plain, database.app, keyring)
    assert {one.path: one.defect for one in report.findings} == {
        "receipts/acme/plain.json": "not-sealed",
        "receipts/acme/empty": "not-sealed",
        "receipts/acme/r-7": "other-object",
        "receipts/cut": "truncated",
        "receipts/acme/cut": "truncated",
        "logs/acme/stray": "unknown-data-key",
    }
    assert report.scanned == 8

    old = keyring.primary(KEK_KEY)
    keyring.promote(keyring.rotate(KEK_KEY, token="t").ref)
    keyring.disable(old.ref)
    assert {one.defect for one in scan(plain, database.app, keyring).findings} >= {"key-disabled"}


def test_the_header_is_always_within_the_scanners_range(
    store: EncryptedObjectStore, plain: ObjectStore, keyring: LocalKeyring, database: TestDatabase
) -> None:
    tenant, object_id = "t" * 63, "i" * 200
    path = object_path("receipt", tenant, object_id)
    put(store, path, tenant=tenant, object_id=object_id, content_type="c" * 120)
    assert scan(plain, database.app, keyring).ok


def test_the_key_encryption_key_is_made_by_the_first_writer(store: EncryptedObjectStore, keyring: LocalKeyring) -> None:
    assert keyring.inventory() == ()
    put(store)
    assert [(one.ref, one.use) for one in keyring.inventory()] == [("local:kek/1", KeyUse.WRAP)]
