"""Verifies a disclosure pack offline: files, signatures, log proof, and every figure computed again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc_pipelines import __version__
from mc_pipelines.attest.bundle import parse_bundle
from mc_pipelines.attest.checkpoint import LogProof
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.signer import thumbprint
from mc_pipelines.attest.statement import Statement, parse_statement
from mc_pipelines.attest.timestamp import verify_timestamp
from mc_pipelines.attest.trust import Trust
from mc_pipelines.attest.verify import Container, verify_envelope
from mc_pipelines.foundation.canonical import canonical_json, parse_json
from mc_pipelines.foundation.clock import parse_utc, rfc3339
from mc_pipelines.foundation.errors import MaestroError, VerificationError
from mc_pipelines.foundation.money import Money
from mc_pipelines.sla.assessment import subject_of_period
from mc_pipelines.sla.bag import INFO, is_bag, open_bag
from mc_pipelines.sla.commitment import day_name, inside_of, parse_committed_day
from mc_pipelines.sla.contract import Objective, Signed, Source
from mc_pipelines.sla.contract_store import Assigned
from mc_pipelines.sla.document import parse_canonical
from mc_pipelines.sla.document_chain import chain_names, check_chain
from mc_pipelines.sla.evidence import Evidence, parse_evidence
from mc_pipelines.sla.issue import NOTE_ISSUED
from mc_pipelines.sla.judgement import figures, judge
from mc_pipelines.sla.note import note_document, open_note, reversal_document
from mc_pipelines.sla.pack import (
    CHECKPOINT,
    CONTRACT,
    CONTRACT_ENVELOPE,
    ENVELOPE,
    EVIDENCE,
    NOTE,
    PEOPLE,
    PROOF,
    SCRIPT,
    TIMESTAMP,
    UBL,
    UNSIGNED,
    script,
)
from mc_pipelines.sla.slices import AVAILABILITY
from mc_pipelines.sla.ubl import credit_note_xml

_REQUIRED = (NOTE, UNSIGNED, ENVELOPE, CONTRACT, CONTRACT_ENVELOPE, EVIDENCE, PROOF, CHECKPOINT)


def verify_pack(content: bytes, trust: Trust) -> Report:
    """Check a pack and recompute its figure; the report names the first field that differs.

    Args:
        content: the zip file.
        trust: keys and logs to believe; keys inside the pack are never believed.
    """
    report = Report("disclosure pack")
    try:
        _verify(content, trust, report)
    except MaestroError as error:
        report.problems.append(str(error))
    return report


CONTAINER = Container("disclosure pack", is_bag, verify_pack)


def _verify(content: bytes, trust: Trust, report: Report) -> None:
    bag = open_bag(content)
    payload = bag.payload
    for name in _REQUIRED:
        if name not in payload:
            raise VerificationError("A file of the pack is missing", field=name)
    report.proved.append(f"All {len(payload)} files are those that the manifests list.")
    document, _, envelope = open_note(payload[NOTE])
    _same(canonical_json(document), payload[UNSIGNED], UNSIGNED)
    _same(envelope.to_json(), payload[ENVELOPE], ENVELOPE)
    verify_envelope(envelope, trust, report, proof=payload[PROOF], document=document)
    verify_envelope(Envelope.from_json(payload[CONTRACT_ENVELOPE]), trust, report)
    statement = parse_statement(envelope.payload)
    recompute(statement, payload[CONTRACT], payload[EVIDENCE], document, report)
    _check_contract_statement(payload[CONTRACT_ENVELOPE], payload[CONTRACT])
    _check_bundles(payload, envelope, report)
    _same(LogProof.parse(payload[PROOF]).note.encode(), payload[CHECKPOINT], CHECKPOINT)
    evidence = parse_evidence(payload[EVIDENCE])
    check_chain(payload, evidence, statement.predicate["figures"], trust, report)
    _check_days(payload, evidence, trust, report)
    _check_timestamp(payload.get(TIMESTAMP), payload[ENVELOPE], trust, report)
    _check_keys(payload, envelope)
    number = _check_invoice(payload, statement, evidence, report)
    _check_nothing_else(payload, evidence)
    _check_tags(bag.tags, number, report)
    report.not_proved = [line for line in report.not_proved if not line.startswith("That the figure follows")]
    report.not_proved.append("That the facts in the evidence are all the facts there were.")


def recompute(
    statement: Statement, contract: bytes, evidence: bytes, document: Mapping[str, Any], report: Report
) -> None:
    """Compute the credit again from contract and evidence and compare every signed field.

    Raises:
        VerificationError: a field differs; the message names the first.
    """
    predicate = statement.predicate
    sealed, seen = parse_canonical(contract), parse_evidence(evidence)
    _check_fit(sealed, seen)
    expected = _predicate(sealed, seen)
    for path, ours in _flat(expected):
        theirs = _at(predicate, path)
        if theirs != ours:
            raise VerificationError(
                "Recomputed from the evidence, a field differs from what was signed",
                field=".".join(str(part) for part in path),
                value=f"signed {theirs!r}, recomputed {ours!r}",
            )
    again = note_document(sealed.contract, seen, judge(sealed.contract, seen))
    if canonical_json(again) != canonical_json(dict(document)):
        raise VerificationError("The note is not the one that the evidence gives", field="note")
    numbers = expected["figures"]
    report.proved.append(
        f"Recomputed from {len(seen.slices)} days of counts and {len(seen.facts)} facts under contract"
        f" {sealed.contract.name} version {sealed.contract.version}: {numbers['shown']} per cent against"
        f" {numbers['target']}, {numbers['creditPercent']} per cent of the charge,"
        f" {numbers['amountMinor']} minor units of {numbers['currency']}. Every field agrees."
    )


def _check_fit(sealed: Signed, evidence: Evidence) -> None:
    """Check that the evidence was counted as this contract counts, or the recomputed figure would mean nothing."""
    contract = sealed.contract
    executions = contract.source is Source.EXECUTIONS and contract.objective is Objective.LATENCY
    counted = (contract.granule_ms, (contract.threshold_ms or 0) if executions else AVAILABILITY)
    wrong = {
        "evidence.contract": evidence.contract != sealed.digest,
        "evidence.service": evidence.service != contract.service,
        "evidence.zone": evidence.period.zone != contract.zone,
        "evidence.slices": any((day.granule_ms, day.threshold_ms) != counted for day in evidence.slices)
        or len({day.day for day in evidence.slices}) != len(evidence.slices),
    }
    for field, found in wrong.items():
        if found:
            raise VerificationError("The evidence was not gathered under this contract", field=field)


def _check_invoice(payload: Mapping[str, bytes], statement: Statement, evidence: Evidence, report: Report) -> str:
    """Check the document for the customer's accounting, which nobody signs; return the note's number in the log."""
    entry = parse_json(LogProof.parse(payload[PROOF]).entry or b"{}", what="log entry")
    number, act, at = (str(entry.get(name)) for name in ("subject", "act", "at"))
    if act != NOTE_ISSUED:
        raise VerificationError("The log entry is not that of an issued note", field=PROOF, value=act)
    if UBL not in payload:
        return number
    sealed, signed = parse_canonical(payload[CONTRACT]), statement.predicate["figures"]
    again = credit_note_xml(
        number,
        parse_utc(at, field="at"),
        subject_of_period(Assigned(evidence.tenant, sealed, evidence.period.first, None), evidence.period),
        Money(str(signed["currency"]), int(signed["amountMinor"])),
        sealed.contract,
        signed,
    )
    if payload[UBL] == again:
        report.proved.append(f"{UBL} says what the note says.")
    elif statement.predicate.get("engine", {}).get("version") == __version__:
        raise VerificationError("The document for accounting is not the one that the note gives", field=UBL)
    else:
        report.not_proved.append(f"That {UBL} says what the note says: another version wrote it. Book the note.")
    return number


def _check_nothing_else(payload: Mapping[str, bytes], evidence: Evidence) -> None:
    known = {*_REQUIRED, TIMESTAMP, UBL, *(day_name(day.day) for day in evidence.slices), *chain_names(evidence)}
    known |= {name for person in PEOPLE for name in (f"{person}.sigstore.json", f"keys/{person}.pem")}
    for name in sorted(set(payload) - known):
        raise VerificationError("A file is no part of a pack, and nobody vouches for it", field=name)


def _check_tags(tags: Mapping[str, bytes], number: str, report: Report) -> None:
    for name in sorted(set(tags) - {INFO, SCRIPT}):
        raise VerificationError("A file is no part of a pack, and nobody vouches for it", field=name)
    lines = tags.get(INFO, b"").decode("utf-8", errors="replace").splitlines()
    named = [line for line in lines if line.casefold().startswith("external-identifier")]
    if named not in ([], [f"External-Identifier: {number}"]):
        raise VerificationError("The bag says that it is another note's", field=INFO)
    if SCRIPT in tags and tags[SCRIPT] != script():
        report.not_proved.append(f"That {SCRIPT} is ours: it is not that of this version; read it before you run it.")


def _predicate(sealed: Signed, evidence: Evidence) -> dict[str, Any]:
    contract = sealed.contract
    return {
        "contract": {
            "name": contract.name,
            "version": contract.version,
            "sha256": sealed.digest.removeprefix("sha256:"),
        },
        "tenant": evidence.tenant,
        "service": evidence.service,
        "objective": contract.objective.value,
        "period": {
            "days": evidence.period.text,
            "zone": contract.zone,
            "from": rfc3339(evidence.period.start),
            "until": rfc3339(evidence.period.end),
        },
        "evidence": {
            "sha256": evidence.digest.removeprefix("sha256:"),
            "merkleRoot": evidence.root,
            "days": len(evidence.slices),
            "facts": len(evidence.facts),
        },
        "figures": figures(contract, evidence, judge(contract, evidence)),
        "constructed": evidence.constructed,
        "restatement": len(evidence.earlier),
        "previous": evidence.earlier[-1].digest if evidence.earlier else None,
        "reversal": reversal_document(evidence),
    }


def _check_contract_statement(envelope: bytes, contract: bytes) -> None:
    statement = parse_statement(Envelope.from_json(envelope).payload)
    if parse_canonical(contract).digest not in [subject.sha256 for subject in statement.subjects]:
        raise VerificationError("The contract's statement is about another contract", field=CONTRACT_ENVELOPE)


def _check_bundles(payload: Mapping[str, bytes], envelope: Envelope, report: Report) -> None:
    for person, signature in zip(PEOPLE, envelope.signatures, strict=False):
        name = f"{person}.sigstore.json"
        if name not in payload:
            raise VerificationError("A file of the pack is missing", field=name)
        bundle = parse_bundle(payload[name])
        held = bundle.envelope
        same = held is not None and (held.payload_type, held.payload) == (envelope.payload_type, envelope.payload)
        if not same or (bundle.message_signature, bundle.key_hint) != (signature.sig, signature.keyid):
            raise VerificationError("A bundle does not hold this person's signature of the note", field=name)
    report.proved.append(f"{len(envelope.signatures)} sigstore bundles hold the same signatures one by one.")


def _check_days(payload: Mapping[str, bytes], evidence: Evidence, trust: Trust, report: Report) -> None:
    """Check that the counts in the evidence are those that were committed for all tenants, day by day."""
    proved, latest = 0, None
    for slices in evidence.slices:
        name = day_name(slices.day)
        if name not in payload:
            continue
        committed = parse_committed_day(payload[name])
        inside = inside_of(committed.slices, evidence)
        if (inside.tenant, inside.service, inside.rows) != (slices.tenant, slices.service, slices.rows):
            raise VerificationError("The evidence holds other counts than were committed", field=name)
        at = committed.verify(trust.logs)
        proved, latest = proved + 1, at if latest is None else max(at, latest)
    if latest is not None:
        report.proved.append(
            f"The counts of {proved} of {len(evidence.slices)} days stand in roots over all tenants that the audit log"
            f" has held since {rfc3339(latest)}; other tenants' counts are not in this pack."
        )
    if proved < len(evidence.slices):
        missing = len(evidence.slices) - proved
        report.not_proved.append(f"That the counts of {missing} day(s) were fixed before the note: they have no proof.")


def _check_timestamp(response: bytes | None, envelope: bytes, trust: Trust, report: Report) -> None:
    if response is None:
        return
    if not trust.timestamp_authorities:
        report.not_proved.append("The time stamp: no time-stamping authority is in the trust file.")
        return
    moment = verify_timestamp(response, envelope, trust.timestamp_authorities)
    report.proved.append(f"A time-stamping authority has seen the signed statement at {rfc3339(moment)}.")


def _check_keys(payload: Mapping[str, bytes], envelope: Envelope) -> None:
    """Check that the keys that come along for other tools are those of the signers; nobody here believes them."""
    for person, signature in zip(PEOPLE, envelope.signatures, strict=False):
        name = f"keys/{person}.pem"
        if name in payload and thumbprint(payload[name]) != signature.keyid:
            raise VerificationError("A key in the pack is not the signer's", field=name)


def _same(ours: bytes, theirs: bytes, name: str) -> None:
    if ours != theirs:
        raise VerificationError("Two files of the pack contradict each other", field=name)


def _flat(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in _flat(item, (*path, name))]
    if isinstance(value, list):
        # The length stands first, so that a shortened list is named as such.
        items = [found for index, item in enumerate(value) for found in _flat(item, (*path, index))]
        return [((*path, "length"), len(value)), *items]
    return [(path, value)]


def _at(value: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        if part == "length" and isinstance(value, list):
            value = len(value)
        elif isinstance(value, Mapping) and isinstance(part, str):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value
