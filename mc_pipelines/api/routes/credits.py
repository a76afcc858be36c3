"""Credits: draft what is owed, take people's signatures, and show what was issued.

The figure is always computed from the recorded facts; a caller's own figure is only compared.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from mc_pipelines.api.access import Access, AccessOf, ContextOf, guarded_router
from mc_pipelines.api.documents import Ask, Name, Reason, Sha256
from mc_pipelines.api.openapi import answers
from mc_pipelines.api.parameters import DECLARED_ONLY
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.composition import Context
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla.contract import Objective
from mc_pipelines.sla.draft_store import ISSUED, Draft, get_draft, list_drafts
from mc_pipelines.sla.issue import complete
from mc_pipelines.sla.note_store import get_note, list_notes
from mc_pipelines.sla.pack import build_pack
from mc_pipelines.sla.request import create_credit, note_body
from mc_pipelines.sla.reversal import draft_reversal
from mc_pipelines.sla.review import approve as add_signature
from mc_pipelines.sla.review import reject as reject_draft

router = guarded_router("credits")

_DRAFT = {
    "id": "3f" * 32,
    "state": "open",
    "kind": "credit_note",
    "amount": "123.45",
    "currency": "USD",
    "signatures": 1,
    "signaturesNeeded": 2,
}
_NOTE = {
    "number": "CN-000001",
    "id": "3f" * 32,
    "state": "issued",
    "kind": "credit_note",
    "amount": "123.45",
    "currency": "USD",
    "issuedAt": "2026-01-26T09:00:00Z",
    "note": {
        "tenant": "acme",
        "period": "2026-01-19/2026-01-25",
        "breach": {"availability": 99.7, "target": 99.9},
        "creditUSD": 123.45,
        "signature": "eyJwYXlsb2FkIjoi...",
    },
}


class CreditRequest(Ask):
    """A period to credit."""

    tenant: Name
    service: Name
    period: Annotated[str, Field(description="first and last local day, both included", max_length=21)]
    contract: Sha256
    objective: Annotated[Objective, Field(strict=False)] = Objective.AVAILABILITY
    expected: Annotated[str | None, Field(description="the caller's own figure, as decimal text", max_length=40)] = None


class Approval(Ask):
    """The draft's payload, signed on the person's own side."""

    envelope: Annotated[dict[str, Any], Field(description="a DSSE envelope with exactly one signature")]


class Rejection(Ask):
    """Why a draft is not to be issued."""

    reason: Reason


@router.post(
    "/api/credits",
    summary="Issue a signed SLA credit note",
    responses=answers(
        _NOTE,
        404,
        409,
        422,
        description="The note, also on every repeat",
        further={201: ("The note, issued by this request", _NOTE), 202: ("A draft that waits for people", _DRAFT)},
    ),
)
def create(request: CreditRequest, access: AccessOf, context: ContextOf) -> JSONResponse:
    """Draft, complete or repeat the credit of one billing period; see the status for which."""
    access.require(request.tenant)
    answer = create_credit(
        context.database,
        context.clock,
        tenant=TenantId(request.tenant),
        service=ServiceId(request.service),
        period=request.period,
        contract=request.contract,
        objective=request.objective,
        expected=request.expected,
        person=access.person,
    )
    return JSONResponse(answer.body, status_code=answer.status)


@router.get(
    "/api/credits",
    summary="List drafts and notes",
    responses=answers({"drafts": [_DRAFT], "notes": [_NOTE]}),
    dependencies=[DECLARED_ONLY],
)
def index(
    access: AccessOf,
    context: ContextOf,
    tenant: Annotated[str | None, Query(description="of this tenant; needed by who may see only some")] = None,
) -> JSONResponse:
    """Return every draft and note of a tenant, or of all for roles that cross tenants."""
    wanted = access.tenant_of_list(tenant)
    with context.database.begin() as connection:
        drafts = [_draft(one) for one in list_drafts(connection, tenant=wanted)]
        notes = [note_body(one) for one in list_notes(connection, tenant=wanted)]
    return JSONResponse({"drafts": drafts, "notes": notes})


@router.get(
    "/api/credits/{credit}",
    summary="Show a draft, or the note it became",
    responses=answers(_NOTE, 404),
)
def show(credit: str, access: AccessOf, context: ContextOf) -> JSONResponse:
    """Return one credit by its id; another tenant's is answered as if it did not exist."""
    return JSONResponse(_body(context, _visible(credit, access, context)))


