"""Rotation of a key as a persisted state machine: create, publish, promote, verify, retire.

What readers and verifiers accept is widened before what writers and signers use moves. Every step's effect is
idempotent and comes before the step is recorded, so a process that dies anywhere is taken up by the next one: the new
version is found again by the rotation's id, never made twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from mc_pipelines.attest import log
from mc_pipelines.attest.key_history import (
    KeyRecord,
    KeyStatus,
    find_key,
    load_history,
    next_record,
    record_key,
)
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.trust import read_payload
from mc_pipelines.attest.trust_store import draft_trust, issue_trust
from mc_pipelines.foundation.canonical import canonical_json, digest_of
from mc_pipelines.foundation.clock import Clock, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError, NotFoundError, VerificationError
from mc_pipelines.foundation.ids import uuid7
from mc_pipelines.keys.evidence import reverify, rotation_statement
from mc_pipelines.keys.provider import KeyProvider, KeyUse
from mc_pipelines.keys.records import OPEN_STATES, kms_rotation, kms_rotation_history
from mc_pipelines.keys.rewrap import count_only_under, drop_wrappings, rewrap
from mc_pipelines.keys.signers import KeyringSigner, active_signer

STEPS = {
    KeyUse.SIGN: ("PLANNED", "CREATED", "PUBLISHED", "PROMOTED", "VERIFIED", "RETIRED"),
    KeyUse.WRAP: ("PLANNED", "CREATED", "PROMOTED", "REWRAPPING", "VERIFIED", "RETIRED"),
}
HELD = "FAILED_HELD"
_GENESIS = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class Rotation:
    """One rotation as it stands."""

    rotation_id: UUID
    provider: str
    key: str
    use: KeyUse
    old_ref: str
    new_ref: str | None
    state: str
    version: int
    reason: str
    planned_at: datetime
    updated_at: datetime
    detail: dict[str, Any]
    evidence: bytes | None
    """A DSSE envelope in JSON, from VERIFIED on."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return self.state in {"RETIRED", HELD}

    @property
    def next_state(self) -> str | None:
        """The state that the next step leads to."""
        steps = STEPS[self.use]
        return None if self.finished else steps[steps.index(self.state) + 1]

    @property
    def new(self) -> str:
        """The reference of the new version; only after CREATED."""
        if self.new_ref is None:
            raise ConflictError("The new version is not made yet", field="rotation", value=str(self.rotation_id))
        return self.new_ref


@dataclass
class _Step:
    """What a step found and leaves behind, to be recorded with the new state in one transaction."""

    detail: dict[str, Any]
    new_ref: str | None = None
    evidence: bytes | None = None


