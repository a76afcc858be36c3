"""Who is calling: bearer tokens of an OIDC issuer, checked against its published keys.

A token proves an identity (issuer and subject) and which tenants it may act for. Roles come from the
people records; what a role may do is decided by the access pack (:mod:`mc_pipelines.api.access`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from mc_pipelines.api.issuer_keys import IssuerKeys, NoSuchKeyError
from mc_pipelines.api.local_issuer import ALGORITHM, LOCAL_ISSUER, LocalIssuer
from mc_pipelines.foundation.errors import UnauthenticatedError
from mc_pipelines.foundation.settings import Settings

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
        return _decode(token, self._key, ALGORITHM, issuer=LOCAL_ISSUER, audience=self._audience)


class OidcVerifier:
    """Accepts tokens of one OpenID Connect issuer.

    Args:
        issuer: exactly as tokens name it in ``iss``, with or without a slash at the end.
        audience: what tokens must name in ``aud``.
        keys: where its keys are found; default: by discovery.
    """

    def __init__(self, issuer: str, audience: str, *, keys: IssuerKeys | None = None) -> None:
        self._issuer = issuer
        self._audience = audience
        self._keys = keys or IssuerKeys(issuer)

    def verify(self, token: str) -> Identity:
        """Return the identity of a token that the issuer signed.

        Raises:
            UnauthenticatedError: the token does not hold.
            UnavailableError: the issuer's keys cannot be read.
        """
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.find(header)
        except (jwt.PyJWTError, ValueError, NoSuchKeyError) as error:
            raise _refused(str(error)) from error
        return _decode(token, key, str(header["alg"]), issuer=self._issuer, audience=self._audience)


def open_verifier(settings: Settings) -> TokenVerifier:
    """Return the verifier that the settings name: the OIDC issuer, else the local one."""
    if settings.oidc_issuer:
        return OidcVerifier(settings.oidc_issuer, settings.oidc_audience)
    return LocalVerifier(LocalIssuer(settings.home_path), settings.oidc_audience)


def bearer_token(header: str | None) -> str:
    """Return the token of an Authorization header (RFC 6750 section 2.1).

    Raises:
        UnauthenticatedError: there is none.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError(
            "No bearer token", field="Authorization", mend="send `Authorization: Bearer <token>`; locally: `mc token`"
        )
    return token.strip()


def _decode(token: str, key: Any, algorithm: str, *, issuer: str, audience: str) -> Identity:
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=_LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "sub", "iss", "aud"]},
        )
    except (jwt.PyJWTError, ValueError, OverflowError) as error:
        raise _refused(str(error)) from error
    subject, tenants = claims["sub"], claims.get("tenants", [])
    if not subject.strip():
        raise _refused("the claim `sub` is empty")
    if not isinstance(tenants, list) or not all(isinstance(tenant, str) for tenant in tenants):
        raise _refused("the claim `tenants` is no list of names")
    return Identity(issuer=claims["iss"], subject=subject, tenants=frozenset(tenants))


def _refused(reason: str) -> UnauthenticatedError:
    return UnauthenticatedError(
        f"The bearer token is refused: {reason}", field="Authorization", mend="get a new token; locally: `mc token`"
    )
