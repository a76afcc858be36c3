"""Signatures of people on a rollout: one begins it, two people's let it be enforced.

A signature made on a person's own side is recorded once and verified again in the transaction of every step that
needs it: who has lost the role, or withdrew the key, counts no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, select
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.attest import log as audit_log
from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, Signature, verify
from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import Clock, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ForbiddenError, InputError, MaestroError, VerificationError
from mc_pipelines.foundation.ids import KeyId, PersonId
from mc_pipelines.foundation.tenants import Person, get_person, is_same_person, key_holder
from mc_pipelines.policy.proposal import Proposal
from mc_pipelines.policy.records import approvals

ROLES = frozenset({"operator", "security"})
"""Who may begin a rollout, and sign one."""
APPROVER = "security"
"""At least one of the two who let it be enforced has this role."""
ENFORCERS = 2


@dataclass(frozen=True)
class Signed:
    """One person's signature."""

    person: Person
    key_id: KeyId
    signed_at: datetime


@dataclass(frozen=True)
class Standing:
    """Whose signatures a rollout has, as far as they count now."""

    signed: tuple[Signed, ...]

    @property
    def missing(self) -> str | None:
        """What enforcing still lacks, for a person; None = nothing."""
        if len(self.signed) < ENFORCERS:
            return f"enforcing waits for signatures: {len(self.signed)} of {ENFORCERS} people have signed"
        if not any(APPROVER in one.person.roles for one in self.signed):
            return f"enforcing waits for the signature of a person with the role {APPROVER}"
        return None


def check(
    connection: Connection, proposal: Proposal, person: Person, envelope: Envelope, *, now: datetime
) -> tuple[KeyId, bytes]:
    """Return key and signature of a person on a proposal, if they count.

    Raises:
        ForbiddenError: the person has none of :data:`ROLES`, or the key is somebody else's or was withdrawn.
        VerificationError: another statement was signed, or the signature does not hold.
        InputError: the envelope does not carry exactly one signature.
    """
    if not person.roles & ROLES:
        raise ForbiddenError(
            f"A rollout is signed by people with the role {' or '.join(sorted(ROLES))}",
            field="role",
            value=sorted(person.roles),
        )
    if (envelope.payload_type, envelope.payload) != (IN_TOTO_PAYLOAD_TYPE, proposal.payload):
        raise VerificationError(
            "The signed statement is not this rollout's",
            field="payload",
            mend="look at the rollout again and sign exactly those bytes",
        )
    if len(envelope.signatures) != 1:
        raise InputError("An approval carries exactly one signature", field="signatures")
    key_id, signature = envelope.signatures[0].keyid, envelope.signatures[0].sig
    holder = key_holder(connection, key_id, at=now)
    if holder is None or holder.person_id != person.person_id:
        raise ForbiddenError(
            "The key is not one of the person who signs",
            field="keyid",
            value=key_id,
            mend="register the key for this person: `mc people add-key`",
        )
    keys = {thumbprint(pem.encode()): pem.encode() for pem in holder.public_keys}
    verify(envelope, {key_id: keys[key_id]})
    return key_id, signature


def record(connection: Connection, proposal: Proposal, person: Person, envelope: Envelope, *, now: datetime) -> bool:
    """Add a person's signature to a rollout; return whether it is new. A second one of the same person changes nothing.

    Raises:
        MaestroError: as :func:`check`; and ForbiddenError where the person may be one that signed already.
    """
    key_id, signature = check(connection, proposal, person, envelope, now=now)
    for other in _signatures(connection, proposal):
        if other.person_id == person.person_id:
            return False
        if is_same_person(person, get_person(connection, other.person_id)):
            raise ForbiddenError(
                "The same person cannot sign twice, by whatever name or key", field="person", mend="let another sign"
            )
    added = connection.execute(
        insert(approvals)
        .values(
            rollout_id=proposal.rollout_id,
            person_id=person.person_id,
            key_id=key_id,
            signature=signature,
            signed_at=now,
        )
        .on_conflict_do_nothing()
        .returning(approvals.c.person_id)
    ).first()
    if added is None:
        return False
    facts = {"rollout": str(proposal.rollout_id), "person": str(person.person_id), "key": key_id, "at": rfc3339(now)}
    audit_log.append(
        connection,
        act="policy.rollout-approved",
        subject=f"policy-rollout/{proposal.rollout_id}",
        content=canonical_json(facts),
        at=now,
    )
    return True


def standing(connection: Connection, proposal: Proposal, *, now: datetime) -> Standing:
    """Verify every recorded signature again and return those that count now."""
    counted: list[Signed] = []
    for row in _signatures(connection, proposal):
        envelope = Envelope(
            IN_TOTO_PAYLOAD_TYPE, proposal.payload, (Signature(KeyId(row.key_id), bytes(row.signature)),)
        )
        try:
            person = get_person(connection, PersonId(row.person_id))
            check(connection, proposal, person, envelope, now=now)
        except MaestroError:
            continue
        if not any(is_same_person(person, one.person) for one in counted):
            counted.append(Signed(person, KeyId(row.key_id), row.signed_at))
    return Standing(tuple(counted))


def refused(database: Database, clock: Clock, rollout: str, person: Person, error: MaestroError) -> None:
    """Put a refused signature into the audit log, in a transaction of its own."""
    now = clock.now()
    facts = {"person": str(person.person_id), "refusal": error.slug, "detail": error.detail, "at": rfc3339(now)}
    with database.begin() as connection:
        audit_log.append(
            connection,
            act="policy.approval-refused",
            subject=f"policy-rollout/{rollout}",
            content=canonical_json(facts),
            at=now,
        )


def _signatures(connection: Connection, proposal: Proposal) -> Sequence[Row[Any]]:
    query = select(approvals).where(approvals.c.rollout_id == proposal.rollout_id)
    return connection.execute(query.order_by(approvals.c.signed_at, approvals.c.person_id)).all()
