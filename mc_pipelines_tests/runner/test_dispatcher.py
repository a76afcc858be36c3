from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mc_pipelines.attest.dsse import Envelope, verify
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.attest.statement import statement_of
from mc_pipelines.decision.log import decisions_of_day
from mc_pipelines.decision.packs import loaded, read_pack_files
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.executions.facts import days_with_facts, scan_facts
from mc_pipelines.executions.manifest import Manifest, manifest_of
from mc_pipelines.executions.receipt import Receipt
from mc_pipelines.executions.records import (
    ReceiptRecord,
    State,
    Transition,
    add_transitions,
    get_receipt,
    get_transitions,
    list_executions,
)
from mc_pipelines.foundation.canonical import canonical_json, sha256_digest
from mc_pipelines.foundation.clock import FrozenClock, SystemClock
from mc_pipelines.foundation.errors import ConflictError, InputError, NotFoundError, UnavailableError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.object_store_local import LocalObjectStore
from mc_pipelines.foundation.tenants import Tenant, put_tenant
from mc_pipelines.keys.providers.local import LocalKeyring
from mc_pipelines.keys.store import EncryptedObjectStore
from mc_pipelines.runner import queue
from mc_pipelines.runner.assignment import Cause
from mc_pipelines.runner.conductor import Conductor
from mc_pipelines.runner.dispatcher import Dispatcher
from mc_pipelines.runner.driver import Outcome, Work
from mc_pipelines.runner.drivers.local import LocalDriver
from mc_pipelines.runner.policies import InForce, PackSource, Policies, shipped_pack
from mc_pipelines.runner.price import LOCAL_PRICES
from mc_pipelines.runner.publish import input_path, publish, publish_all, store_inputs
from mc_pipelines.runner.queue import ClaimLostError
from mc_pipelines.runner.sealing import Sealer
from mc_pipelines_tests.conftest import TestDatabase
from mc_pipelines_tests.runner.scripted import ScriptedDriver

pytestmark = pytest.mark.database


class House:
    """Everything a dispatcher needs, on one database and one folder."""

    def __init__(self, database: TestDatabase, folder: Path) -> None:
        self.folder = folder
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

    def dispatcher(self, driver: Any = None, *, packs: PackSource = shipped_pack, **options: Any) -> Dispatcher:
        conductor = Conductor(
            self.database,
            self.store,
            Sealer(self.sealed, lambda: self.signer, self.store.delete),
            [driver or ScriptedDriver(self.clock)],
            Policies(RegorusEngine, packs),
            LOCAL_PRICES,
            self.clock,
        )
        return Dispatcher(conductor, **({"poll_seconds": 0.1} | options))

    def depth(self) -> dict[str, int]:
        with self.database.begin() as connection:
            return queue.depth(connection)

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
        store_inputs(house.sealed, manifest, {"in.txt": b"other"})
    with pytest.raises(InputError, match="not here"):
        store_inputs(house.sealed, manifest, {})
    store_inputs(house.sealed, manifest, {"in.txt": content})
    assert content not in b"".join(path.read_bytes() for path in house.folder.rglob("objects/**/*") if path.is_file())
    with pytest.raises(InputError, match="not here"):  # whoever knows its digest does not get another tenant's file
        store_inputs(house.sealed, manifest.model_copy(update={"tenant": "globex"}), {})
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


def died(house: House, *, running: bool) -> None:
    """Claim the one execution as a runner does that dies at once, or as soon as the command began."""
    dispatcher = house.dispatcher(lease=timedelta(seconds=-1))
    (work,) = dispatcher._claim(1)
    if running:
        claim = work.claim
        step = Transition(claim.execution_id, claim.attempt, claim.fence, State.RUNNING, house.clock.now())
        with house.database.begin() as connection:
            add_transitions(connection, [step])


def test_what_dies_each_time_it_runs_is_lost_and_has_a_receipt(house: House) -> None:
    execution_id = house.publish()
    for _ in range(5):
        died(house, running=True)
    driver = ScriptedDriver(house.clock)
    asyncio.run(house.dispatcher(driver).run_until_idle())
    assert house.states(execution_id)[-1] == "lost"
    own = house.receipt(execution_id)["maestro"]
    assert (own["faultOwner"], own["reason"]) == ("provider", "no runner finished it in 5 attempts")
    assert not driver.starts


def test_what_was_only_held_by_runners_that_died_is_not_lost(house: House) -> None:
    execution_id = house.publish()
    for _ in range(7):
        died(house, running=False)
    asyncio.run(house.dispatcher().run_until_idle())
    assert house.states(execution_id)[-1] == "succeeded"


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


