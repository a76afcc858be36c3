"""People who sign rollouts, and rollouts that they begin."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.ids import Digest, PersonId, uuid7
from mc_pipelines.foundation.tenants import Person, put_person
from mc_pipelines.policy.controller import start_rollout
from mc_pipelines.policy.proposal import Proposal
from mc_pipelines.policy.rollout import Rollout


@dataclass(frozen=True)
class Signatory:
    """A person with the key that lies on their machine."""

    person: Person
    signer: LocalSigner

    def sign(self, proposal: Proposal) -> Envelope:
        """Return the proposal with this person's signature."""
        return sign(proposal.payload, IN_TOTO_PAYLOAD_TYPE, [self.signer])


def register(connection: Connection, name: str, *roles: str, now: datetime) -> Signatory:
    """Record a person with a new key."""
    signer = LocalSigner.generate()
    pem = signer.public_key_pem.decode()
    person = Person(PersonId(uuid7(now)), "urn:test", name, name.title(), frozenset(roles), public_keys=(pem,))
    put_person(connection, person, now=now)
    return Signatory(person, signer)


def propose(baseline: Digest, challenger: Digest, *, now: datetime, **more: object) -> Proposal:
    """Return a proposal to change the placement pack."""
    return Proposal(uuid7(now), "placement", baseline, challenger, **more)  # type: ignore[arg-type]


def begin(connection: Connection, by: Signatory, proposal: Proposal, *, now: datetime) -> Rollout:
    """Begin a rollout from the baseline that decides by the release."""
    return start_rollout(connection, proposal, by.person, by.sign(proposal), shipped=proposal.baseline, now=now)
