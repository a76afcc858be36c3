"""What is refused leaves nothing behind but a leaf of the audit log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import Clock, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import MaestroError, UnavailableError

_LONGEST = 200


@contextmanager
def audited_refusal(database: Database, clock: Clock, act: str, subject: str) -> Iterator[None]:
    """Run a step that opens and rolls back its own transaction; where it is refused, say so in the audit log.

    Args:
        database: as mc_app; the leaf has a transaction of its own.
        clock: now.
        act: of the leaf, such as ``sla.ingest-refused``.
        subject: what was asked for, as the caller wrote it; shortened and made printable.

    Raises:
        MaestroError: the refusal itself, after it was audited. A database that cannot be reached is no refusal.
    """
    try:
        yield
    except UnavailableError:
        raise
    except MaestroError as error:
        now = clock.now()
        name = _printable(subject)
        content = canonical_json(
            {
                "subject": name,
                "refusal": error.slug,
                "field": _printable(error.field or ""),
                "detail": _printable(error.detail),
                "at": rfc3339(now),
            }
        )
        with database.begin() as connection:
            append(connection, act=act, subject=name or "nameless", content=content, at=now)
        raise


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text[:_LONGEST])
