"""Every key with its versions, and what would be lost with each: the question before a key is disabled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select

from mc_pipelines.keys.provider import KeyProvider, KeyUse, KeyVersion
from mc_pipelines.keys.records import data_encryption_key_slot as slots

CRYPTOPERIOD = timedelta(days=90)
"""A primary version older than this is due for rotation."""


@dataclass(frozen=True, slots=True)
class InventoryEntry:
    """One version of one key."""

    version: KeyVersion
    data_keys: int | None
    """Data keys that it wraps; None for a signing key, whose signatures need its public half only."""
    sole_data_keys: int | None
    """Those of them that nothing else wraps: what disabling it would make unreadable."""

    def age(self, now: datetime) -> timedelta:
        """Return how old the version is."""
        return now - self.version.created

    def due(self, now: datetime) -> bool:
        """Tell whether the version is primary and beyond its cryptoperiod."""
        return self.version.primary and self.age(now) >= CRYPTOPERIOD


def take_inventory(connection: Connection, provider: KeyProvider) -> list[InventoryEntry]:
    """Return every version with its reference counts."""
    other = slots.alias()
    elsewhere = select(other.c.dek_id).where(other.c.dek_id == slots.c.dek_id, other.c.kek_ref != slots.c.kek_ref)
    rows = connection.execute(
        select(slots.c.kek_ref, func.count(), func.count().filter(~elsewhere.exists())).group_by(slots.c.kek_ref)
    )
    counts = {ref: (total, sole) for ref, total, sole in rows}
    return [
        InventoryEntry(one, *(counts.get(one.ref, (0, 0)) if one.use is KeyUse.WRAP else (None, None)))
        for one in provider.inventory()
    ]


def wraps_data_keys(connection: Connection, provider: str) -> bool:
    """Tell whether any data key is wrapped by a key of the provider of this name, such as ``local``."""
    found = select(slots.c.kek_ref).where(slots.c.kek_ref.startswith(f"{provider}:", autoescape=True))
    return bool(connection.execute(select(found.exists())).scalar_one())
