"""Deleting a tenant's graph: rows, generation files, cold files and, with it, the keys that its sealed data is under.

A legal hold forbids it. The act is in the audit log with counts only; nothing of the tenant's content stays.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text

from mc_pipelines.attest.log import append
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import Clock, rfc3339
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.keys.shred import destroy_data_keys
from mc_pipelines.provenance.cold import FOLDER
from mc_pipelines.provenance.edge_log import DELETED, lock_head, move_head
from mc_pipelines.provenance.model import PUBLIC
from mc_pipelines.provenance.records import SECURED, generations
from mc_pipelines.provenance.roots import Reason, list_roots

_TABLES = (*(table.name for table in SECURED), generations.name)
"""Everything of a tenant but the count of its events and the name of its generation."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted of a tenant, or would be.

    Attributes:
        rows: rows by table.
        files: generation files and cold files.
        keys: data keys destroyed.
    """

    rows: dict[str, int]
    files: int
    keys: int


def delete_tenant(
    database: Database,
    tenant: TenantId,
    *,
    folder: Path,
    objects: ObjectStore,
    clock: Clock,
    by: str,
    keys: bool = False,
    dry_run: bool = False,
) -> Deleted:
    """Delete a tenant's graph; again, it deletes what a killed run left.

    Args:
        database: the log, as the application role.
        tenant: whose graph.
        folder: the folder of generations.
        objects: the plain store in which the sealed cold files lie.
        clock: tells when.
        by: id of the person or service that says so.
        keys: destroy the tenant's data keys too: nothing that was ever sealed for it can be opened again.
        dry_run: only count.

    Raises:
        ConflictError: a legal hold is in force, or it is the shared partition.
    """
    if tenant == PUBLIC:
        raise ConflictError("The shared partition is no tenant", field="tenant", value=tenant)
    now = clock.now()
    with database.begin(tenant=tenant) as connection:
        head = lock_head(connection, tenant)
        held = [
            root
            for root in list_roots(connection, tenant)
            if root.reason is Reason.HOLD and (root.until is None or root.until > now)
        ]
        if held:
            raise ConflictError(
                f"{len(held)} legal holds are in force",
                field="tenant",
                value=tenant,
                mend="end them first: `mc provenance hold end`",
            )
        rows = {}
        for table in _TABLES:
            counted = "select count(*) from" if dry_run else "delete from"
            done = connection.execute(text(f"{counted} {table} where tenant = :tenant"), {"tenant": tenant})
            rows[table] = int(done.scalar_one()) if dry_run else done.rowcount
        if dry_run:
            return Deleted(rows, len(_cold(objects, tenant)) + len(_files(folder / tenant)), 0)
        # Readers that hold the graph see that its generation is another, and open what there is: nothing. The count
        # of events goes on, so that no event is given twice.
        connection.execute(
            text(
                "insert into provenance_pointers (tenant, generation, seq) values (:tenant, :none, :seq)"
                " on conflict (tenant) do update set generation = excluded.generation, seq = excluded.seq"
            ),
            {"tenant": tenant, "none": f"{DELETED}{rfc3339(now)}", "seq": head + 1},
        )
        move_head(connection, tenant, head + 1)
        destroyed = destroy_data_keys(connection, tenant) if keys else 0
        content = {"tenant": tenant, "by": by, "at": rfc3339(now), "rows": rows, "keys": destroyed}
        append(connection, act="provenance.tenant-deleted", subject=tenant, content=canonical_json(content), at=now)
    # Looked for only now: a retention that held the lock before may have written one meanwhile, none can any more.
    cold, files = _cold(objects, tenant), _files(folder / tenant)
    for path in cold:
        objects.delete(path)
    shutil.rmtree(folder / tenant, ignore_errors=True)
    return Deleted(rows, len(cold) + len(files), destroyed)


def _cold(objects: ObjectStore, tenant: TenantId) -> list[str]:
    return [each.path for each in objects.list(f"logs/{tenant}/{FOLDER}")]


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
