"""Keyless sigstore bundles (a short-lived certificate names the signer), verified offline by sigstore-python."""

from __future__ import annotations

import logging
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mc_pipelines.attest.bundle import parse_bundle
from mc_pipelines.foundation.errors import InputError, VerificationError

if TYPE_CHECKING:
    from sigstore.models import TrustedRoot
    from sigstore.verify import Verifier


def verify_keyless(
    content: bytes,
    *,
    identity: str,
    issuer: str,
    artifact: bytes | None = None,
    trusted_root: bytes | None = None,
) -> None:
    """Check a keyless bundle against the identity that must have signed it; opens no connection.

    Args:
        content: the bundle.
        identity: the subject alternative name that the certificate must carry.
        issuer: the OIDC issuer that must have vouched for it.
        artifact: what a message signature signs; an envelope needs none.
        trusted_root: a sigstore trusted root in JSON; default: the public instance's, as installed with sigstore.

    Raises:
        InputError: no bundle, no trusted root, or the artifact is missing.
        VerificationError: certificate, log entry, time, identity or signature does not hold.
    """
    from sigstore.errors import Error
    from sigstore.models import Bundle, InvalidBundle
    from sigstore.verify.policy import Identity

    from mc_pipelines.attest.keyless_intoto import is_intoto, verify_intoto

    if not identity or not issuer:
        raise InputError("A keyless signature means nothing without the identity expected", field="identity")
    try:
        bundle = Bundle.from_json(content)
    except (InvalidBundle, ValueError) as error:
        raise InputError(f"Not a complete sigstore bundle: {_line(error)}", field="bundle") from error
    envelope = parse_bundle(content).envelope
    policy = Identity(identity=identity, issuer=issuer)
    try:
        if envelope is not None and is_intoto(bundle):
            verify_intoto(_root(trusted_root), bundle, envelope, policy)
        elif envelope is not None:
            _verifier(trusted_root).verify_dsse(bundle, policy)
        elif artifact is None:
            raise InputError("The signed artifact is needed", field="artifact", mend="give the file that was signed")
        else:
            _verifier(trusted_root).verify_artifact(artifact, bundle, policy)
    except Error as error:
        raise VerificationError(f"The keyless bundle does not hold: {_line(error)}", field="bundle") from error


@lru_cache(maxsize=8)
def _verifier(trusted_root: bytes | None) -> Verifier:
    """Return the library's verifier for a root; parsing the root costs more than judging a bundle by it."""
    from sigstore.verify import Verifier

    return Verifier(trusted_root=_root(trusted_root))


@lru_cache(maxsize=1)
def pinned_root() -> TrustedRoot:
    """Return the root of the public instance that is installed with sigstore; nothing is fetched."""
    from sigstore.models import ClientTrustConfig

    # It warns that it fetches nothing, which is what we ask of it.
    logging.getLogger("sigstore._internal.tuf").setLevel(logging.ERROR)
    return ClientTrustConfig.production(offline=True).trusted_root


@lru_cache(maxsize=8)
def _root(trusted_root: bytes | None) -> TrustedRoot:
    from sigstore.errors import Error
    from sigstore.models import TrustedRoot

    if trusted_root is None:
        return pinned_root()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:  # the library reads trusted roots from files only
        file.write(trusted_root)
        file.flush()
        try:
            return TrustedRoot.from_file(str(Path(file.name)))
        except (Error, ValueError) as error:
            raise InputError(f"Not a trusted root: {_line(error)}", field="trusted root") from error


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
