"""Publish: a manifest becomes an execution on the queue, once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from mc_pipelines.executions.manifest import Manifest
from mc_pipelines.executions.records import (
    Published,
    State,
    Transition,
    add_executions,
    add_transitions,
    find_execution,
)
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.errors import ConflictError, InputError
from mc_pipelines.foundation.ids import ExecutionId, TenantId, uuid7
from mc_pipelines.foundation.tenants import get_tenant
from mc_pipelines.runner.budget import BudgetGate
from mc_pipelines.runner.estimates import Estimator
from mc_pipelines.runner.queue import enqueue
from mc_pipelines.runner.sealing import SealedStore

INPUTS = "inputs"
"""Folder of sealed input files, each under its tenant and named by its digest."""


def input_path(tenant: str, digest: str) -> str:
    """Return where an input file lies sealed.

    Each tenant has its own: whoever learns the digest of another tenant's file must not get to read the file.
    """
    return f"{INPUTS}/{tenant}/{digest.removeprefix('sha256:')}"


def publish(
    connection: Connection,
    manifest: Manifest,
    *,
    now: datetime,
    estimator: Estimator | None = None,
    gate: BudgetGate | None = None,
) -> tuple[ExecutionId, bool]:
    """Record and queue an execution in the caller's transaction; return its id and whether it is new.

    The same manifest again is the same execution. To run it again, give it another ``idempotency_key``.

    Args:
        connection: the caller's transaction.
        manifest: what to run.
        now: the moment from which its waiting counts.
        estimator: asked for an estimate; what it gives stands in the execution's first step and in its facts.
        gate: asked where the manifest has a budget.

    Raises:
        NotFoundError: the tenant is unknown.
        InputError: the deadline has passed.
        ConflictError: the key was used for another manifest.
        ForbiddenError: the manifest has a budget, and the estimate is surely past it.
    """
    return publish_all(connection, [manifest], now=now, estimator=estimator, gate=gate)[0]


def publish_all(
    connection: Connection,
    manifests: Sequence[Manifest],
    *,
    now: datetime,
    estimator: Estimator | None = None,
    gate: BudgetGate | None = None,
) -> list[tuple[ExecutionId, bool]]:
    """Publish many at once, all or none; return id and whether it is new, in the order given. As :func:`publish`."""
    moment = as_utc(now, field="now")
    for tenant in {manifest.tenant for manifest in manifests}:
        get_tenant(connection, TenantId(tenant))
    for manifest in manifests:
        if manifest.deadline is not None and manifest.deadline <= moment:
            raise InputError(
                "The deadline has passed",
                field="deadline",
                value=manifest.deadline.isoformat(),
                mend="give a later one, or none",
            )
    wanted = [_published(manifest, moment) for manifest in manifests]
    new = add_executions(connection, wanted)
    steps, queued = [], []
    for one, manifest in zip(wanted, manifests, strict=True):
        if one.execution_id not in new:
            continue
        estimate = (
            None if estimator is None else estimator.at_publish(connection, one.execution_id, manifest, at=moment)
        )
        detail: dict[str, Any] = {} if estimate is None else {"estimate": dict(estimate)}
        ruling = None if gate is None else gate.judge(manifest, estimate)
        if ruling is not None:
            detail["budget"] = ruling
        steps.append(Transition(one.execution_id, 0, 0, State.PUBLISHED, moment, detail))
        steps.append(Transition(one.execution_id, 0, 0, State.QUEUED, moment))
        queued.append(one.execution_id)
    add_transitions(connection, steps)
    enqueue(connection, queued, now=moment)
    return [_answer(connection, one, new) for one in wanted]


def estimate_of(steps: Sequence[Transition]) -> dict[str, Any] | None:
    """Return what was estimated when an execution was published; None where nothing was."""
    found: dict[str, Any] | None = steps[0].detail.get("estimate") if steps else None
    return found


def _published(manifest: Manifest, moment: datetime) -> Published:
    digest = manifest.digest
    return Published(
        uuid7(moment),
        manifest.tenant,
        manifest.workflow,
        manifest.service,
        digest,
        manifest.document(),
        manifest.idempotency_key or digest,
        moment,
    )


def _answer(connection: Connection, wanted: Published, new: Collection[UUID]) -> tuple[ExecutionId, bool]:
    if wanted.execution_id in new:
        return ExecutionId(wanted.execution_id), True
    there = find_execution(connection, wanted.tenant, wanted.idempotency_key)
    if there.manifest_digest != wanted.manifest_digest:
        raise ConflictError(
            "This key was used for another manifest",
            field="idempotency_key",
            value=wanted.idempotency_key,
            mend="use another key",
        )
    return ExecutionId(there.execution_id), False


def store_inputs(store: SealedStore, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Seal the input files of a manifest where the runner finds them.

    Raises:
        InputError: a file is not in the manifest, is missing, or has another digest.
    """
    declared = {file.path: file.digest for file in manifest.inputs}
    for path in files:
        if path not in declared:
            raise InputError("The manifest declares no such input", field="inputs", value=path)
    for path, digest in declared.items():
        stored = input_path(manifest.tenant, digest)
        if path not in files:
            if not store.exists(stored, tenant=manifest.tenant):
                raise InputError(
                    "An input file is not here",
                    field="inputs",
                    value=path,
                    mend="give the file to `mc publish --input PATH=FILE`",
                )
            continue
        if sha256_digest(files[path]) != digest:
            raise InputError(
                "The file is not the one that the manifest names",
                field=f"inputs.{path}",
                value=digest,
                mend=f"its digest is {sha256_digest(files[path])}",
            )
        store.put(
            stored,
            files[path],
            tenant=manifest.tenant,
            kind="input",
            object_id=digest.removeprefix("sha256:"),
            content_type="application/octet-stream",
        )