class BreakingDriver(ScriptedDriver):
    """Raises at the first so many executions."""

    def __init__(self, clock: Any, *, times: int) -> None:
        super().__init__(clock)
        self.left = times

    async def execute(self, work: Work) -> Outcome:
        if self.left:
            self.left -= 1
            raise RuntimeError("password=hunter2")
        return await super().execute(work)


def drained(house: House, driver: Any, **options: Any) -> None:
    async def run() -> None:
        dispatcher = house.dispatcher(driver, back_off=timedelta(milliseconds=1), **options)
        stop = asyncio.Event()
        serving = asyncio.create_task(dispatcher.serve(stop))
        deadline = asyncio.get_running_loop().time() + 30
        while any(house.depth().values()) and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - what we wait for is in the database
            await asyncio.sleep(0.05)
        stop.set()
        await serving

    asyncio.run(run())


def test_an_attempt_that_raises_is_tried_again_and_harms_no_other(house: House) -> None:
    ids = [house.publish(idempotency_key=f"k{number}") for number in range(5)]
    drained(house, BreakingDriver(house.clock, times=3))
    assert Counter(house.states(one)[-1] for one in ids) == {"succeeded": 5}
    assert sum("unknown" in house.states(one) for one in ids) == 3


def test_what_fails_each_time_is_lost_with_a_reason_that_betrays_nothing(house: House) -> None:
    execution_id = house.publish()
    drained(house, BreakingDriver(house.clock, times=99), max_attempts=3)
    own = house.receipt(execution_id)["maestro"]
    assert (own["outcome"], own["faultOwner"], own["attempt"]) == ("lost", "provider", 3)
    assert own["reason"] == "3 attempts failed; the last one: an internal error (RuntimeError)"
    assert [one["end"] for one in own["attempts"]] == ["unknown", "unknown", "lost"]
    assert "hunter2" not in str(own)


def test_stopping_a_runner_often_never_loses_an_execution(house: House) -> None:
    execution_id = house.publish()
    for _ in range(4):
        dispatcher = house.dispatcher(max_attempts=2)
        (work,) = dispatcher._claim(1)
        assert dispatcher.conductor.give_back(work.claim, Cause.STOPPED, "stopped", not_before=house.clock.now())
    asyncio.run(house.dispatcher(max_attempts=2).run_until_idle())
    assert house.states(execution_id)[-1] == "succeeded"


@pytest.mark.parametrize(("stored", "fault"), [(None, "customer"), (b"altered", "provider")])
def test_an_input_that_is_missing_or_altered_fails_with_the_reason(
    house: House, stored: bytes | None, fault: str
) -> None:
    digest = sha256_digest(b"wanted")
    if stored is not None:
        house.store.put(input_path("acme", digest), stored)
    execution_id = house.publish(inputs=[{"path": "in.txt", "digest": digest}])
    driver = ScriptedDriver(house.clock)
    asyncio.run(house.dispatcher(driver).run_until_idle())
    own = house.receipt(execution_id)["maestro"]
    assert (own["outcome"], own["faultOwner"]) == ("failed", fault)
    assert "in.txt" in own["reason"]
    assert not driver.starts
    assert "running" not in house.states(execution_id)


def test_a_zombie_leaves_nothing_sealed(house: House) -> None:
    house.publish()
    (zombie,) = house.dispatcher(lease=timedelta(seconds=-1))._claim(1)
    stale = house.dispatcher().conductor

    class TakenOverWhileSealing(Sealer):
        def seal(self, receipt: Receipt, *, at: datetime) -> ReceiptRecord:
            sealed = super().seal(receipt, at=at)
            assert asyncio.run(house.dispatcher().run_until_idle()) == 1
            return sealed

    slow = TakenOverWhileSealing(stale.sealer.store, stale.sealer.signer, stale.sealer.erase)
    with pytest.raises(ClaimLostError):
        asyncio.run(replace(stale, sealer=slow).lose(zombie, "late"))
    sealed = [one.path for prefix in ("receipts/", "logs/") for one in house.store.list(prefix)]
    assert len(sealed) == 2
    assert all("-2." in path for path in sealed)


def test_what_a_dead_runner_sealed_is_removed_by_the_one_that_ends_it(house: House) -> None:
    execution_id = house.publish()
    (dead,) = house.dispatcher(lease=timedelta(seconds=-1))._claim(1)
    house.sealed.put(
        f"logs/acme/{execution_id}-{dead.claim.fence}.log",
        b"half",
        tenant="acme",
        kind="log",
        object_id=f"{execution_id}-{dead.claim.fence}",
        content_type="text/plain",
    )
    asyncio.run(house.dispatcher().run_until_idle())
    assert [one.path for one in house.store.list("logs/")] == [f"logs/acme/{execution_id}-2.log"]


