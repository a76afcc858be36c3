"""The public key of the local issuer; not served where an OIDC issuer is named."""

from __future__ import annotations

from typing import Any

from mc_pipelines.api.access import ContextOf, guarded_router
from mc_pipelines.api.local_issuer import LocalIssuer
from mc_pipelines.api.openapi import answers

router = guarded_router("operations")
_EXAMPLE = {"keys": [{"kty": "EC", "crv": "P-256", "x": "…", "y": "…", "kid": "local", "use": "sig", "alg": "ES256"}]}


@router.get("/.well-known/jwks.json", summary="Keys of local tokens", responses=answers(_EXAMPLE))
def keys(context: ContextOf) -> dict[str, Any]:
    """Return the JSON Web Key Set that tokens of `mc token` verify with."""
    return LocalIssuer(context.settings.home_path).jwks()
