"""Publish: a manifest becomes an execution on the queue, once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from mc_pipelines.executions.manifest import Manifest
from mc_pipelines.executions.records import (
    Published,
    State,
    Transition,
    add_execution,
    add_transitions,
    get_execution,
)
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.errors import ConflictError, InputError
from mc_pipelines.foundation.ids import ExecutionId, TenantId, uuid7
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.foundation.tenants import get_tenant
from mc_pipelines.runner.queue import enqueue

INPUTS = "inputs"
"""Folder of input files in the plain store, each named by its digest."""


def publish(connection: Connection, manifest: Manifest, *, now: datetime) -> tuple[ExecutionId, bool]:
    """Record and queue an execution in the caller's transaction; return its id and whether it is new.

    The same manifest again is the same execution. To run it again, give it another ``idempotency_key``.

    Raises:
        NotFoundError: the tenant is unknown.
        InputError: the deadline has passed.
        ConflictError: the key was used for another manifest.
    """
    moment = as_utc(now, field="now")
    get_tenant(connection, TenantId(manifest.tenant))
    if manifest.deadline is not None and manifest.deadline <= moment:
        raise InputError("The deadline has passed", field="deadline", value=manifest.deadline.isoformat())
    wanted = uuid7(moment)
    key = manifest.idempotency_key or manifest.digest
    found = add_execution(
        connection,
        Published(
            wanted,
            manifest.tenant,
            manifest.workflow,
            manifest.service,
            manifest.digest,
            manifest.document(),
            key,
            moment,
        ),
    )
    if found != wanted:
        _refuse_another(connection, found, manifest)
        return ExecutionId(found), False
    steps = (State.PUBLISHED, State.QUEUED)
    add_transitions(connection, [Transition(wanted, 0, 0, state, moment) for state in steps])
    enqueue(connection, [wanted], now=moment)
    return ExecutionId(wanted), True


def store_inputs(store: ObjectStore, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Put the input files of a manifest where the runner finds them.

    Raises:
        InputError: a file is not in the manifest, is missing, or has another digest.
    """
    declared = {file.path: file.digest for file in manifest.inputs}
    for path in files:
        if path not in declared:
            raise InputError("The manifest declares no such input", field="inputs", value=path)
    for path, digest in declared.items():
        stored = f"{INPUTS}/{digest.removeprefix('sha256:')}"
        if path not in files:
            if not store.exists(stored):
                raise InputError("An input file is not here", field="inputs", value=path, mend="give --input PATH=FILE")
            continue
        if sha256_digest(files[path]) != digest:
            raise InputError(
                "The file is not the one that the manifest names",
                field=f"inputs.{path}",
                value=digest,
                mend=f"its digest is {sha256_digest(files[path])}",
            )
        store.put(stored, files[path])


def _refuse_another(connection: Connection, found: UUID, manifest: Manifest) -> None:
    if get_execution(connection, found).manifest_digest != manifest.digest:
        raise ConflictError(
            "This key was used for another manifest",
            field="idempotency_key",
            value=manifest.idempotency_key,
            mend="use another key",
        )
