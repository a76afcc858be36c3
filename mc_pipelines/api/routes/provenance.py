"""The provenance graph over HTTP: questions, each filtered by one decision of the policy; what is missing is said."""

from __future__ import annotations

from typing import Any

from fastapi import Request, Response

from mc_pipelines.api.access import AccessOf, ContextOf, QuestionRoute, guarded_router, survey
from mc_pipelines.api.graph_reader import open_reader, parameters_of, sent, whole_view
from mc_pipelines.api.openapi import answers
from mc_pipelines.provenance.diff import diff_answer
from mc_pipelines.provenance.gaps import gaps_answer
from mc_pipelines.provenance.gate import gate_answer
from mc_pipelines.provenance.impact import impact_answer
from mc_pipelines.provenance.listing import nodes_answer
from mc_pipelines.provenance.paths import paths_answer
from mc_pipelines.provenance.proving import proven_answer
from mc_pipelines.provenance.query import graph_answer
from mc_pipelines.provenance.request import (
    BundleQuery,
    DiffQuery,
    GapQuery,
    GraphQuery,
    ImpactQuery,
    ListQuery,
    PathQuery,
    ProofQuery,
    QueryError,
    RevocationQuery,
)
from mc_pipelines.provenance.revocation import revocation_answer
from mc_pipelines.provenance.snapshots import snapshots_answer

router = guarded_router("provenance", QuestionRoute)
_NODE = "a digest, a package URL, a receipt or a run"
_RECEIPT, _RUN = "sha256:" + "ab" * 32, "run:mc/019bd7c0"
_NODES = [{"id": _RECEIPT, "kind": "receipt"}, {"id": _RUN, "kind": "execution"}]
_GRAPH = {"nodes": _NODES, "edges": [{"from": _RECEIPT, "to": _RUN, "type": "signs"}]}


def _answers(example: Any, *problems: int) -> dict[int | str, dict[str, Any]]:
    unchanged = {304: ("Nothing has changed since If-None-Match", None)}
    return answers(example, 400, 404, 410, 422, 503, *problems, further=unchanged)


