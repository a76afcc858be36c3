"""What a caller may do: the Rego pack ``policy/access`` decides every request, and an error denies.

Every route is a :class:`GuardedRoute`. Before anything of a request is read, the pack is asked whether its
caller may come in; once the route knows which tenant the request is about, it asks again through
:class:`Access`. An answer of an operation bound to a tenant that no decision stands behind is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import structlog
from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute

from mc_pipelines.api.auth import Identity, TokenVerifier, bearer_token
from mc_pipelines.api.strict_body import read_strictly
from mc_pipelines.api.turns import Turns
from mc_pipelines.composition import Context
from mc_pipelines.decision.engine import PolicyEngine
from mc_pipelines.foundation.callers import read_caller
from mc_pipelines.foundation.errors import (
    ForbiddenError,
    MaestroError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from mc_pipelines.foundation.flags import States
from mc_pipelines.foundation.ids import TenantId, parse_name
from mc_pipelines.foundation.tenants import Person

F = TypeVar("F", bound=Callable[..., Response])
_FIRST_ERROR = 400
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a verified identity and the person on record behind it, if there is one; both None: nobody."""

    identity: Identity | None
    person: Person | None
    flags: States = field(default_factory=dict)
    """The feature flags that somebody has set, as they stood when the person was read."""

    @property
    def roles(self) -> frozenset[str]:
        """The roles on record; none for an identity without a record."""
        return self.person.roles if self.person else frozenset()

    @property
    def tenants(self) -> frozenset[str]:
        """Whom the token lets the caller act for."""
        return self.identity.tenants if self.identity else frozenset()

    def document(self) -> dict[str, Any]:
        """The caller as the access pack's input."""
        return {
            "subject": self.identity.subject if self.identity else None,
            "roles": sorted(self.roles),
            "tenants": sorted(self.tenants),
        }


NOBODY = Caller(None, None)


@dataclass
class Access:
    """The access pack, asked about one request.

    Attributes:
        engine: evaluates the pack.
        operation: method and path template.
        caller: who asks.
        tenant_bound: whether the answer needs a decision about a tenant.
        decided: whether one was allowed.
    """

    engine: PolicyEngine
    operation: str
    caller: Caller
    tenant_bound: bool = True
    decided: bool = field(default=False)

    @property
    def person(self) -> Person:
        """The person on record who acts.

        Raises:
            ForbiddenError: the identity has no record.
        """
        if self.caller.person is None:
            raise ForbiddenError("The caller is no person on record", mend="an operator records you: `mc people put`")
        return self.caller.person

    def enter(self) -> None:
        """Ask whether the caller may come in, before the tenant is known.

        Raises:
            UnauthenticatedError: nobody asks for what is not open to anyone.
            ForbiddenError: no role grants the operation; with the rule, the reason and the mend.
            UnavailableError: the pack gave no verdict.
        """
        door = self._ask("door", None)
        self.tenant_bound = door.get("tenant_bound") is not False
        if door.get("open") is True:
            return
        if self.caller.identity is None:
            bearer_token(None)  # says which header is missing
        raise _forbidden(door)

    def require(self, tenant: TenantId | str | None) -> None:
        """Let the pack decide whether the request may be made for a tenant.

        Raises:
            ForbiddenError: it denies; with the rule, the reason and the mend.
            UnavailableError: it gave no verdict.
        """
        decision = self._ask("decision", tenant)
        if decision.get("allow") is not True or decision.get("deny") != []:
            raise _forbidden(decision)
        self.decided = True

    def require_or_hide(self, tenant: TenantId | str | None, absent: NotFoundError) -> None:
        """As :meth:`require`, but what lies outside the caller's tenants is answered as if it did not exist.

        Raises:
            NotFoundError: ``absent``, where the pack denies.
            UnavailableError: it gave no verdict.
        """
        try:
            self.require(tenant)
        except ForbiddenError:
            raise absent from None

    def tenant_of_list(self, named: str | None) -> TenantId | None:
        """Return the tenant that a list is about and require it; None: all tenants, for roles that cross them.

        A caller who may act for exactly one tenant, under a role that crosses none, need not name it.

        Raises:
            ForbiddenError: the caller may not act for it, or for all.
            InputError: the name is malformed.
        """
        if named is not None:
            tenant = TenantId(parse_name(named, field="tenant"))
            self.require(tenant)
            return tenant
        try:
            self.require(None)
        except ForbiddenError:
            if len(self.caller.tenants) != 1:
                raise
        else:
            return None
        only = TenantId(next(iter(self.caller.tenants)))
        self.require(only)
        return only

    def _ask(self, rule: str, tenant: str | None) -> dict[str, Any]:
        question = {"operation": self.operation, "tenant": tenant, "caller": self.caller.document()}
        answer = self.engine.evaluate(f"data.access.{rule}", question).require()
        if not isinstance(answer, dict):
            raise UnavailableError("The access policy gave no decision", mend="`mc policy check` says why")
        return answer


