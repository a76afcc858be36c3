"""Small documents of each format, made by the tests."""

from __future__ import annotations

import base64
import json
from typing import Any

A = "a" * 64
B = "b" * 64
C = "c" * 64
SLSA_1 = "https://slsa.dev/provenance/v1"
SLSA_02 = "https://slsa.dev/provenance/v0.2"


def dump(document: Any) -> bytes:
    return json.dumps(document).encode()


def statement(predicate_type: str, predicate: Any, subjects: Any = None, version: str = "v1") -> bytes:
    return dump(
        {
            "_type": f"https://in-toto.io/Statement/{version}",
            "subject": [{"name": "out", "digest": {"sha256": A}}] if subjects is None else subjects,
            "predicateType": predicate_type,
            "predicate": predicate,
        }
    )


def envelope(payload: bytes, payload_type: str = "application/vnd.in-toto+json", signatures: Any = None) -> bytes:
    return dump(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": "hint", "sig": "AAAA"}] if signatures is None else signatures,
        }
    )


def slsa_1(**over: Any) -> dict[str, Any]:
    return {
        "buildDefinition": {
            "buildType": "https://example.org/build/v1",
            "externalParameters": {"manifest": {"digest": f"sha256:{C}"}},
            "resolvedDependencies": [{"uri": "pkg:pypi/foo@1", "digest": {"sha256": B}}],
        },
        "runDetails": {
            "builder": {"id": "https://example.org/builder"},
            "metadata": {"invocationId": "run-1", "finishedOn": "2026-01-19T17:00:00.123456789Z"},
        },
    } | over


def bom(**over: Any) -> dict[str, Any]:
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "urn:uuid:1",
        "version": 2,
        "metadata": {
            "timestamp": "2026-01-19T17:00:00Z",
            "component": {"type": "application", "bom-ref": "root", "name": "app", "version": "1"},
        },
        "components": [
            {"type": "library", "bom-ref": "a", "name": "a", "purl": "pkg:pypi/a@1"},
            {"type": "library", "bom-ref": "b", "name": "b", "purl": "pkg:pypi/b@1"},
        ],
        "dependencies": [{"ref": "root", "dependsOn": ["a"]}, {"ref": "a", "dependsOn": ["b"]}],
    } | over
