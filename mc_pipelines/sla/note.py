"""The credit note and the statement that people sign, as bytes.

The note has the seed's shape: tenant, period, breach, creditUSD, signature. It is small and readable; its
authority is the statement inside ``signature`` (base64 of a DSSE envelope with the signatures of two people),
whose subject is the digest of the note without ``signature``. A number in the note is for reading; the figures
that count are text in the statement's predicate.
"""

from __future__ import annotations

import base64
from datetime import datetime
from decimal import Decimal
from typing import Any

from mc_pipelines import __version__
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.statement import Statement, Subject, predicate_type
from mc_pipelines.attest.verify import split_note
from mc_pipelines.foundation.canonical import canonical_json, digest_of, parse_json
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.contract import Contract, Objective, Signed
from mc_pipelines.sla.evidence import MOST_MINOR, Evidence
from mc_pipelines.sla.judgement import Judgement, figures

NOTE_TYPE = predicate_type("sla-credit-note")
_DOLLAR = "USD"


def note_document(contract: Contract, evidence: Evidence, judgement: Judgement) -> dict[str, Any]:
    """Return the note without its signature.

    Raises:
        InputError: there is nothing to write a note about, or the amount is too large for a JSON number.
    """
    if judgement.step is None or judgement.step.document is None:
        raise InputError("Nothing is owed, so there is no note", field="credit", value=judgement.reason)
    return {
        "tenant": evidence.tenant,
        "period": evidence.period.text,
        "breach": _breach(contract, judgement),
        **_credit(judgement.step.amount),
    }


def _breach(contract: Contract, judgement: Judgement) -> dict[str, Any]:
    shown = judgement.attainment.shown
    if contract.objective is Objective.LATENCY:
        return {
            "latencyP95Ms": judgement.latency_p95_ms or 0,
            "targetMs": contract.threshold_ms or 0,
            "goodShare": _number(Decimal(0) if shown is None else shown / 100),
        }
    return {
        "availability": _number(Decimal(0) if shown is None else shown),
        "target": _number(Decimal(contract.target.numerator) / Decimal(contract.target.denominator)),
    }


def _credit(amount: Money) -> dict[str, Any]:
    if abs(amount.minor) > MOST_MINOR:
        raise InputError("The amount is too large for a note", field="credit", value=str(amount))
    if amount.currency == _DOLLAR:
        return {"creditUSD": _number(amount.amount)}
    return {"credit": {"amount": str(amount.amount), "currency": amount.currency}}


def _number(value: Decimal) -> float | int:
    whole = value.to_integral_value()
    return int(whole) if whole == value else float(value)


def statement_of_note(
    sealed: Signed,
    evidence: Evidence,
    judgement: Judgement,
    *,
    draft_id: str,
    restatement: int,
    signatures: int,
    drafted_at: datetime,
) -> Statement:
    """Return the statement that maker and checker sign.

    Args:
        sealed: the contract.
        evidence: what was seen.
        judgement: what it comes to.
        draft_id: the idempotency key; the subject is named by it, the number comes when the note is issued.
        restatement: 0 for the first document of the period.
        signatures: how many different people must sign.
        drafted_at: when the draft was made.
    """
    note = note_document(sealed.contract, evidence, judgement)
    previous = evidence.earlier[-1].digest if evidence.earlier else None
    predicate = {
        "contract": {
            "name": sealed.contract.name,
            "version": sealed.contract.version,
            "sha256": sealed.digest.removeprefix("sha256:"),
        },
        "tenant": evidence.tenant,
        "service": evidence.service,
        "objective": sealed.contract.objective.value,
        "period": {
            "days": evidence.period.text,
            "zone": evidence.period.zone,
            "from": rfc3339(evidence.period.start),
            "until": rfc3339(evidence.period.end),
        },
        "figures": figures(sealed.contract, evidence, judgement),
        "restatement": restatement,
        "previous": previous,
        "reversal": reversal_document(evidence),
        "evidence": {
            "sha256": evidence.digest.removeprefix("sha256:"),
            "merkleRoot": evidence.root,
            "days": len(evidence.slices),
            "facts": len(evidence.facts),
        },
        "constructed": evidence.constructed,
        "reviewers": {"signatures": signatures, "roles": ["finance-maker", "finance-checker"]},
        "engine": {"package": "mc-pipelines", "version": __version__},
        "draftedAt": rfc3339(drafted_at),
    }
    return Statement((Subject.of(f"credit-note/{draft_id}", digest_of(note)),), NOTE_TYPE, predicate)


def reversal_document(evidence: Evidence) -> dict[str, str] | None:
    """Return which note a reversal takes back and why, as it is signed; None for what the facts give."""
    asked = evidence.reversal
    if asked is None:
        return None
    digest = next(one.digest for one in evidence.earlier if one.number == asked.number)
    return {"number": asked.number, "digest": digest, "reason": asked.reason}


def seal_note(unsigned: bytes, envelope: Envelope) -> bytes:
    """Return the signed note: the unsigned one with the envelope in ``signature``, canonical."""
    document = plain_numbers(parse_json(unsigned, what="note"))
    signature = base64.b64encode(envelope.to_json()).decode("ascii")
    return canonical_json(document | {"signature": signature})


def open_note(content: bytes) -> tuple[dict[str, Any], Digest, Envelope]:
    """Split a signed note into its members without the signature, their digest, and the envelope.

    Raises:
        VerificationError: the bytes are not the note's canonical form, or the base64 is not strict.
        InputError: it is no signed note.
    """
    document, envelope = split_note(content)
    return document, digest_of(document), envelope


def plain_numbers(value: Any) -> Any:
    """Return parsed JSON with Decimals as floats, the form in which RFC 8785 writes numbers."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: plain_numbers(item) for key, item in value.items()}
    return [plain_numbers(item) for item in value] if isinstance(value, list) else value
