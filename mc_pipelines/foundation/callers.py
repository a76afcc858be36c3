"""Who calls and what is switched on: read together, in one round trip, because every request of the API asks both."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, bindparam, func, literal, select

from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.flags import States
from mc_pipelines.foundation.records import flag
from mc_pipelines.foundation.records import person as person_table
from mc_pipelines.foundation.tenants import Person, person_of_row, valid_keys

_STATES = select(func.jsonb_agg(func.jsonb_build_array(flag.c.name, flag.c.scope, flag.c.enabled))).scalar_subquery()
_CALLER = select(_STATES.label("states"), *person_table.c, valid_keys().label("public_keys")).select_from(
    select(literal(1).label("one"))
    .subquery()
    .outerjoin(
        person_table,
        and_(
            person_table.c.issuer == bindparam("of_issuer"),
            person_table.c.subject == bindparam("of_subject"),
        ),
    )
)


@dataclass(frozen=True, slots=True)
class CallerRecord:
    """What is on record when a request comes in.

    Attributes:
        person: whom issuer and subject name; None where nobody is on record.
        states: of the feature flags that somebody has set.
    """

    person: Person | None
    states: States


def read_caller(database: Database, issuer: str, subject: str) -> CallerRecord:
    """Return the person of a token's issuer and subject, and the flags, as they stand now.

    Raises:
        UnavailableError: the server cannot be reached.
    """
    (row,) = database.read(_CALLER, {"of_issuer": issuer, "of_subject": subject})
    states = {(name, scope): enabled for name, scope, enabled in row.states or ()}
    return CallerRecord(None if row.person_id is None else person_of_row(row), states)
