"""Conducts one claimed attempt: place, fetch the input, drive, sign and seal, record.

The end of an attempt is written in one transaction (queue, steps, the one receipt, the outbox row of the facts, the
decisions), which only the holder of the newest fence can commit. What was sealed under a fence that does not count
is removed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from mc_pipelines.decision.log import decision_record, record_decisions
from mc_pipelines.executions.fact_schema import FaultOwner
from mc_pipelines.executions.manifest import Manifest, manifest_of
from mc_pipelines.executions.records import (
    FINAL,
    State,
    Transition,
    add_receipt,
    add_transitions,
    get_executions,
    get_transitions,
)
from mc_pipelines.foundation import outbox
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import Clock, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import MaestroError, NotFoundError, VerificationError
from mc_pipelines.foundation.flags import RUNNER_AZURE_PREVIEW, enabled
from mc_pipelines.foundation.ids import TenantId, uuid7
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.foundation.tenants import DATA_CLASSES, get_tenant
from mc_pipelines.runner import queue
from mc_pipelines.runner.assignment import Assignment, Cause, Plan, World
from mc_pipelines.runner.attempt import Ending, fact_payload, meaning, receipt_of, work_of
from mc_pipelines.runner.driver import Capabilities, Driver
from mc_pipelines.runner.lake import FINISHED
from mc_pipelines.runner.metrics import START_MS
from mc_pipelines.runner.placement import DENY, Candidate, Placement, place, warned
from mc_pipelines.runner.policies import PACK, Policies
from mc_pipelines.runner.price import PriceTable
from mc_pipelines.runner.publish import input_path
from mc_pipelines.runner.queue import Claim, ClaimLostError
from mc_pipelines.runner.sealing import Sealer


@dataclass(frozen=True)
class Conductor:
    """Conducts attempts.

    Args:
        database: as mc_app.
        store: the plain store, which holds the facts.
        drivers: the places that executions may run on.
        policies: the placement policy in force.
    """

    database: Database
    store: ObjectStore
    sealer: Sealer
    drivers: Sequence[Driver]
    policies: Policies
    prices: PriceTable
    clock: Clock

    def assign(self, connection: Connection, claims: Sequence[Claim]) -> list[Assignment]:
        """Read what a batch of claims needs, in the transaction that made them; each tenant is read once."""
        published = get_executions(connection, [one.execution_id for one in claims])
        worlds: dict[str, World | MaestroError] = {}
        found = []
        for one in claims:
            execution = published[one.execution_id]
            if execution.tenant not in worlds:
                worlds[execution.tenant] = self._world(connection, TenantId(execution.tenant))
            found.append(Assignment(one, execution, worlds[execution.tenant]))
        return found

    def _world(self, connection: Connection, name: TenantId) -> World | MaestroError:
        """Return a tenant's world, or why there is none: that must not keep other tenants' executions waiting."""
        try:
            return World(
                get_tenant(connection, name),
                self.policies.source(connection, name),
                {RUNNER_AZURE_PREVIEW: enabled(connection, RUNNER_AZURE_PREVIEW, tenant=name)},
            )
        except MaestroError as error:
            return error

    async def plan(self, work: Assignment) -> Plan:
        """Decide where an execution runs; evaluates the policy in the thread of the event loop.

        Raises:
            MaestroError: the manifest, the tenant or the pack cannot be read now.
        """
        world = _required(work.world)
        manifest = manifest_of(work.published.manifest)
        return Plan(manifest, await self._place(work, manifest, world))

    async def carry_out(self, work: Assignment, plan: Plan) -> None:
        """Take an attempt from its placement to its recorded end.

        Raises:
            ClaimLostError: another runner took it over; nothing was recorded.
            Exception: anything that went wrong here and says nothing about the execution itself: try again.
        """
        placed = plan.decisions[-1]
        if placed.chosen is None:
            fault = FaultOwner.CUSTOMER if placed.error is None else FaultOwner.PROVIDER
            ending = Ending(State.DENIED, fault, placed.reason, None, None, self.clock.now())
        else:
            ending = await self._drive(work.claim, plan, placed, self._driver_of(placed.chosen))
        await _to_the_end(self._record, work, plan.manifest, ending, plan.decisions)

    async def lose(self, work: Assignment, reason: str) -> None:
        """End an execution that nobody could finish as lost, with a receipt that says why.

        Raises:
            ClaimLostError: another runner took it over.
        """
        ending = Ending(State.LOST, FaultOwner.PROVIDER, reason, None, None, self.clock.now())
        await _to_the_end(self._record, work, manifest_of(work.published.manifest), ending, [])

    def give_back(self, claim: Claim, cause: Cause, reason: str, *, not_before: datetime) -> bool:
        """Put an attempt's execution back on the queue; False where it was taken over."""
        detail = {"cause": str(cause), "reason": reason, "notBefore": rfc3339(not_before)}
        step = Transition(claim.execution_id, claim.attempt, claim.fence, State.UNKNOWN, self.clock.now(), detail)
        with self.database.begin() as connection:
            if not queue.release(connection, claim, not_before=not_before):
                return False
            add_transitions(connection, [step])
        return True

    def failures(self, claim: Claim) -> int:
        """Return how many earlier attempts speak against an execution: those that failed, or died while it ran.

        One that was only held when its runner died, or was told to stop, had no part in it.
        """
        with self.database.begin() as connection:
            steps = [step for step in get_transitions(connection, claim.execution_id) if step.attempt < claim.attempt]
        ran = {step.attempt for step in steps if step.state is State.RUNNING}
        causes = [(step.attempt, step.detail.get("cause")) for step in steps if step.state is State.UNKNOWN]
        return sum(cause == Cause.ERROR or (cause == Cause.LEASE and attempt in ran) for attempt, cause in causes)

    async def _place(self, work: Assignment, manifest: Manifest, world: World) -> list[Placement]:
        """Place within the tenant's residency and, where the manifest names one, within that too; the last decides."""
        tenant = world.tenant
        classes = [tenant.data_class, *([manifest.data_class] if manifest.data_class else [])]
        asked = manifest.model_copy(update={"data_class": max(classes, key=DATA_CLASSES.index)})
        policy = world.policy
        engine = self.policies.engine(policy.pack)
        candidates = [self._candidate(driver, await driver.capabilities()) for driver in self.drivers]

        def ask(among: Sequence[Candidate], residency: Sequence[str]) -> Placement:
            placed = place(
                engine,
                policy.pack.revision,
                asked,
                among,
                residency=residency,
                flags=world.flags,
                execution=str(work.claim.execution_id),
            )
            if policy.warns is not None:
                placed = warned(placed, self.policies.engine(policy.warns), policy.warns.revision)
            return replace(placed, pointer=policy.version)

        first = ask(candidates, tenant.residency)
        if manifest.residency is None or first.chosen is None:
            return [first]
        second = ask([one for one in candidates if one.name in first.ranked], manifest.residency)
        return [first, replace(second, denials=(*first.denials, *second.denials))]

    def _candidate(self, driver: Driver, capabilities: Capabilities) -> Candidate:
        price = self.prices.of(driver.cloud, driver.region)
        return Candidate(driver.cloud, driver.region, capabilities, price.micro_per_core_hour, price.price_id)

    def _driver_of(self, chosen: Candidate) -> Driver:
        return next(one for one in self.drivers if (one.cloud, one.region) == (chosen.cloud, chosen.region))

    async def _drive(self, claim: Claim, plan: Plan, placed: Placement, driver: Driver) -> Ending:
        files, refusal = await asyncio.to_thread(self._files, plan.manifest)
        if refusal is not None:
            return refusal
        async with driver.slot():
            await asyncio.to_thread(self._note_running, claim, placed, plan.decisions)
            outcome = await driver.execute(work_of(plan.manifest, claim, files))
        state, fault = meaning(outcome.end, outcome.enforcement)
        return Ending(
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

    def _files(self, manifest: Manifest) -> tuple[dict[str, bytes], Ending | None]:
        """Return the input files, or the ending where one is missing or is not what the manifest names."""
        files: dict[str, bytes] = {}
        for file in manifest.inputs:
            try:
                content = self.sealer.store.get(input_path(manifest.tenant, file.digest), tenant=manifest.tenant)
            except NotFoundError:
                reason = f"the input file {file.path} ({file.digest}) was never stored: publish it with --input"
                return {}, Ending(State.FAILED, FaultOwner.CUSTOMER, reason, None, None, self.clock.now())
            except VerificationError as error:
                reason = f"the stored input file {file.path} cannot be opened: {error.detail}"
                return {}, Ending(State.FAILED, FaultOwner.PROVIDER, reason, None, None, self.clock.now())
            if sha256_digest(content) != file.digest:
                reason = f"the stored input file {file.path} is not the one of digest {file.digest}"
                return {}, Ending(State.FAILED, FaultOwner.PROVIDER, reason, None, None, self.clock.now())
            files[file.path] = content
        return files, None

    def _note_running(self, claim: Claim, placed: Placement, decisions: Sequence[Placement]) -> None:
        now = self.clock.now()
        steps = [
            Transition(claim.execution_id, claim.attempt, claim.fence, State.PLACED, now, placed.document()),
            Transition(claim.execution_id, claim.attempt, claim.fence, State.RUNNING, now),
        ]
        with self.database.begin() as connection:
            queue.hold(connection, claim)
            add_transitions(connection, steps)
            self._log_decisions(connection, decisions)

    def _record(self, work: Assignment, manifest: Manifest, ending: Ending, decisions: Sequence[Placement]) -> None:
        claim, published = work.claim, work.published
        placed = decisions[-1] if decisions else None
        chosen = None if placed is None else placed.chosen
        with self.database.begin() as connection:
            queue.hold(connection, claim)
            steps = get_transitions(connection, claim.execution_id)
        receipt = receipt_of(
            published,
            manifest,
            claim,
            ending,
            place=chosen,
            driver="none" if chosen is None else self._driver_of(chosen).version,
            price=None if chosen is None else self.prices.of(chosen.cloud, chosen.region),
            placement={} if placed is None else placed.document(),
            attempts=_attempts(steps, claim, ending),
        )
        now = self.clock.now()
        sealed = self.sealer.seal(receipt, at=now)
        payload = fact_payload(
            published,
            receipt,
            ending,
            currency=work.world.tenant.currency if isinstance(work.world, World) else "USD",
            digest=sealed.receipt_digest,
            recorded_at=now,
            estimate_id=_estimate_id(steps),
        )
        detail = {"reason": ending.reason, "receipt": sealed.receipt_digest}
        step = Transition(claim.execution_id, claim.attempt, claim.fence, ending.state, ending.finished_at, detail)
        with self.database.begin() as connection:
            counts = queue.finish(connection, claim)
            if counts:
                add_transitions(connection, [step])
                add_receipt(connection, sealed)
                outbox.publish(connection, FINISHED, str(claim.execution_id), payload)
                if all(one.state is not State.RUNNING or one.attempt != claim.attempt for one in steps):
                    self._log_decisions(connection, decisions)  # else they were logged when it began to run
        self.sealer.discard(published.tenant, claim.execution_id, range(1, claim.fence) if counts else (claim.fence,))
        if not counts:
            raise ClaimLostError("Another runner took this execution over", field="fence", value=claim.fence)
        if ending.started_at is not None and chosen is not None:
            waited = ending.started_at - published.published_at
            start_class = str(chosen.capabilities.start_class)
            START_MS.labels(chosen.cloud, chosen.region, start_class).observe(waited.total_seconds() * 1000)

    def _log_decisions(self, connection: Connection, decisions: Sequence[Placement]) -> None:
        now = self.clock.now()
        record_decisions(
            connection,
            [
                decision_record(
                    placed.verdict,
                    decision_id=uuid7(now),
                    decided_at=now,
                    pack=PACK,
                    revision=placed.pack,
                    query=DENY,
                    input_document=placed.question,
                    engine=placed.engine,
                    tenant=placed.question["tenant"],
                )
                for placed in decisions
            ],
        )


def _required(world: World | MaestroError) -> World:
    if isinstance(world, MaestroError):
        raise world
    return world


def _attempts(steps: Sequence[Transition], claim: Claim, ending: Ending) -> list[dict[str, Any]]:
    """Return all attempts with how each ended and why, the present one last."""
    ends: dict[int, dict[str, Any]] = {}
    for step in steps:
        if step.attempt and (step.state is State.UNKNOWN or step.state in FINAL):
            reason = {"reason": step.detail["reason"]} if "reason" in step.detail else {}
            ends[step.attempt] = {"attempt": step.attempt, "end": str(step.state), **reason}
    ends[claim.attempt] = {"attempt": claim.attempt, "fence": claim.fence, "end": str(ending.state)}
    return [ends[number] for number in sorted(ends)]


def _estimate_id(steps: Sequence[Transition]) -> str | None:
    for step in steps:
        if step.state is State.PUBLISHED and "estimate" in step.detail:
            return str(step.detail["estimate"]["id"])
    return None


async def _to_the_end(record: Any, *arguments: Any) -> None:
    """Run the last step in a thread, to its end even when the task is cancelled meanwhile: the work is done."""
    task = asyncio.create_task(asyncio.to_thread(record, *arguments))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
