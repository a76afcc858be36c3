"""Which key could sign when: validity windows, so that rotation never un-verifies what an old key signed.

Pure part first; the table's revisions below. A key's status says what it may do today, its window what its signatures
are worth at the moment they were made. That moment must come from somewhere trusted (the audit log, a time stamp):
a statement's own claim about its time is the signer's word only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert

from mc_pipelines.attest.records import key_revision
from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.foundation.clock import as_utc, rfc3339
from mc_pipelines.foundation.errors import ConflictError, InputError, VerificationError
from mc_pipelines.foundation.ids import KeyId

SERVICE = "service"
"""The holder of the product's own signing keys; a person's keys carry the person's id."""


class KeyStatus(StrEnum):
    """What a key may do."""

    PENDING = "pending"
    """Published, so that verifiers know it, but not yet signing."""
    ACTIVE = "active"
    RETIRED = "retired"
    """Signs no more; what it signed inside its window stays good."""
    COMPROMISED = "compromised"
    """Only what a trusted clock places before ``valid_until`` stays good."""


_NEXT = {
    KeyStatus.PENDING: {KeyStatus.ACTIVE, KeyStatus.RETIRED, KeyStatus.COMPROMISED},
    KeyStatus.ACTIVE: {KeyStatus.RETIRED, KeyStatus.COMPROMISED},
    KeyStatus.RETIRED: {KeyStatus.COMPROMISED, KeyStatus.ACTIVE},
    KeyStatus.COMPROMISED: set[KeyStatus](),
}


@dataclass(frozen=True)
class KeyRecord:
    """One public key and what it is good for.

    Attributes:
        key_id: RFC 7638 thumbprint of the key.
        public_key_pem: PEM SubjectPublicKeyInfo, P-256.
        valid_from: first moment at which its signatures count.
        valid_until: moment from which they no longer count; None while open.
        status: what the key may do.
        holder: who holds it: ``service``, or a person's id; a count of persons counts holders.
    """

    key_id: KeyId
    public_key_pem: bytes
    valid_from: datetime
    valid_until: datetime | None = None
    status: KeyStatus = KeyStatus.ACTIVE
    holder: str = SERVICE

    def __post_init__(self) -> None:
        if thumbprint(self.public_key_pem) != self.key_id:
            raise InputError("A key id is not the thumbprint of its key", field="key id", value=self.key_id)
        if not self.holder:
            raise InputError("A key needs a holder", field="holder", value=self.holder)
        object.__setattr__(self, "valid_from", as_utc(self.valid_from, field="valid from"))
        if self.valid_until is not None:
            object.__setattr__(self, "valid_until", as_utc(self.valid_until, field="valid until"))
            if self.valid_until < self.valid_from:
                raise InputError(
                    "A key's validity ends before it begins", field="valid until", value=rfc3339(self.valid_until)
                )
        elif self.status in {KeyStatus.RETIRED, KeyStatus.COMPROMISED}:
            raise InputError("A retired or compromised key needs an end of validity", field="valid until")


def find_key(history: Iterable[KeyRecord], key_id: str) -> KeyRecord:
    """Return the record of a key.

    Raises:
        VerificationError: the key is not trusted.
    """
    for record in history:
        if record.key_id == key_id:
            return record
    raise VerificationError("The key is not in the trusted history", field="key id", value=key_id)


def key_at(history: Iterable[KeyRecord], key_id: str, moment: datetime) -> KeyRecord:
    """Return the record of a key whose signatures count at a moment that a trusted clock gave.

    Raises:
        VerificationError: the key is unknown, or the moment lies outside its window.
    """
    record = find_key(history, key_id)
    at = as_utc(moment, field="moment")
    if at < record.valid_from:
        raise VerificationError(
            "The key was not valid yet", field="key id", value=key_id, valid_from=rfc3339(record.valid_from)
        )
    if record.valid_until is not None and at >= record.valid_until:
        raise VerificationError(
            f"The key was {record.status.value} by then: valid until {rfc3339(record.valid_until)}",
            field="key id",
            value=key_id,
        )
    return record


