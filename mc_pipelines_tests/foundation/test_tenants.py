"""Tenants and people as records; a key belongs to one person for ever."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.errors import ConflictError, InputError, NotFoundError
from mc_pipelines.foundation.ids import PersonId, TenantId, uuid7
from mc_pipelines.foundation.public_keys import normalised_public_key
from mc_pipelines.foundation.tenants import (
    Person,
    Tenant,
    add_key,
    find_person,
    get_person,
    get_tenant,
    has_demo_people,
    key_holder,
    list_people,
    list_tenants,
    put_person,
    put_tenant,
    withdraw_key,
)
from mc_pipelines_tests.conftest import TestDatabase

ACME = Tenant(TenantId("acme"), "Europe/Berlin", "EUR", ("EU", "UK"), "confidential", ("gold-2026",))


def _pem(key: Any = None) -> str:
    public = (key or ec.generate_private_key(ec.SECP256R1())).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(public.public_bytes(serialization.Encoding.PEM, form).decode())


def _person(subject: str, *keys: str, demo: bool = False) -> Person:
    roles = frozenset({"finance-maker", "auditor"})
    return Person(PersonId(uuid7()), "https://idp.example", subject, f"Person {subject}", roles, keys, demo)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"zone": "Mars/Olympus"}, "zone"),
        ({"zone": "../../etc/passwd"}, "zone"),
        ({"currency": "eur"}, "currency"),
        ({"tenant": "Acme"}, "tenant"),
        ({"tenant": "*"}, "tenant"),
        ({"data_class": "secret"}, "data_class"),
    ],
)
def test_a_tenant_that_means_nothing_is_refused(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refusal:
        replace(ACME, **change)
    assert refusal.value.field == field


def test_a_role_that_nobody_has_is_refused() -> None:
    with pytest.raises(InputError, match="finance-checker"):
        Person(PersonId(uuid7()), "https://idp.example", "1", "Ada", frozenset({"admin"}))


@pytest.mark.parametrize("pem", ["", "-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"])
def test_what_is_no_key_is_refused(pem: str) -> None:
    with pytest.raises(InputError, match="public key"):
        normalised_public_key(pem)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_a_key_of_another_kind_is_refused(key: Any) -> None:
    with pytest.raises(InputError, match="P-256"):
        normalised_public_key(_pem(key))


def test_keys_have_the_same_name_here_and_in_signatures() -> None:
    pem = _pem()
    assert normalised_public_key(pem)[0] == thumbprint(pem.encode())


@pytest.mark.database
def test_a_tenant_comes_back_as_it_was_put(database: TestDatabase, clock: FrozenClock) -> None:
    changed = replace(ACME, currency="USD", residency=())
    with database.app.begin() as connection:
        put_tenant(connection, ACME, now=clock.now())
        assert get_tenant(connection, ACME.tenant) == ACME
        put_tenant(connection, changed, now=clock.now())
        assert list_tenants(connection) == [changed]
        with pytest.raises(NotFoundError, match="no such tenant"):
            get_tenant(connection, TenantId("umbrella"))


@pytest.mark.database
def test_people_are_found_by_issuer_and_subject(database: TestDatabase, clock: FrozenClock) -> None:
    one, two = _person("1", *sorted([_pem(), _pem()])), _person("2")
    with database.app.begin() as connection:
        for person in (one, two, one):
            put_person(connection, person, now=clock.now())
        assert find_person(connection, "https://idp.example", "1") == one
        assert find_person(connection, "https://other.example", "1") is None
        assert get_person(connection, two.person_id) == two
        assert list_people(connection) == [one, two]
        assert not has_demo_people(connection)
        put_person(connection, _person("3", demo=True), now=clock.now())
        assert has_demo_people(connection)


@pytest.mark.database
def test_a_subject_cannot_be_taken_over(database: TestDatabase, clock: FrozenClock) -> None:
    with database.app.begin() as connection:
        put_person(connection, _person("1"), now=clock.now())
    with pytest.raises(ConflictError, match="another person's"), database.app.begin() as connection:
        put_person(connection, _person("1"), now=clock.now())


@pytest.mark.database
def test_a_key_of_another_person_is_refused_for_ever(database: TestDatabase, clock: FrozenClock) -> None:
    one, two, pem = _person("1"), _person("2"), _pem()
    with database.app.begin() as connection:
        for person in (one, two):
            put_person(connection, person, now=clock.now())
        key_id = add_key(connection, one.person_id, pem, now=clock.now())
        assert add_key(connection, one.person_id, pem.replace("\n", "\r\n"), now=clock.now()) == key_id
        with pytest.raises(ConflictError, match="another person"):
            add_key(connection, two.person_id, pem, now=clock.now())
        withdraw_key(connection, key_id, now=clock.advance(timedelta(days=1)))
        with pytest.raises(ConflictError, match="another person"):
            add_key(connection, two.person_id, pem, now=clock.now())
        with pytest.raises(ConflictError, match="withdrawn"):
            add_key(connection, one.person_id, pem, now=clock.now())
        assert get_person(connection, one.person_id).public_keys == ()


@pytest.mark.database
def test_a_key_names_its_holder_only_while_it_was_valid(database: TestDatabase, clock: FrozenClock) -> None:
    start, one = clock.now(), _person("1")
    with database.app.begin() as connection:
        put_person(connection, one, now=start)
        key_id = add_key(connection, one.person_id, _pem(), now=start)
        withdraw_key(connection, key_id, now=start + timedelta(days=2))
        withdraw_key(connection, key_id, now=start + timedelta(days=9))
        holders = [key_holder(connection, key_id, at=start + timedelta(days=day)) for day in (-1, 0, 1, 2, 3)]
    assert [holder is not None for holder in holders] == [False, True, True, False, False]
