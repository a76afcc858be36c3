"""The dispatcher: claims in batches, has each execution conducted, keeps leases; one asyncio process, no Dagster.

What a kill -9 leaves: claims whose lease runs out. They are claimed again as the next attempt under a higher fence,
and a driver's left-over processes are reaped. What an error leaves (a store that does not answer, a driver that
breaks): the execution goes back to the queue for a while that grows, and after the last attempt it ends as lost, with
a receipt that says why. Where the tenant's policy itself cannot be read, it waits for as long as that takes. No
error of one execution ends the dispatcher.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from sqlalchemy.exc import SQLAlchemyError

from mc_pipelines.executions.records import State, Transition, add_transitions
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.logs import get_logger
from mc_pipelines.runner import queue
from mc_pipelines.runner.assignment import Assignment, Cause
from mc_pipelines.runner.attempt import attempt_id
from mc_pipelines.runner.conductor import Conductor
from mc_pipelines.runner.lake import flush_facts
from mc_pipelines.runner.metrics import QUEUE_MS
from mc_pipelines.runner.queue import Claim, ClaimLostError
from mc_pipelines.runner.wakeup import listen

_LONGEST_BACK_OFF = timedelta(minutes=5)
_BACK_OFF_FACTOR = 4
_LONGEST_PAUSE_SECONDS = 30.0
_PLANNED_AT_ONCE = 2
"""Plans are made in the event loop: a burst of them must leave it gaps in which to claim."""
_log = get_logger(__name__)


@dataclass
class Dispatcher:
    """Takes executions off the queue until it is told to stop.

    Args:
        conductor: conducts one attempt.
        batch: most claims taken in one transaction.
        capacity: most executions held at once.
        lease: how long a claim holds without a sign of life.
        max_attempts: after so many attempts that failed here or died, the execution is lost.
        back_off: before the second attempt after an error; four times as long before each further one.
        poll_seconds: how often the queue is looked at without being woken: for what waits until a time, for leases
            that ran out, and for a notification that was lost.
    """

    conductor: Conductor
    batch: int = 250
    capacity: int = 64
    lease: timedelta = timedelta(seconds=30)
    max_attempts: int = 5
    back_off: timedelta = timedelta(seconds=1)
    poll_seconds: float = 1.0
    owner: str = field(default_factory=lambda: f"runner-{uuid4().hex[:12]}")
    ended: int = field(default=0, init=False)
    """Executions whose end was recorded here."""
    _held: dict[UUID, tuple[Claim, asyncio.Task[None]]] = field(default_factory=dict, init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _planning: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_PLANNED_AT_ONCE), init=False)
    _calm: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    """Not set while a claim is under way: attempts wait that moment with starting, so that claims go first."""
    _more: bool = field(default=False, init=False)
    _reap_due: bool = field(default=True, init=False)
    # The queue has a thread of its own: a claim never waits behind the records of hundreds of executions.
    _queue_thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="mc-queue"), init=False
    )

    async def run_until_idle(self) -> int:
        """Work until nothing is due and nothing is held, write the facts; return how many executions ended here."""
        before = self.ended
        await self._reap()
        heart = asyncio.create_task(every(self.lease.total_seconds() / 3, self._keep_leases))
        try:
            while True:
                taken = await self._take()
                if self._held:
                    await asyncio.wait([task for _, task in self._held.values()], return_when=asyncio.FIRST_COMPLETED)
                elif not taken:
                    return self.ended - before
        finally:
            await self._stop([heart])
            conductor = self.conductor
            await asyncio.to_thread(flush_facts, conductor.database, conductor.store, conductor.clock)

    async def serve(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; then end what runs, which gives it back to the queue."""
        stopping = asyncio.create_task(stop.wait())
        helpers = [
            stopping,
            asyncio.create_task(listen(self.conductor.database, self._wake)),
            asyncio.create_task(every(self.lease.total_seconds() / 3, self._keep_leases)),
            asyncio.create_task(every(self.poll_seconds, self._reap_if_due)),
        ]
        failures = 0
        try:
            while not stop.is_set():
                self._wake.clear()
                try:
                    await self._take()
                    failures = 0
                except (MaestroError, SQLAlchemyError, OSError) as error:
                    failures += 1
                    pause = min(self.poll_seconds * 2**failures, _LONGEST_PAUSE_SECONDS)
                    _log.warning("runner.claim-failed", error=_spoken(error), pause_seconds=pause)
                    await asyncio.wait([stopping], timeout=pause)
                    continue
                await self._wait_for_work(stopping)
        finally:
            await self._stop(helpers)

    async def _wait_for_work(self, stopping: asyncio.Task[bool]) -> None:
        waking = asyncio.create_task(self._wake.wait())
        try:
            await asyncio.wait([stopping, waking], timeout=self.poll_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()

    async def _take(self) -> int:
        """Claim all there is room for, batch by batch, and start what was claimed; return how many.

        Nothing starts before the last claim: a burst would otherwise wait for its claims behind its own first starts.
        """
        loop = asyncio.get_running_loop()
        assigned: list[Assignment] = []
        self._calm.clear()
        try:
            while (room := min(self.batch, self.capacity - len(self._held) - len(assigned))) > 0:
                found = await loop.run_in_executor(self._queue_thread, self._claim, room)
                assigned += found
                self._more = len(found) == room
                if not self._more:
                    break
            else:
                self._more = True
        finally:
            self._calm.set()
            for work in assigned:
                task = asyncio.create_task(self._run(work))
                self._held[work.claim.execution_id] = (work.claim, task)
                task.add_done_callback(lambda done, claim=work.claim: self._forget(claim, done))  # type: ignore[misc]
        return len(assigned)

    def _claim(self, limit: int) -> list[Assignment]:
        conductor = self.conductor
        now = conductor.clock.now()
        with conductor.database.begin() as connection:
            claims = queue.claim(connection, owner=self.owner, now=now, lease=self.lease, limit=limit)
            if not claims:
                return []
            steps = []
            for one in claims:
                if one.after_expiry:
                    self._reap_due = True
                    detail = {"cause": str(Cause.LEASE), "reason": "the lease of its runner expired"}
                    steps.append(
                        Transition(one.execution_id, one.attempt - 1, one.fence, State.UNKNOWN, one.claimed_at, detail)
                    )
                detail = {"owner": self.owner}
                steps.append(
                    Transition(one.execution_id, one.attempt, one.fence, State.CLAIMED, one.claimed_at, detail)
                )
            add_transitions(connection, steps)
            assigned = conductor.assign(connection, claims)
        now = conductor.clock.now()
        for work in assigned:
            if work.claim.attempt == 1:
                waited = now - work.published.published_at
                QUEUE_MS.observe(waited.total_seconds() * 1000)
        return assigned

    async def _run(self, work: Assignment) -> None:
        """Conduct one attempt; whatever goes wrong with it is this execution's affair alone."""
        claim = work.claim
        try:
            if claim.attempt > self.max_attempts and await self._is_spent(claim, self.max_attempts):
                await self.conductor.lose(work, f"no runner finished it in {self.max_attempts} attempts")
            else:
                async with self._planning:
                    await self._calm.wait()
                    plan = await self.conductor.plan(work)
                    await asyncio.sleep(0)  # the loop has others to serve, claims first
                await self.conductor.carry_out(work, plan)
            self.ended += 1
        except ClaimLostError:
            _log.info("runner.taken-over", execution_id=str(claim.execution_id), fence=claim.fence)
        except Exception as error:  # noqa: BLE001 - a task of one execution must never end the dispatcher
            _log.warning("runner.attempt-failed", execution_id=str(claim.execution_id), exc_info=True)
            await self._after_error(work, error)

    async def _after_error(self, work: Assignment, error: Exception) -> None:
        claim, reason = work.claim, _spoken(error)
        unreadable = error is work.world
        try:
            if not unreadable and await self._is_spent(claim, self.max_attempts - 1):
                await self.conductor.lose(work, f"{self.max_attempts} attempts failed; the last one: {reason}")
                self.ended += 1
                return
        except ClaimLostError:
            return
        except Exception:  # noqa: BLE001 - not even the loss could be recorded; try again later
            _log.warning("runner.loss-not-recorded", execution_id=str(claim.execution_id), exc_info=True)
        try:
            later = self.conductor.clock.now() + self._pause_after(claim.attempt)
            cause = Cause.UNREADABLE if unreadable else Cause.ERROR
            await asyncio.to_thread(self.conductor.give_back, claim, cause, reason, not_before=later)
        except (MaestroError, SQLAlchemyError, OSError):
            _log.warning("runner.release-failed", execution_id=str(claim.execution_id), exc_info=True)

    async def _is_spent(self, claim: Claim, most: int) -> bool:
        return await asyncio.to_thread(self.conductor.failures, claim) >= most

    def _pause_after(self, attempt: int) -> timedelta:
        factor: int = _BACK_OFF_FACTOR ** min(attempt - 1, 10)
        return min(self.back_off * factor, _LONGEST_BACK_OFF)

    async def _keep_leases(self) -> None:
        claims = [claim for claim, _ in self._held.values()]
        if not claims:
            return
        loop = asyncio.get_running_loop()
        held = await loop.run_in_executor(self._queue_thread, self._extend, claims)
        for one in claims:
            entry = self._held.get(one.execution_id)
            if entry is not None and entry[0] is one and one.execution_id not in held:
                entry[1].cancel()

    def _extend(self, claims: Sequence[Claim]) -> set[UUID]:
        with self.conductor.database.begin() as connection:
            return queue.extend(connection, claims, now=self.conductor.clock.now(), lease=self.lease)

    async def _reap_if_due(self) -> None:
        if self._reap_due:
            await self._reap()

    async def _reap(self) -> None:
        """End what a dead runner left behind, but nothing that a living one holds."""
        self._reap_due = False
        for driver in self.conductor.drivers:
            for attempt in await driver.reap(self._living):
                _log.info("runner.reaped", attempt_id=str(attempt), driver=driver.version)

    def _living(self) -> frozenset[UUID]:
        with self.conductor.database.begin() as connection:
            held = queue.live(connection, now=self.conductor.clock.now())
        return frozenset(attempt_id(execution, attempt) for execution, attempt in held)

    def _forget(self, claim: Claim, done: asyncio.Task[None]) -> None:
        entry = self._held.get(claim.execution_id)
        if entry is not None and entry[1] is done:
            del self._held[claim.execution_id]
        if self._more:
            self._wake.set()

    async def _stop(self, helpers: Sequence[asyncio.Task[object]]) -> None:
        held = list(self._held.values())
        for task in (*helpers, *(task for _, task in held)):
            task.cancel()
        await asyncio.gather(*helpers, *(task for _, task in held), return_exceptions=True)
        for claim, _ in held:  # False for what ended while we stopped
            now = self.conductor.clock.now()
            await asyncio.to_thread(
                self.conductor.give_back, claim, Cause.STOPPED, "its runner was told to stop", not_before=now
            )
        self._queue_thread.shutdown(wait=False)


def _spoken(error: BaseException) -> str:
    """Return what may stand in a tenant's receipt: our own sentences, and of other errors only the kind."""
    return str(error) if isinstance(error, MaestroError) else f"an internal error ({type(error).__name__})"


async def every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    """Repeat some work until cancelled; a failure is logged, and the work tried again."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await work()
        except Exception:  # noqa: BLE001 - the next round may find the database up again
            _log.warning("runner.helper-failed", exc_info=True)
