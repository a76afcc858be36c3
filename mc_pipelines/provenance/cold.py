"""The cold tier: claims that left the hot one, as sealed Parquet files by tenant and month, restorable whole.

A file is named by its content, so writing it again changes nothing. It is sealed under the tenant's data key: with the
key destroyed it is noise.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.keys.location import object_path
from mc_pipelines.keys.store import EncryptedObjectStore

_KIND = "log"
FOLDER = "provenance"
SCHEMA = {
    "digest": pl.String,
    "row": pl.String,
    "ordinal": pl.Int64,
    "source": pl.String,
    "target": pl.String,
    "type": pl.Int16,
    "kind": pl.Int16,
    "stub": pl.Boolean,
    "label": pl.String,
    "attributes": pl.String,
    "rank": pl.Int64,
}
"""Rows of three sorts: ``claim`` (source, target, type), ``alias`` (source, target), ``node`` (source, the rest)."""


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a tenant's cold files lie.

    Attributes:
        store: seals and opens them.
        tenant: whose.
    """

    store: EncryptedObjectStore
    tenant: TenantId

    def write(self, rows: pl.DataFrame, recorded: datetime) -> str:
        """Write the rows of documents that were recorded in one month; return the path."""
        ordered = rows.select(*SCHEMA).sort("digest", "row", "ordinal", "source")
        out = io.BytesIO()
        ordered.write_parquet(out, compression="zstd", statistics=False)
        name = f"claims-{sha256_digest(out.getvalue()).removeprefix('sha256:')[:40]}"
        path = object_path(_KIND, self.tenant, name, folder=f"{FOLDER}/{recorded:%Y-%m}", suffix=".parquet")
        self.store.put(
            path,
            out.getvalue(),
            tenant=self.tenant,
            kind=_KIND,
            object_id=name,
            content_type="application/vnd.apache.parquet",
        )
        return path

    def read(self, path: str, digest: str) -> pl.DataFrame:
        """Return the rows of one document.

        Raises:
            NotFoundError: the file is not there, or its key was destroyed.
        """
        content = self.store.get(path, tenant=self.tenant)
        return pl.read_parquet(io.BytesIO(content)).filter(pl.col("digest") == digest)
