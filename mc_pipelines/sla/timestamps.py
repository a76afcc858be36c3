"""Time stamps of issued notes, by an authority that is not us; kept beside the notes, once each."""

from __future__ import annotations

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.attest.timestamp import request_timestamp
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import UnavailableError
from mc_pipelines.foundation.logs import get_logger
from mc_pipelines.sla import records

_log = get_logger(__name__)


def stamp_notes(database: Database, clock: Clock, url: str | None) -> int:
    """Have every note stamped that has no time stamp yet; return how many were.

    The authority is asked outside of any transaction and after the note was issued: one that is down delays no
    note, and the next call asks again.

    Args:
        database: as mc_app.
        clock: now.
        url: of the authority; None: nothing is done.
    """
    if url is None:
        return 0
    note, table = records.note, records.timestamp
    with database.begin() as connection:
        query = select(note.c.number, note.c.envelope).where(note.c.number.not_in(select(table.c.number)))
        waiting = connection.execute(query.order_by(note.c.number)).all()
    stamped = 0
    for row in waiting:
        try:
            response = request_timestamp(url, bytes(row.envelope))
        except UnavailableError as error:
            _log.warning("timestamp.refused", number=row.number, error=str(error))
            break
        with database.begin() as connection:
            values = {"number": row.number, "response": response, "recorded_at": clock.now()}
            connection.execute(insert(table).values(values).on_conflict_do_nothing())
        stamped += 1
    return stamped


def timestamp_of(connection: Connection, number: str) -> bytes | None:
    """Return the authority's response for a note, if it has one."""
    table = records.timestamp
    found = connection.execute(select(table.c.response).where(table.c.number == number)).scalar()
    return None if found is None else bytes(found)
