from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from mc_pipelines.attest.key_history import KeyRecord, record_key, service_keys
from mc_pipelines.attest.log import read_content
from mc_pipelines.attest.minute import prove_in_minute
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.executions.facts import days_with_facts, scan_facts
from mc_pipelines.executions.manifest import manifest_of
from mc_pipelines.executions.records import ReceiptRecord, add_executions, add_receipt, get_transitions
from mc_pipelines.foundation import outbox
from mc_pipelines.foundation.canonical import parse_json, sha256_digest
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines.policy.bundles import build_bundle, bundle_path, sign_bundle, store_bundle
from mc_pipelines.policy.pointers import activate_first
from mc_pipelines.runner.lake import FINISHED, flush_facts, waiting
from mc_pipelines.runner.minutes import GRACE, enter_minutes
from mc_pipelines.runner.publish import _published, publish
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.executions.stores import MemoryStore
from mc_pipelines_tests.runner.test_dispatcher import House, house

__all__ = ["house"]
pytestmark = pytest.mark.database


def payload(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "execution_id": str(UUID(int=number)),
        "attempt": 1,
        "tenant": "acme",
        "workflow": "w",
        "service": "executions",
        "cloud": "LOCAL",
        "region": "local",
        "published_at": "2026-01-19T12:00:00Z",
        "started_at": "2026-01-19T12:00:01Z",
        "finished_at": "2026-01-19T12:00:02Z",
        "outcome": "succeeded",
        "fault_owner": "none",
        "excluded_reason": None,
        "resource_seconds": 1.0,
        "price_id": "p",
        "cost_minor": 0,
        "currency": "USD",
        "estimate_id": None,
        "receipt_digest": sha256_digest(str(number).encode()),
        "features": [],
        "source": "real",
        "recorded_at": "2026-01-19T12:00:03Z",
    } | changes


def put(database: TestDatabase, *payloads: dict[str, Any]) -> None:
    with database.app.begin() as connection:
        for one in payloads:
            outbox.publish(connection, FINISHED, one["execution_id"], one)


def lake(store: MemoryStore) -> list[str]:
    days = days_with_facts(store)
    return scan_facts(store, first_day=days[0], last_day=days[-1]).collect()["execution_id"].sort().to_list()


def test_facts_go_to_the_lake_in_batches_once(database: TestDatabase, clock: FrozenClock) -> None:
    put(database, *(payload(number) for number in range(25)))
    store = MemoryStore()
    with database.app.begin() as connection:
        count, oldest, since = waiting(connection)
    assert (count, oldest is None, since is None) == (25, False, False)
    assert flush_facts(database.app, store, clock, limit=10) == 25
    assert len(store.objects) == 3
    assert flush_facts(database.app, store, clock) == 0
    assert lake(store) == [str(UUID(int=number)) for number in range(25)]


def test_a_row_that_breaks_a_rule_keeps_no_other_back(database: TestDatabase, clock: FrozenClock) -> None:
    put(database, payload(1), payload(2, finished_at="2026-01-19T11:00:00Z"), payload(3))
    store = MemoryStore()
    assert flush_facts(database.app, store, clock) == 2
    assert lake(store) == [str(UUID(int=1)), str(UUID(int=3))]
    with database.app.begin() as connection:
        assert waiting(connection)[0] == 1


def test_dying_between_file_and_mark_shows_each_row_once(
    database: TestDatabase, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, payload(1), payload(2))
    store = MemoryStore()

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(outbox, "mark_processed", die)
        with pytest.raises(KeyboardInterrupt):
            flush_facts(database.app, store, clock)
    put(database, payload(3))
    assert flush_facts(database.app, store, clock) == 3
    assert len(store.objects) == 2
    assert lake(store) == [str(UUID(int=number)) for number in (1, 2, 3)]


MINUTE = datetime(2026, 1, 19, 12, 0, tzinfo=UTC)


class Receipts:
    """Records receipts at moments, without running anything."""

    def __init__(self, database: TestDatabase) -> None:
        self._database = database
        self._numbers = iter(range(1, 1_000))

    def at(self, moment: datetime) -> Digest:
        key = str(next(self._numbers))
        manifest = manifest_of({"tenant": "acme", "workflow": "w", "argv": ["true"], "idempotency_key": key})
        one = _published(manifest, moment)
        digest = sha256_digest(key.encode())
        with self._database.app.begin() as connection:
            add_executions(connection, [one])
            add_receipt(connection, ReceiptRecord(one.execution_id, 1, "acme", digest, "p", digest, moment))
        return digest


def leaves(database: TestDatabase) -> Iterator[tuple[str, dict[str, Any]]]:
    with database.app.begin() as connection:
        query = "select subject, content_digest from attest_log_leaf where act = 'executions.minute' order by subject"
        for subject, digest in connection.execute(text(query)).all():
            yield subject, parse_json(read_content(connection, digest), what="leaf")