@router.post(
    "/api/credits/{credit}/approve",
    summary="Add a person's signature to a draft",
    responses=answers(
        _DRAFT, 404, 409, 422, status=202, description="Still waiting", further={201: ("The note, complete", _NOTE)}
    ),
)
def approve(credit: str, request: Approval, access: AccessOf, context: ContextOf) -> JSONResponse:
    """Take a signature that was made elsewhere; the first is the maker's, the next another person's."""
    draft = _visible(credit, access, context)
    envelope = Envelope.from_document(request.envelope)
    add_signature(context.database, context.clock, draft.draft_id, access.person, envelope)
    issued = complete(context.database, context.clock, draft.draft_id)
    if issued is not None:
        return JSONResponse(note_body(issued), status_code=201)
    with context.database.begin() as connection:
        return JSONResponse(_draft(get_draft(connection, draft.draft_id)), status_code=202)


@router.post(
    "/api/credits/{credit}/reject",
    summary="Reject a draft",
    responses=answers(_DRAFT | {"state": "rejected"}, 404, 409),
)
def reject(credit: str, request: Rejection, access: AccessOf, context: ContextOf) -> JSONResponse:
    """End a draft with a reason; it is not made again on the same evidence unless a person asks."""
    draft = _visible(credit, access, context)
    reject_draft(context.database, context.clock, draft.draft_id, access.person, request.reason)
    with context.database.begin() as connection:
        return JSONResponse(_draft(get_draft(connection, draft.draft_id)))


@router.post(
    "/api/credits/{credit}/reverse",
    summary="Draft the reversal of an issued note",
    responses=answers(
        _NOTE | {"kind": "reversal"},
        404,
        409,
        422,
        description="The reversal, issued before",
        further={202: ("A draft that waits for two people", _DRAFT | {"kind": "reversal", "amount": "-123.45"})},
    ),
)
def reverse(credit: str, request: Rejection, access: AccessOf, context: ContextOf) -> JSONResponse:
    """Ask to take a credit note back; like a credit it is issued once two different people have signed it."""
    draft = _visible(credit, access, context)
    reversal = draft_reversal(context.database, context.clock, draft.draft_id, access.person, request.reason)
    return JSONResponse(_body(context, reversal), status_code=200 if reversal.state == ISSUED else 202)


@router.get(
    "/api/credits/{credit}/pack",
    summary="The disclosure pack of an issued note",
    responses=answers("", 404, 409, media_type="application/zip", description="A BagIt bag; `mc pack verify` reads it"),
    response_class=Response,
)
def pack(credit: str, access: AccessOf, context: ContextOf) -> Response:
    """Return everything that a customer needs to recompute the note; 409 until the audit log has an index for it."""
    draft = _visible(credit, access, context)
    with context.database.begin() as connection:
        issued = get_note(connection, draft.draft_id)
        content = build_pack(connection, issued)
    name = f'attachment; filename="{issued.number}.zip"'
    return Response(content, media_type="application/zip", headers={"Content-Disposition": name})


def _visible(credit: str, access: Access, context: Context) -> Draft:
    with context.database.begin() as connection:
        draft = get_draft(connection, credit)
    absent = NotFoundError("No such draft", field="draft", value=credit, mend="`mc credits ls` lists them")
    access.require_or_hide(draft.subject.tenant, absent)
    return draft


def _body(context: Context, draft: Draft) -> dict[str, Any]:
    with context.database.begin() as connection:
        notes = [one for one in list_notes(connection, subject=draft.subject) if one.draft_id == draft.draft_id]
    return note_body(notes[0]) if notes else _draft(draft)


def _draft(draft: Draft) -> dict[str, Any]:
    return {
        "id": draft.draft_id,
        "tenant": draft.subject.tenant,
        "service": draft.subject.service,
        "state": draft.state,
        "kind": draft.kind,
        "amount": str(draft.amount.amount),
        "currency": draft.amount.currency,
        "signatures": len(draft.signatures),
        "signaturesNeeded": draft.signatures_needed,
        "reason": draft.reason,
    }
