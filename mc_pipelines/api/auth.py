"""Who is calling: bearer tokens of an OIDC issuer, checked against its published keys.

A token proves an identity (issuer and subject) and which tenants it may see. Roles come from the
people records; what a role may do is decided by the access pack (:mod:`mc_pipelines.api.access`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import httpx
import jwt

from mc_pipelines.api.local_issuer import ALGORITHM, LOCAL_ISSUER, LocalIssuer
from mc_pipelines.foundation.errors import UnauthenticatedError, UnavailableError
from mc_pipelines.foundation.settings import Settings

_ALGORITHMS = ["ES256", "ES384", "RS256", "PS256", "EdDSA"]  # never `none`, never a shared secret
_LEEWAY_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Identity:
    """What a verified token says."""

    issuer: str
    subject: str
    tenants: frozenset[str]


class TokenVerifier(Protocol):
    """Checks a bearer token."""

    def verify(self, token: str) -> Identity:
        """Return the identity; raise UnauthenticatedError where the token does not hold."""
        ...


class LocalVerifier:
    """Accepts tokens of the local issuer."""

    def __init__(self, issuer: LocalIssuer, audience: str) -> None:
        self._key = issuer.public_key()
        self._audience = audience

    def verify(self, token: str) -> Identity:
        """Return the identity of a token that this machine issued."""
        return _decode(token, self._key, [ALGORITHM], issuer=LOCAL_ISSUER, audience=self._audience)


class OidcVerifier:
    """Accepts tokens of one OpenID Connect issuer, whose keys it reads by discovery and caches."""

    def __init__(self, issuer: str, audience: str) -> None:
        self._issuer = issuer.rstrip("/")
        self._audience = audience

    @cached_property
    def _keys(self) -> jwt.PyJWKClient:
        address = f"{self._issuer}/.well-known/openid-configuration"
        try:
            found = httpx.get(address, timeout=5).raise_for_status().json()
            return jwt.PyJWKClient(found["jwks_uri"], cache_keys=True, lifespan=300, timeout=5)
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise UnavailableError(
                f"The OIDC issuer's configuration cannot be read: {error}",
                field="MC_OIDC_ISSUER",
                value=self._issuer,
                mend="check the address and that this machine reaches it",
            ) from error

    def verify(self, token: str) -> Identity:
        """Return the identity of a token that the issuer signed."""
        try:
            key = self._keys.get_signing_key_from_jwt(token).key
        except jwt.PyJWKClientConnectionError as error:
            raise UnavailableError(f"The OIDC issuer's keys cannot be read: {error}") from error
        except (jwt.PyJWTError, ValueError) as error:
            raise _refused(str(error)) from error
        return _decode(token, key, _ALGORITHMS, issuer=self._issuer, audience=self._audience)


def open_verifier(settings: Settings) -> TokenVerifier:
    """Return the verifier that the settings name: the OIDC issuer, else the local one."""
    if settings.oidc_issuer:
        return OidcVerifier(settings.oidc_issuer, settings.oidc_audience)
    return LocalVerifier(LocalIssuer(settings.home_path), settings.oidc_audience)


def bearer_token(header: str | None) -> str:
    """Return the token of an Authorization header.

    Raises:
        UnauthenticatedError: there is none.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError(
            "No bearer token", field="Authorization", mend="send `Authorization: Bearer <token>`; locally: `mc token`"
        )
    return token.strip()


def _decode(token: str, key: Any, algorithms: list[str], *, issuer: str, audience: str) -> Identity:
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=algorithms,
            audience=audience,
            issuer=issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "sub", "iss", "aud"]},
        )
    except (jwt.PyJWTError, ValueError) as error:
        raise _refused(str(error)) from error
    tenants = claims.get("tenants", [])
    if not isinstance(tenants, list) or not all(isinstance(tenant, str) for tenant in tenants):
        raise _refused("the claim `tenants` is no list of names")
    return Identity(issuer=claims["iss"], subject=claims["sub"], tenants=frozenset(tenants))


def _refused(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"The bearer token is refused: {reason}", field="Authorization", mend="get a new token; locally: `mc token`"
    )
