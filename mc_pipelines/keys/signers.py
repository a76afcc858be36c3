"""Signers whose key a provider holds."""

from __future__ import annotations

from mc_pipelines.attest.key_history import KeyRecord, KeyStatus, load_history, record_key
from mc_pipelines.attest.signer import Signer, thumbprint
from mc_pipelines.foundation.clock import Clock, SystemClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import KeyId
from mc_pipelines.keys.provider import SIGNER_KEY, KeyProvider, KeyUse


class KeyringSigner:
    """Signs with one version of a provider's key; the private key stays with the provider."""

    def __init__(self, provider: KeyProvider, ref: str) -> None:
        self.ref = ref
        self._provider = provider
        self._public_key_pem = provider.public_key(ref)
        self._key_id = thumbprint(self._public_key_pem)

    @property
    def key_id(self) -> KeyId:
        """RFC 7638 thumbprint of the public key."""
        return self._key_id

    @property
    def public_key_pem(self) -> bytes:
        """The public key as a PEM SubjectPublicKeyInfo."""
        return self._public_key_pem

    def sign(self, data: bytes) -> bytes:
        """Return a DER ECDSA signature over the SHA-256 of ``data``."""
        return self._provider.sign(self.ref, data)


def active_signer(database: Database, keyring: KeyProvider, clock: Clock | None = None) -> Signer:
    """Return the service's signer: the primary version of its signing key, which verifiers know.

    The first call makes the key and enters it in the key history. Ask again rather than keep the signer for long:
    after a rotation it is another one, and the old version is disabled in the end.
    """
    return entered(database, KeyringSigner(keyring, keyring.create(SIGNER_KEY, KeyUse.SIGN).ref), clock)


def entered(database: Database, signer: Signer, clock: Clock | None = None) -> Signer:
    """Return the signer, its key entered in the key history, which verifiers read."""
    with database.begin() as connection:
        if all(one.key_id != signer.key_id for one in load_history(connection)):
            now = (clock or SystemClock()).now()
            record_key(
                connection, KeyRecord(signer.key_id, signer.public_key_pem, now, status=KeyStatus.ACTIVE), now=now
            )
    return signer