class GuardedRoute(APIRoute):
    """A route that the access pack guards, whose JSON is read strictly, and only once the caller is in."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the guarded handler."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            operation = f"{request.method} {self.path_format}"
            access = await run_in_threadpool(_enter, request, operation)
            request.state.access = access
            response = await handle(await read_strictly(request))
            _require_decision(access, response)
            return response

        return guarded


class QuestionRoute(GuardedRoute):
    """A guarded route that only reads: from token to bytes in one turn of one thread.

    Its function takes ``request``, ``access`` and ``context``, reads its own parameters and returns a response.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the guarded handler."""
        endpoint = self.endpoint
        is_survey = getattr(endpoint, _SURVEY, False)

        def answer(request: Request, operation: str) -> Response:
            access = _enter(request, operation)
            response: Response = endpoint(request=request, access=access, context=request.app.state.context)
            _require_decision(access, response)
            return response

        async def guarded(request: Request) -> Response:
            turns: Turns = request.app.state.surveys if is_survey else request.app.state.questions
            return await turns.run(answer, request, f"{request.method} {self.path_format}")

        return guarded


_SURVEY = "mc_survey"


def survey(endpoint: F) -> F:
    """Mark the function of a question that may take seconds, so that quick ones do not wait behind it."""
    setattr(endpoint, _SURVEY, True)
    return endpoint


def guarded_router(tag: str, route_class: type[GuardedRoute] = GuardedRoute) -> APIRouter:
    """Return a router of guarded routes."""
    return APIRouter(tags=[tag], route_class=route_class)


# Coroutines, though they wait for nothing: plain functions would each be sent to a thread.
async def access_of(request: Request) -> Access:
    """Return the access of a request that came in."""
    access: Access = request.state.access
    return access


async def context_of(request: Request) -> Context:
    """Return what routes work with."""
    context: Context = request.app.state.context
    return context


AccessOf = Annotated[Access, Depends(access_of)]
"""A route's parameter: the access pack, asked about this request."""
ContextOf = Annotated[Context, Depends(context_of)]
"""A route's parameter: database, clock, stores and signer."""


def _enter(request: Request, operation: str) -> Access:
    engine: PolicyEngine = request.app.state.engine
    nobody = Access(engine, operation, NOBODY)
    header = request.headers.get("authorization")
    if header is None:
        nobody.enter()
        return nobody
    try:
        access = Access(engine, operation, _authenticated(request, header))
    except (UnauthenticatedError, UnavailableError):
        # What is open to anyone stays open to whoever sends a token that is not ours, such as that of /metrics.
        with suppress(UnauthenticatedError):
            nobody.enter()
            return nobody
        raise
    try:
        access.enter()
    except ForbiddenError as error:
        log.warning("request denied", operation=operation, caller=access.caller.document(), **error.extensions)
        raise
    return access


def _authenticated(request: Request, header: str) -> Caller:
    verifier: TokenVerifier = request.app.state.verifier
    identity = verifier.verify(bearer_token(header))
    context: Context = request.app.state.context
    found = read_caller(context.database, identity.issuer, identity.subject)
    return Caller(identity, found.person, found.states)


def _require_decision(access: Access, response: Response) -> None:
    if access.tenant_bound and not access.decided and response.status_code < _FIRST_ERROR:
        raise MaestroError(f"{access.operation} answered without a decision about the tenant")


def _forbidden(answer: dict[str, Any]) -> ForbiddenError:
    reasons = sorted(answer.get("deny") or [], key=lambda each: str(each["rule"]))
    first = reasons[0] if reasons else {"why": "the access policy does not allow this", "fix": "ask an operator"}
    why = str(first["why"])
    return ForbiddenError(why[:1].upper() + why[1:], mend=str(first["fix"]), reasons=reasons)
