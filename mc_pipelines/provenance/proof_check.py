"""Checking a proof tree offline: by signatures, digests and the policy, without the graph that made it.

Nothing of the proof is believed but what the enclosed envelopes say: each receipt is named by the digest of its bytes,
its signature is checked with keys of the reader, and subject, builder and inputs are read from the signed payload.
This module shares no code with the readers and the graph, so that one mistake is not made twice.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from mc_pipelines.attest.dsse import Envelope, verify
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.errors import MaestroError
from mc_pipelines.foundation.ids import KeyId


@dataclass
class Checked:
    """What a check found.

    Attributes:
        proved: what holds, one sentence each.
        problems: what does not.
        not_proved: what cannot be seen offline.
    """

    proved: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    not_proved: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the proof holds."""
        return bool(self.proved) and not self.problems


def check_proof(proof: Mapping[str, Any], keys: Mapping[KeyId, bytes], holders: Mapping[KeyId, str]) -> Checked:
    """Check an explanation with the envelopes that it encloses.

    Args:
        proof: what ``mc provenance explain --documents`` wrote.
        keys: trusted public keys (PEM) by key id; never keys that came with the proof.
        holders: who holds each key.
    """
    found = Checked()
    try:
        _check(proof, keys, holders, found)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found.problems.append(f"It is no explanation with a proof: {type(error).__name__} {error}")
    return found


def _check(proof: Mapping[str, Any], keys: Mapping[KeyId, bytes], holders: Mapping[KeyId, str], found: Checked) -> None:
    policy = {name: value for name, value in proof["policy"].items() if name != "digest"}
    if digest_of(policy) != proof["policy"]["digest"]:
        found.problems.append("The policy is not the one its digest names.")
    steps = {step["node"]: step for step in proof["proof"] or ()}
    if proof["bundle"] not in steps:
        found.problems.append("The proof does not reach the bundle.")
        return
    shown: set[str] = set()
    for node, step in steps.items():  # inputs come before what stands on them
        try:
            statement = _open(step["receipt"], proof["envelopes"], policy, keys, holders)
            _judge(step, statement, policy, shown)
        except _RefusedError as refused:
            found.problems.append(f"{node}: {refused}")
        else:
            shown.add(node)
            found.proved.append(f"{node} was built by {step['builder']}, signed by {step['receipt']}.")
    found.not_proved.append(
        "That no other receipt contradicts this, and that nothing forbidden is below it: only the graph knows."
    )


class _RefusedError(Exception):
    """A step that does not hold, and why."""


def _open(
    receipt: str,
    envelopes: Mapping[str, str],
    policy: Mapping[str, Any],
    keys: Mapping[KeyId, bytes],
    holders: Mapping[KeyId, str],
) -> Mapping[str, Any]:
    """Return the statement of a receipt, once its bytes, its signature and its signer are what they have to be."""
    if receipt not in envelopes:
        raise _RefusedError("its receipt is not enclosed")
    try:
        raw = base64.b64decode(envelopes[receipt], validate=True)
        envelope = Envelope.from_json(raw)
        signed_by = verify(envelope, keys)
    except (binascii.Error, MaestroError) as error:
        raise _RefusedError(f"its signature does not hold: {error}") from error
    if "gitoid:blob:sha256:" + hashlib.sha256(b"blob %d\0" % len(raw) + raw).hexdigest() != receipt:
        raise _RefusedError("the enclosed receipt is another one")
    if not any(_matches(holders.get(key, ""), policy["signers"]) for key in signed_by):
        raise _RefusedError("no approved signer signed it")
    statement: Mapping[str, Any] = json.loads(envelope.payload)
    return statement


def _judge(step: Mapping[str, Any], statement: Mapping[str, Any], policy: Mapping[str, Any], shown: set[str]) -> None:
    """Compare a step with what the signed statement says."""
    subjects = {f"{name}:{value}" for each in statement["subject"] for name, value in each["digest"].items()}
    if step["node"] not in subjects:
        raise _RefusedError("its receipt is about something else")
    builder, materials = _said(statement)
    if builder is None or builder != step["builder"]:
        raise _RefusedError("its receipt tells of no such builder")
    if not _matches(builder, policy["builders"]):
        raise _RefusedError(f"builder {builder} is not approved")
    named = set(step["inputs"])
    if policy["inputs"] and not named <= materials & shown:
        raise _RefusedError("an input is not proved, or not one of the receipt's")


def _said(statement: Mapping[str, Any]) -> tuple[str | None, set[str]]:
    """Return builder and materials of SLSA provenance v0.1, v0.2 or v1; None where it is none."""
    if not str(statement.get("predicateType", "")).startswith("https://slsa.dev/provenance/"):
        return None, set()
    predicate = statement["predicate"]
    if "buildDefinition" in predicate:
        materials = predicate["buildDefinition"].get("resolvedDependencies") or []
        builder = predicate["runDetails"]["builder"]["id"]
    else:
        materials = predicate.get("materials") or []
        builder = predicate["builder"]["id"]
    return builder, {f"{name}:{value}" for each in materials for name, value in (each.get("digest") or {}).items()}


def _matches(name: str, patterns: list[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
