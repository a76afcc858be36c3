"""The register of credits for finance: one line a document, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from sqlalchemy import Connection

from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.sla.note_store import Issued, list_notes

COLUMNS = (
    "number",
    "kind",
    "issued_at",
    "tenant",
    "service",
    "objective",
    "period_first",
    "period_last",
    "restatement",
    "amount",
    "currency",
    "contract",
    "note_sha256",
    "log_leaf",
)


def register_csv(connection: Connection, *, tenant: TenantId | None = None) -> str:
    """Return all issued documents, by number; the sum of ``amount`` per tenant is what the ledger says we owe."""
    return register_of(list_notes(connection, tenant=tenant))


def register_of(notes: Iterable[Issued]) -> str:
    """Return the register of some documents."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for note in notes:
        subject = note.subject
        writer.writerow(
            (
                note.number,
                note.kind,
                rfc3339(note.issued_at),
                subject.tenant,
                subject.service,
                subject.objective.value,
                subject.first.isoformat(),
                subject.last.isoformat(),
                note.restatement,
                note.amount.amount,
                note.amount.currency,
                subject.contract,
                note.digest,
                note.leaf_id,
            )
        )
    return buffer.getvalue()
