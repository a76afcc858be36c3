"""The dispatcher: claim, place, drive, sign and seal, record; one asyncio process, no Dagster.

What a kill -9 leaves: claims whose lease runs out. They are claimed again as the next attempt under a higher fence;
a driver's left-over processes are reaped; the end of an attempt is written in one transaction (queue, steps, the one
receipt, the outbox row of the facts), which only the holder of the newest fence can commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy import Connection

from mc_pipelines.decision.engine import PolicyEngine
from mc_pipelines.decision.log import decision_record, record_decision
from mc_pipelines.executions.fact_schema import FaultOwner
from mc_pipelines.executions.facts import facts_frame, write_facts
from mc_pipelines.executions.manifest import Manifest, manifest_of
from mc_pipelines.executions.records import (
    FINAL,
    Published,
    State,
    Transition,
    add_receipt,
    add_transitions,
    get_execution,
    get_transitions,
)
from mc_pipelines.foundation import outbox
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.flags import RUNNER_AZURE_PREVIEW, enabled
from mc_pipelines.foundation.ids import Digest, TenantId, uuid7
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.foundation.tenants import DATA_CLASSES, Tenant, get_tenant
from mc_pipelines.runner import queue
from mc_pipelines.runner.attempt import (
    Ending,
    attempt_id,
    fact_payload,
    fact_row,
    meaning,
    receipt_of,
    work_of,
)
from mc_pipelines.runner.driver import Driver
from mc_pipelines.runner.placement import DENY, Candidate, Placement, place
from mc_pipelines.runner.price import PriceTable
from mc_pipelines.runner.publish import INPUTS
from mc_pipelines.runner.queue import Claim
from mc_pipelines.runner.sealing import Sealer

FINISHED = "execution.finished"
"""Outbox topic of ended executions; the payload is the row of facts."""
_FACTS_AT_ONCE = 1_000


@dataclass
class Dispatcher:
    """Takes executions off the queue until it is told to stop.

    Args:
        database: as mc_app.
        store: the plain store: input files and facts.
        drivers: the places that executions may run on.
        engine: the placement policy; used only in the thread of the event loop.
        policy_revision: digest of the pack behind ``engine``.
        batch: most claims taken at once; also the most held.
        lease: how long a claim holds without a sign of life.
        max_attempts: after so many attempts that nobody finished, the execution is lost.
    """

    database: Database
    store: ObjectStore
    sealer: Sealer
    drivers: Sequence[Driver]
    engine: PolicyEngine
    policy_revision: Digest
    prices: PriceTable
    clock: Clock
    batch: int = 50
    lease: timedelta = timedelta(seconds=30)
    max_attempts: int = 3
    idle_seconds: float = 0.5
    owner: str = field(default_factory=lambda: f"runner-{uuid4().hex[:12]}")
    _held: dict[UUID, tuple[Claim, asyncio.Task[None]]] = field(default_factory=dict, init=False)

    async def run_until_idle(self) -> int:
        """Work until nothing waits and nothing is held; return how many executions ended here."""
        ended = 0
        await self._reap()
        heart = asyncio.create_task(self._keep_leases())
        try:
            while True:
                taken = await self._take()
                if not self._held:
                    if not taken:
                        return ended
                    continue
                done, _ = await asyncio.wait(
                    [task for _, task in self._held.values()], return_when=asyncio.FIRST_COMPLETED
                )
                ended += self._forget(done)
        finally:
            await self._stop(heart)
            await self.flush_facts()

    async def serve(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; then end what runs, which gives it back to the queue."""
        await self._reap()
        heart = asyncio.create_task(self._keep_leases())
        try:
            while not stop.is_set():
                await self._take()
                waiting = [task for _, task in self._held.values()]
                if waiting:
                    done, _ = await asyncio.wait(
                        waiting, timeout=self.idle_seconds, return_when=asyncio.FIRST_COMPLETED
                    )
                    self._forget(done)
                else:
                    await self.flush_facts()
                    await _first(stop, self.idle_seconds)
        finally:
            await self._stop(heart)
            await self.flush_facts()

    async def flush_facts(self) -> int:
        """Write the facts of ended executions to the lake; return how many rows."""
        return await asyncio.to_thread(self._flush)

    def _flush(self) -> int:
        written = 0
        while True:
            with self.database.begin() as connection:
                rows = outbox.claim(connection, FINISHED, limit=_FACTS_AT_ONCE)
                if not rows:
                    return written
                write_facts(self.store, facts_frame(fact_row(row.payload) for row in rows))
                outbox.mark_processed(connection, [row.outbox_id for row in rows], now=self.clock.now())
            written += len(rows)

    async def _take(self) -> int:
        room = self.batch - len(self._held)
        if room <= 0:
            return 0
        claims = await asyncio.to_thread(self._claim, room)
        for one in claims:
            self._held[one.execution_id] = (one, asyncio.create_task(self._run(one)))
        return len(claims)

    def _claim(self, limit: int) -> list[Claim]:
        with self.database.begin() as connection:
            claims = queue.claim(connection, owner=self.owner, now=self.clock.now(), lease=self.lease, limit=limit)
            steps = []
            for one in claims:
                if one.after_expiry:
                    detail = {"reason": "the lease of the runner expired"}
                    steps.append(
                        Transition(one.execution_id, one.attempt - 1, one.fence, State.UNKNOWN, one.claimed_at, detail)
                    )
                detail = {"owner": self.owner}
                steps.append(
                    Transition(one.execution_id, one.attempt, one.fence, State.CLAIMED, one.claimed_at, detail)
                )
            add_transitions(connection, steps)
        return claims

    async def _run(self, claim: Claim) -> None:
        published, manifest, tenant, flags = await asyncio.to_thread(self._read, claim)
        if claim.attempt > self.max_attempts:
            reason = f"no runner finished it in {self.max_attempts} attempts"
            ending = Ending(State.LOST, FaultOwner.PROVIDER, reason, None, None, self.clock.now())
            await asyncio.to_thread(self._finish, claim, published, manifest, tenant, ending, None)
            return
        placed = await self._place(manifest, tenant, flags)
        if placed.chosen is None:
            ending = Ending(State.DENIED, FaultOwner.CUSTOMER, placed.reason, None, None, self.clock.now())
        else:
            driver = next(
                one for one in self.drivers if (one.cloud, one.region) == (placed.chosen.cloud, placed.chosen.region)
            )
            await asyncio.to_thread(self._note_running, claim, placed)
            files = await asyncio.to_thread(self._files, manifest)
            outcome = await driver.execute(work_of(manifest, claim, files))
            state, fault = meaning(outcome.end, outcome.enforcement)
            ending = Ending(
                state,
                fault,
                outcome.reason,
                outcome.exit_code,
                outcome.started_at,
                outcome.finished_at,
                outcome.log,
                outcome.log_truncated,
                outcome.enforcement,
            )
        await asyncio.to_thread(self._finish, claim, published, manifest, tenant, ending, placed)

    def _read(self, claim: Claim) -> tuple[Published, Manifest, Tenant, dict[str, bool]]:
        with self.database.begin() as connection:
            published = get_execution(connection, claim.execution_id)
            tenant = get_tenant(connection, TenantId(published.tenant))
            flags = {RUNNER_AZURE_PREVIEW: enabled(connection, RUNNER_AZURE_PREVIEW, tenant=tenant.tenant)}
        return published, manifest_of(published.manifest), tenant, flags

    async def _place(self, manifest: Manifest, tenant: Tenant, flags: Mapping[str, bool]) -> Placement:
        """Place within the tenant's residency and, where the manifest names one, within that too."""
        classes = [tenant.data_class, *([manifest.data_class] if manifest.data_class else [])]
        asked = manifest.model_copy(update={"data_class": max(classes, key=DATA_CLASSES.index)})
        candidates = [await self._candidate(driver) for driver in self.drivers]
        first = place(self.engine, self.policy_revision, asked, candidates, residency=tenant.residency, flags=flags)
        if manifest.residency is None or first.chosen is None:
            return first
        allowed = [one for one in candidates if one.name in first.ranked]
        return place(self.engine, self.policy_revision, asked, allowed, residency=manifest.residency, flags=flags)

    async def _candidate(self, driver: Driver) -> Candidate:
        price = self.prices.of(driver.cloud, driver.region)
        return Candidate(
            driver.cloud, driver.region, await driver.capabilities(), price.micro_per_core_hour, price.price_id
        )

    def _note_running(self, claim: Claim, placed: Placement) -> None:
        now = self.clock.now()
        with self.database.begin() as connection:
            add_transitions(
                connection,
                [
                    Transition(claim.execution_id, claim.attempt, claim.fence, State.PLACED, now, placed.document()),
                    Transition(claim.execution_id, claim.attempt, claim.fence, State.RUNNING, now),
                ],
            )

    def _files(self, manifest: Manifest) -> dict[str, bytes]:
        return {
            file.path: self.store.get(f"{INPUTS}/{file.digest.removeprefix('sha256:')}") for file in manifest.inputs
        }

    def _finish(
        self,
        claim: Claim,
        published: Published,
        manifest: Manifest,
        tenant: Tenant,
        ending: Ending,
        placed: Placement | None,
    ) -> None:
        chosen = None if placed is None else placed.chosen
        with self.database.begin() as connection:
            attempts = _attempts(connection, claim, ending)
        receipt = receipt_of(
            published,
            manifest,
            claim,
            ending,
            place=chosen,
            driver=next((one.version for one in self.drivers if chosen and one.cloud == chosen.cloud), "none"),
            price=None if chosen is None else self.prices.of(chosen.cloud, chosen.region),
            placement={} if placed is None else placed.document(),
            attempts=attempts,
        )
        now = self.clock.now()
        sealed = self.sealer.seal(receipt, at=now)
        payload = fact_payload(
            published, receipt, ending, currency=tenant.currency, digest=sealed.receipt_digest, recorded_at=now
        )
        with self.database.begin() as connection:
            if not queue.finish(connection, claim):
                return  # taken over: the newer claim's end is the one that counts
            detail = {"reason": ending.reason, "receipt": sealed.receipt_digest}
            step = Transition(claim.execution_id, claim.attempt, claim.fence, ending.state, ending.finished_at, detail)
            add_transitions(connection, [step])
            add_receipt(connection, sealed)
            outbox.publish(connection, FINISHED, str(claim.execution_id), payload)
            if placed is not None:
                self._log_decision(connection, claim, placed)

    def _log_decision(self, connection: Connection, claim: Claim, placed: Placement) -> None:
        now = self.clock.now()
        record_decision(
            connection,
            decision_record(
                placed.verdict,
                decision_id=uuid7(now),
                decided_at=now,
                pack="placement",
                revision=self.policy_revision,
                query=DENY,
                input_document=placed.question | {"execution": str(claim.execution_id)},
                engine=self.engine.name,
                tenant=placed.question["tenant"],
            ),
        )

    async def _keep_leases(self) -> None:
        while True:
            await asyncio.sleep(self.lease.total_seconds() / 3)
            claims = [claim for claim, _ in self._held.values()]
            held = await asyncio.to_thread(self._extend, claims)
            for one in claims:
                entry = self._held.get(one.execution_id)
                if entry is not None and entry[0] is one and one.execution_id not in held:
                    entry[1].cancel()

    def _extend(self, claims: Sequence[Claim]) -> set[UUID]:
        with self.database.begin() as connection:
            return queue.extend(connection, claims, now=self.clock.now(), lease=self.lease)

    async def _reap(self) -> None:
        """End what a dead runner left behind, but nothing that a living one holds."""
        with self.database.begin() as connection:
            held = queue.live(connection, now=self.clock.now())
        ids = frozenset(attempt_id(_claim_of(execution, attempt, self)) for execution, attempt in held)
        for driver in self.drivers:
            await driver.reap(ids)

    def _forget(self, done: set[asyncio.Task[None]]) -> int:
        ended = 0
        for execution_id, (_, task) in list(self._held.items()):
            if task in done:
                del self._held[execution_id]
                if not task.cancelled():
                    task.result()
                    ended += 1
        return ended

    async def _stop(self, heart: asyncio.Task[None]) -> None:
        heart.cancel()
        held = list(self._held.values())
        for _, task in held:
            task.cancel()
        await asyncio.gather(heart, *(task for _, task in held), return_exceptions=True)
        self._held.clear()
        with self.database.begin() as connection:
            for claim, _ in held:
                queue.release(connection, claim, not_before=self.clock.now())


def _claim_of(execution_id: UUID, attempt: int, dispatcher: Dispatcher) -> Claim:
    now = dispatcher.clock.now()
    return Claim(execution_id, attempt, 0, now, now, after_expiry=False)


def _attempts(connection: Connection, claim: Claim, ending: Ending) -> list[dict[str, object]]:
    """Return all attempts with how each ended, the present one last."""
    ends: dict[int, dict[str, object]] = {}
    for step in get_transitions(connection, claim.execution_id):
        if step.attempt and (step.state is State.UNKNOWN or step.state in FINAL):
            ends[step.attempt] = {"attempt": step.attempt, "end": str(step.state)}
    ends[claim.attempt] = {"attempt": claim.attempt, "fence": claim.fence, "end": str(ending.state)}
    return [ends[number] for number in sorted(ends)]


async def _first(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
