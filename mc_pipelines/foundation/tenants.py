"""Tenants and people, as records.

A person is an issuer and a subject of a bearer token, with roles and public keys. Signatures are made on the
person's side: no private key of a person is ever here. A key belongs to one person for ever, also after it was
withdrawn, since what it signed must keep naming the same person.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Connection, Row, Select, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.errors import ConflictError, InputError, NotFoundError
from mc_pipelines.foundation.ids import KeyId, PersonId, TenantId, parse_name
from mc_pipelines.foundation.money import minor_unit_exponent
from mc_pipelines.foundation.public_keys import normalised_public_key
from mc_pipelines.foundation.records import person as person_table
from mc_pipelines.foundation.records import person_key
from mc_pipelines.foundation.records import tenant as tenant_table

ROLES = frozenset({"operator", "security", "finance-maker", "finance-checker", "auditor", "tenant-reader", "publisher"})
DATA_CLASSES = ("public", "internal", "confidential", "restricted")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant."""

    tenant: TenantId
    zone: str
    """IANA zone of the billing calendar, such as ``Europe/Berlin``."""
    currency: str
    """ISO 4217 code."""
    residency: tuple[str, ...] = ()
    """Jurisdictions in which its data may rest, such as ``EU``; empty: any."""
    data_class: str = "internal"
    contracts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        parse_name(self.tenant, field="tenant")
        minor_unit_exponent(self.currency)
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError, TypeError) as error:
            raise InputError(
                "Not an IANA time zone", field="zone", value=self.zone, mend="write it such as Europe/Berlin or UTC"
            ) from error
        if self.data_class not in DATA_CLASSES:
            raise InputError(
                "Unknown data class",
                field="data_class",
                value=self.data_class,
                mend="use one of " + ", ".join(DATA_CLASSES),
            )


@dataclass(frozen=True, slots=True)
class Person:
    """One person, or one machine that acts under a subject of its own."""

    person_id: PersonId
    issuer: str
    subject: str
    name: str
    roles: frozenset[str] = frozenset()
    public_keys: tuple[str, ...] = ()
    """The keys that are valid now, as PEM (P-256)."""
    demo: bool = False
    """Made by the demo; production refuses to start while there are such people."""

    def __post_init__(self) -> None:
        for field in ("issuer", "subject", "name"):
            if not getattr(self, field).strip():
                raise InputError("A person needs this", field=field, value=getattr(self, field))
        unknown = sorted(self.roles - ROLES)
        if unknown:
            raise InputError(
                "Unknown role", field="roles", value=", ".join(unknown), mend="use some of " + ", ".join(sorted(ROLES))
            )


def put_tenant(connection: Connection, tenant: Tenant, *, now: datetime) -> None:
    """Create a tenant, or replace what is recorded of it."""
    values = {
        "zone": tenant.zone,
        "currency": tenant.currency,
        "residency": list(tenant.residency),
        "data_class": tenant.data_class,
        "contracts": list(tenant.contracts),
    }
    statement = insert(tenant_table).values(tenant=tenant.tenant, updated_at=as_utc(now, field="now"), **values)
    changed = func.row(*(tenant_table.c[name] for name in values)).is_distinct_from(
        func.row(*(statement.excluded[name] for name in values))
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant"],
            set_={name: statement.excluded[name] for name in (*values, "updated_at")},
            where=changed,
        )
    )


def get_tenant(connection: Connection, tenant: TenantId) -> Tenant:
    """Return a tenant.

    Raises:
        NotFoundError: there is none of that name.
    """
    row = connection.execute(select(tenant_table).where(tenant_table.c.tenant == tenant)).one_or_none()
    if row is None:
        raise NotFoundError(
            "There is no such tenant",
            field="tenant",
            value=tenant,
            mend="`mc tenant put` records it, `mc tenant ls` lists",
        )
    return _tenant(row)


def list_tenants(connection: Connection) -> list[Tenant]:
    """Return all tenants by name."""
    return [_tenant(row) for row in connection.execute(select(tenant_table).order_by(tenant_table.c.tenant))]


def put_person(connection: Connection, person: Person, *, now: datetime) -> None:
    """Create a person or change name and roles; keys that are new are added, none is withdrawn.

    Raises:
        ConflictError: issuer and subject belong to another id, or a key belongs to another person.
    """
    moment = as_utc(now, field="now")
    statement = insert(person_table).values(
        person_id=person.person_id,
        issuer=person.issuer,
        subject=person.subject,
        name=person.name,
        roles=sorted(person.roles),
        demo=person.demo,
        updated_at=moment,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["issuer", "subject"],
            set_={name: statement.excluded[name] for name in ("name", "roles", "demo", "updated_at")},
        )
    )
    recorded = find_person(connection, person.issuer, person.subject)
    if recorded is None or recorded.person_id != person.person_id:
        raise ConflictError(
            "This issuer and subject are another person's",
            field="subject",
            value=person.subject,
            mend="keep that person's id; `mc people ls` shows it",
        )
    for pem in person.public_keys:
        add_key(connection, person.person_id, pem, now=moment)


