"""The documents of one period as a chain: each rests on its evidence, and the diff to the one before is made again.

A note's statement names the digest of the note before it; that note's statement names the digest of its evidence. So
the chain from the newest document to the first is checked offline, and the diff between two evidences with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from mc_pipelines.attest.dsse import verify
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.attest.trust import Trust
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.sla.draft_store import get_draft
from mc_pipelines.sla.evidence import Evidence, parse_evidence
from mc_pipelines.sla.note import open_note
from mc_pipelines.sla.note_store import get_note
from mc_pipelines.sla.restatement import restated_evidence

DIFF = "restatement.json"
_TWO = 2


def chain_files(connection: Connection, evidence: bytes, figures: Mapping[str, Any]) -> dict[str, bytes]:
    """Return note and evidence of every earlier document of a period and the diff to the newest; {} for a first."""
    new = parse_evidence(evidence)
    if not new.earlier:
        return {}
    found: dict[str, bytes] = {}
    for one in new.earlier:
        issued = get_note(connection, one.number)
        found[_note_name(one.number)] = issued.note
        found[_evidence_name(one.number)] = get_draft(connection, issued.draft_id).evidence
    newest = new.earlier[-1].number
    old = parse_evidence(found[_evidence_name(newest)])
    found[DIFF] = _diff(old, new, _figures_of(found[_note_name(newest)]), figures)
    return found


def check_chain(
    payload: Mapping[str, bytes], evidence: Evidence, figures: Mapping[str, Any], trust: Trust, report: Report
) -> None:
    """Check every earlier document of the period, that each rests on its evidence, and that the diff is the diff.

    Raises:
        VerificationError: a link does not hold; the message names the file.
    """
    if not evidence.earlier:
        return
    for number, one in enumerate(evidence.earlier):
        name = _note_name(one.number)
        document, digest, envelope = open_note(_file(payload, name))
        signers = verify(envelope, trust.pems, threshold=_TWO)
        statement = parse_statement(envelope.payload)
        seen = parse_evidence(_file(payload, _evidence_name(one.number)))
        if digest != one.digest or digest not in [subject.sha256 for subject in statement.subjects]:
            raise VerificationError("The earlier note is not the one that the evidence names", field=name)
        if f"sha256:{statement.predicate['evidence']['sha256']}" != seen.digest:
            raise VerificationError("The earlier note rests on other evidence", field=_evidence_name(one.number))
        figures_then = statement.predicate["figures"]
        if (figures_then["amountMinor"], figures_then["currency"]) != (str(one.amount.minor), one.amount.currency):
            raise VerificationError("An earlier note gave another amount than the evidence says", field=name)
        if _about(seen) != _about(evidence):
            raise VerificationError("An earlier note is about another period", field=_evidence_name(one.number))
        if seen.earlier != evidence.earlier[:number] or len({_holder(trust, key) for key in signers}) < _TWO:
            raise VerificationError(
                "The chain of the period's documents is broken", field=name, value=document["period"]
            )
    newest = evidence.earlier[-1].number
    before = parse_evidence(payload[_evidence_name(newest)])
    if _file(payload, DIFF) != _diff(before, evidence, _figures_of(payload[_note_name(newest)]), figures):
        raise VerificationError("The diff is not the difference of the two evidences", field=DIFF)
    report.proved.append(
        f"It follows {len(evidence.earlier)} earlier document(s) of the period, each signed by two people and resting"
        f" on the evidence it names; {DIFF} is what changed since {newest}."
    )


def _about(evidence: Evidence) -> tuple[object, ...]:
    return evidence.tenant, evidence.service, evidence.period, evidence.contract


def chain_names(evidence: Evidence) -> set[str]:
    """Return the names of the files that a pack with earlier documents holds for them."""
    files = {name(one.number) for one in evidence.earlier for name in (_note_name, _evidence_name)}
    return files | {DIFF} if files else set()


def _diff(old: Evidence, new: Evidence, before: Mapping[str, Any], after: Mapping[str, Any]) -> bytes:
    return canonical_json(restated_evidence(old, new, before, after).to_document())


def _holder(trust: Trust, key_id: str) -> str:
    return next(record.holder for record in trust.keys if record.key_id == key_id)


def _figures_of(note: bytes) -> Mapping[str, Any]:
    _, _, envelope = open_note(note)
    found: Mapping[str, Any] = parse_statement(envelope.payload).predicate["figures"]
    return found


def _file(payload: Mapping[str, bytes], name: str) -> bytes:
    if name not in payload:
        raise VerificationError("A file of the pack is missing", field=name)
    return payload[name]


def _note_name(number: str) -> str:
    return f"earlier/{number}.note.json"


def _evidence_name(number: str) -> str:
    return f"earlier/{number}.evidence.json"