def test_an_execution_starts_when_it_is_queued_not_when_somebody_looks(house: House) -> None:
    async def run() -> float:
        stop = asyncio.Event()
        dispatcher = house.dispatcher(poll_seconds=30)
        serving = asyncio.create_task(dispatcher.serve(stop))
        await asyncio.sleep(0.5)
        begun = asyncio.get_running_loop().time()
        await asyncio.to_thread(house.publish)
        while not dispatcher.ended and asyncio.get_running_loop().time() - begun < 20:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)
        took = asyncio.get_running_loop().time() - begun
        stop.set()
        await serving
        return took

    assert asyncio.run(run()) < 5


def test_the_pack_in_force_decides_and_the_decision_replays(house: House) -> None:
    shipped = loaded("placement")
    source = shipped.modules[0].text + '\ndeny contains refusal("LOCAL/local", "frozen", "a freeze", "wait")\n'
    frozen = read_pack_files(
        "placement", {shipped.modules[0].path: source.encode(), "placement/data.json": canonical_json(shipped.data)}
    )
    with house.database.begin() as connection:
        put_tenant(connection, Tenant(TenantId("globex"), "UTC", "USD", residency=("local",)), now=house.clock.now())
    held, free = house.publish(tenant="globex"), house.publish()
    packs = {"globex": frozen, "acme": shipped}
    asyncio.run(house.dispatcher(packs=lambda _connection, tenant: InForce(packs[tenant])).run_until_idle())
    assert (house.states(held)[-1], house.states(free)[-1]) == ("denied", "succeeded")
    with house.database.begin() as connection:
        decisions = decisions_of_day(connection, "placement", house.clock.now().date())
    assert {(one.tenant, one.revision) for one in decisions} == {
        ("globex", frozen.revision),
        ("acme", shipped.revision),
    }
    for one in decisions:
        assert not one.erased
        assert one.input["workflow"] == "nightly"
        assert one.input["execution"] in {str(held), str(free)}
        again = RegorusEngine(packs[str(one.tenant)]).evaluate("data.placement.deny", one.input)
        assert again.value == one.result
    own = house.receipt(free)["maestro"]["placement"]
    assert own["input"] in {one.input_digest for one in decisions}


def test_a_pack_that_cannot_be_read_stops_only_the_tenant_it_is_for(house: House) -> None:
    with house.database.begin() as connection:
        put_tenant(connection, Tenant(TenantId("globex"), "UTC", "USD", residency=("local",)), now=house.clock.now())
    broken, fine = house.publish(tenant="globex"), house.publish()

    def packs(connection: Any, tenant: TenantId) -> Any:
        if tenant == "globex":
            raise NotFoundError("There is no such object", field="path", value="policy/bundles")
        return shipped_pack(connection, tenant)

    asyncio.run(house.dispatcher(packs=packs).run_until_idle())
    assert house.states(fine)[-1] == "succeeded"
    assert house.states(broken)[-1] == "unknown"
    assert house.depth() == {"queued": 1, "claimed": 0}


def test_an_execution_waits_for_its_policy_however_long(house: House) -> None:
    """Six times unreadable is more than the most attempts, and no fault of the execution."""
    execution, reads = house.publish(), 0

    def packs(connection: Any, tenant: TenantId) -> Any:
        nonlocal reads
        reads += 1
        if reads <= 6:
            raise UnavailableError("The object store does not answer", field="path", value="policy/bundles")
        return shipped_pack(connection, tenant)

    async def until_it_ended() -> None:
        dispatcher = house.dispatcher(packs=packs, back_off=timedelta(0))
        while house.states(execution)[-1] != "succeeded":
            await dispatcher.run_until_idle()

    asyncio.run(asyncio.wait_for(until_it_ended(), 60))
    assert house.states(execution).count("unknown") == 6


def test_many_are_published_in_one_transaction_all_or_none(house: House) -> None:
    def manifest(key: str, **changes: Any) -> Manifest:
        return manifest_of({"tenant": "acme", "workflow": "w", "argv": ["true"], "idempotency_key": key} | changes)

    with house.database.begin() as connection:
        first = publish_all(connection, [manifest("a"), manifest("b"), manifest("a")], now=house.clock.now())
    assert [new for _, new in first] == [True, True, False]
    assert first[0][0] == first[2][0]
    with pytest.raises(ConflictError), house.database.begin() as connection:
        publish_all(connection, [manifest("c"), manifest("a", argv=["false"])], now=house.clock.now())
    with house.database.begin() as connection:
        assert len(list_executions(connection)) == 2
