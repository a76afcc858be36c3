"""The disclosure pack: everything a customer needs to check and recompute a credit note without us.

A BagIt zip with the note, the envelope, one sigstore bundle per person, the contract, the evidence, the proof
that the note is in the audit log, and scripts. Rows of other tenants are not in it: evidence is made per tenant, and
where a day's counts are proved to be those that were committed for all tenants, the others are salted hashes.
docs/sla/disclosure-pack.md lists every file.
"""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Connection, select

from mc_pipelines.attest.bundle import export_bundle
from mc_pipelines.attest.checkpoint import LogProof
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.log import inclusion_proof
from mc_pipelines.attest.statement import parse_statement
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.sla import records
from mc_pipelines.sla.bag import write_bag
from mc_pipelines.sla.commitment import committed_days, day_name
from mc_pipelines.sla.contract_store import get_contract
from mc_pipelines.sla.document_chain import chain_files
from mc_pipelines.sla.draft_store import get_draft
from mc_pipelines.sla.note_store import Issued
from mc_pipelines.sla.review import public_key
from mc_pipelines.sla.timestamps import timestamp_of
from mc_pipelines.sla.ubl import credit_note_xml

PEOPLE = ("maker", "checker", "second-checker")
NOTE, UNSIGNED, ENVELOPE, CONTRACT, EVIDENCE = (
    "note.json",
    "note.unsigned.json",
    "envelope.json",
    "contract.json",
    "evidence.json",
)
PROOF = NOTE + ".tlog-proof"
CONTRACT_ENVELOPE = "contract.envelope.json"
CHECKPOINT = "checkpoint"
TIMESTAMP = ENVELOPE + ".tsr"
UBL = "credit-note.xml"
SCRIPT = "verify.sh"


def build_pack(connection: Connection, issued: Issued) -> bytes:
    """Return the disclosure pack of an issued note; the same note and checkpoint give the same bytes.

    Raises:
        ConflictError: the note has no index in the audit log yet; wait for the sequencer.
    """
    draft = get_draft(connection, issued.draft_id)
    subject, envelope = issued.subject, Envelope.from_json(issued.envelope)
    sealed = get_contract(connection, subject.contract)
    payload = note_files(connection, issued) | {
        ENVELOPE: issued.envelope,
        CONTRACT: sealed.document,
        CONTRACT_ENVELOPE: _contract_envelope(connection, sealed.digest),
        EVIDENCE: draft.evidence,
    }
    payload |= {day_name(one.day): one.to_bytes() for one in committed_days(connection, draft.evidence)}
    for person, signature in zip(PEOPLE, envelope.signatures, strict=False):
        payload[f"keys/{person}.pem"] = public_key(connection, signature.keyid)
    payload[CHECKPOINT] = LogProof.parse(payload[PROOF]).note.encode()
    stamp = timestamp_of(connection, issued.number)
    if stamp is not None:
        payload[TIMESTAMP] = stamp
    figures = parse_statement(envelope.payload).predicate["figures"]
    payload |= chain_files(connection, draft.evidence, figures)
    if issued.amount.minor > 0:
        payload[UBL] = credit_note_xml(
            issued.number, issued.issued_at, subject, issued.amount, sealed.contract, figures
        )
    tags = {SCRIPT: script()}
    info = {
        "Source-Organization": "Maestro Conductor",
        "External-Identifier": issued.number,
        "External-Description": f"SLA credit of {subject.tenant} for {subject.first}/{subject.last}",
        "Bagging-Date": issued.issued_at.date().isoformat(),
        "Issued-At": rfc3339(issued.issued_at),
        "Keys-Notice": "keys/ is for convenience; believe only keys that you got from somebody you trust",
    }
    return write_bag(payload, tags, info=info)


def script() -> bytes:
    """Return the script that checks a pack with a shell, sha256sum and openssl alone."""
    return files("mc_pipelines.sla").joinpath("pack_files/verify.sh").read_bytes()


def note_files(connection: Connection, issued: Issued) -> dict[str, bytes]:
    """Return an issued note and what belongs beside it, by file name.

    The note, the note without its signature (which other tools are handed), one sigstore bundle per person, and the
    proof that the note is in the audit log.

    Raises:
        ConflictError: the note has no index in the audit log yet; wait for the sequencer.
    """
    envelope = Envelope.from_json(issued.envelope)
    found = {
        NOTE: issued.note,
        UNSIGNED: get_draft(connection, issued.draft_id).note,
        PROOF: str(inclusion_proof(connection, issued.leaf_id)).encode(),
    }
    for person, signature in zip(PEOPLE, envelope.signatures, strict=False):
        found[f"{person}.sigstore.json"] = export_bundle(envelope, signature.keyid)
    return found


def _contract_envelope(connection: Connection, digest: str) -> bytes:
    table = records.contract
    return bytes(connection.execute(select(table.c.envelope).where(table.c.digest == digest)).scalar_one())
