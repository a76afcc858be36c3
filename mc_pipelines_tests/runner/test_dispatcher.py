from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mc_pipelines.attest.dsse import Envelope, verify
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.statement import statement_of
from mc_pipelines.decision.packs import load_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.executions.facts import days_with_facts, scan_facts
from mc_pipelines.executions.manifest import manifest_of
from mc_pipelines.executions.records import State, get_receipt, get_transitions, list_executions
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import FrozenClock, SystemClock
from mc_pipelines.foundation.errors import ConflictError, InputError, NotFoundError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines.keys.providers.local import LocalKeyring
from mc_pipelines.keys.store import EncryptedObjectStore
from mc_pipelines.runner import queue
from mc_pipelines.runner.dispatcher import Dispatcher
from mc_pipelines.runner.drivers.local import LocalDriver
from mc_pipelines.runner.price import LOCAL_PRICES
from mc_pipelines.runner.publish import publish, store_inputs
from mc_pipelines.runner.sealing import Sealer
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.runner.scripted import ScriptedDriver

pytestmark = pytest.mark.database


class House:
    """Everything a dispatcher needs, on one database and one folder."""

    def __init__(self, database: TestDatabase, folder: Path) -> None:
        self.database = database.app
        self.clock = SystemClock()
        self.store = LocalObjectStore(folder / "objects")
        self.sealed = EncryptedObjectStore(self.store, LocalKeyring(folder / "keys"), self.database)
        self.signer = LocalSigner.generate()
        with self.database.begin() as connection:
            tenant = Tenant(TenantId("acme"), "UTC", "USD", residency=("local",))
            put_tenant(connection, tenant, now=self.clock.now())

    def publish(self, **changes: Any) -> UUID:
        manifest = manifest_of({"tenant": "acme", "workflow": "nightly", "argv": ["true"]} | changes)
        with self.database.begin() as connection:
            return publish(connection, manifest, now=self.clock.now())[0]

    def dispatcher(self, driver: Any = None, **options: Any) -> Dispatcher:
        pack = load_pack("placement")
        return Dispatcher(
            self.database,
            self.store,
            Sealer(self.sealed, lambda: self.signer),
            [driver or ScriptedDriver(self.clock)],
            RegorusEngine(pack),
            pack.revision,
            LOCAL_PRICES,
            self.clock,
            **options,
        )

    def states(self, execution_id: UUID) -> list[str]:
        with self.database.begin() as connection:
            return [str(step.state) for step in get_transitions(connection, execution_id)]

    def receipt(self, execution_id: UUID) -> dict[str, Any]:
        with self.database.begin() as connection:
            record = get_receipt(connection, execution_id)
        assert record is not None
        content = self.sealed.get(record.path, tenant="acme")
        assert sha256_digest(content) == record.receipt_digest
        envelope = Envelope.from_json(content)
        assert verify(envelope, {self.signer.key_id: self.signer.public_key_pem})
        return dict(statement_of(envelope).predicate)

    def facts(self) -> list[dict[str, Any]]:
        days = days_with_facts(self.store)
        return scan_facts(self.store, first_day=days[0], last_day=days[-1]).collect().to_dicts()


@pytest.fixture
def house(database: TestDatabase, tmp_path: Path) -> House:
    return House(database, tmp_path)


def test_from_publish_to_sealed_receipt_and_facts(house: House) -> None:
    good, bad = house.publish(), house.publish(argv=["exit", "3"])
    assert asyncio.run(house.dispatcher().run_until_idle()) == 2
    steps = ["published", "queued", "claimed", "placed", "running"]
    assert house.states(good) == [*steps, "succeeded"]
    assert house.states(bad) == [*steps, "failed"]
    own = house.receipt(bad)["maestro"]
    assert (own["outcome"], own["exitCode"], own["faultOwner"]) == ("failed", 3, "customer")
    assert own["placement"]["chosen"] == "LOCAL/local"
    assert own["enforcement"]["readOnlyRoot"]["enforced"] is True
    rows = house.facts()
    assert {row["execution_id"]: row["outcome"] for row in rows} == {str(good): "succeeded", str(bad): "failed"}
    assert {row["source"] for row in rows} == {"real"}
    assert asyncio.run(house.dispatcher().run_until_idle()) == 0
    assert len(house.facts()) == 2


