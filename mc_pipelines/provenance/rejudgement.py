"""Verdicts that change: a document that is known is judged again whenever it is sent again, by what is believed then.

What was believed before stays answerable: the new verdict is a document of ours in the series of the old one, with the
same claims, and holds from the moment of the judgement on; the old one ends there. So a question as of yesterday meets
yesterday's verdict, and one as of today the key that was revoked meanwhile. The same verdict again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec
from sqlalchemy import Connection, text

from mc_pipelines.foundation.canonical import canonical_json, sha256_digest
from mc_pipelines.foundation.ids import Digest, TenantId
from mc_pipelines.provenance.marking import Marking
from mc_pipelines.provenance.model import Claims, Verification

_TYPE = "https://maestro-conductor.example/provenance/rejudgement/v1"
_PREFIX = "verdict:"
_RECORDED = text("select digest, recorded_at from provenance_documents where tenant = :tenant and digest = any(:all)")
_LATEST = text("""
select distinct on (series) series, version, verification, label from provenance_documents
where tenant = :tenant and series = any(:series) order by series, version desc
""")


def first_recorded(connection: Connection, tenant: TenantId, documents: Iterable[Digest]) -> dict[Digest, datetime]:
    """Return when we recorded documents first, of those that we did: they existed then."""
    rows = connection.execute(_RECORDED, {"tenant": tenant, "all": list(documents)})
    return {Digest(row.digest): row.recorded_at for row in rows}


def in_series(claims: Claims, *, signed: bool) -> Claims:
    """Return a signed document's claims as the first verdict on it; no other document gets into such a series.

    A signed bill of materials is in the series of its verdicts, not in that of its serial number: what it lists is
    ended by whoever signed it, never by an unsigned document that states a higher version.
    """
    if signed:
        return msgspec.structs.replace(claims, series=_PREFIX + claims.document, version=0)
    if claims.series is not None and claims.series.startswith(_PREFIX):
        return msgspec.structs.replace(claims, series="claimed " + claims.series)
    return claims


def rejudged(
    connection: Connection, tenant: TenantId, known: Iterable[Claims], *, now: datetime
) -> list[tuple[Claims, Claims]]:
    """Return those of ``known`` whose verdict is another than the recorded one, each with the claims to record."""
    signed = {claims.series: claims for claims in known if claims.series and claims.series.startswith(_PREFIX)}
    if not signed:
        return []
    rows = connection.execute(_LATEST, {"tenant": tenant, "series": list(signed)})
    found = []
    for row in rows:
        claims = Marking.of_label(row.label).put_on(signed[row.series])  # never that of whoever sends it again
        before = msgspec.convert(row.verification, Verification)
        if _essence(before) != _essence(claims.verification):
            found.append((claims, _successor(claims, before, row.version + 1, now)))
    return found


def _essence(verdict: Verification) -> tuple[str, str | None, str | None, str | None]:
    """What of a verdict is more than wording."""
    return verdict.status, verdict.signer, verdict.key_id, verdict.scheme


def _successor(claims: Claims, before: Verification, version: int, now: datetime) -> Claims:
    verdict = claims.verification
    says = {"_type": _TYPE, "document": claims.document, "version": version, "verdict": list(_essence(verdict))}
    sentence = f"Judged anew: {before.status} became {verdict.status}."
    return msgspec.structs.replace(
        claims,
        document=sha256_digest(canonical_json(says)),
        version=version,
        valid_from=now,
        remarks=(*claims.remarks, sentence),
    )
