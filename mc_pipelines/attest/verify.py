"""Verification of a file, offline: recognise what it is, check it against a trust file, say what was proved.

attest knows containers and proofs; what a statement means is known by the capability that makes it, which registers a
verifier for its predicate types (:func:`register_verifier`) and, for packs, a container (:func:`register_container`).
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mc_pipelines.attest.bundle import parse_bundle, verify_managed
from mc_pipelines.attest.checkpoint import PROOF_HEADER, LogProof, verify_checkpoint, verify_cosignatures
from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, decode_base64, verify
from mc_pipelines.attest.key_history import KeyStatus, find_key, key_at
from mc_pipelines.attest.report import Report
from mc_pipelines.attest.statement import Statement, parse_statement
from mc_pipelines.attest.trust import Trust
from mc_pipelines.foundation.canonical import canonical_json, digest_of, parse_json, sha256_digest
from mc_pipelines.foundation.clock import parse_utc, rfc3339
from mc_pipelines.foundation.errors import InputError, MaestroError, VerificationError
from mc_pipelines.foundation.ids import KeyId

PROOF_SUFFIX = ".tlog-proof"
MAX_FILE_BYTES = 256 * 1024 * 1024


@dataclass(frozen=True)
class Evidence:
    """What a predicate's verifier gets: only what is verified already.

    Attributes:
        statement: parsed from the signed bytes.
        holders: who signed, each once, by the trust file's word.
        signed_at: moment by which it was signed, from the audit log; None without a log proof.
        document: the JSON around the envelope (a credit note), without its signature; digest checked; or None.
        trust: what the verifier believes.
        signers: the trusted keys whose signatures hold, each once.
    """

    statement: Statement
    holders: tuple[str, ...]
    signed_at: datetime | None
    document: dict[str, Any] | None
    trust: Trust
    signers: tuple[KeyId, ...] = ()


PredicateVerifier = Callable[[Evidence, Report], None]
"""Adds sentences to the report; raises VerificationError for what does not hold."""


@dataclass(frozen=True)
class Container:
    """A kind of file made of files, such as a disclosure pack."""

    name: str
    recognises: Callable[[bytes], bool]
    verify: Callable[[bytes, Trust], Report]


_VERIFIERS: dict[str, PredicateVerifier] = {}
_CONTAINERS: dict[str, Container] = {}


def register_verifier(predicate_type: str, function: PredicateVerifier) -> None:
    """Let a capability judge statements of its predicate type; registering the same again changes nothing."""
    _VERIFIERS[predicate_type] = function


def register_container(container: Container) -> None:
    """Let a capability judge a kind of container file."""
    _CONTAINERS[container.name] = container


def verify_file(
    source: bytes | Path, trust: Trust, *, proof: bytes | None = None, artifact: bytes | None = None
) -> Report:
    """Verify a file and report what was proved and what was not.

    Args:
        source: the content, or the path of the file; beside a path, ``<name>.tlog-proof`` is read if it is there.
        trust: what to believe.
        proof: the log proof of the content, where it is not beside the file.
        artifact: the file that a bundle with a message signature is about.

    Returns:
        The report; ``report.ok`` is False where something does not hold.

    Raises:
        InputError: the file cannot be read, or is nothing that this verifies.
    """
    if isinstance(source, Path):
        content = read_file(source)
        beside = source.with_name(source.name + PROOF_SUFFIX)
        proof = read_file(beside) if proof is None and beside.is_file() else proof
    else:
        content = source
    for container in _CONTAINERS.values():
        if container.recognises(content):
            return container.verify(content, trust)
    kind, check = _recognise(content, trust, proof, artifact)
    report = Report(kind)
    try:
        check(report)
    except MaestroError as error:
        report.problems.append(str(error))
    return report


def verify_envelope(
    envelope: Envelope,
    trust: Trust,
    report: Report,
    *,
    proof: bytes | None = None,
    document: dict[str, Any] | None = None,
) -> None:
    """Check an envelope's signatures, its log proof, its keys at that time, then what it states.

    Raises:
        InputError: a part is malformed.
        VerificationError: something does not hold.
    """
    signers = _check_signatures(envelope, trust, report, hints=document is not None)
    signed_at = None if proof is None else verify_logged(envelope.to_json(), trust, proof, report)
    holders: list[str] = []
    for key_id in signers:
        holder = _check_key(trust, key_id, signed_at, report)
        if holder not in holders:
            holders.append(holder)
    who = "1 key holder" if len(holders) == 1 else f"{len(holders)} different key holders"
    report.proved.append(f"{who} signed exactly this content: {', '.join(holders)}.")
    if signed_at is None:
        report.not_proved.append("When it was signed: no log proof is beside the file.")
    if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
        report.not_proved.append(f"What it means: payload type {envelope.payload_type} is not known here.")
        return
    statement = parse_statement(envelope.payload)
    if document is not None:
        _check_document(statement, document, report)
    verifier = _VERIFIERS.get(statement.predicate_type)
    if verifier is None:
        report.not_proved.append(f"What it means: no verifier here knows predicate type {statement.predicate_type}.")
        return
    verifier(Evidence(statement, tuple(holders), signed_at, document, trust, signers), report)


def _check_signatures(envelope: Envelope, trust: Trust, report: Report, *, hints: bool) -> tuple[KeyId, ...]:
    """Return the trusted keys that signed; in a note the hints too must be right, so that it has one form."""
    signers = verify(envelope, trust.pems)
    for signature in envelope.signatures:
        if signature.keyid in trust.pems and signature.keyid not in signers:
            raise VerificationError(
                "A signature that names a trusted key does not hold", field="keyid", value=signature.keyid
            )
    if hints and not set(signers) <= {signature.keyid for signature in envelope.signatures}:
        raise VerificationError("A signature's hint names another key than the one that signed", field="keyid")
    further = len(envelope.signatures) - len(signers)
    if further:
        report.not_proved.append(f"{further} further signature(s) are of no other trusted key and count for nothing.")
    return signers


def _recognise(
    content: bytes, trust: Trust, proof: bytes | None, artifact: bytes | None
) -> tuple[str, Callable[[Report], None]]:
    if content.startswith(PROOF_HEADER.encode()):
        return "log proof", lambda report: _verify_proof_file(content, trust, report)
    if "\n\n— ".encode() in content and not content.lstrip().startswith(b"{"):
        return "checkpoint", lambda report: _verify_checkpoint_file(content, trust, report)
    document = parse_json(content, what="file")
    if isinstance(document, dict):
        if "mediaType" in document:
            return "sigstore bundle", lambda report: _verify_bundle(content, trust, artifact, report)
        if "payloadType" in document:
            envelope = Envelope.from_document(document)
            return "signed statement", lambda report: verify_envelope(envelope, trust, report, proof=proof)
        if isinstance(document.get("signature"), str):
            return "signed note", lambda report: _verify_note(content, trust, proof, report)
    raise InputError(
        "Not a kind of file that can be verified",
        field="file",
        mend="give a DSSE envelope, a signed note, a sigstore bundle, a checkpoint, a log proof or a pack",
    )


def _verify_note(content: bytes, trust: Trust, proof: bytes | None, report: Report) -> None:
    document, envelope = split_note(content)
    verify_envelope(envelope, trust, report, proof=proof, document=document)


def split_note(content: bytes) -> tuple[dict[str, Any], Envelope]:
    """Split a signed note into its members without the signature, and the envelope.

    One note has one file: bytes that are not the note's canonical form are refused, though they may mean the same,
    and so is base64 that is not the one encoding of the envelope, or an envelope that is not written in its one form.

    Raises:
        InputError: it is no signed note.
        VerificationError: the note, the base64 or the envelope is not in its one form.
    """
    document = _floats(parse_json(content, what="signed note"))
    if not isinstance(document, dict) or not isinstance(document.get("signature"), str):
        raise InputError("Not a signed note", field="signature")
    if canonical_json(document) != content:
        raise VerificationError(
            "The note is not in its canonical form (RFC 8785)", field="note", mend="use the file exactly as issued"
        )
    encoded = document.pop("signature")
    inside = decode_base64(encoded, field="signature")
    envelope = Envelope.from_json(inside)
    if base64.b64encode(inside).decode("ascii") != encoded or envelope.to_json() != inside:
        raise VerificationError("The envelope is not in its one form", field="signature")
    return document, envelope


def _check_document(statement: Statement, document: dict[str, Any], report: Report) -> None:
    digest = digest_of(document)
    if digest not in [subject.sha256 for subject in statement.subjects]:
        raise VerificationError("The note is not the one that was signed", field="subject digest", value=digest)
    report.proved.append(f"The note is the one that was signed: {digest}.")


def verify_logged(content: bytes, trust: Trust, proof: bytes | str, report: Report) -> datetime:
    """Check that a trusted log holds an act with exactly this content; return when it entered.

    Args:
        content: what the log's entry commits to.
        trust: whose logs and witnesses are believed.
        proof: the log proof.
        report: gets what was proved.

    Raises:
        InputError: the proof is none.
        VerificationError: it does not hold, or is about something else.
    """
    parsed = LogProof.parse(proof)
    entry, digest, at = _entry_of(parsed)
    if digest != sha256_digest(content):
        raise VerificationError("The log proof is about something else", field="content", value=digest)
    checkpoint = parsed.verify(entry, trust.logs)
    report.proved.append(f"It is entry {parsed.index} of log {checkpoint.origin}, entered as of {rfc3339(at)}.")
    _check_witnesses(parsed.note, trust, report)
    return at


def _check_witnesses(note: str, trust: Trust, report: Report) -> None:
    seen = verify_cosignatures(note, trust.witnesses)
    if len(seen) < trust.witness_threshold:
        raise VerificationError(
            f"{len(seen)} of the {trust.witness_threshold} required witnesses have cosigned the checkpoint",
            field="checkpoint",
            mend="ask for a proof against a checkpoint that they have cosigned",
        )
    if seen:
        names = ", ".join(f"{one.witness} at {rfc3339(one.at)}" for one in seen)
        report.proved.append(f"{len(seen)} witness(es) have seen this checkpoint and no other of its size: {names}.")
    else:
        report.not_proved.append("That the log shows everybody the same tree: no witness has signed this checkpoint.")


def _entry_of(proof: LogProof) -> tuple[bytes, str, datetime]:
    if proof.entry is None:
        raise InputError("The log proof does not carry its entry", field="extra")
    document = parse_json(proof.entry, what="log entry")
    try:
        return proof.entry, str(document["content"]), parse_utc(document["at"], field="at")
    except (KeyError, TypeError) as error:
        raise InputError("The log entry is malformed", field="extra") from error


def _check_key(trust: Trust, key_id: KeyId, signed_at: datetime | None, report: Report) -> str:
    if signed_at is not None:
        return key_at(trust.keys, key_id, signed_at).holder
    record = find_key(trust.keys, key_id)
    if record.status is KeyStatus.COMPROMISED:
        raise VerificationError(
            "The key is compromised, and nothing shows that this was signed before",
            field="key id",
            value=key_id,
            mend="put the log proof beside the file",
        )
    if record.status is not KeyStatus.ACTIVE:
        report.not_proved.append(f"That key {key_id} was valid when it signed: it is {record.status.value} now.")
    return record.holder


def _verify_checkpoint_file(content: bytes, trust: Trust, report: Report) -> None:
    checkpoint, keys = verify_checkpoint(content, trust.logs)
    report.proved.append(
        f"Log {checkpoint.origin} signed a tree of {checkpoint.size} entries with {len(keys)} trusted key(s)."
    )
    _check_witnesses(content.decode(), trust, report)
    report.not_proved.append("That this continues an earlier checkpoint: ask for a consistency proof.")


def _verify_proof_file(content: bytes, trust: Trust, report: Report) -> None:
    proof = LogProof.parse(content)
    entry, digest, at = _entry_of(proof)
    checkpoint = proof.verify(entry, trust.logs)
    _check_witnesses(proof.note, trust, report)
    report.proved.append(
        f"Entry {proof.index} of log {checkpoint.origin} commits to content {digest} as of {rfc3339(at)}."
    )
    report.not_proved.append("What that content is: verify the file that the proof belongs to.")


def _verify_bundle(content: bytes, trust: Trust, artifact: bytes | None, report: Report) -> None:
    bundle = parse_bundle(content)
    if bundle.key_hint is None:
        raise InputError(
            "The bundle is keyless; only bundles of managed keys are verified here", field="verificationMaterial"
        )
    signer = verify_managed(bundle, trust.pems, artifact=artifact)
    if bundle.log_entries:
        report.not_proved.append("That the public log named in the bundle is honest: its key is not in the trust file.")
    if bundle.envelope is not None:
        report.not_proved.append("A second person's signature: a bundle can hold only one.")
        verify_envelope(bundle.envelope, trust, report)
        return
    report.proved.append(f"{_check_key(trust, signer, None, report)} signed the artifact.")


def _floats(value: Any) -> Any:
    """Turn fractions back into floats, the only form in which RFC 8785 writes numbers."""
    from decimal import Decimal

    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: _floats(one) for key, one in value.items()}
    return [_floats(one) for one in value] if isinstance(value, list) else value


def read_file(path: Path) -> bytes:
    """Return what a file that is to be checked holds.

    Raises:
        InputError: it is larger than :data:`MAX_FILE_BYTES`, or cannot be read.
    """
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError("The file is too large to verify", field="file", value=str(path))
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"The file cannot be read: {error.strerror}", field="file", value=str(path)) from error
