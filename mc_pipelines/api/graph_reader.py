"""What every question of the graph over HTTP begins with: whose graph, what its reader may see, in which form.

The policy is asked once; its answer is a filter. Who reads another tenant's graph says what for, and the reading is an
act of the audit log before anything is read. What is not visible is answered as what does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response

from mc_pipelines.api.access import Access
from mc_pipelines.api.digest_fields import repr_digest, wants_sha256
from mc_pipelines.api.parameters import single_parameters
from mc_pipelines.attest.log import append
from mc_pipelines.composition import Context
from mc_pipelines.foundation import flags
from mc_pipelines.foundation.canonical import canonical_json, sha256_digest
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError, UnavailableError
from mc_pipelines.foundation.ids import TenantId, parse_name, uuid7
from mc_pipelines.provenance.access import Filter, Reader, decide
from mc_pipelines.provenance.answer import Answer
from mc_pipelines.provenance.formats import Form, NotAcceptableError, choose_form
from mc_pipelines.provenance.location import no_such_node
from mc_pipelines.provenance.model import MAXIMUM_CLASSIFICATION, Purpose
from mc_pipelines.provenance.proving import decide_whole
from mc_pipelines.provenance.request import QueryError, Scope

OWN = ("tenant", "purpose", "format")
"""Parameters of every question that are not part of what is asked."""
_SCHEMAS: dict[str, dict[str, Any]] = {
    "depth": {"type": "integer", "minimum": 1, "maximum": 5, "default": 2},
    "limit": {"type": "integer", "minimum": 1},
    "edgeLimit": {"type": "integer", "minimum": 1},
    "fanOut": {"type": "integer", "minimum": 1},
    "maxLength": {"type": "integer", "minimum": 1},
    "minSeq": {"type": "integer", "minimum": 0},
    "direction": {"type": "string", "enum": ["ancestors", "descendants", "both", "undirected"]},
    "verified": {"type": "string", "enum": ["only", "any"], "default": "any"},
    "resolve": {"type": "string", "enum": ["verified", "claimed", "none"], "default": "verified"},
    "evidence": {"type": "boolean"},
    "plan": {"type": "boolean"},
    "asOf": {"type": "string", "format": "date-time"},
    "knownAt": {"type": "string", "format": "date-time"},
    "tenant": {"type": "string", "description": "whose graph; needed by who may see several"},
    "purpose": {
        "type": "string",
        "enum": [each.value for each in Purpose],
        "description": "what the answer is for; needed to read the graph of a tenant that is not one's own",
    },
    "format": {"type": "string", "enum": [each.value for each in Form]},
}


@dataclass(frozen=True, slots=True)
class GraphReader:
    """Who asks of whose graph.

    Attributes:
        tenant: whose graph.
        allowed: what the policy lets the reader see.
        given: the parameters that are the question.
        form: in which form the answer leaves.
        unless: ETags that the reader holds.
        digest: whether the answer's digest is wanted with it.
    """

    tenant: TenantId
    allowed: Filter
    given: dict[str, str]
    form: Form
    unless: frozenset[str]
    digest: bool = False


def open_reader(request: Request, access: Access, context: Context, *, forms: bool = False) -> GraphReader:
    """Decide what a request may see.

    Args:
        request: what was sent.
        access: the access pack, asked about it.
        context: what routes work with.
        forms: whether the answer comes in other forms than JSON.

    Raises:
        UnavailableError: the graph is switched off, or the policy gave no filter.
        NotFoundError: the caller may not act for the tenant; as for a node that there is not.
        QueryError: a parameter comes twice, or a purpose is missing or none.
        NotAcceptableError: no form that is wanted can be made.
    """
    _require_flag(access, context)
    given = single_parameters(request)
    tenant = _tenant(access, given.pop("tenant", None))
    name = given.pop("format", None)
    form = choose_form(name, request.headers.get("accept")) if forms else Form.JSON
    if not forms and name not in {None, Form.JSON}:
        raise NotAcceptableError("This question is answered in JSON only", field="format", value=name)
    crossing = tenant not in access.caller.tenants
    purpose = _purpose(given.pop("purpose", None), crossing=crossing)
    engine, revision = context.graph_policy
    # Records of people carry no clearance of their own: the pack caps it by role.
    reader = Reader(tenant, access.caller.roles, MAXIMUM_CLASSIFICATION, purpose, crossing=crossing)
    allowed = decide(engine, revision, reader)
    if crossing:
        _record_crossing(request, access, context, reader)
    digest = wants_sha256(request.headers.get("want-repr-digest"))
    return GraphReader(tenant, allowed, given, form, _held(request), digest)


def whole_view(access: Access, context: Context, tenant: TenantId) -> Filter:
    """Return the filter of a reader whom nothing of a tenant's graph could be hidden from, for whatever purpose.

    Raises:
        WholeViewError: something could be.
        UnavailableError: the policy gave no filter.
    """
    engine, revision = context.graph_policy
    crossing = tenant not in access.caller.tenants
    reader = Reader(tenant, access.caller.roles, MAXIMUM_CLASSIFICATION, crossing=crossing)
    return decide_whole(engine, revision, reader)


def sent(answer: Answer, reader: GraphReader) -> Response:
    """Return the response of an answer, or 304 where its reader holds it."""
    headers = {
        "ETag": answer.etag,
        "Vary": "Authorization, Accept",
        "Cache-Control": "private, no-cache",
    }
    if not answer.changed or answer.etag in reader.unless:
        return Response(status_code=304, headers=headers)
    headers["MC-Complete"] = "true" if answer.complete else "false"
    if answer.cursor is not None:
        headers["MC-Cursor"] = answer.cursor
    if reader.digest:
        headers["Repr-Digest"] = repr_digest(answer.body)
    return Response(answer.body, media_type=answer.media_type, headers=headers)


def parameters_of(question: type[Scope], **described: str) -> dict[str, Any]:
    """Return the OpenAPI parameters of a question, for ``openapi_extra``.

    Args:
        question: what is asked.
        **described: descriptions by parameter (``from_`` for ``from``).
    """
    says = {name.rstrip("_"): text for name, text in described.items()}
    names = [*question.NODES, *question.READ, *OWN]
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": name in question.NODES,
                "schema": {key: value for key, value in _schema(name).items() if key != "description"},
                "description": says.get(name) or _schema(name).get("description", "see docs/provenance/api.md"),
            }
            for name in names
        ]
    }


def _schema(name: str) -> Mapping[str, Any]:
    return _SCHEMAS.get(name, {"type": "string"})


def _tenant(access: Access, named: str | None) -> TenantId:
    absent = no_such_node("node")
    if named is not None:
        try:
            tenant = TenantId(parse_name(named, field="tenant"))
        except InputError as error:
            raise QueryError(error.detail, field="tenant", value=named, mend=error.mend) from error
        access.require_or_hide(tenant, absent)
        return tenant
    if len(access.caller.tenants) == 1:
        tenant = TenantId(next(iter(access.caller.tenants)))
        access.require_or_hide(tenant, absent)
        return tenant
    raise QueryError("Several tenants' graphs are visible to you, or none", field="tenant", mend="name one")


def _purpose(named: str | None, *, crossing: bool) -> Purpose:
    if named is None:
        if crossing:
            raise QueryError(
                "Reading a graph of another tenant needs a purpose",
                field="purpose",
                mend=f"use {', '.join(Purpose)}; the reading is recorded in the audit log",
            )
        return Purpose.OPERATIONS
    if named not in set(Purpose):
        raise QueryError("No such purpose", field="purpose", value=named, mend=f"use {', '.join(Purpose)}")
    return Purpose(named)


def _record_crossing(request: Request, access: Access, context: Context, reader: Reader) -> None:
    """Record who reads which other tenant's graph, what for; committed before anything is read."""
    person = access.person
    now = context.clock.now()
    content = {
        "reading": str(uuid7(now)),
        "person": str(person.person_id),
        "tenant": reader.tenant,
        "purpose": reader.purpose.value,
        "operation": access.operation,
        "question": sha256_digest(request.url.query.encode()),
        "at": rfc3339(now),
    }
    with context.database.begin() as connection:
        append(
            connection,
            act="provenance.cross-tenant-read",
            subject=f"{reader.tenant}/{content['reading']}",
            content=canonical_json(content),
            at=now,
        )


def _held(request: Request) -> frozenset[str]:
    header = request.headers.get("if-none-match", "")
    return frozenset(each.strip().removeprefix("W/") for each in header.split(",") if each.strip())


def _require_flag(access: Access, context: Context) -> None:
    if not flags.resolve(access.caller.flags, flags.PROVENANCE_GRAPH_V1, tenant=None, profile=context.settings.profile):
        raise UnavailableError(
            "The provenance graph is switched off",
            field="flag",
            value=flags.PROVENANCE_GRAPH_V1,
            mend="`mc flags set provenance_graph_v1 on`; ingest goes on meanwhile",
        )
