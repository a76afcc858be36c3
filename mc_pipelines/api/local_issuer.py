"""The token issuer of the local profile: one ES256 key in MC_HOME; production refuses it by name."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

LOCAL_ISSUER = "urn:maestro-conductor:local-issuer"
ALGORITHM = "ES256"
_KEY_FILE = "local-issuer.pem"


class LocalIssuer:
    """Signs tokens with a key that is made on first use and readable by its owner only."""

    def __init__(self, home: Path) -> None:
        self._path = home / _KEY_FILE

    def issue(self, subject: str, *, tenants: Sequence[str], audience: str, now: datetime, lifetime: timedelta) -> str:
        """Return a signed token.

        Args:
            subject: the person's subject; roles come from the people records, never from a token.
            tenants: whom the bearer may act for; people whose role crosses tenants need none.
            audience: the audience that the API demands.
            now: the moment of issue, aware.
            lifetime: how long it holds.
        """
        claims = {
            "iss": LOCAL_ISSUER,
            "sub": subject,
            "aud": audience,
            "iat": now,
            "exp": now + lifetime,
            "tenants": list(tenants),
        }
        return jwt.encode(claims, self._private_key(), algorithm=ALGORITHM, headers={"kid": "local"})

    def jwks(self) -> dict[str, Any]:
        """Return the public key as a JSON Web Key Set."""
        key = json.loads(ECAlgorithm.to_jwk(self.public_key()))
        return {"keys": [key | {"kid": "local", "use": "sig", "alg": ALGORITHM}]}

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the key that tokens verify with."""
        return self._private_key().public_key()

    def _private_key(self) -> ec.EllipticCurvePrivateKey:
        if not self._path.exists():
            self._create()
        key = serialization.load_pem_private_key(self._path.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we wrote the file
        return key

    def _create(self) -> None:
        pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.touch(mode=0o600)
        draft.write_bytes(pem)
        try:
            os.link(draft, self._path)  # of two processes that create it at once, one wins and both use its key
        except FileExistsError:
            pass
        finally:
            draft.unlink()
