"""What a caller may do: the Rego pack ``policy/access`` decides every request, and an error denies.

A route asks once, with the tenant the request is about. What lies outside the caller's tenants is
answered as if it did not exist where its existence would be a secret.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request

from mc_pipelines.api.auth import Identity, TokenVerifier, bearer_token
from mc_pipelines.decision.engine import PolicyEngine, open_engine
from mc_pipelines.decision.packs import loaded
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ForbiddenError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.settings import Settings
from mc_pipelines.foundation.tenants import Person, find_person

_engines = threading.local()


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a verified identity and the person on record behind it, if there is one."""

    identity: Identity
    person: Person | None

    @property
    def roles(self) -> frozenset[str]:
        """The roles on record; none for an identity without a record."""
        return self.person.roles if self.person else frozenset()

    def document(self) -> dict[str, Any]:
        """The caller as the access pack's input."""
        return {
            "subject": self.identity.subject,
            "roles": sorted(self.roles),
            "tenants": sorted(self.identity.tenants),
        }


def authenticate(request: Request) -> Caller:
    """Return the caller of a request.

    Raises:
        UnauthenticatedError: no token, or one that does not verify.
    """
    verifier: TokenVerifier = request.app.state.verifier
    database: Database = request.app.state.context.database
    identity = verifier.verify(bearer_token(request.headers.get("authorization")))
    with database.begin() as connection:
        person = find_person(connection, identity.issuer, identity.subject)
    return Caller(identity, person)


CallerOf = Annotated[Caller, Depends(authenticate)]
"""A route's parameter: the authenticated caller."""


def require(request: Request, caller: Caller, tenant: TenantId | str | None) -> None:
    """Let the access pack decide whether the request may be made for a tenant.

    Raises:
        ForbiddenError: it denies; with the rule, the reason and the mend.
        UnavailableError: it gave no verdict.
    """
    settings: Settings = request.app.state.context.settings
    question = {
        "method": request.method,
        "path": [segment for segment in request.url.path.split("/") if segment],
        "tenant": tenant,
        "caller": caller.document(),
    }
    engine = _engine(settings)
    if engine.evaluate("data.access.allow", question).require() is True:
        return
    reasons = sorted(engine.evaluate("data.access.deny", question).require(), key=lambda each: str(each["rule"]))
    first = reasons[0] if reasons else {"why": "the access policy does not allow this", "fix": "ask an operator"}
    raise ForbiddenError(str(first["why"]).capitalize(), mend=str(first["fix"]), reasons=reasons)


def _engine(settings: Settings) -> PolicyEngine:
    """One engine a thread: an in-process engine is bound to the thread that made it."""
    engine: PolicyEngine | None = getattr(_engines, "access", None)
    if engine is None:
        engine = _engines.access = open_engine(settings, loaded("access"))
    return engine
