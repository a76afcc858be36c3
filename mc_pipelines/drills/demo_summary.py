"""The end of the demo: what was made, and what a person can check of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import text

from mc_pipelines.attest.report import Report
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.trust_store import draft_trust, issue_trust
from mc_pipelines.attest.verify import verify_file
from mc_pipelines.composition import Context

_COUNTED = (
    ("executions published", "select count(*) from execution"),
    ("signed receipts, sealed in the object store", "select count(*) from execution_receipt"),
    ("policy decisions on record", "select count(*) from policy_decision"),
    ("tenant-days of slices", "select count(*) from sla_slice_day"),
    ("credit drafts", "select count(*) from sla_draft"),
    ("signed credit notes", "select count(*) from sla_note"),
    ("key rotations", "select count(*) from kms_rotation"),
    ("audit log entries", "select count(*) from attest_log_leaf"),
)


def counts(context: Context) -> list[tuple[str, int]]:
    """Return how much there is of everything."""
    from mc_pipelines.provenance.edge_log import head_of, known_tenants

    found = []
    with context.database.begin() as connection:
        for name, query in _COUNTED:
            found.append((name, int(connection.execute(text(query)).scalar_one())))
        documents = sum(head_of(connection, tenant) for tenant in known_tenants(connection))
    return [*found, ("provenance documents and receipts in the graph", documents)]


def write_trust(context: Context, folder: Path) -> Path:
    """Write the signed trust file that `mc verify` believes; return its path."""
    signer = context.signer
    with context.database.begin() as connection:
        draft = draft_trust(connection, root=signer.key_id)
        envelope = issue_trust(connection, draft, [signer], now=context.clock.now())
    path = folder / "trust.json"
    path.write_bytes(envelope.to_json())
    return path


def checked_files(context: Context, folder: Path) -> Iterator[tuple[Path, Report]]:
    """Write one credit note and one receipt with the trust file, verify each as a stranger would, and yield both."""
    from mc_pipelines.cli.verify import register_verifiers
    from mc_pipelines.sla.note_store import list_notes

    register_verifiers()
    folder.mkdir(parents=True, exist_ok=True)
    trust = Trust.from_json(write_trust(context, folder).read_bytes())
    with context.database.begin() as connection:
        notes = list_notes(connection)
        row = connection.execute(
            text(
                "select r.path, r.tenant from execution_receipt r join execution_transition t using (execution_id)"
                " where t.state = 'succeeded' order by r.path limit 1"
            )
        ).one_or_none()
    files = {"note.json": notes[0].note} if notes else {}
    if row is not None:
        files["receipt.json"] = context.encrypted_store.get(row.path, tenant=row.tenant)
    for name, content in files.items():
        path = folder / name
        path.write_bytes(content)
        if name == "note.json":
            _write_proof(context, path, notes[0].leaf_id)
        yield path, verify_file(path, trust)


def _write_proof(context: Context, path: Path, leaf_id: str) -> None:
    from mc_pipelines.attest.log import inclusion_proof

    with context.database.begin() as connection:
        proof = inclusion_proof(connection, leaf_id)
    path.with_name(path.name + ".tlog-proof").write_text(str(proof))


def drift_table(context: Context) -> dict[str, Any] | None:
    """Return the newest backtest's summary, None where there is none."""
    reports = [one for one in context.object_store.list("estimator/reports/") if one.path.endswith(".json")]
    if not reports:
        return None
    newest = max(reports, key=lambda one: (one.modified, one.path))
    found: dict[str, Any] = json.loads(context.object_store.get(newest.path))
    return found


def rollouts(context: Context) -> list[tuple[Any, ...]]:
    """Return each rollout's pack, phase and what its evidence says."""
    from mc_pipelines.policy.controller import gate_of, list_rollouts

    with context.database.begin() as connection:
        return [
            (one.pack, one.phase, gate_of(connection, one, budget_stable=True, now=context.clock.now()).reason)
            for one in list_rollouts(connection)
        ]


def rotations(context: Context) -> list[tuple[Any, ...]]:
    """Return each rotation's key, state, versions and whether its evidence verifies."""
    from mc_pipelines.keys.rotation import list_rotations
    from mc_pipelines.keys.standing import evidence_problems

    problems = evidence_problems(context.database, context.keyring)
    with context.database.begin() as connection:
        found = list_rotations(connection)
    verdict = problems[0] if problems else "verifies with the old and the new key"
    return [(one.key, one.state, one.old_ref, one.new_ref, verdict) for one in found]