def service_keys(connection: Connection) -> dict[KeyId, bytes]:
    """Return the product's own keys (PEM) whose signatures count without a trusted time: active and retired ones."""
    return {
        one.key_id: one.public_key_pem
        for one in load_history(connection)
        if one.holder == SERVICE and one.status in {KeyStatus.ACTIVE, KeyStatus.RETIRED}
    }


def next_record(current: KeyRecord, status: KeyStatus, at: datetime) -> KeyRecord:
    """Return the record after a change of status at a moment.

    Activation opens the window (a retired key may be taken back by a rollback), retirement and compromise close it; a
    compromise never moves a window's end to later.

    Raises:
        ConflictError: the status does not allow it; a compromised key is never trusted again.
    """
    if status == current.status:
        return current
    if status not in _NEXT[current.status]:
        raise ConflictError(
            f"A key that is {current.status.value} cannot become {status.value}", field="key id", value=current.key_id
        )
    moment = as_utc(at, field="at")
    if status is KeyStatus.ACTIVE:
        begins = moment if current.status is KeyStatus.PENDING else current.valid_from
        return replace(current, status=status, valid_from=begins, valid_until=None)
    ends = moment if current.valid_until is None else min(moment, current.valid_until)
    return replace(current, status=status, valid_from=min(current.valid_from, ends), valid_until=ends)


def record_key(connection: Connection, record: KeyRecord, *, now: datetime) -> int:
    """Add a revision of a key, unless it is what the history says already; return the revision's number, from 1.

    Raises:
        ConflictError: the change is not one that :func:`next_record` allows, names another holder, or another process
            recorded a change at the same time.
    """
    row = connection.execute(
        select(key_revision).where(key_revision.c.key_id == record.key_id).order_by(key_revision.c.revision.desc())
    ).first()
    revision = 1
    if row is not None:
        current = _record(row)
        if current == record:
            return int(row.revision)
        if current.holder != record.holder:
            raise ConflictError(
                "The key belongs to somebody else", field="holder", value=record.holder, key_id=record.key_id
            )
        if record.status != current.status and record.status not in _NEXT[current.status]:
            raise ConflictError(
                f"A key that is {current.status.value} cannot become {record.status.value}",
                field="key id",
                value=record.key_id,
            )
        if current.status is KeyStatus.COMPROMISED and _later(record.valid_until, current.valid_until):
            raise ConflictError("A compromised key's window only shrinks", field="key id", value=record.key_id)
        revision = row.revision + 1
    added = connection.execute(
        upsert(key_revision)
        .values(
            key_id=record.key_id,
            revision=revision,
            public_key_pem=record.public_key_pem.decode("ascii"),
            holder=record.holder,
            valid_from=record.valid_from,
            valid_until=record.valid_until,
            status=record.status.value,
            recorded_at=as_utc(now, field="now"),
        )
        .on_conflict_do_nothing()
        .returning(key_revision.c.revision)
    ).first()
    if added is None:
        raise ConflictError("Another process changed this key at the same time", field="key id", value=record.key_id)
    return revision


def load_history(connection: Connection) -> tuple[KeyRecord, ...]:
    """Return the newest revision of every key, oldest key first."""
    rows = connection.execute(
        select(key_revision)
        .ext(distinct_on(key_revision.c.key_id))
        .order_by(key_revision.c.key_id, key_revision.c.revision.desc())
    )
    return in_order([_record(row) for row in rows])


def in_order(records: Sequence[KeyRecord]) -> tuple[KeyRecord, ...]:
    """Return records by the begin of their validity, then key id."""
    return tuple(sorted(records, key=lambda one: (one.valid_from, one.key_id)))


def _later(one: datetime | None, other: datetime | None) -> bool:
    return other is not None and (one is None or one > other)


def _record(row: object) -> KeyRecord:
    return KeyRecord(
        KeyId(row.key_id),  # type: ignore[attr-defined]
        row.public_key_pem.encode("ascii"),  # type: ignore[attr-defined]
        row.valid_from,  # type: ignore[attr-defined]
        row.valid_until,  # type: ignore[attr-defined]
        KeyStatus(row.status),  # type: ignore[attr-defined]
        row.holder,  # type: ignore[attr-defined]
    )
