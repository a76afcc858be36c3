"""Who computes when: as many requests at once as there are processors, and who has waited longest next.

An answer of the graph is computed in one go, mostly without the interpreter's lock. More of them at once than there are
processors make none of them earlier and all of them later, because each then waits for the lock behind the others. So a
thread computes only while it has a turn. Questions that take seconds have turns of their own, so that nobody waits
behind those; and a thread that waits for something else, such as a tenant's graph being opened, gives its turn to the
next one meanwhile (:func:`given_away`). The threads are kept: each owns native policy engines, which cost more to make
than to ask.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
_THREADS = 32
"""Threads for one set of turns: those that compute, and those that wait for something else."""
_having = threading.local()


class Queue:
    """A semaphore that hands a turn straight to whoever has waited longest; nobody can come in between.

    Args:
        turns: how many there are.
    """

    def __init__(self, turns: int) -> None:
        self._free = turns
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def take(self) -> None:
        """Wait for a turn."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        mine.acquire()  # released by who gives the turn

    def give(self) -> None:
        """Give a turn back."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1


class Turns:
    """Threads that take turns.

    Args:
        name: of the threads.
        turns: how many compute at once; None: as many as this process has processors.
    """

    def __init__(self, name: str, turns: int | None = None) -> None:
        self._queue = Queue(turns or len(os.sched_getaffinity(0)))
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function in one of the threads, in the caller's context, and return what it returns."""
        context = copy_context()

        def take_turn() -> R:
            self._queue.take()
            _having.turn_of = self._queue
            try:
                return context.run(function, *args, **kwargs)
            finally:
                _having.turn_of = None
                self._queue.give()

        return await asyncio.get_running_loop().run_in_executor(self._pool, take_turn)

    def close(self) -> None:
        """Let the threads end after what they are at."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def given_away() -> Iterator[None]:
    """Let the next one have this thread's turn, if it has one, while the thread waits; then take a turn again."""
    queue: Queue | None = getattr(_having, "turn_of", None)
    if queue is None:
        yield
        return
    queue.give()
    try:
        yield
    finally:
        queue.take()
