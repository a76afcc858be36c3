"""Watching a Dagster instance: a process that imports Dagster writes its log down, this one records what it says."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from mc_pipelines.composition import Context, provenance_marking
from mc_pipelines.foundation.errors import InputError, UnavailableError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.edge_log import IngestResult
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.trust_roots import TrustRoots


def watch(
    context: Context,
    tenant: TenantId,
    instance: Path,
    issuer: str,
    *,
    poll: float | None,
    classification: int | None = None,
    purposes: Collection[str] = (),
) -> Iterator[list[IngestResult]]:
    """Record what an instance materialised; yield the results of each batch once its position is kept.

    Args:
        context: what to work with.
        tenant: whose graph.
        instance: its DAGSTER_HOME.
        issuer: what to call it.
        poll: seconds between looks; None: one look.
        classification: 0 (open) to 3 (secret), who may read it; None: by the tenant's data class.
        purposes: what it may be read for; none = any purpose.

    Raises:
        InputError: a marking that the tenant's documents may not have, or a folder that is no DAGSTER_HOME; the
            instance is not looked at then.
        UnavailableError: the instance cannot be read.
    """
    provenance_marking(context, tenant, classification, purposes)
    _require_home(instance)
    kept = _positions_file(context, tenant, instance, issuer)
    command = [sys.executable, "-m", "mc_pipelines.dagster_ext.event_log", "--issuer", issuer]
    if poll is not None:
        command += ["--poll", str(poll)]
    process = subprocess.Popen(  # noqa: S603 - our own program
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"DAGSTER_HOME": str(instance)},
    )
    try:
        _give(process, kept.read_bytes() if kept.is_file() else b"{}")
        for documents, positions in _batches(process.stdout or ()):
            # Asked for anew each time: the tenant's data class may change while this watches.
            marking = provenance_marking(context, tenant, classification, purposes)
            given = ingest_documents(
                context.database, tenant, documents, TrustRoots(), clock=context.clock, marking=marking
            )
            results = list(given)
            _keep(kept, positions)
            yield results
        if process.wait() != 0:
            raise UnavailableError("The Dagster instance cannot be read", field="instance", value=str(instance))
    except KeyboardInterrupt:
        return
    finally:
        process.terminate()
        process.communicate()


def _require_home(instance: Path) -> None:
    """Make sure that Dagster finds an instance there: where it finds none, it makes one."""
    if not any((instance / name).exists() for name in ("dagster.yaml", "history", "storage")):
        raise InputError(
            "There is no Dagster instance in this folder",
            field="INSTANCE",
            value=str(instance),
            mend="name the folder that DAGSTER_HOME names, where dagster.yaml lies",
        )


def _give(process: subprocess.Popen[bytes], positions: bytes) -> None:
    if process.stdin is not None:
        process.stdin.write(positions)
        process.stdin.close()
        process.stdin = None


def _batches(lines: Iterable[bytes]) -> Iterator[tuple[list[Document], bytes]]:
    """Yield events with the positions after them, which say where to go on once the events are recorded."""
    waiting: list[Document] = []
    for line in lines:
        content = line.rstrip(b"\n")
        if content.startswith(b'{"positions":'):
            yield waiting, json.dumps(json.loads(content)["positions"]).encode()
            waiting = []
        else:
            waiting.append(Document("dagster event", content))


def _positions_file(context: Context, tenant: TenantId, instance: Path, issuer: str) -> Path:
    name = hashlib.sha256("\0".join((tenant, str(instance), issuer)).encode()).hexdigest()[:32]
    return context.settings.home_path / "watch" / f"{name}.json"


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".new")
    partial.write_bytes(content)
    partial.replace(path)
