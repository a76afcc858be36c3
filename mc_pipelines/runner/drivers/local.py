"""The driver of this machine: each attempt is a process in a sandbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from uuid import UUID, uuid4
from weakref import WeakValueDictionary

from mc_pipelines import __version__
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.errors import ConflictError
from mc_pipelines.runner.driver import Capabilities, Egress, End, Outcome, StartClass, Work
from mc_pipelines.runner.sandbox.commands import Mechanism, mechanisms
from mc_pipelines.runner.sandbox.process import Attempt, attempts_root, reap, user_of

_AT_ONCE = 8
"""More at once start later on average: 200 starts gated to 8 finish sooner than 200 at once (notes: runner.md)."""


class LocalDriver:
    """Runs attempts on this machine, in the strongest sandbox that works here.

    Args:
        clock: tells start and finish.
        mechanism: use this one; default: the first that passes a trial run.
        at_once: how many attempts run at the same time.
        house: tells installations on one machine apart; see :func:`attempts_root`.
    """

    cloud = "LOCAL"
    region = "local"
    version = f"local/{__version__}"

    def __init__(
        self, clock: Clock, *, mechanism: Mechanism | None = None, at_once: int = _AT_ONCE, house: str = ""
    ) -> None:
        self._clock = clock
        self._given = mechanism
        self._root = attempts_root(house)
        self._gate = asyncio.Semaphore(at_once)
        # Threads of its own: attempts that take minutes must not keep the runner from prolonging its leases.
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="mc-attempt")
        # Ending an attempt ends all processes of its user, so attempts of the same user wait for each other.
        self._users: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._running: dict[UUID, Attempt] = {}
        self._trial: asyncio.Task[tuple[Mechanism, Outcome]] | None = None

    async def capabilities(self) -> Capabilities:
        """Return what a trial run showed; tried once a driver."""
        _, outcome = await self._tried()
        return Capabilities(
            read_only_root=outcome.enforcement.read_only_root.enforced,
            egress=frozenset({Egress.OPEN} | ({Egress.NONE} if outcome.enforcement.egress.enforced else set())),
            start_class=StartClass.WARM,
            log_bytes=Work(uuid4(), ("true",)).limits.log_bytes,
        )

    def slot(self) -> AbstractAsyncContextManager[object]:
        """Return room for one attempt beside the others."""
        return self._gate

    async def execute(self, work: Work) -> Outcome:
        """Run one attempt; cancelling the task ends the attempt first.

        Raises:
            ConflictError: the attempt was started already.
            InputError: a file's path leaves the working folder.
        """
        mechanism, _ = await self._tried()
        if work.attempt_id in self._running:
            raise ConflictError("This attempt was started already", field="attempt_id", value=str(work.attempt_id))
        attempt = self._running[work.attempt_id] = Attempt(work, mechanism, self._clock, self._root)
        user = self._users.setdefault(user_of(work.attempt_id), asyncio.Lock())
        try:
            async with user:
                running = asyncio.get_running_loop().run_in_executor(self._threads, attempt.run)
                try:
                    return await asyncio.shield(running)
                except asyncio.CancelledError:
                    attempt.cancel("the runner stops")
                    await running
                    raise
        finally:
            self._running.pop(work.attempt_id, None)

    async def cancel(self, attempt_id: UUID, reason: str) -> bool:
        """End a running attempt."""
        attempt = self._running.get(attempt_id)
        if attempt is None:
            return False
        attempt.cancel(reason)
        return True

    async def reap(self, live: Callable[[], frozenset[UUID]]) -> tuple[UUID, ...]:
        """End what a runner that died left behind."""
        return await asyncio.to_thread(reap, lambda: live() | frozenset(self._running), self._root)

    async def _tried(self) -> tuple[Mechanism, Outcome]:
        if self._trial is None:
            self._trial = asyncio.create_task(asyncio.to_thread(try_mechanisms, self._clock, self._given))
        return await asyncio.shield(self._trial)


def try_mechanisms(clock: Clock, given: Mechanism | None = None) -> tuple[Mechanism, Outcome]:
    """Return the first mechanism that runs ``true`` with everything enforced, else the last one tried.

    `mc doctor` shows the outcome's enforcement.
    """
    mechanism, outcome = Mechanism.LANDLOCK, None
    for mechanism in (given,) if given else mechanisms():
        outcome = Attempt(Work(uuid4(), ("true",), needs_read_only_root=False), mechanism, clock).run()
        enforcement = outcome.enforcement
        if outcome.end is End.SUCCEEDED and enforcement.read_only_root.enforced and enforcement.egress.enforced:
            break
    assert outcome is not None  # noqa: S101 - at least one mechanism is always tried
    return mechanism, outcome
