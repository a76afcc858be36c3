"""Executions over HTTP: publish a manifest, see what became of it, fetch its signed receipt."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Body, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from mc_pipelines.api.access import Access, AccessOf, ContextOf, guarded_router
from mc_pipelines.api.documents import Answer, Moment
from mc_pipelines.api.openapi import answers, schema_of
from mc_pipelines.composition import Context
from mc_pipelines.executions.manifest import Manifest, example_manifest, manifest_of, without_values
from mc_pipelines.executions.records import Published, get_execution, get_receipt, get_transitions
from mc_pipelines.foundation.errors import NotFoundError
from mc_pipelines.foundation.ids import ExecutionId, parse_uuid
from mc_pipelines.runner.publish import estimate_of, publish, store_inputs

router = guarded_router("executions")
_ENVELOPE = "application/vnd.dsse+json"

_ESTIMATE = {
    "id": "4d" * 32,
    "cost": "0.0042",
    "low": "0.0031",
    "high": "0.0058",
    "currency": "USD",
    "confidence": "0.91",
    "source": "v2",
    "reasons": [],
}
_EXECUTION = {
    "executionId": "019bd7c0-0000-7000-8000-000000000000",
    "manifestDigest": "sha256:" + "5e" * 32,
    "tenant": "acme",
    "workflow": "hello",
    "state": "queued",
    "attempt": 0,
    "publishedAt": "2026-01-19T17:00:00Z",
    "estimate": _ESTIMATE,
}
_STEP = {"attempt": 1, "state": "succeeded", "at": "2026-01-19T17:00:04Z", "reason": None}


class ExecutionAnswer(Answer):
    """An execution as it stands."""

    execution_id: ExecutionId
    manifest_digest: str = Field(description="sha256 of the canonical JSON (RFC 8785) of the manifest")
    tenant: str
    workflow: str
    state: str
    attempt: int = Field(description="0 until a runner has claimed it")
    published_at: Moment
    estimate: dict[str, Any] | None = Field(description="what it was expected to cost; null where nothing was known")


class Step(Answer):
    """One thing that happened to an execution."""

    attempt: int
    state: str
    at: Moment
    reason: str | None


class ExecutionDetails(ExecutionAnswer):
    """An execution with its manifest and its steps."""

    manifest: dict[str, Any]
    steps: list[Step]
    receipt_digest: str | None = Field(description="sha256 of the signed envelope, once the execution has ended")


@router.post(
    "/api/executions",
    summary="Publish a workflow execution",
    responses=answers(
        _EXECUTION,
        404,
        409,
        422,
        description="It was published before",
        further={201: ("Published by this request", _EXECUTION)},
    ),
    response_model=ExecutionAnswer,
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": schema_of(Manifest)}}}},
)
def create(
    manifest: Annotated[
        dict[str, Any],
        Body(openapi_examples={"hello": {"value": example_manifest("acme").document()}}),
    ],
    access: AccessOf,
    context: ContextOf,
) -> JSONResponse:
    """Queue one execution; the same manifest again is the same execution, answered with 200.

    To run a manifest once more, give it another `idempotency_key`. Files that it names as `inputs` are put into the
    store beforehand; a manifest whose files are not there is refused, and nothing is queued.
    """
    parsed = manifest_of(manifest)
    access.require(parsed.tenant)
    store_inputs(context.encrypted_store, parsed, {})
    with context.database.begin() as connection:
        execution_id, new = publish(
            connection, parsed, now=context.clock.now(), estimator=context.estimates, gate=context.budget_gate
        )
    found = ExecutionAnswer(**_facts(context, _recorded(context, str(execution_id))))
    return JSONResponse(
        found.model_dump(mode="json", by_alias=True),
        status_code=201 if new else 200,
        headers={"Location": f"/api/executions/{execution_id}"},
    )


@router.get(
    "/api/executions/{execution}",
    summary="Show an execution, its steps and its estimate",
    responses=answers(
        _EXECUTION | {"manifest": {"tenant": "acme"}, "steps": [_STEP], "receiptDigest": "sha256:" + "7a" * 32}, 404
    ),
)
def show(execution: str, access: AccessOf, context: ContextOf) -> ExecutionDetails:
    """Return one execution; another tenant's is answered as if it did not exist."""
    published = _visible(execution, access, context)
    with context.database.begin() as connection:
        steps = get_transitions(connection, published.execution_id)
        receipt = get_receipt(connection, published.execution_id)
    return ExecutionDetails(
        **_facts(context, published),
        manifest=without_values(published.manifest),
        steps=[Step(attempt=one.attempt, state=one.state, at=one.at, reason=one.detail.get("reason")) for one in steps],
        receipt_digest=None if receipt is None else receipt.receipt_digest,
    )


@router.get(
    "/api/executions/{execution}/receipt",
    summary="Fetch the signed receipt of an execution",
    responses=answers(
        {"payloadType": "application/vnd.in-toto+json", "payload": "eyJf...", "signatures": [{"sig": "MEUC..."}]},
        404,
        media_type=_ENVELOPE,
    ),
    response_class=Response,
)
def receipt(execution: str, access: AccessOf, context: ContextOf) -> Response:
    """Return the receipt's DSSE envelope; `mc verify` checks it offline."""
    published = _visible(execution, access, context)
    with context.database.begin() as connection:
        found = get_receipt(connection, published.execution_id)
    if found is None:
        raise NotFoundError("The execution has not ended yet", field="execution", value=execution, mend="ask again")
    return Response(context.encrypted_store.get(found.path, tenant=found.tenant), media_type=_ENVELOPE)


def _recorded(context: Context, execution: str) -> Published:
    with context.database.begin() as connection:
        return get_execution(connection, parse_uuid(execution, field="execution"))


def _visible(execution: str, access: Access, context: Context) -> Published:
    published = _recorded(context, execution)
    absent = NotFoundError("No such execution", field="execution_id", value=execution, mend="mc executions ls")
    access.require_or_hide(published.tenant, absent)
    return published


def _facts(context: Context, published: Published) -> dict[str, Any]:
    with context.database.begin() as connection:
        steps = get_transitions(connection, published.execution_id)
    return {
        "execution_id": published.execution_id,
        "manifest_digest": published.manifest_digest,
        "tenant": published.tenant,
        "workflow": published.workflow,
        "state": steps[-1].state,
        "attempt": steps[-1].attempt,
        "published_at": published.published_at,
        "estimate": estimate_of(steps),
    }
