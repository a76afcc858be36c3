"""Judges the statement of a rotation offline, for `mc verify`."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from mc_pipelines.attest.report import Report
from mc_pipelines.attest.signer import spki_der
from mc_pipelines.attest.verify import Evidence, register_verifier
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.errors import VerificationError
from mc_pipelines.keys.evidence import PREDICATE_TYPE

_GENESIS = "sha256:" + "0" * 64


def verify_rotation(evidence: Evidence, report: Report) -> None:
    """Check that the history is an unbroken chain of this rotation and that both signing keys are trusted and signed.

    Raises:
        VerificationError: the chain is broken, or a subject is no key that the trust file knows, or has not signed.
    """
    predicate = evidence.statement.predicate
    steps = predicate.get("history")
    if not isinstance(steps, list) or not steps:
        raise VerificationError("The statement of the rotation holds no history", field="predicate.history")
    _check_chain(steps, predicate.get("rotation_id"))
    report.proved.append(f"The {len(steps)} steps of the rotation are an unbroken chain.")
    if predicate.get("use") == "sign":
        known = {sha256(spki_der(pem)).hexdigest(): key_id for key_id, pem in evidence.trust.pems.items()}
        for subject in evidence.statement.subjects:
            key_id = known.get(subject.digest.get("sha256", ""))
            if key_id is None:
                raise VerificationError("A key of the rotation is not in the trust file", field=subject.name)
            if key_id not in evidence.signers:
                raise VerificationError("A key of the rotation has not signed its statement", field=subject.name)
        report.proved.append("The old and the new key are those of the trust file, and both have signed.")
    else:
        report.not_proved.append(
            "Which wrapping keys these are: a symmetric key has no public half, only a check value."
        )
    report.not_proved.append("That the old version was disabled: that comes after this statement.")


def _check_chain(steps: list[Any], rotation_id: Any) -> None:
    previous = _GENESIS
    for number, step in enumerate(steps, start=1):
        if not isinstance(step, dict) or step.get("version") != number or step.get("rotation_id") != rotation_id:
            raise VerificationError(
                "A step of the history is missing or another rotation's", field="version", value=number
            )
        facts = {name: value for name, value in step.items() if name != "digest"}
        if step.get("previous") != previous or digest_of(facts) != step.get("digest"):
            raise VerificationError("The history of the rotation was altered", field="version", value=number)
        previous = step["digest"]


def register() -> None:
    """Let `mc verify` judge rotations."""
    register_verifier(PREDICATE_TYPE, verify_rotation)


register()