class Rotator:
    """Takes rotations from step to step.

    Args:
        database: as the application role.
        provider: holds the keys.
        clock: tells the time.
        signed: name and DSSE envelope (JSON) of what the old signing key signed; verified again before it is retired.
        signer: of the evidence of a wrapping key's rotation; default: the keyring's own signing key.
        observe: told each point as it is passed, such as ``CREATED:effect`` and ``CREATED:recorded``.
    """

    def __init__(
        self,
        database: Database,
        provider: KeyProvider,
        clock: Clock,
        *,
        signed: Callable[[], Iterable[tuple[str, bytes]]] = tuple,
        signer: Callable[[], Signer] | None = None,
        observe: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._provider = provider
        self._clock = clock
        self._signed = signed
        self._signer = signer or (lambda: active_signer(database, provider, clock))
        self._observe = observe
        self._effects: dict[str, Callable[[Rotation], _Step]] = {
            "CREATED": self._create,
            "PUBLISHED": self._publish,
            "PROMOTED": self._promote,
            "REWRAPPING": self._rewrap,
            "VERIFIED": self._verify,
            "RETIRED": self._retire,
        }

    def plan(self, key: str, *, reason: str) -> Rotation:
        """Plan a rotation of a key, or return the one of it that is under way.

        Raises:
            NotFoundError: there is no such key.
        """
        primary = self._provider.primary(key)
        now = self._clock.now()
        rotation_id = uuid7(now)
        with self._database.begin() as connection:
            planned = connection.execute(
                upsert(kms_rotation)
                .values(
                    rotation_id=rotation_id,
                    provider=self._provider.name,
                    key=key,
                    use=primary.use.value,
                    old_ref=primary.ref,
                    state="PLANNED",
                    version=1,
                    reason=reason,
                    planned_at=now,
                    updated_at=now,
                    detail={},
                )
                .on_conflict_do_nothing(index_elements=["provider", "key"], index_where=text(OPEN_STATES))
                .returning(kms_rotation.c.rotation_id)
            ).scalar()
            if planned is not None:
                self._append_history(connection, rotation_id, 1, "PLANNED", now, {"reason": reason})
                return find_rotation(connection, rotation_id)
            open_one = select(kms_rotation).where(
                kms_rotation.c.provider == self._provider.name, kms_rotation.c.key == key, text(OPEN_STATES)
            )
            return _rotation(connection.execute(open_one).one())

    def run(self, rotation_id: UUID) -> Rotation:
        """Take a rotation to its end, from wherever it stands."""
        rotation = self.advance(rotation_id)
        while not rotation.finished:
            rotation = self.advance(rotation_id)
        return rotation

    def advance(self, rotation_id: UUID) -> Rotation:
        """Do one step; return the rotation as it stands afterwards, whoever took it there."""
        with self._database.begin() as connection:
            rotation = find_rotation(connection, rotation_id)
        state = rotation.next_state
        if state is None:
            return rotation
        self._observe(f"{state}:begin")
        try:
            step = self._effects[state](rotation)
        except VerificationError as error:
            state, step = HELD, _Step({"held_at": rotation.next_state, "why": str(error)})
        self._observe(f"{state}:effect")
        with self._database.begin() as connection:
            self._record(connection, rotation, state, step)
            after = find_rotation(connection, rotation_id)
        self._observe(f"{state}:recorded")
        return after

    def _record(self, connection: Connection, rotation: Rotation, state: str, step: _Step) -> None:
        now = self._clock.now()
        values: dict[str, Any] = {
            "state": state,
            "version": rotation.version + 1,
            "updated_at": now,
            "detail": rotation.detail | {state: step.detail},
        }
        if step.new_ref is not None:
            values["new_ref"] = step.new_ref
        if step.evidence is not None:
            values["evidence"] = step.evidence
        moved = connection.execute(
            update(kms_rotation)
            .where(kms_rotation.c.rotation_id == rotation.rotation_id, kms_rotation.c.version == rotation.version)
            .values(values)
            .returning(kms_rotation.c.version)
        ).scalar()
        if moved is None:
            return  # another process recorded this step first; its effects were the same
        self._append_history(connection, rotation.rotation_id, rotation.version + 1, state, now, step.detail)
        facts = {"rotation_id": str(rotation.rotation_id), "state": state, "key": rotation.key}
        content = step.evidence or canonical_json(facts | {"detail": step.detail})
        log.append(
            connection,
            act=f"keys.rotation-{state.lower().replace('_', '-')}",
            subject=str(rotation.rotation_id),
            content=content,
            at=now,
        )

    @staticmethod
    def _append_history(
        connection: Connection, rotation_id: UUID, version: int, state: str, at: datetime, detail: dict[str, Any]
    ) -> None:
        previous = connection.execute(
            select(kms_rotation_history.c.digest).where(
                kms_rotation_history.c.rotation_id == rotation_id, kms_rotation_history.c.version == version - 1
            )
        ).scalar()
        row = {
            "rotation_id": str(rotation_id),
            "version": version,
            "state": state,
            "at": rfc3339(at),
            "detail": detail,
            "previous": previous or _GENESIS,
        }
        values = row | {"rotation_id": rotation_id, "at": at, "digest": digest_of(row)}
        connection.execute(insert(kms_rotation_history).values(values))

    # The steps.

    def _create(self, rotation: Rotation) -> _Step:
        made = self._provider.rotate(rotation.key, token=str(rotation.rotation_id))
        return _Step({"ref": made.ref, "created": rfc3339(made.created), "check_value": made.check_value}, made.ref)

    def _publish(self, rotation: Rotation) -> _Step:
        signer = KeyringSigner(self._provider, rotation.new)
        now = self._clock.now()
        active_signer(self._database, self._provider, self._clock)  # the old key is in the history, too
        with self._database.begin() as connection:
            if all(one.key_id != signer.key_id for one in load_history(connection)):
                pending = KeyRecord(signer.key_id, signer.public_key_pem, now, status=KeyStatus.PENDING)
                record_key(connection, pending, now=now)
        return _Step({"key_id": signer.key_id})

    def _promote(self, rotation: Rotation) -> _Step:
        if rotation.use is KeyUse.SIGN:
            self._set_status(rotation.new, KeyStatus.ACTIVE)  # before the first signature is made with it
        self._provider.promote(rotation.new)
        return _Step({"primary": rotation.new})

    def _rewrap(self, rotation: Rotation) -> _Step:
        done = rewrap(
            self._database,
            self._provider,
            self._clock,
            key=rotation.key,
            old_ref=rotation.old_ref,
            new_ref=rotation.new,
        )
        return _Step({"rewrapped_data_keys": done})

    def _verify(self, rotation: Rotation) -> _Step:
        signers: list[Signer]
        if rotation.use is KeyUse.SIGN:
            old = KeyringSigner(self._provider, rotation.old_ref)
            detail = reverify(self._signed(), old)
            signers = [old, KeyringSigner(self._provider, rotation.new)]
            detail |= self._hand_over_trust(signers)
        else:
            # Whoever wrapped under the old version after the rewrap has to be caught up with first.
            signers = [self._signer()]
            detail = self._rewrap(rotation).detail
            left = count_only_under(self._database, old_ref=rotation.old_ref, new_ref=rotation.new)
            if left:
                raise VerificationError(f"{left} data keys are still under the old version only")
        with self._database.begin() as connection:
            history = read_history(connection, rotation.rotation_id)
        statement = rotation_statement(
            self._provider,
            rotation_id=str(rotation.rotation_id),
            key=rotation.key,
            use=rotation.use,
            old_ref=rotation.old_ref,
            new_ref=rotation.new,
            reason=rotation.reason,
            history=history,
            verified=detail,
            at=self._clock.now(),
        )
        return _Step(detail, evidence=statement.sign(signers).to_json())

    def _hand_over_trust(self, signers: Sequence[Signer]) -> dict[str, Any]:
        """Issue the version of the trust file that names the new key, while the old one can still vouch for it."""
        try:
            with self._database.begin() as connection:
                draft = draft_trust(connection, root=signers[-1].key_id)
                issued = issue_trust(connection, draft, signers, now=self._clock.now())
        except VerificationError as error:  # the old key may not change it: that must not keep a rotation from ending
            return {"trust_problem": str(error)}
        return {"trust_version": read_payload(issued).version}

    def _retire(self, rotation: Rotation) -> _Step:
        if rotation.use is KeyUse.SIGN:
            self._set_status(rotation.old_ref, KeyStatus.RETIRED)
            self._provider.disable(rotation.old_ref)
            return _Step({"disabled": rotation.old_ref})
        self._rewrap(rotation)
        dropped = drop_wrappings(self._database, old_ref=rotation.old_ref, new_ref=rotation.new)
        self._provider.disable(rotation.old_ref)
        return _Step({"disabled": rotation.old_ref, "dropped_wrappings": dropped})

    def _set_status(self, ref: str, status: KeyStatus) -> None:
        now = self._clock.now()
        with self._database.begin() as connection:
            current = find_key(load_history(connection), KeyringSigner(self._provider, ref).key_id)
            record_key(connection, next_record(current, status, now), now=now)


def find_rotation(connection: Connection, rotation_id: UUID) -> Rotation:
    """Return a rotation.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = connection.execute(select(kms_rotation).where(kms_rotation.c.rotation_id == rotation_id)).one_or_none()
    if row is None:
        raise NotFoundError("No such rotation", field="rotation", value=str(rotation_id))
    return _rotation(row)


def list_rotations(connection: Connection, *, limit: int = 50) -> list[Rotation]:
    """Return rotations, newest first."""
    order = kms_rotation.c.planned_at.desc()
    return [_rotation(row) for row in connection.execute(select(kms_rotation).order_by(order).limit(limit))]


def read_history(connection: Connection, rotation_id: UUID) -> list[dict[str, Any]]:
    """Return the steps of a rotation, oldest first, with their chained digests.

    Raises:
        VerificationError: a row does not follow from the one before it.
    """
    rows = connection.execute(
        select(kms_rotation_history)
        .where(kms_rotation_history.c.rotation_id == rotation_id)
        .order_by(kms_rotation_history.c.version)
    ).all()
    found, previous = [], _GENESIS
    for row in rows:
        facts = {
            "rotation_id": str(row.rotation_id),
            "version": row.version,
            "state": row.state,
            "at": rfc3339(row.at),
            "detail": row.detail,
            "previous": row.previous,
        }
        if row.previous != previous or digest_of(facts) != row.digest:
            raise VerificationError("The history of the rotation was altered", field="version", value=row.version)
        previous = row.digest
        found.append(facts | {"digest": row.digest})
    return found


def _rotation(row: Row[Any]) -> Rotation:
    members = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
    evidence = members["evidence"]
    return Rotation(
        **members | {"use": KeyUse(members["use"]), "evidence": None if evidence is None else bytes(evidence)}
    )
