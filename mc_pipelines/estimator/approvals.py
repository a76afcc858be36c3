"""Signatures of people on a model: one proposes it, another's lets it serve, one's takes it back.

Everybody signs on their own side, with a key that never leaves it. What was signed is verified in the transaction
that moves the pointer and again whenever the champion is loaded: a row that nobody signed serves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from mc_pipelines.attest import log as audit_log
from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, verify
from mc_pipelines.attest.statement import Statement, Subject, predicate_type
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import Clock, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ForbiddenError, InputError, MaestroError, VerificationError
from mc_pipelines.foundation.ids import Digest, KeyId
from mc_pipelines.foundation.records import person_key
from mc_pipelines.foundation.tenants import Person, key_holder

ROLES = frozenset({"operator", "security"})
"""Who may propose, approve and take back a model."""
MOVE_TYPE = predicate_type("estimator-champion")
_GRANTS: Mapping[str, str] = {
    "promote": "with the proposer's signature and every blocking check it makes this model serve",
    "rollback": "this model, which served with two people's signatures, serves again",
}


@dataclass(frozen=True, slots=True)
class Move:
    """One move of the pointer, before it happens: what a person signs."""

    act: str
    """``promote`` or ``rollback``."""
    model_id: Digest
    replaces: Digest | None
    """The model that serves now."""
    version: int
    """The pointer's version after the move; the signature is void once the pointer has moved."""

    @property
    def payload(self) -> bytes:
        """The bytes to sign, in a DSSE envelope of in-toto's payload type."""
        return Statement(
            (Subject.of("estimator/model", self.model_id),),
            MOVE_TYPE,
            {
                "act": self.act,
                "model": self.model_id,
                "replaces": self.replaces,
                "version": self.version,
                "grants": _GRANTS[self.act],
            },
        ).to_bytes()


def require_signature(
    connection: Connection, payload: bytes, person: Person, envelope: Envelope, *, now: datetime
) -> KeyId:
    """Return the key with which a person signed exactly these bytes, if the signature counts now.

    Raises:
        ForbiddenError: the person has none of :data:`ROLES`, or the key is somebody else's or was withdrawn.
        VerificationError: another statement was signed, or the signature does not hold.
        InputError: the envelope does not carry exactly one signature.
    """
    if not person.roles & ROLES:
        raise ForbiddenError(
            f"A model is signed by people with the role {' or '.join(sorted(ROLES))}",
            field="role",
            value=sorted(person.roles),
        )
    if (envelope.payload_type, envelope.payload) != (IN_TOTO_PAYLOAD_TYPE, payload):
        raise VerificationError(
            "The signed statement is not about this model and this moment's champion",
            field="payload",
            mend="fetch the bytes again (`mc estimator promote MODEL --payload FILE`) and sign exactly those",
        )
    if len(envelope.signatures) != 1:
        raise InputError("A person's approval carries exactly one signature", field="signatures")
    return require_key_of(connection, envelope, str(person.person_id), at=now)


def require_key_of(connection: Connection, envelope: Envelope, person_id: str, *, at: datetime) -> KeyId:
    """Return the key with which a person signed an envelope; the key must have been theirs at that moment.

    Raises:
        ForbiddenError: none of the envelope's keys was this person's then.
        VerificationError: the signature does not hold.
    """
    for one in envelope.signatures:
        holder = key_holder(connection, one.keyid, at=at)
        if holder is not None and str(holder.person_id) == person_id:
            query = select(person_key.c.public_key_pem).where(person_key.c.key_id == one.keyid)
            return verify(envelope, {one.keyid: connection.execute(query).scalar_one().encode()})[0]
    raise ForbiddenError(
        "The key is not one of the person who signs",
        field="keyid",
        value=[one.keyid for one in envelope.signatures],
        mend="register the key for this person: `mc people add-key`",
    )


def audit_refusal(database: Database, clock: Clock, act: str, person: Person, error: MaestroError) -> None:
    """Put a refused signature into the audit log, in a transaction of its own: what was refused was rolled back."""
    now = clock.now()
    facts = {"person": str(person.person_id), "refusal": error.slug, "detail": error.detail, "at": rfc3339(now)}
    with database.begin() as connection:
        audit_log.append(
            connection, act=f"estimator.{act}-refused", subject="estimator/model", content=canonical_json(facts), at=now
        )
