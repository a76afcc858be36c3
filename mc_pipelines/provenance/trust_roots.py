"""What verification believes before it reads a document: keys with holders, expected identities, a sigstore root.

Nothing here is ever taken from a document. Without an entry that fits, a good signature proves that somebody signed,
not who: the verdict then says so and no ``verifies`` edge is minted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mc_pipelines.attest.key_history import KeyRecord, KeyStatus
from mc_pipelines.attest.trust import Trust
from mc_pipelines.foundation.canonical import digest_of, sha256_digest
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class Scheme(StrEnum):
    """How bytes become a signature; a key is trusted for the schemes it is known to use, no others."""

    DSSE_PAE = "dsse-pae"
    """DSSE's pre-authentication encoding; ECDSA signatures in DER."""
    DSSE_PAE_RAW = "dsse-pae-p1363"
    """The same, with ECDSA signatures as ``r || s`` (IEEE P1363)."""
    LEGACY_RAW = "legacy-raw"
    """The bare payload without its type, as Google Cloud Build's regional keys sign."""


@dataclass(frozen=True)
class TrustedKey:
    """A public key of somebody we know.

    Attributes:
        holder: who holds it; becomes the signer of what it verifies.
        public_key_pem: ECDSA (any curve, its natural SHA-2) or Ed25519.
        schemes: what it may sign with.
        builders: patterns of builder or verifier ids that it may speak for; empty = any.
        hints: key ids by which its holder's envelopes name it; a signature that claims one of them and does not
            hold is a failure, not an unknown signer.
        revoked: whether what it signed no longer counts.
    """

    holder: str
    public_key_pem: bytes
    schemes: frozenset[Scheme] = frozenset({Scheme.DSSE_PAE})
    builders: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    revoked: bool = False

    @cached_property
    def public_key(self) -> PublicKey:
        """The loaded key.

        Raises:
            InputError: it is no such key.
        """
        try:
            key = serialization.load_pem_public_key(self.public_key_pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            raise InputError("Not a readable public key", field="public key", value=self.holder) from error
        if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
            raise InputError("Only ECDSA and Ed25519 keys verify documents", field="public key", value=self.holder)
        return key

    @cached_property
    def key_id(self) -> Digest:
        """SHA-256 of the DER SubjectPublicKeyInfo."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return sha256_digest(self.public_key.public_bytes(serialization.Encoding.DER, form))

    def speaks_for(self, builder: str | None) -> bool:
        """Tell whether the key may vouch for what ``builder`` built."""
        return not self.builders or any(fnmatchcase(builder or "", pattern) for pattern in self.builders)


@dataclass(frozen=True)
class ExpectedIdentity:
    """A keyless signer that we expect.

    Attributes:
        issuer: the OIDC issuer, exactly.
        subject: the certificate's subject alternative name; ``*`` stands for any text.
        builders: patterns of builder ids it may speak for; empty = any.
    """

    issuer: str
    subject: str
    builders: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.issuer or not self.subject.strip("*?"):
            raise InputError("An expected identity names its issuer and subject", field="identity", value=self.subject)

    def matches(self, issuer: str, subject: str, builder: str | None) -> bool:
        """Tell whether a proved identity is the expected one, for what it says."""
        return (
            issuer == self.issuer
            and fnmatchcase(subject, self.subject)
            and (not self.builders or any(fnmatchcase(builder or "", pattern) for pattern in self.builders))
        )


@dataclass(frozen=True)
class TrustRoots:
    """All that verification believes.

    Attributes:
        own: our own trust file: the service's keys and people's.
        keys: keys of others.
        identities: keyless signers that we expect.
        sigstore_root: trusted root in JSON; None = the public instance's, pinned with the installed library.
        keyless: whether keyless signatures are judged at all.
    """

    own: Trust | None = None
    keys: tuple[TrustedKey, ...] = ()
    identities: tuple[ExpectedIdentity, ...] = ()
    sigstore_root: bytes | None = field(default=None, repr=False)
    keyless: bool = True

    @cached_property
    def any_ended(self) -> bool:
        """Whether a key of ours has ended, so that it matters when a document is known to have existed."""
        return self.own is not None and any(key.status is not KeyStatus.ACTIVE for key in self.own.keys)

    @cached_property
    def names(self) -> frozenset[str]:
        """Key ids and hints by which envelopes name keys that are trusted here."""
        own = () if self.own is None else (key.key_id for key in self.own.keys)
        return frozenset([*own, *(hint for key in self.keys for hint in key.hints)])

    @cached_property
    def _own(self) -> tuple[tuple[KeyRecord, TrustedKey], ...]:
        records = () if self.own is None else self.own.keys
        return tuple((record, TrustedKey(record.holder, record.public_key_pem)) for record in records)

    def own_keys(self, hint: str) -> Iterable[tuple[KeyRecord, TrustedKey]]:
        """Return our own keys, loaded once; first the one that a hint names."""
        return sorted(self._own, key=lambda pair: pair[0].key_id != hint) if hint else self._own

    @cached_property
    def digest(self) -> Digest:
        """Names this set of beliefs: verdicts are cached and recorded under it."""
        return digest_of(
            {
                "own": None if self.own is None else self.own.to_document(),
                "keys": sorted(
                    [
                        one.key_id,
                        one.holder,
                        "revoked" if one.revoked else "",
                        *sorted(one.schemes),
                        *one.builders,
                        "hints",
                        *one.hints,
                    ]
                    for one in self.keys
                ),
                "identities": sorted([one.issuer, one.subject, *one.builders] for one in self.identities),
                "sigstoreRoot": "installed" if self.sigstore_root is None else sha256_digest(self.sigstore_root),
                "keyless": self.keyless,
            }
        )
