"""What a key provider promises: a local keyring, a cloud's key service or a hardware module behind one protocol.

A *key* has a name (``signer``, ``kek``) and numbered *versions*; one of them is primary. A new version is never
primary by itself: readers and verifiers must know it first (docs/security/KMS_ROTATION.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Protocol, runtime_checkable

from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.errors import ConflictError, InputError

SIGNER_KEY = "signer"
"""The key that signs receipts, notes, checkpoints and rotations for the service."""
KEK_KEY = "kek"
"""The key encryption key that wraps data keys."""

WrapContext = Mapping[str, str]
"""Bound to a wrapped key as associated data: tenant, kind, dek_id and purpose."""


class ProviderCode(IntEnum):
    """The provider byte of a slot."""

    LOCAL = 1


class KeyUse(StrEnum):
    """What a key may do; never both."""

    SIGN = "sign"
    WRAP = "wrap"


class KeyState(StrEnum):
    """Whether a version may be used."""

    ENABLED = "enabled"
    DISABLED = "disabled"


class KeyDisabledError(ConflictError):
    """A disabled version was asked to sign, wrap or unwrap."""

    slug, title = "key-disabled", "Key version disabled"


@dataclass(frozen=True, slots=True)
class KeyVersion:
    """One version of one key, as its provider tells it.

    Args:
        ref: the full version id, unique over all providers, such as ``local:signer/2``.
        provider: name of the provider.
        key: name of the key.
        version: counted from 1.
        use: what it may do.
        state: whether it may.
        primary: whether new signatures or wraps are made with it.
        created: when the provider made it.
        last_used: when it was last used, exact to the hour; None if never.
        check_value: what tells two versions apart without revealing the key: the RFC 7638 thumbprint of a
            signing key, the key check value of a wrapping key.
        token: the caller's token under which the version was made.
    """

    ref: str
    provider: str
    key: str
    version: int
    use: KeyUse
    state: KeyState
    primary: bool
    created: datetime
    last_used: datetime | None
    check_value: str
    token: str


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as wrapped by one version."""

    provider: int
    kek_ref: str
    wrapped: bytes


@runtime_checkable
class KeyProvider(Protocol):
    """Everything the product asks of a key provider. Every write is idempotent."""

    @property
    def name(self) -> str:
        """Short name of the provider; the first part of its references."""
        ...

    @property
    def generation(self) -> str:
        """Changes whenever a version is made, promoted, enabled or disabled; caches of keys are dropped then."""
        ...

    def create(self, key: str, use: KeyUse) -> KeyVersion:
        """Make a key with one primary version; return the primary version of one that is there already.

        Raises:
            ConflictError: there is such a key with another use.
        """
        ...

    def rotate(self, key: str, *, token: str) -> KeyVersion:
        """Add a version that is not primary; the same token returns the same version, however often.

        Raises:
            NotFoundError: there is no such key.
        """
        ...

    def promote(self, ref: str) -> KeyVersion:
        """Make a version the primary one.

        Raises:
            NotFoundError: there is no such version.
            KeyDisabledError: it is disabled.
        """
        ...

    def disable(self, ref: str) -> KeyVersion:
        """Refuse all further use of a version.

        Raises:
            NotFoundError: there is no such version.
            ConflictError: it is the primary one.
        """
        ...

    def enable(self, ref: str) -> KeyVersion:
        """Allow a disabled version again.

        Raises:
            NotFoundError: there is no such version.
        """
        ...

    def primary(self, key: str) -> KeyVersion:
        """Return the version that new signatures or wraps are made with.

        Raises:
            NotFoundError: there is no such key.
        """
        ...

    def wrap(self, key: str, secret: bytes, context: WrapContext) -> WrappedKey:
        """Wrap a data key under the primary version, bound to ``context``."""
        ...

    def unwrap(self, ref: str, wrapped: bytes, context: WrapContext) -> bytes:
        """Return the data key.

        Raises:
            NotFoundError: there is no such version.
            KeyDisabledError: it is disabled.
            VerificationError: it was wrapped by another key, for another context, or altered.
        """
        ...

    def sign(self, ref: str, data: bytes) -> bytes:
        """Return a DER ECDSA P-256 signature over the SHA-256 of ``data``.

        Raises:
            NotFoundError: there is no such version.
            KeyDisabledError: it is disabled.
        """
        ...

    def public_key(self, ref: str) -> bytes:
        """Return the PEM public key of a signing version, whatever its state."""
        ...

    def inventory(self) -> tuple[KeyVersion, ...]:
        """Return every version of every key, by key and version."""
        ...


def context_bytes(context: WrapContext) -> bytes:
    """Return the associated data of a wrap context: its canonical JSON.

    Raises:
        InputError: the context is empty, or a member is no text.
    """
    if not context or not all(isinstance(one, str) and one for pair in context.items() for one in pair):
        raise InputError("A wrap context names what the key is for, in text", field="context", value=dict(context))
    return canonical_json(dict(context))
