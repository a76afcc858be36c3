"""The provenance graph over HTTP: one subgraph a request, filtered by policy, paged by cursors."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response

from mc_pipelines.api.access import AccessOf, ContextOf, guarded_router
from mc_pipelines.api.openapi import answers
from mc_pipelines.composition import Context
from mc_pipelines.foundation import flags
from mc_pipelines.foundation.errors import InputError, UnavailableError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.access import Reader, decide
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import parse_query

router = guarded_router("provenance")
_FULL, _LEAST = 3, 1

_GRAPH = {
    "nodes": [{"id": "sha256:" + "ab" * 32, "kind": "receipt"}, {"id": "run:mc/019bd7c0", "kind": "execution"}],
    "edges": [{"from": "sha256:" + "ab" * 32, "to": "run:mc/019bd7c0", "type": "signs"}],
}


@router.get(
    "/api/provenance/graph",
    summary="Fetch a provenance subgraph",
    responses=answers(_GRAPH, 400, 404, 503, further={304: ("Nothing has changed since If-None-Match", None)}),
    response_class=Response,
)
def graph(
    request: Request,
    access: AccessOf,
    context: ContextOf,
    node: Annotated[str, Query(description="a digest, a package URL, a receipt or a run")],
    depth: Annotated[int, Query(ge=1, le=5, description="steps from the node")] = 2,
    tenant: Annotated[str | None, Query(description="whose graph; needed by who may see several")] = None,
) -> Response:
    """Return what is around a node as JSON; an answer that is not whole says so, where and why.

    Further parameters: direction (ancestors, descendants, both, undirected), kinds, types, verified, limit,
    edgeLimit, fanOut, asOf, knownAt, minSeq, cursor. What the reader may not know of is answered 404.
    """
    _require_flag(context)
    whose = access.tenant_of_list(tenant)
    if whose is None:
        raise InputError("Several tenants' graphs are visible to you", field="tenant", mend="name one")
    given = {name: value for name, value in request.query_params.items() if name != "tenant"}
    query = parse_query({**given, "node": node, "depth": str(depth)})
    engine, revision = context.graph_policy
    reader = Reader(TenantId(whose), access.caller.roles, clearance=_clearance(access.caller.roles))
    answer = graph_answer(
        context.graph_store, TenantId(whose), query, decide(engine, revision, reader), context.cursors
    )
    headers = {"ETag": answer.etag, "Vary": "Authorization", "Cache-Control": "private, no-cache"}
    if request.headers.get("if-none-match") == answer.etag:
        return Response(status_code=304, headers=headers)
    return Response(answer.body, media_type="application/json", headers=headers)


def _clearance(roles: frozenset[str]) -> int:
    return _FULL if roles & {"operator", "security", "auditor"} else _LEAST


def _require_flag(context: Context) -> None:
    with context.database.begin() as connection:
        if not flags.enabled(connection, flags.PROVENANCE_GRAPH_V1, profile=context.settings.profile):
            raise UnavailableError(
                "The provenance graph is switched off",
                field="flag",
                value=flags.PROVENANCE_GRAPH_V1,
                mend="`mc flags set provenance_graph_v1 on`; ingest goes on meanwhile",
            )
