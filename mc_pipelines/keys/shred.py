"""Crypto-shredding: with the wrappings of its data keys gone, what a tenant had sealed is noise, in every copy."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.keys.records import data_encryption_key, data_encryption_key_slot


def destroy_data_keys(connection: Connection, tenant: TenantId) -> int:
    """Destroy every wrapping of a tenant's data keys; return how many keys that ended.

    The rows of the keys stay, so that no epoch is given twice and what was sealed under them can be told. A process
    that has a key open keeps it for five minutes at most.
    """
    keys = select(data_encryption_key.c.dek_id).where(data_encryption_key.c.tenant == tenant)
    gone = connection.execute(
        delete(data_encryption_key_slot)
        .where(data_encryption_key_slot.c.dek_id.in_(keys))
        .returning(data_encryption_key_slot.c.dek_id)
    )
    return len({row.dek_id for row in gone})
