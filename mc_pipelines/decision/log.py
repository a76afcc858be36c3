"""The decision log: what was asked, under which bundle, and what the policy said.

A record has the shape of an OPA decision-log entry (openpolicyagent.org, "Decision Logs"), so tools
that read those read ours. The input is stored masked, its digest is of the whole, so that a replay can
tell whether it has the real input; ``erased`` names what was masked.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.decision.engine import Verdict
from mc_pipelines.decision.records import decisions
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.clock import as_utc, rfc3339
from mc_pipelines.foundation.ids import Digest

MASKED_KEYS = frozenset({"token", "password", "secret", "secrets", "environment", "authorization", "command", "args"})
"""Members of an input that are never stored, wherever they stand."""
_BATCH = 1_000


@dataclass(frozen=True)
class DecisionRecord:
    """One decision.

    Attributes:
        decision_id: UUIDv7 of the decision; recording it twice changes nothing.
        decided_at: aware UTC.
        pack: name of the pack.
        revision: digest of the bundle that decided.
        path: the rule, with slashes as OPA writes it: ``placement/deny``.
        input_digest: digest of the whole input's canonical JSON.
        input: the input without what ``erased`` names.
        erased: JSON pointers of what was masked.
        result: the value; None when ``error`` is set.
        error: why there was none.
        engine: name and version.
        metrics: timers in nanoseconds, in OPA's names.
        tenant: whose decision it was, where it was one's.
    """

    decision_id: UUID
    decided_at: datetime
    pack: str
    revision: Digest
    path: str
    input_digest: Digest
    input: Any
    erased: tuple[str, ...]
    result: Any
    error: str | None
    engine: str
    metrics: dict[str, int] = field(default_factory=dict)
    tenant: str | None = None

    def entry(self) -> dict[str, Any]:
        """Return the record as an OPA decision-log entry."""
        document: dict[str, Any] = {
            "decision_id": str(self.decision_id),
            "timestamp": rfc3339(self.decided_at),
            "bundles": {self.pack: {"revision": self.revision}},
            "path": self.path,
            "input": self.input,
            "metrics": self.metrics,
            "labels": {"engine": self.engine, "input_digest": self.input_digest},
        }
        if self.erased:
            document["erased"] = list(self.erased)
        if self.error is None:
            document["result"] = self.result
        else:
            document["error"] = {"code": "evaluation_error", "message": self.error}
        return document


def decision_record(
    verdict: Verdict,
    *,
    decision_id: UUID,
    decided_at: datetime,
    pack: str,
    revision: Digest,
    query: str,
    input_document: Any,
    engine: str,
    tenant: str | None = None,
) -> DecisionRecord:
    """Build the record of a verdict; masks the input.

    Raises:
        InputError: the input cannot be written as canonical JSON, or ``decided_at`` is naive.
    """
    masked, erased = mask(input_document)
    return DecisionRecord(
        decision_id=decision_id,
        decided_at=as_utc(decided_at, field="decided_at"),
        pack=pack,
        revision=revision,
        path=query.removeprefix("data.").replace(".", "/"),
        input_digest=digest_of(input_document),
        input=masked,
        erased=erased,
        result=verdict.value,
        error=verdict.error,
        engine=engine,
        metrics={"timer_rego_query_eval_ns": verdict.elapsed_ns},
        tenant=tenant,
    )


def mask(document: Any, keys: frozenset[str] = MASKED_KEYS) -> tuple[Any, tuple[str, ...]]:
    """Return a copy without the members named in ``keys``, and the JSON pointers of what was left out."""
    erased: list[str] = []
    return _masked(copy.deepcopy(document), "", keys, erased), tuple(erased)


def _masked(value: Any, pointer: str, keys: frozenset[str], erased: list[str]) -> Any:
    if isinstance(value, dict):
        kept = {}
        for key, member in value.items():
            below = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if str(key).lower() in keys:
                erased.append(f"/input{below}")
            else:
                kept[key] = _masked(member, below, keys, erased)
        return kept
    if isinstance(value, list):
        return [_masked(item, f"{pointer}/{index}", keys, erased) for index, item in enumerate(value)]
    return value


def record_decision(connection: Connection, record: DecisionRecord) -> None:
    """Write one decision; writing it again changes nothing."""
    record_decisions(connection, (record,))


def record_decisions(connection: Connection, records: Iterable[DecisionRecord]) -> None:
    """Write decisions in batches; those already there stay as they are."""
    rows = [_row(record) for record in records]
    for start in range(0, len(rows), _BATCH):
        connection.execute(insert(decisions).on_conflict_do_nothing(), rows[start : start + _BATCH])


def decisions_of_day(
    connection: Connection, pack: str, day: date, *, since: datetime | None = None
) -> Sequence[DecisionRecord]:
    """Return a pack's decisions of one UTC day, oldest first; with ``since`` only those from that moment on."""
    query = (
        select(decisions)
        .where(decisions.c.pack == pack, decisions.c.decided_on == day)
        .order_by(decisions.c.decided_at, decisions.c.decision_id)
    )
    if since is not None:
        query = query.where(decisions.c.decided_at >= since)
    return [_record(dict(row)) for row in connection.execute(query).mappings()]


def _row(record: DecisionRecord) -> dict[str, Any]:
    moment = as_utc(record.decided_at, field="decided_at")
    return {
        "decided_on": moment.date(),
        "decision_id": record.decision_id,
        "decided_at": moment,
        "pack": record.pack,
        "revision": record.revision,
        "path": record.path,
        "tenant": record.tenant,
        "input_digest": record.input_digest,
        "input": record.input,
        "erased": list(record.erased),
        "result": record.result,
        "error": record.error,
        "engine": record.engine,
        "metrics": record.metrics,
    }


def _record(row: dict[str, Any]) -> DecisionRecord:
    del row["decided_on"]
    return DecisionRecord(**(row | {"erased": tuple(row["erased"])}))
