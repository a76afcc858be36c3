"""in-toto Statement v1: what is claimed (predicate) of which content (subjects, by digest)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, Envelope, sign
from mc_pipelines.attest.signer import Signer
from mc_pipelines.foundation.canonical import canonical_json, parse_json
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_BASE = "https://maestro-conductor.example/attestations/"

_HEX = re.compile(r"[0-9a-f]+")
_SHA256_HEX = 64


@dataclass(frozen=True)
class Subject:
    """One thing a statement is about: a name for people, digests for machines (algorithm to hexadecimal)."""

    name: str
    digest: Mapping[str, str]

    @classmethod
    def of(cls, name: str, digest: Digest) -> Subject:
        """Return the subject of a name and one of our ``sha256:`` digests."""
        algorithm, _, value = digest.partition(":")
        return cls(name, {algorithm: value})

    @property
    def sha256(self) -> Digest | None:
        """The subject's SHA-256 in our form, if it has one."""
        value = self.digest.get("sha256")
        return None if value is None else Digest(f"sha256:{value}")


@dataclass(frozen=True)
class Statement:
    """A claim about content."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    def to_document(self) -> dict[str, Any]:
        """Return the statement as JSON members."""
        return {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": one.name, "digest": dict(one.digest)} for one in self.subjects],
            "predicateType": self.predicate_type,
            "predicate": dict(self.predicate),
        }

    def to_bytes(self) -> bytes:
        """Return the statement in canonical JSON (RFC 8785).

        Raises:
            InputError: the statement is not one that :func:`parse_statement` would read, or holds a value that
                JSON cannot carry exactly.
        """
        document = self.to_document()
        _check(document)
        return canonical_json(document)

    def sign(self, signers: Iterable[Signer]) -> Envelope:
        """Return the statement signed, in a DSSE envelope."""
        return sign(self.to_bytes(), IN_TOTO_PAYLOAD_TYPE, signers)


def predicate_type(name: str, version: int = 1) -> str:
    """Return the URI of one of our predicate types, such as ``.../sla-credit-note/v1``."""
    return f"{PREDICATE_BASE}{name}/v{version}"


def parse_statement(content: bytes) -> Statement:
    """Read an in-toto Statement v1; numbers with a fraction arrive as Decimal.

    Args:
        content: the payload of an envelope that has been verified.

    Raises:
        InputError: the content is not such a statement.
    """
    document = parse_json(content, what="statement")
    _check(document)
    return Statement(
        tuple(Subject(one.get("name", ""), dict(one["digest"])) for one in document["subject"]),
        document["predicateType"],
        document.get("predicate") or {},
    )


def statement_of(envelope: Envelope) -> Statement:
    """Read the statement in a verified envelope.

    Raises:
        InputError: the payload type is not in-toto's, or the payload is no statement.
    """
    if envelope.payload_type != IN_TOTO_PAYLOAD_TYPE:
        raise InputError(
            "The envelope does not carry an in-toto statement", field="payloadType", value=envelope.payload_type
        )
    return parse_statement(envelope.payload)


def _check(document: Any) -> None:
    if not isinstance(document, dict) or document.get("_type") != STATEMENT_TYPE:
        raise InputError(
            "Not an in-toto Statement v1",
            field="_type",
            value=document.get("_type") if isinstance(document, dict) else type(document).__name__,
        )
    kind = document.get("predicateType")
    if not isinstance(kind, str) or not kind:
        raise InputError("The statement has no predicate type", field="predicateType", value=kind)
    if not isinstance(document.get("predicate", {}), dict | None):
        raise InputError("The predicate is not a JSON object", field="predicate")
    subjects = document.get("subject")
    if not isinstance(subjects, list) or not subjects:
        raise InputError("The statement has no subject", field="subject")
    for index, one in enumerate(subjects):
        _check_subject(one, f"subject[{index}]")


def _check_subject(document: Any, field: str) -> None:
    if not isinstance(document, dict) or not isinstance(document.get("name", ""), str):
        raise InputError("A subject is an object with a name", field=field)
    digest = document.get("digest")
    if not isinstance(digest, dict) or not digest:
        raise InputError("A subject without a digest binds nothing", field=f"{field}.digest")
    for algorithm, value in digest.items():
        if not isinstance(value, str) or not value:
            raise InputError("A digest is text", field=f"{field}.digest.{algorithm}")
        if algorithm == "sha256" and not (len(value) == _SHA256_HEX and _HEX.fullmatch(value)):
            raise InputError(
                "A sha256 digest is 64 lower-case hexadecimal digits", field=f"{field}.digest.sha256", value=value
            )
