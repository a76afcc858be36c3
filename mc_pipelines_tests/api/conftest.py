"""The application over a fresh database, with people of each role and tokens of the local issuer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from mc_pipelines.api.app import create_app
from mc_pipelines.api.local_issuer import LOCAL_ISSUER, LocalIssuer
from mc_pipelines.composition import Context
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import PersonId, TenantId
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.foundation.tenants import Person, Tenant, put_person, put_tenant

Headers = dict[str, str]
PEOPLE = {
    "olga": "operator",
    "sven": "security",
    "mia": "finance-maker",
    "carl": "finance-checker",
    "aude": "auditor",
    "rita": "tenant-reader",
    "paul": "publisher",
}


@pytest.fixture
def context(database: Any, clock: FrozenClock, tmp_path: Path) -> Context:
    return Context(Settings(home=tmp_path / "home"), database.app, clock)


@pytest.fixture
def app(context: Context, clock: FrozenClock) -> FastAPI:
    with context.database.begin() as connection:
        for tenant in ("acme", "globex"):
            put_tenant(
                connection,
                Tenant(TenantId(tenant), "America/Denver", "USD", ("us", "local"), "confidential", ()),
                now=clock.now(),
            )
        for subject, role in PEOPLE.items():
            person = Person(PersonId(uuid4()), LOCAL_ISSUER, subject, subject.title(), frozenset({role}))
            put_person(connection, person, now=clock.now())
    return create_app(context)


@pytest.fixture
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with TestClient(app) as running:
        yield running


@pytest.fixture
def bearer(context: Context) -> Callable[..., Headers]:
    """Returns a function (subject, *tenants) -> headers with a token that holds now."""
    issuer = LocalIssuer(context.settings.home_path)

    def headers(subject: str, *tenants: str, audience: str = "maestro-conductor") -> Headers:
        token = issuer.issue(
            subject, tenants=tenants, audience=audience, now=datetime.now(UTC), lifetime=timedelta(hours=1)
        )
        return {"Authorization": f"Bearer {token}"}

    return headers


def problem(response: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """Check that a response is a problem document of a kind, without a trace of its making; return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["type"] == f"https://maestro-conductor.example/problems/{slug}"
    assert document["status"] == status
    assert document["title"]
    assert "Traceback" not in response.text
    assert "site-packages" not in response.text
    return document