def add_key(connection: Connection, person_id: PersonId, pem: str, *, now: datetime) -> KeyId:
    """Record a public key of a person; the same key of the same person again changes nothing.

    Raises:
        InputError: it is no P-256 public key.
        ConflictError: the key is or was another person's, or was withdrawn.
        NotFoundError: there is no such person.
    """
    key_id, stored = normalised_public_key(pem)
    get_person(connection, person_id)
    connection.execute(
        insert(person_key)
        .values(key_id=key_id, person_id=person_id, public_key_pem=stored, valid_from=as_utc(now, field="now"))
        .on_conflict_do_nothing(index_elements=["key_id"])
    )
    holder, ended = connection.execute(
        select(person_key.c.person_id, person_key.c.valid_until).where(person_key.c.key_id == key_id)
    ).one()
    if holder != person_id:
        raise ConflictError("The key is registered to another person", field="public key", value=key_id, mend=_NEW_KEY)
    if ended is not None:
        raise ConflictError("The key was withdrawn", field="public key", value=key_id, mend=_NEW_KEY)
    return key_id


def withdraw_key(connection: Connection, key_id: KeyId, *, now: datetime) -> None:
    """End a key's validity; what it signed before stays this person's.

    Raises:
        NotFoundError: no person has that key.
    """
    moment = as_utc(now, field="now")
    found = connection.execute(
        update(person_key)
        .where(person_key.c.key_id == key_id)
        .values(valid_until=func.coalesce(person_key.c.valid_until, moment))
        .returning(person_key.c.key_id)
    ).one_or_none()
    if found is None:
        raise NotFoundError("No person has this key", field="key id", value=key_id, mend="`mc people show` lists keys")


def key_holder(connection: Connection, key_id: KeyId, *, at: datetime) -> Person | None:
    """Return the person whose key this was at a moment; None if it was nobody's or not valid then."""
    moment = as_utc(at, field="at")
    row = connection.execute(
        select(person_key.c.person_id).where(
            person_key.c.key_id == key_id,
            person_key.c.valid_from <= moment,
            person_key.c.valid_until.is_(None) | (person_key.c.valid_until > moment),
        )
    ).one_or_none()
    return None if row is None else get_person(connection, PersonId(row.person_id))


def get_person(connection: Connection, person_id: PersonId | UUID) -> Person:
    """Return a person by id.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(_people().where(person_table.c.person_id == person_id)).one_or_none()
    if row is None:
        raise NotFoundError("There is no such person", field="person", value=str(person_id), mend="see `mc people ls`")
    return person_of_row(row)


def find_person(connection: Connection, issuer: str, subject: str) -> Person | None:
    """Return the person of a token's issuer and subject, or None."""
    row = connection.execute(_BY_TOKEN, {"of_issuer": issuer, "of_subject": subject}).one_or_none()
    return None if row is None else person_of_row(row)


def list_people(connection: Connection) -> list[Person]:
    """Return all people by name."""
    return [
        person_of_row(row)
        for row in connection.execute(_people().order_by(person_table.c.name, person_table.c.person_id))
    ]


def has_demo_people(connection: Connection) -> bool:
    """Tell whether the demo made people in this database."""
    return connection.execute(select(person_table.c.person_id).where(person_table.c.demo).limit(1)).first() is not None


def is_same_person(one: Person, other: Person) -> bool:
    """Tell whether two records may be one person: by id, by subject at any issuer, by name, or by a shared key."""
    return (
        one.person_id == other.person_id
        or one.subject.casefold() == other.subject.casefold()
        or _plain(one.name) == _plain(other.name)
        or bool(set(one.public_keys) & set(other.public_keys))
    )


def _plain(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


_NEW_KEY = "make a new key pair on the person's own machine and register its public half"


def _people() -> Select[tuple[object, ...]]:
    keys = (
        select(func.array_agg(person_key.c.public_key_pem))
        .where(person_key.c.person_id == person_table.c.person_id, person_key.c.valid_until.is_(None))
        .scalar_subquery()
    )
    return select(*person_table.c, keys.label("public_keys"))


_BY_TOKEN = _people().where(
    person_table.c.issuer == bindparam("of_issuer"), person_table.c.subject == bindparam("of_subject")
)
"""Made once: every request of the API runs it, and making it costs more than running it."""


def person_of_row(row: Row[tuple[object, ...]]) -> Person:
    """Return the person of a row of all columns, with the keys that are valid now as ``public_keys``."""
    return Person(
        person_id=PersonId(row.person_id),
        issuer=row.issuer,
        subject=row.subject,
        name=row.name,
        roles=frozenset(row.roles),
        public_keys=_sorted(row.public_keys or ()),
        demo=row.demo,
    )


def _sorted(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(keys))


def _tenant(row: Row[tuple[object, ...]]) -> Tenant:
    return Tenant(
        tenant=TenantId(row.tenant),
        zone=row.zone,
        currency=row.currency,
        residency=tuple(row.residency),
        data_class=row.data_class,
        contracts=tuple(row.contracts),
    )
