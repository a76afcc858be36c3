"""Provenance over HTTP: OpenLineage events as any of its clients sends them, and documents of every other format."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from mc_pipelines.api.access import Access, AccessOf, ContextOf, guarded_router
from mc_pipelines.api.documents import Answer
from mc_pipelines.api.openapi import answers
from mc_pipelines.api.parameters import DECLARED_ONLY
from mc_pipelines.composition import Context, provenance_marking, provenance_trust
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import IngestResult
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.marking import Marking
from mc_pipelines.provenance.model import MAXIMUM_CLASSIFICATION, Purpose
from mc_pipelines.provenance.readers import read_parts
from mc_pipelines.provenance.readers.detect import kind_of
from mc_pipelines.provenance.trust_roots import TrustRoots

router = guarded_router("provenance")
_VERDICT = {
    "document": "sha256:" + "ab" * 32,
    "status": "accepted",
    "seq": 7,
    "nodes": 4,
    "edges": 3,
    "verification": "unsigned",
    "remarks": [],
}
_EVENT = {
    "eventType": "COMPLETE",
    "eventTime": "2026-01-19T17:00:00Z",
    "run": {"runId": "0196f7c2-0000-7000-8000-000000000001"},
    "job": {"namespace": "etl", "name": "load"},
    "inputs": [{"namespace": "db", "name": "orders"}],
    "outputs": [{"namespace": "db", "name": "report"}],
    "producer": "https://example.org/scheduler",
    "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
}
_SBOM = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": []}
_Tenant = Annotated[str | None, Query(description="whose graph; needed by who may act for several")]
_Classification = Annotated[
    int | None,
    Query(
        ge=0,
        le=MAXIMUM_CLASSIFICATION,
        description="0 (open) to 3 (secret): which clearance sees the claims; by default, and at least, that of the "
        "tenant's data class",
    ),
]
_Purposes = Annotated[
    list[Purpose] | None,
    Query(description="may come several times: who reads for one of these sees the claims; by default any purpose"),
]
_LowValue = Annotated[
    bool, Query(alias="lowValue", description="detail that can be made again: retention lets it go first")
]


def _body(description: str, example: Any) -> dict[str, Any]:
    """Return what OpenAPI says of a body that is kept as it came: its bytes are what is recorded."""
    schema = {"description": description}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


class Verdict(Answer):
    """What became of a document."""

    document: str = Field(description="sha256 of its bytes as they were received")
    status: str = Field(description="accepted; or known: it was recorded before, and nothing has changed")
    seq: int | None = Field(description="pass it as minSeq to a query that must see this document")
    nodes: int
    edges: int
    verification: str = Field(description="our verdict on its signatures")
    remarks: tuple[str, ...] = Field(description="what was odd in it and how it was read")


@router.post(
    "/api/v1/lineage",
    summary="Record OpenLineage events",
    dependencies=[DECLARED_ONLY],
    responses=answers(_VERDICT, 400, 422, description="It was recorded before", further={201: ("Recorded", _VERDICT)}),
    response_model=Verdict,
    openapi_extra=_body("an event, or an array of events, by the OpenLineage specification", _EVENT),
)
def lineage(
    request: Request,
    access: AccessOf,
    context: ContextOf,
    tenant: _Tenant = None,
    classification: _Classification = None,
    purpose: _Purposes = None,
    low_value: _LowValue = False,
) -> JSONResponse:
    """Record one event, or an array of events as one document; the same again changes nothing.

    A run is one execution however many events tell of it; it produces its outputs once an event says COMPLETE.
    """
    whose = _whose(access, tenant)
    content = _content(request)
    if kind_of(content) not in {"openlineage", "array"}:
        raise InputError("Not an OpenLineage event", field="eventTime", mend="send it to /api/provenance/documents")
    marking = provenance_marking(context, whose, classification, purpose or ())
    given = Document("OpenLineage event", content)
    return _recorded(context, access, whose, given, TrustRoots(), marking, low_value=low_value)


@router.post(
    "/api/provenance/documents",
    summary="Record a provenance document",
    dependencies=[DECLARED_ONLY],
    responses=answers(_VERDICT, 400, 422, description="It was recorded before", further={201: ("Recorded", _VERDICT)}),
    response_model=Verdict,
    openapi_extra=_body("a document of any format that is read here, in JSON", _SBOM),
)
def document(
    request: Request,
    access: AccessOf,
    context: ContextOf,
    name: Annotated[str, Query(max_length=200, description="what to call it")] = "document",
    tenant: _Tenant = None,
    classification: _Classification = None,
    purpose: _Purposes = None,
    low_value: _LowValue = False,
) -> JSONResponse:
    """Record a bill of materials, an attestation or events, whole, with a verdict on its signatures; or refuse it.

    The format is told by the content. The same document again changes nothing.
    """
    whose = _whose(access, tenant)
    marking = provenance_marking(context, whose, classification, purpose or ())
    given, roots = Document(name, _content(request)), provenance_trust(context)
    return _recorded(context, access, whose, given, roots, marking, low_value=low_value)


def _whose(access: Access, tenant: str | None) -> TenantId:
    whose = access.tenant_of_list(tenant)
    if whose is None:
        raise InputError("You may act for several tenants", field="tenant", mend="name one")
    return whose


def _content(request: Request) -> bytes:
    """Return the body's bytes as they were received; the strict parser was content with them."""
    content: bytes = getattr(request, "content", b"")
    return content


def _recorded(
    context: Context,
    access: Access,
    tenant: TenantId,
    given: Document,
    roots: TrustRoots,
    marking: Marking,
    *,
    low_value: bool,
) -> JSONResponse:
    operator = "operator" in access.caller.roles
    [result] = ingest_documents(
        context.database,
        tenant,
        [given],
        roots,
        clock=context.clock,
        operator=operator,
        cache=context.verdicts,
        marking=marking,
        low_value=low_value,
    )
    if result.status == "refused":
        read_parts(given.content, given.name)  # raises what was wrong, with the field and the mend
        raise InputError(result.reason or "The document is refused", field="document")
    answer = _answer(result).model_dump(mode="json", by_alias=True)
    return JSONResponse(answer, status_code=201 if result.status == "accepted" else 200)


def _answer(result: IngestResult) -> Verdict:
    return Verdict(
        document=result.document,
        status=result.status,
        seq=result.seq,
        nodes=result.nodes,
        edges=result.edges,
        verification=result.verification,
        remarks=result.remarks,
    )
