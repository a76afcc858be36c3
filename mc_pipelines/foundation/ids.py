"""Typed identifiers.

Content is named by its digest, an event by a UUIDv7 (RFC 9562 section 5.7), a package by its purl.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NewType
from uuid import UUID

from mc_pipelines.foundation.errors import InputError

Digest = NewType("Digest", str)
"""``sha256:`` and 64 lower-case hexadecimal digits."""
TenantId = NewType("TenantId", str)
PersonId = NewType("PersonId", UUID)
WorkflowId = NewType("WorkflowId", str)
ServiceId = NewType("ServiceId", str)
ExecutionId = NewType("ExecutionId", UUID)
KeyId = NewType("KeyId", str)
"""RFC 7638 thumbprint, base64url without padding."""

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")


def uuid7(moment: datetime | None = None, random: Callable[[int], bytes] = os.urandom) -> UUID:
    """Return a UUIDv7 whose first 48 bits are the milliseconds of ``moment`` (default: now)."""
    at = datetime.now(UTC) if moment is None else moment
    milliseconds = int(at.timestamp() * 1000)
    noise = int.from_bytes(random(10), "big")
    value = (milliseconds & (2**48 - 1)) << 80
    value |= 0x7 << 76 | (noise >> 68 & 0xFFF) << 64
    value |= 0b10 << 62 | noise & (2**62 - 1)
    return UUID(int=value)


def parse_digest(text: str, *, field: str) -> Digest:
    """Check that ``text`` is ``sha256:<64 hex>``.

    Raises:
        InputError: it is not.
    """
    if not isinstance(text, str) or not _DIGEST.fullmatch(text):
        raise InputError(
            "Not a sha256 digest", field=field, value=text, mend="write sha256: and 64 lower-case hexadecimal digits"
        )
    return Digest(text)


def parse_name(text: str, *, field: str) -> str:
    """Check a tenant, workflow or service name: 1 to 63 of ``a-z 0-9 . _ -``, ends alphanumeric.

    Raises:
        InputError: it is not such a name.
    """
    if not isinstance(text, str) or not _NAME.fullmatch(text):
        raise InputError(
            "Not a valid name",
            field=field,
            value=text,
            mend="use 1 to 63 of a-z, 0-9, dot, underscore and hyphen; begin and end with a letter or digit",
        )
    return text


def parse_uuid(text: str | UUID, *, field: str) -> UUID:
    """Parse a UUID.

    Raises:
        InputError: the text is no UUID.
    """
    try:
        return text if isinstance(text, UUID) else UUID(text)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError("Not a UUID", field=field, value=text) from error
