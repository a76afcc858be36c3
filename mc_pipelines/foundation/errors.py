"""One error base for the whole product.

Every error that a person can cause or mend says which field, which value, and how to mend it.
The HTTP API renders it as RFC 9457 problem details; the command line prints it and exits with
:attr:`MaestroError.exit_code`.
"""

from __future__ import annotations

from typing import Any, ClassVar

PROBLEM_BASE = "https://maestro-conductor.example/problems/"
_MAX_SHOWN_VALUE = 120


class MaestroError(Exception):
    """Base of all errors that the product raises on purpose.

    Args:
        detail: one sentence that says what is wrong.
        field: the field, option or column at fault, if there is one.
        value: the value found there; shown shortened, so never pass a secret.
        mend: what the reader should do about it.
        **extensions: further members of the problem document (RFC 9457 section 3.2).
    """

    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 2

    def __init__(
        self,
        detail: str,
        *,
        field: str | None = None,
        value: object = None,
        mend: str | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.field = field
        self.value = value
        self.mend = mend
        self.extensions = extensions

    def __str__(self) -> str:
        """One line: what, where, which value, and the mend."""
        parts = [self.detail.rstrip(".")]
        if self.field is not None:
            shown = "" if self.value is None else f" = {_shorten(self.value)}"
            parts.append(f"field {self.field}{shown}")
        text = "; ".join(parts) + "."
        return f"{text} Mend: {self.mend.rstrip('.')}." if self.mend else text

    def problem(self, instance: str | None = None) -> dict[str, Any]:
        """Return the RFC 9457 problem document of this error."""
        document: dict[str, Any] = {
            "type": PROBLEM_BASE + self.slug,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if instance is not None:
            document["instance"] = instance
        if self.field is not None:
            document["field"] = self.field
        if self.value is not None:
            document["value"] = _shorten(self.value)
        if self.mend is not None:
            document["mend"] = self.mend
        return document | self.extensions


class InputError(MaestroError):
    """What the caller gave is malformed or means nothing here."""

    slug, title, status = "invalid-input", "Invalid input", 422


class NotFoundError(MaestroError):
    """The thing asked for does not exist, or the caller may not know that it does."""

    slug, title, status = "not-found", "Not found", 404


class ConflictError(MaestroError):
    """The request contradicts what is already recorded."""

    slug, title, status = "conflict", "Conflict", 409


class UnauthenticatedError(MaestroError):
    """No bearer token, or one that does not verify."""

    slug, title, status = "unauthenticated", "Unauthenticated", 401


class ForbiddenError(MaestroError):
    """The caller is known and may not do this."""

    slug, title, status = "forbidden", "Forbidden", 403


class UnavailableError(MaestroError):
    """Something this depends on is down, off or not configured."""

    slug, title, status = "unavailable", "Unavailable", 503


class ConfigurationError(MaestroError):
    """A setting is missing, contradictory or refused by the profile."""

    slug, title, status = "configuration", "Configuration refused", 500


class VerificationError(MaestroError):
    """A signature, digest, proof or recomputation does not hold."""

    slug, title, status, exit_code = "verification-failed", "Verification failed", 422, 1


def _shorten(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _MAX_SHOWN_VALUE else text[: _MAX_SHOWN_VALUE - 1] + "…"