def test_a_real_command_on_this_machine(house: House) -> None:
    content = b"hello from an input\n"
    manifest = manifest_of(
        {
            "tenant": "acme",
            "workflow": "cat",
            "argv": ["cat", "in.txt"],
            "inputs": [{"path": "in.txt", "digest": sha256_digest(content)}],
        }
    )
    with pytest.raises(InputError, match="not the one"):
        store_inputs(house.store, manifest, {"in.txt": b"other"})
    with pytest.raises(InputError, match="not here"):
        store_inputs(house.store, manifest, {})
    store_inputs(house.store, manifest, {"in.txt": content})
    with house.database.begin() as connection:
        execution_id, new = publish(connection, manifest, now=house.clock.now())
    assert new

    async def run() -> None:
        await house.dispatcher(LocalDriver(house.clock)).run_until_idle()

    asyncio.run(run())
    predicate = house.receipt(execution_id)
    assert predicate["maestro"]["outcome"] == "succeeded", predicate["maestro"]["reason"]
    assert predicate["maestro"]["log"]["digest"] == sha256_digest(content)
    assert predicate["buildDefinition"]["resolvedDependencies"][0]["name"] == "in.txt"


def test_denied_where_policy_allows_nothing_with_the_reason(house: House) -> None:
    execution_id = house.publish(residency=["eu"])
    raised = house.publish(data_class="restricted")
    asyncio.run(house.dispatcher().run_until_idle())
    assert house.states(execution_id)[-1] == "denied"
    own = house.receipt(execution_id)["maestro"]
    assert {one["rule"] for one in own["placement"]["denied"]} == {"residency"}
    assert own["enforcement"] is None
    assert {one["rule"] for one in house.receipt(raised)["maestro"]["placement"]["denied"]} == {"data_class"}
    assert {row["outcome"] for row in house.facts()} == {"denied"}


def test_publishing_again_is_the_same_execution(house: House) -> None:
    first = house.publish()
    assert house.publish() == first
    assert house.publish(idempotency_key="k1") != first
    with pytest.raises(ConflictError, match="another manifest"):
        house.publish(idempotency_key="k1", argv=["false"])
    with pytest.raises(NotFoundError):
        house.publish(tenant="nobody")
    with pytest.raises(InputError, match="deadline"):
        house.publish(deadline="2020-01-01T00:00:00Z")
    with house.database.begin() as connection:
        assert len(list_executions(connection)) == 2


def test_a_runner_that_died_is_taken_over_and_its_late_end_is_not_written(house: House) -> None:
    execution_id = house.publish()
    lease = timedelta(seconds=10)
    with house.database.begin() as connection:
        (zombie,) = queue.claim(connection, owner="dead", now=house.clock.now(), lease=-lease, limit=1)
    assert asyncio.run(house.dispatcher().run_until_idle()) == 1
    assert house.states(execution_id) == [
        *("published", "queued", "unknown", "claimed", "placed", "running", "succeeded")
    ]
    with house.database.begin() as connection:
        assert queue.finish(connection, zombie) is False
        assert queue.extend(connection, [zombie], now=house.clock.now(), lease=lease) == set()
    attempts = house.receipt(execution_id)["maestro"]["attempts"]
    assert [(one["attempt"], one["end"]) for one in attempts] == [(1, "unknown"), (2, "succeeded")]


def test_what_nobody_finishes_is_lost_and_has_a_receipt(house: House) -> None:
    execution_id = house.publish()
    for _ in range(3):
        with house.database.begin() as connection:
            queue.claim(connection, owner="dead", now=house.clock.now(), lease=timedelta(seconds=-1), limit=1)
    driver = ScriptedDriver(house.clock)
    asyncio.run(house.dispatcher(driver).run_until_idle())
    assert house.states(execution_id)[-1] == "lost"
    assert house.receipt(execution_id)["maestro"]["faultOwner"] == "provider"
    assert not driver.starts


def test_two_dispatchers_start_each_attempt_once(house: House) -> None:
    ids = [house.publish(idempotency_key=f"k{number}") for number in range(30)]
    driver = ScriptedDriver(house.clock, seconds=0.01)

    async def both() -> None:
        await asyncio.gather(*(house.dispatcher(driver, batch=4).run_until_idle() for _ in range(2)))

    asyncio.run(both())
    assert set(driver.starts.values()) == {1}
    assert len(driver.starts) == 30
    assert Counter(house.states(one)[-1] for one in ids) == {"succeeded": 30}
    assert len(house.facts()) == 30


def test_stopping_gives_work_back(house: House) -> None:
    execution_id = house.publish()

    async def stop_midway() -> None:
        stop = asyncio.Event()
        serving = asyncio.create_task(house.dispatcher(ScriptedDriver(house.clock, seconds=60)).serve(stop))
        while State.RUNNING not in house.states(execution_id):  # noqa: ASYNC110 - what we wait for is in the database
            await asyncio.sleep(0.02)
        stop.set()
        await serving

    asyncio.run(stop_midway())
    assert asyncio.run(house.dispatcher().run_until_idle()) == 1
    assert house.states(execution_id)[-1] == "succeeded"


def test_a_claim_waits_for_its_time(house: House, clock: FrozenClock) -> None:
    house.publish()
    with house.database.begin() as connection:
        assert queue.claim(connection, owner="a", now=clock.now(), lease=timedelta(seconds=5), limit=5) == []
        assert queue.depth(connection) == {"queued": 1, "claimed": 0}
