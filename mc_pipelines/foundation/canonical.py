"""Canonical JSON (RFC 8785) and the digests that name content."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import rfc8785

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 form of ``value``.

    Raises:
        InputError: the value holds something JSON cannot carry exactly (NaN, an integer beyond
            2**53-1, a Decimal, a key that is no string).
    """
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, RecursionError) as error:
        raise InputError(f"Cannot be written as canonical JSON: {error}") from error


def sha256_digest(content: bytes) -> Digest:
    """Return ``sha256:<hex>`` of bytes."""
    return Digest("sha256:" + hashlib.sha256(content).hexdigest())


def digest_of(value: Any) -> Digest:
    """Return ``sha256:<hex>`` of the canonical JSON of ``value``."""
    return sha256_digest(canonical_json(value))


def parse_json(content: bytes | str, *, what: str = "document") -> Any:
    """Parse JSON strictly: UTF-8, no duplicate keys, no NaN; fractions arrive as Decimal.

    Raises:
        InputError: the content is not such JSON.
    """
    try:
        text = content.decode("utf-8") if isinstance(content, bytes) else content
        return json.loads(
            text,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_refuse_duplicates,
        )
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"The {what} is not valid JSON: {error}") from error


def is_canonical(content: bytes) -> bool:
    """Tell whether the bytes are exactly the RFC 8785 form of what they say."""
    try:
        return canonical_json(json.loads(content)) == content
    except (ValueError, InputError, RecursionError):
        return False


def _refuse_constant(name: str) -> None:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            msg = f"duplicate key {key!r}"
            raise ValueError(msg)
        found[key] = value
    return found
