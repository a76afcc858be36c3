"""Judges credit notes and determinations that attest has verified: people, figures, shape."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mc_pipelines.attest.report import Report
from mc_pipelines.attest.statement import predicate_type
from mc_pipelines.attest.verify import Evidence as Signed
from mc_pipelines.attest.verify import register_container, register_verifier
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.contract_store import CONTRACT_TYPE
from mc_pipelines.sla.note import NOTE_TYPE

NO_CREDIT_TYPE = predicate_type("sla-no-credit")
COMPLETENESS_TYPE = predicate_type("sla-completeness")
FINANCIAL_REVIEW_TYPE = predicate_type("sla-financial-review")
_TWO = 2


def register() -> None:
    """Let attest judge our predicate types and packs."""
    from mc_pipelines.sla.pack_verification import CONTAINER

    register_container(CONTAINER)
    register_verifier(NOTE_TYPE, verify_note)
    register_verifier(NO_CREDIT_TYPE, verify_determination)
    register_verifier(CONTRACT_TYPE, verify_contract)
    register_verifier(COMPLETENESS_TYPE, verify_completeness)


def verify_note(signed: Signed, report: Report) -> None:
    """Check that enough different people signed, and that the note says what the signed figures say.

    Raises:
        VerificationError: it does not hold.
    """
    predicate = signed.statement.predicate
    needed = max(_TWO, int(_member(predicate, "reviewers", "signatures")))
    if len(signed.holders) < needed:
        raise VerificationError(
            f"{len(signed.holders)} of the {needed} different people who must have signed", field="signatures"
        )
    report.proved.append(f"{needed} different people signed, as this amount demands.")
    figures = _member(predicate, "figures")
    amount = Money(str(_member(figures, "currency")), int(_member(figures, "amountMinor")))
    if signed.document is None:
        report.not_proved.append("That a note in the published shape was made of this statement: none was given.")
    else:
        _check_document(signed.document, predicate, amount)
        report.proved.append(f"The note credits {signed.document['tenant']} with {amount}, as the signed figures do.")
    if predicate.get("constructed"):
        report.not_proved.append("That this happened: the statement says that some of its input is constructed.")
    report.not_proved.append("That the figure follows from the facts: verify the disclosure pack for that.")


def _check_document(document: Mapping[str, Any], predicate: Mapping[str, Any], amount: Money) -> None:
    expected = {"tenant": predicate["tenant"], "period": predicate["period"]["days"]}
    for name, value in expected.items():
        if document.get(name) != value:
            raise VerificationError("The note and its statement differ", field=name, value=document.get(name))
    if "creditUSD" in document:
        shown, currency = Decimal(str(document["creditUSD"])), "USD"
    else:
        credit = document.get("credit") or {}
        shown, currency = Decimal(str(credit.get("amount"))), str(credit.get("currency"))
    if (shown, currency) != (amount.amount, amount.currency):
        raise VerificationError("The note and its statement differ in the amount", field="credit", value=str(shown))


def verify_determination(signed: Signed, report: Report) -> None:
    """Say which incident ended without a credit, for whom and why."""
    predicate = signed.statement.predicate
    report.proved.append(
        f"Incident {_member(predicate, 'incident')} gives {_member(predicate, 'tenant')} no credit:"
        f" {_member(predicate, 'reason')}."
    )


def verify_completeness(signed: Signed, report: Report) -> None:
    """Say what was found missing on a day."""
    counts = _member(signed.statement.predicate, "counts")
    day = _member(signed.statement.predicate, "day")
    missing = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(counts.items()) if count)
    report.proved.append(
        f"On {day} the service found missing among incidents, breaches and notes: {missing or 'nothing'}."
    )


def verify_contract(signed: Signed, report: Report) -> None:
    """Say which contract was recorded."""
    predicate = signed.statement.predicate
    report.proved.append(f"Contract {_member(predicate, 'name')} version {_member(predicate, 'version')} was recorded.")


def _member(document: Mapping[str, Any], *path: str) -> Any:
    value: Any = document
    for name in path:
        if not isinstance(value, Mapping) or value.get(name) is None:
            raise VerificationError("The statement lacks a field", field=".".join(path))
        value = value[name]
    return value


register()
