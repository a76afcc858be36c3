"""The public keys of an OIDC issuer: discovery (OpenID Connect Discovery 1.0) and a cached JWK Set (RFC 7517)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx
import jwt

from mc_pipelines.foundation.errors import ConfigurationError, UnavailableError

FRESH_SECONDS = 300.0
"""How long keys are used without asking again; a key that the issuer withdrew is refused after it."""
STALE_SECONDS = 3600.0
"""How long the last keys serve while the issuer does not answer."""
REFRESH_SECONDS = 10.0
"""The least time between two questions: tokens with invented key ids must not make us flood the issuer."""
_TIMEOUT_SECONDS = 5.0
_ALGORITHMS: Mapping[tuple[str, str | None], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "PS256"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""Algorithms by key type and curve; a shared secret (oct) is no key of ours."""
ALGORITHMS = tuple(sorted({name for names in _ALGORITHMS.values() for name in names}))
_SMALLEST_RSA_BITS = 2048


class NoSuchKeyError(Exception):
    """The issuer publishes no key that fits the token's header."""


@dataclass(frozen=True, slots=True)
class _KeySet:
    keys: tuple[Mapping[str, Any], ...]
    read_at: float
    """Seconds of the monotonic clock."""


class IssuerKeys:
    """Finds the key of a token's header among those that an issuer publishes.

    Args:
        issuer: exactly as tokens name it.
        transport: another httpx transport; tests put their own here.
        monotonic: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        issuer: str,
        *,
        transport: httpx.BaseTransport | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        _refuse_plain_http(issuer, field="MC_OIDC_ISSUER")
        self._issuer = issuer
        self._client = httpx.Client(transport=transport, timeout=_TIMEOUT_SECONDS)
        self._monotonic = monotonic
        self._lock = Lock()
        self._set: _KeySet | None = None
        self._asked_at: float | None = None

    def find(self, header: Mapping[str, Any]) -> jwt.PyJWK:
        """Return the key for a token's header, bound to the header's algorithm.

        Raises:
            NoSuchKeyError: there is none.
            UnavailableError: the issuer does not answer and no keys of it are at hand.
        """
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise NoSuchKeyError(f"algorithm {algorithm!r} is not one of {', '.join(ALGORITHMS)}")
        found = _choose(self._current(), key_id, algorithm)
        if found is None:
            found = _choose(self._current(unknown=True), key_id, algorithm)
        if found is None:
            raise NoSuchKeyError(f"the issuer publishes no {algorithm} key with the id {key_id!r}")
        return found

    def _current(self, *, unknown: bool = False) -> tuple[Mapping[str, Any], ...]:
        with self._lock:
            now = self._monotonic()
            age = None if self._set is None else now - self._set.read_at
            wanted = age is None or age >= FRESH_SECONDS or unknown
            allowed = self._asked_at is None or now - self._asked_at >= REFRESH_SECONDS
            if wanted and allowed:
                self._asked_at = now
                try:
                    self._set = _KeySet(self._fetch(), now)
                except UnavailableError:
                    if age is None or age >= STALE_SECONDS:
                        raise
            if self._set is None or now - self._set.read_at >= STALE_SECONDS:
                raise UnavailableError("The OIDC issuer's keys could not be read a moment ago", field="MC_OIDC_ISSUER")
            return self._set.keys

    def _fetch(self) -> tuple[Mapping[str, Any], ...]:
        configuration = self._get(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if configuration.get("issuer") != self._issuer:
            raise self._unavailable(f"its configuration names another issuer: {configuration.get('issuer')!r}")
        address = configuration.get("jwks_uri")
        if not isinstance(address, str):
            raise self._unavailable("its configuration names no jwks_uri")
        _refuse_plain_http(address, field="jwks_uri")
        keys = self._get(address).get("keys")
        if not isinstance(keys, list):
            raise self._unavailable("its key set has no keys")
        return tuple(key for key in keys if isinstance(key, dict))

    def _get(self, address: str) -> dict[str, Any]:
        try:
            found = self._client.get(address).raise_for_status().json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise self._unavailable(str(error)) from error
        if not isinstance(found, dict):
            raise self._unavailable(f"{address} is no JSON object")
        return found

    def _unavailable(self, reason: str) -> UnavailableError:
        return UnavailableError(
            f"The OIDC issuer's keys cannot be read: {reason}",
            field="MC_OIDC_ISSUER",
            value=self._issuer,
            mend="check the address and that this machine reaches it",
        )


def _choose(keys: tuple[Mapping[str, Any], ...], key_id: object, algorithm: str) -> jwt.PyJWK | None:
    fitting = [key for key in keys if _fits(key, algorithm) and (key_id is None or key.get("kid") == key_id)]
    if len(fitting) != 1:  # several fit a token without a key id: which one is the issuer's secret, so none
        return None
    try:
        found = jwt.PyJWK(dict(fitting[0]), algorithm=algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    too_short = getattr(found.key, "key_size", _SMALLEST_RSA_BITS) < _SMALLEST_RSA_BITS
    return None if fitting[0]["kty"] == "RSA" and too_short else found


def _fits(key: Mapping[str, Any], algorithm: str) -> bool:
    kind = key.get("kty")
    curve = None if kind == "RSA" else key.get("crv")
    usable = key.get("use", "sig") == "sig" and key.get("alg", algorithm) == algorithm
    return usable and algorithm in _ALGORITHMS.get((str(kind), curve), ())


def _refuse_plain_http(address: str, *, field: str) -> None:
    parts = urlsplit(address)
    loopback = parts.hostname in {"localhost", "127.0.0.1", "::1"}
    if parts.hostname is None or not (parts.scheme == "https" or (parts.scheme == "http" and loopback)):
        raise ConfigurationError(
            "An OIDC issuer is asked by https only", field=field, value=address, mend="write https://…"
        )