@router.get(
    "/api/provenance/graph",
    summary="Fetch a provenance subgraph",
    responses=_answers(_GRAPH, 406),
    response_class=Response,
    openapi_extra=parameters_of(GraphQuery, node=_NODE, depth="steps from the node"),
)
def graph(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return what is around a node; an answer that is not whole says so, where and why.

    What the reader may not know of is answered 404; a node whose claims retention removed, 410 with the tombstone; a
    node that stands for several others, 422 with the candidates. Forms other than JSON by `format` or `Accept`.
    """
    reader = open_reader(request, access, context, forms=True)
    query = GraphQuery.parse(reader.given)
    answer = graph_answer(
        context.graph_store,
        reader.tenant,
        query,
        reader.allowed,
        context.cursors,
        form=reader.form,
        unless=reader.unless,
    )
    return sent(answer, reader)


@router.get(
    "/api/provenance/nodes",
    summary="List the newest nodes",
    responses=_answers({"nodes": _NODES, "edges": [], "complete": False, "next": _RUN}),
    response_class=Response,
    openapi_extra=parameters_of(
        ListQuery, kinds="such as bundle,execution", contains="what the id must hold", after="`next` of the page before"
    ),
)
@survey
def nodes(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return the nodes that the tenant's own documents name, newest first: where to begin without an id at hand."""
    reader = open_reader(request, access, context)
    query = ListQuery.parse(reader.given)
    return sent(nodes_answer(context.graph_store, reader.tenant, query, reader.allowed), reader)


@router.get(
    "/api/provenance/paths",
    summary="Find the shortest paths between two nodes",
    responses=_answers(_GRAPH | {"found": "yes", "length": 1, "count": 1, "paths": [[_RECEIPT, _RUN]]}),
    response_class=Response,
    openapi_extra=parameters_of(PathQuery, from_=_NODE, to=_NODE),
)
def paths(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return why one node reaches another: all shortest paths as a graph, their number, and some spelled out."""
    reader = open_reader(request, access, context)
    query = PathQuery.parse(reader.given)
    return sent(paths_answer(context.graph_store, reader.tenant, query, reader.allowed), reader)


@router.get(
    "/api/provenance/impact",
    summary="Count and list what stands on a node",
    responses=_answers(
        {"counts": {"direct": {"package": 3}, "total": {"bundle": 1, "package": 7}, "live": 1}} | _GRAPH
    ),
    response_class=Response,
    openapi_extra=parameters_of(ImpactQuery, node=_NODE, plan="say in which order to rebuild"),
)
def impact(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return the blast radius of a node: counts of all by kind first, then the nodes, page by page."""
    reader = open_reader(request, access, context)
    query = ImpactQuery.parse(reader.given)
    answer = impact_answer(
        context.graph_store, reader.tenant, query, reader.allowed, context.cursors, unless=reader.unless
    )
    return sent(answer, reader)


@router.get(
    "/api/provenance/diff",
    summary="Compare what two nodes stand on",
    responses=_answers(_GRAPH | {"same": "no", "changed": [{"package": "pkg:npm/a", "from": ["1"], "to": ["2"]}]}),
    response_class=Response,
    openapi_extra=parameters_of(DiffQuery, a=_NODE, b="the other node, or the same at another moment"),
)
@survey
def diff(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return what differs between two builds, or between what one stood on then and now."""
    reader = open_reader(request, access, context)
    query = DiffQuery.parse(reader.given)
    return sent(diff_answer(context.graph_store, reader.tenant, query, reader.allowed), reader)


@router.get(
    "/api/provenance/gaps",
    summary="List what nobody can vouch for",
    responses=_answers({"nodes": _NODES[:1], "edges": [], "gaps": [], "counts": {"unverified": 1}}),
    response_class=Response,
    openapi_extra=parameters_of(GapQuery, node="look among its ancestors only"),
)
@survey
def gaps(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return what is unverified, undescribed, pruned or contradictory, by how many live bundles stand on it."""
    reader = open_reader(request, access, context)
    query = GapQuery.parse(reader.given)
    return sent(gaps_answer(context.graph_store, reader.tenant, query, reader.allowed), reader)


@router.get(
    "/api/provenance/explain",
    summary="Say why a bundle may be trusted, or why not",
    responses=_answers({"bundle": _RECEIPT, "result": "passed", "reasons": ["…"], "proof": [], "evidence": {}}),
    response_class=Response,
    openapi_extra=parameters_of(BundleQuery, bundle="the bundle, or any other content"),
)
@survey
def explain(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return the gate's ruling: passed, failed or unknown, with a proof tree on the smallest evidence.

    `singlePoints` names what alone would end the trust if it were revoked. `mc provenance check-proof` checks a proof
    offline.
    """
    reader = open_reader(request, access, context)
    query = BundleQuery.parse(reader.given)
    answer, _, _ = gate_answer(context.graph_store, reader.tenant, query, reader.allowed, context.gate_policy)
    return sent(answer, reader)


@router.get(
    "/api/provenance/what-if",
    summary="List the bundles that a revocation would close the gate for",
    responses=_answers({"nodes": _NODES[:1], "edges": [], "counts": {"lost": 1, "passing": 4, "unknown": 0}}),
    response_class=Response,
    openapi_extra=parameters_of(RevocationQuery, key="a key id or a signer", builder="a builder id"),
)
@survey
def what_if(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return which bundles pass now and would not if a key or a builder were revoked."""
    reader = open_reader(request, access, context)
    query = RevocationQuery.parse(reader.given)
    answer = revocation_answer(context.graph_store, reader.tenant, query, reader.allowed, context.gate_policy)
    return sent(answer, reader)


@router.get(
    "/api/provenance/proof",
    summary="Fetch a subgraph with the proof that it is right and whole",
    responses=_answers(
        {"format": "…", "answer": _GRAPH, "partitions": [{"root": "ab" * 32, "leaves": [], "hashes": []}], "ids": []},
        403,
        409,
    ),
    response_class=Response,
    openapi_extra=parameters_of(ProofQuery, node=_NODE, depth="steps from the node, 1 to 3"),
)
@survey
def proof(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return an answer of the last generation with every list it needs and their paths to roots in the audit log.

    Only to who may read every claim there could be: others are answered 403, whatever there is. An answer that would be
    cut is refused. `mc provenance check-answer` checks it offline; the form is in docs/provenance/proofs.md.
    """
    reader = open_reader(request, access, context)
    query = ProofQuery.parse(reader.given)
    allowed = whole_view(access, context, reader.tenant)
    return sent(proven_answer(context.graph_store, reader.tenant, query, allowed, context.cursors), reader)


@router.get(
    "/api/provenance/snapshots",
    summary="Name the events and generations that answers are read at",
    responses=_answers({"seq": 12, "shared": 3, "generation": {"seq": 10, "nodes": 40, "edges": 55}}),
    response_class=Response,
)
def snapshots(request: Request, access: AccessOf, context: ContextOf) -> Response:
    """Return the newest event of the tenant's graph and of the shared one, and the generations that are kept."""
    reader = open_reader(request, access, context)
    if reader.given:
        raise QueryError("There is no such parameter", field=min(reader.given), mend="this question takes none")
    return sent(snapshots_answer(context.graph_store, reader.tenant), reader)
