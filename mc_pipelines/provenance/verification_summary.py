"""A gate's ruling as a signed statement: the SLSA Verification Summary Attestation, version 1 (slsa.dev/spec/v1.1).

It names the bundle by digest, the policy by digest, and as input attestations the documents of the proof, so that who
trusts our key need not look at them again, and who does not can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement, Subject
from mc_pipelines.foundation.clock import rfc3339
from mc_pipelines.foundation.errors import ConflictError, InputError
from mc_pipelines.provenance.gate import PASSED, UNKNOWN

PREDICATE_TYPE = "https://slsa.dev/verification_summary/v1"
VERIFIER = "https://maestro-conductor.example/provenance-gate"
_POLICY = "https://maestro-conductor.example/policy/graph/gate"


def summarise(ruling: Mapping[str, Any], *, now: datetime) -> Statement:
    """Return the statement of a ruling (the members of a gate's answer).

    Raises:
        InputError: the bundle is not named by a digest, so no statement can be about it.
        ConflictError: the ruling is unknown: nothing is said about what is not known.
    """
    if ruling["result"] == UNKNOWN:
        raise ConflictError(
            "The gate does not know", field="bundle", value=ruling["bundle"], mend="; ".join(ruling["reasons"])
        )
    algorithm, _, value = str(ruling["bundle"]).partition(":")
    if algorithm not in {"sha256", "sha384", "sha512"}:
        raise InputError(
            "A summary is about content, which is named by a digest",
            field="bundle",
            value=ruling["bundle"],
            mend="ask for the digest of the bundle; `resolve=claimed` follows a package URL to it",
        )
    predicate = {
        "verifier": {"id": VERIFIER},
        "timeVerified": rfc3339(now),
        "resourceUri": ruling["bundle"],
        "policy": {"uri": _POLICY, "digest": _digest_set(ruling["policy"]["digest"])},
        "inputAttestations": [
            {"uri": receipt, "digest": _digest_set(document)}
            for receipt, document in _inputs(ruling.get("proof") or ())
        ],
        "verificationResult": "PASSED" if ruling["result"] == PASSED else "FAILED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED" if ruling["result"] == PASSED else "FAILED"],
        "slsaVersion": "1.1",
    }
    return Statement((Subject(str(ruling["bundle"]), {algorithm: value}),), PREDICATE_TYPE, predicate)


def sign_summary(ruling: Mapping[str, Any], signer: Signer, *, now: datetime) -> Envelope:
    """Return the signed statement of a ruling; see :func:`summarise`."""
    return summarise(ruling, now=now).sign([signer])


def _inputs(proof: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    return sorted({(step["receipt"], document) for step in proof for document in step["documents"]})


def _digest_set(digest: str) -> dict[str, str]:
    algorithm, _, value = digest.partition(":")
    return {algorithm: value}
