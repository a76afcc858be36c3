"""Who calls and what is switched on: read together, in one round trip, because every request of the API asks both."""

from __future__ import annotations

from dataclasses import dataclass

from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.flags import States
from mc_pipelines.foundation.tenants import Person, person_of_row

_CALLER = """
select (select jsonb_agg(jsonb_build_array(name, scope, enabled)) from flag) as states,
    person.*,
    (select array_agg(public_key_pem) from person_key
        where person_key.person_id = person.person_id and valid_until is null) as public_keys
from (select 1) as one left join person on person.issuer = %(issuer)s and person.subject = %(subject)s
"""


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
    (row,) = database.read(_CALLER, {"issuer": issuer, "subject": subject})
    states = {(name, scope): enabled for name, scope, enabled in row.states or ()}
    return CallerRecord(None if row.person_id is None else person_of_row(row), states)
