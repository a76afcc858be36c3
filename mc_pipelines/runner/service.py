"""What `mc runner serve` runs: the dispatcher, and beside it what must happen within seconds of an act.

Facts go to the lake, receipts enter the audit log by the minute, and the sequencer signs a checkpoint within a second
of any act. Each has its own loop; one that fails is logged and tried again, and takes nothing else with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from threading import Event

from mc_pipelines.attest import sequencer
from mc_pipelines.attest.signer import Signer
from mc_pipelines.runner.dispatcher import Dispatcher, every
from mc_pipelines.runner.lake import flush_facts, waiting
from mc_pipelines.runner.minutes import enter_minutes

LOOK_SECONDS = 2.0
MINUTES_SECONDS = 10.0
FLUSH_AGE = timedelta(seconds=10)
"""Facts wait so long for others to share a file with; a full batch goes at once."""
FLUSH_ROWS = 1_000


async def serve(dispatcher: Dispatcher, signer: Callable[[], Signer], stop: asyncio.Event) -> int:
    """Serve until ``stop`` is set, then put everything away; return how many executions ended here.

    Args:
        dispatcher: takes executions off the queue.
        signer: of the audit log's checkpoints, asked anew for each because keys rotate.
        stop: ends everything.
    """
    conductor = dispatcher.conductor
    database, store, clock = conductor.database, conductor.store, conductor.clock

    async def flush() -> None:
        if await asyncio.to_thread(_is_time_to_flush, dispatcher):
            await asyncio.to_thread(flush_facts, database, store, clock, limit=FLUSH_ROWS)

    async def minutes() -> None:
        await asyncio.to_thread(enter_minutes, database, clock)

    sequencer_stop = Event()
    loops = [
        asyncio.create_task(every(LOOK_SECONDS, flush)),
        asyncio.create_task(every(MINUTES_SECONDS, minutes)),
        asyncio.create_task(asyncio.to_thread(sequencer.run, database, signer, clock, sequencer_stop)),
    ]
    try:
        await dispatcher.serve(stop)
    finally:
        sequencer_stop.set()
        for task in loops[:2]:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await asyncio.to_thread(flush_facts, database, store, clock)
    return dispatcher.ended


def _is_time_to_flush(dispatcher: Dispatcher) -> bool:
    with dispatcher.conductor.database.begin() as connection:
        count, _, since = waiting(connection)
    return count >= FLUSH_ROWS or (since is not None and dispatcher.conductor.clock.now() - since >= FLUSH_AGE)
