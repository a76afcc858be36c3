"""A driver that does what a test says, and counts every start."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from uuid import UUID

from mc_pipelines.foundation.clock import Clock
from mc_pipelines.runner.driver import (
    Capabilities,
    Control,
    Egress,
    End,
    Enforcement,
    Outcome,
    StartClass,
    Work,
)

HELD = Control(enforced=True, mechanism="scripted", evidence="a test says so")
ALL_HELD = Enforcement(HELD, HELD, HELD, HELD, HELD)


class ScriptedDriver:
    cloud = "LOCAL"
    region = "local"
    version = "scripted/1"

    def __init__(self, clock: Clock, *, seconds: float = 0) -> None:
        self._clock = clock
        self._seconds = seconds
        self.starts: Counter[UUID] = Counter()
        self.reaped: list[frozenset[UUID]] = []

    async def capabilities(self) -> Capabilities:
        return Capabilities(
            read_only_root=True,
            egress=frozenset({Egress.NONE, Egress.OPEN}),
            start_class=StartClass.WARM,
            log_bytes=1 << 20,
        )

    def slot(self) -> AbstractAsyncContextManager[object]:
        return nullcontext()

    async def execute(self, work: Work) -> Outcome:
        self.starts[work.attempt_id] += 1
        started = self._clock.now()
        if self._seconds:
            await asyncio.sleep(self._seconds)
        code = int(work.argv[1]) if work.argv[0] == "exit" else 0
        return Outcome(
            end=End.SUCCEEDED if code == 0 else End.FAILED,
            exit_code=code,
            reason=f"exit code {code}",
            started_at=started,
            finished_at=self._clock.now(),
            cpu_seconds=0.0,
            log=b"scripted\n",
            log_truncated=False,
            enforcement=ALL_HELD,
        )

    async def cancel(self, attempt_id: UUID, reason: str) -> bool:  # noqa: ARG002 - the protocol's signature
        return False

    async def reap(self, live: Callable[[], frozenset[UUID]]) -> tuple[UUID, ...]:
        self.reaped.append(live())
        return ()
