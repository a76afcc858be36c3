"""Project Wycheproof through our own functions.

Applicable: HKDF-SHA-512 (``keys.envelope.hkdf_sha512``).
Not applicable here: AES-GCM with given nonces and associated data (MCE1 and the keyring derive or draw their own
nonces and bind canonical contexts, so no case can be put through them); AES-GCM-SIV, ChaCha20-Poly1305, KW, KWP,
HKDF-SHA-256, HMAC, OAEP, PSS, P-384, Ed25519, JWE and JWS: nothing of keys/ uses them yet.
"""

import json
from pathlib import Path

import pytest

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.keys.envelope import hkdf_sha512


def cases(data_dir: Path, name: str) -> list[tuple[dict, dict]]:
    document = json.loads((data_dir / "kms" / "wycheproof" / f"{name}_test.json").read_text())
    return [(group, test) for group in document["testGroups"] for test in group["tests"]]


def test_hkdf_sha512_agrees_on_every_case(data_dir: Path) -> None:
    agreed = 0
    for _, case in cases(data_dir, "hkdf_sha512"):
        arguments = {name: bytes.fromhex(case[name]) for name in ("salt", "info")}
        secret = bytes.fromhex(case["ikm"])
        if case["result"] == "valid":
            assert hkdf_sha512(secret, length=case["size"], **arguments).hex() == case["okm"], case["tcId"]
        else:
            with pytest.raises(InputError):
                hkdf_sha512(secret, length=case["size"], **arguments)
        agreed += 1
    assert agreed > 30
