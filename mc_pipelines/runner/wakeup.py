"""Wakes the dispatcher when something is queued: PostgreSQL's LISTEN, on a connection of its own.

A notification is a hint, never the truth: one that is lost (the connection broke, the server restarted) costs at most
the dispatcher's own interval, because the queue is looked at then anyway.
"""

from __future__ import annotations

import asyncio

import psycopg
from psycopg import AsyncConnection, sql
from sqlalchemy.engine import make_url

from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.logs import get_logger
from mc_pipelines.runner.records import CHANNEL

_LONGEST_PAUSE_SECONDS = 30.0
_CONNECT_SECONDS = 5


async def listen(database: Database, wake: asyncio.Event) -> None:
    """Set ``wake`` whenever something is queued, until cancelled; connects again when the connection breaks."""
    url = make_url(database.url).set(drivername="postgresql").render_as_string(hide_password=False)
    failures = 0
    while True:
        try:
            async with await AsyncConnection.connect(
                url, autocommit=True, connect_timeout=_CONNECT_SECONDS
            ) as connection:
                await connection.execute(sql.SQL("listen {}").format(sql.Identifier(CHANNEL)))
                failures = 0
                wake.set()  # what was queued before we listened
                async for _ in connection.notifies():
                    wake.set()
        except (psycopg.Error, OSError) as error:
            failures += 1
            pause = min(0.5 * 2**failures, _LONGEST_PAUSE_SECONDS)
            get_logger(__name__).warning("runner.listen-failed", error=str(error).strip(), pause_seconds=pause)
            await asyncio.sleep(pause)
