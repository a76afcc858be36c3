"""Reads the first 512 bytes of every object where only sealed ones may stand, and names those that are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select

from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import MaestroError, NotFoundError
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.keys.envelope import read_header_of
from mc_pipelines.keys.header import EnvelopeError, Header
from mc_pipelines.keys.location import PREFIXES, check_header
from mc_pipelines.keys.provider import KeyProvider, KeyState
from mc_pipelines.keys.records import data_encryption_key as keys
from mc_pipelines.keys.records import data_encryption_key_slot as slots

RANGE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Finding:
    """One object that is not as it must be."""

    path: str
    defect: str
    detail: str


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan saw."""

    scanned: int
    sealed: int
    bytes: int
    """Stored bytes of all objects seen."""
    findings: tuple[Finding, ...]
    objects_by_data_key: dict[UUID, int]

    @property
    def ok(self) -> bool:
        """Whether every object is sealed, in its place, and can be opened."""
        return not self.findings


def scan(
    store: ObjectStore, database: Database, provider: KeyProvider, *, prefixes: Iterable[str] = tuple(PREFIXES.values())
) -> ScanReport:
    """Check every object under the sealed prefixes by a range read; no key is used and no body is read.

    Unsealed bytes, malformed headers, headers of another tenant, kind or id than the path's, data keys that are not
    in the table, and data keys that no enabled version unwraps are findings. Bodies are verified when they are read.
    """
    openable = _openable(database, provider)
    findings: list[Finding] = []
    used: Counter[UUID] = Counter()
    scanned = volume = 0
    for prefix in prefixes:
        for info in store.list(prefix):
            scanned, volume = scanned + 1, volume + info.size
            try:
                header = _header(store, info.path, info.size)
            except NotFoundError:
                continue  # deleted since it was listed
            except EnvelopeError as error:
                findings.append(Finding(info.path, error.defect.value, error.detail))
                continue
            except MaestroError as error:
                findings.append(Finding(info.path, error.slug, error.detail))
                continue
            used[header.dek_id] += 1
            if header.dek_id not in openable:
                findings.append(Finding(info.path, "unknown-data-key", f"Data key {header.dek_id} is not in the table"))
            elif not openable[header.dek_id]:
                detail = f"No enabled key version unwraps data key {header.dek_id}"
                findings.append(Finding(info.path, "key-disabled", detail))
    return ScanReport(scanned, sum(used.values()), volume, tuple(findings), dict(used))


def _header(store: ObjectStore, path: str, size: int) -> Header:
    content = store.get_range(path, 0, min(RANGE_BYTES, size)) if size else b""
    header = read_header_of(content)
    check_header(path, header)
    return header


def _openable(database: Database, provider: KeyProvider) -> dict[UUID, bool]:
    enabled = {one.ref for one in provider.inventory() if one.state is KeyState.ENABLED}
    found: dict[UUID, bool] = {}
    with database.begin() as connection:
        rows = connection.execute(
            select(keys.c.dek_id, slots.c.kek_ref).outerjoin(slots, slots.c.dek_id == keys.c.dek_id)
        )
        for dek_id, ref in rows:
            found[dek_id] = found.get(dek_id, False) or ref in enabled
    return found
