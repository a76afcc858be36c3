"""Digest fields of HTTP (RFC 9530): whether the digest of an answer's bytes is wanted, and how it is written."""

from __future__ import annotations

import base64
import hashlib
import re

_MEMBER = re.compile(r"([a-z*][a-z0-9_.*-]*)\s*=\s*([0-9]{1,2})")


def wants_sha256(header: str | None) -> bool:
    """Tell whether a ``Want-Repr-Digest`` asks for sha-256, the only one that is made.

    The field is a dictionary of algorithms with preferences from 0 (not acceptable) to 10 (RFC 9530 section 4). A field
    that means nothing asks for nothing.
    """
    if header is None:
        return False
    members = [_MEMBER.fullmatch(each.strip()) for each in header.split(",")]
    wanted = {found[1]: int(found[2]) for found in members if found}
    return all(members) and 1 <= wanted.get("sha-256", 0) <= 10  # noqa: PLR2004 - the range of the RFC


def repr_digest(body: bytes) -> str:
    """Return the value of ``Repr-Digest``: sha-256 of the representation as a byte sequence."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
