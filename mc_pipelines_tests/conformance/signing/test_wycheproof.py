"""Wycheproof: every valid signature accepted, every invalid one refused, and other algorithms refused whole.

ECDSA P-256 DER goes through `verify_signature`; P1363 (raw r||s) through `der_from_raw` first. Ed25519 goes through
the note verifier (`attest.note`). P-384 and RSA-PSS are not supported: each of their keys must be refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mc_pipelines.attest.signer import der_from_raw, load_public_key, verify_signature
from mc_pipelines.foundation.errors import InputError, VerificationError


def cases(data_dir: Path, name: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    document = json.loads((data_dir / "signing" / "wycheproof" / name).read_text("utf-8"))
    count = 0
    for group in document["testGroups"]:
        for test in group["tests"]:
            count += 1
            yield group["publicKeyPem"].encode(), test
    assert count > 40


def accepted(check: Callable[[], None]) -> bool:
    try:
        check()
    except (VerificationError, InputError):
        return False
    return True


def disagreements(data_dir: Path, name: str, verify: Callable[[bytes, bytes, bytes], None]) -> list[str]:
    found = []
    for key, test in cases(data_dir, name):
        message, signature = bytes.fromhex(test["msg"]), bytes.fromhex(test["sig"])
        verdict = accepted(lambda k=key, s=signature, m=message: verify(k, s, m))  # type: ignore[misc]
        if verdict != (test["result"] == "valid"):
            found.append(f"{test['tcId']}: {test['comment']} should be {test['result']}")
    return found


def test_ecdsa_p256_der(data_dir: Path) -> None:
    assert disagreements(data_dir, "ecdsa_secp256r1_sha256_test.json", verify_signature) == []


def test_ecdsa_p256_raw(data_dir: Path) -> None:
    def verify(key: bytes, signature: bytes, message: bytes) -> None:
        verify_signature(key, der_from_raw(signature), message)

    assert disagreements(data_dir, "ecdsa_secp256r1_sha256_p1363_test.json", verify) == []


@pytest.mark.parametrize("name", ["ecdsa_secp384r1_sha384_test.json", "rsa_pss_2048_sha256_mgf1_32_test.json"])
def test_other_algorithms_are_refused_as_keys(data_dir: Path, name: str) -> None:
    for key in {key for key, _ in cases(data_dir, name)}:
        with pytest.raises(InputError, match="curve"):
            load_public_key(key)
