"""Who computes when: a few threads that answer one request after another, and a queue before them.

An answer of the graph is computed in one go, mostly without the interpreter's lock. More of them at once than there are
processors make none of them earlier and all of them later, because each then waits for the lock behind the others; so
as many run as there are processors, and what came first is answered first. A second set of threads is for questions
that take seconds, so that nobody waits behind those. The threads are kept: each owns a native policy engine, which
costs more to make than to ask.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class Turns:
    """Threads that take turns.

    Args:
        name: of the threads.
        threads: how many; None: as many as this process has processors.
    """

    def __init__(self, name: str, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or len(os.sched_getaffinity(0)), thread_name_prefix=name)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in one of the threads, in the caller's context, and return what it returns."""
        context = copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, lambda: context.run(function, *args, **kwargs))

    def close(self) -> None:
        """Let the threads end after what they are at."""
        self._pool.shutdown(wait=False, cancel_futures=True)