def test_receipts_enter_the_log_one_leaf_a_minute(database: TestDatabase) -> None:
    receipts = Receipts(database)
    first = [receipts.at(MINUTE), receipts.at(MINUTE + timedelta(seconds=59))]
    second = receipts.at(MINUTE + timedelta(minutes=1))
    clock = FrozenClock(MINUTE + timedelta(minutes=1) + GRACE - timedelta(seconds=1))
    assert enter_minutes(database.app, clock) == 0
    clock.advance(timedelta(seconds=1))
    for _ in range(2):
        enter_minutes(database.app, clock)
    ((subject, facts),) = leaves(database)
    assert (subject, facts["count"]) == ("2026-01-19T12:00:00Z", 2)
    proof, root = prove_in_minute(first, first[1])
    proof.verify(first[1], root)
    assert facts["root"] == root.hex()
    clock.advance(timedelta(days=7))  # nobody ran for a week: nothing is missed
    enter_minutes(database.app, clock)
    assert [facts["count"] for _, facts in leaves(database)] == [2, 1]
    assert prove_in_minute([second], second)[1].hex() == list(leaves(database))[1][1]["root"]


def test_a_receipt_that_commits_late_gets_its_minute_a_second_leaf(database: TestDatabase) -> None:
    receipts = Receipts(database)
    receipts.at(MINUTE)
    clock = FrozenClock(MINUTE + timedelta(minutes=2))
    enter_minutes(database.app, clock)
    receipts.at(MINUTE + timedelta(seconds=30))
    enter_minutes(database.app, clock)
    enter_minutes(database.app, clock)
    assert sorted(facts["count"] for _, facts in leaves(database)) == [1, 2]


class FixedEstimate:
    def at_publish(self, _connection: Any, execution_id: UUID, _manifest: Any, *, at: datetime) -> dict[str, Any]:
        return {"id": "sha256:" + "e" * 64, "cost": "0.10", "for": str(execution_id), "at": at.isoformat()}


def test_the_estimate_of_publish_is_kept_with_the_execution_and_its_facts(house: House) -> None:
    manifest = manifest_of({"tenant": "acme", "workflow": "nightly", "argv": ["true"]})
    with house.database.begin() as connection:
        execution_id, _ = publish(connection, manifest, now=house.clock.now(), estimator=FixedEstimate())
        assert get_transitions(connection, execution_id)[0].detail["estimate"]["cost"] == "0.10"
    asyncio.run(house.dispatcher().run_until_idle())
    assert [row["estimate_id"] for row in house.facts()] == ["sha256:" + "e" * 64]


def test_an_estimator_that_breaks_the_transaction_breaks_no_publish(house: House) -> None:
    from mc_pipelines.runner.estimates import ChampionEstimates

    class Broken(ChampionEstimates):
        def _estimate(self, connection: Any, *_: Any) -> None:
            connection.execute(text("select no_such_column from execution"))

    manifest = manifest_of({"tenant": "acme", "workflow": "nightly", "argv": ["true"]})
    with house.database.begin() as connection:
        execution_id, new = publish(connection, manifest, now=house.clock.now(), estimator=Broken(house.store))
    assert new
    assert house.states(execution_id) == ["published", "queued"]


def test_without_a_model_v1_is_served_and_frozen_where_it_knows_the_workflow(house: House) -> None:
    from mc_pipelines.estimator.registry import write_v1
    from mc_pipelines.estimator.v1 import V1Table
    from mc_pipelines.runner.estimates import ChampionEstimates

    day = int(house.clock.now().timestamp()) // 86_400
    with house.database.begin() as connection:
        write_v1(connection, V1Table(day, {"nightly": 120.0}, 120.0, {"nightly": 0.05}))
    manifest = manifest_of({"tenant": "acme", "workflow": "nightly", "argv": ["true"]})
    with house.database.begin() as connection:
        execution_id, _ = publish(connection, manifest, now=house.clock.now(), estimator=ChampionEstimates(house.store))
        estimate = get_transitions(connection, execution_id)[0].detail["estimate"]
        frozen = connection.execute(
            text("select estimate_id, run_id from estimator_prediction where tenant = 'acme'")
        ).one()
    assert estimate["source"] == "v1"
    assert tuple(frozen) == (estimate["id"], str(execution_id))


def test_the_pointer_of_policy_names_the_pack(house: House, tmp_path: Path) -> None:
    from mc_pipelines.composition import Context, placement_packs
    from mc_pipelines.decision.packs import loaded, read_pack_files
    from mc_pipelines.foundation.canonical import canonical_json
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.foundation.settings import Settings

    shipped = loaded("placement")
    data = shipped.data | {"cloud_flags": {}}
    files = {one.path: one.text.encode() for one in shipped.modules} | {"placement/data.json": canonical_json(data)}
    other = read_pack_files("placement", files)
    settings = Settings(home=tmp_path, object_store_url=(tmp_path / "objects").as_uri())
    source = placement_packs(Context(settings, house.database, house.clock))
    with house.database.begin() as connection:
        assert source(connection, TenantId("acme")).pack.revision == shipped.revision
        activate_first(connection, "placement", other.revision, now=house.clock.now())
        store = LocalObjectStore(tmp_path / "objects")
        path = bundle_path("placement", other.revision)
        store.put(path, build_bundle(other).content)
        with pytest.raises(VerificationError, match="not signed"):
            source(connection, TenantId("acme"))
        store.put(path, sign_bundle(build_bundle(other), LocalSigner.generate()).content, if_absent=False)
        with pytest.raises(VerificationError, match="No trusted key"):
            source(connection, TenantId("acme"))
        record = KeyRecord(house.signer.key_id, house.signer.public_key_pem, house.clock.now())
        record_key(connection, record, now=house.clock.now())
        keys = service_keys(connection)
        assert store_bundle(store, build_bundle(other), house.signer, trusted=keys) == path
        assert source(connection, TenantId("acme")).pack.revision == other.revision != shipped.revision
