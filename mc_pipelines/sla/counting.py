"""Counts execution facts per tenant, service and slice: integers only, from Parquet, in one pass.

Columns of few different values are read as their dictionary codes, so no text is decoded, hashed or compared per
row: a row's slice, tenant, service and kind become one integer, and counting is ``bincount``. Batches are counted
apart, by several threads, and their counts added in the order of names, so that the result is byte-equal for any
order of files, size of batches and number of threads (ADR-0610 says why this is not a polars group-by).
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mc_pipelines.executions.fact_versions import FactsSource
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.sla.contract import Contract, Objective
from mc_pipelines.sla.slices import AVAILABILITY, DAY_MS, day_start_ms

Codes = NDArray[np.int32]
Counted = NDArray[np.int64]

_BAD, _EXCLUDED, _CONSTRUCTED = 1, 2, 4
_KINDS = 8
_US = 1000
_SHIFT = 8
"""Every whole number of minutes is a multiple of 256 us: a shift first makes the division one of 32 bits."""
_MOST_CELLS = 1 << 23
_OUTCOMES = {"succeeded": 0, "failed": _BAD, "lost": _BAD, "cancelled": _EXCLUDED, "denied": _EXCLUDED}
_NAMES = ("tenant", "service", "outcome", "fault_owner", "source")
_CODED = (*_NAMES, "excluded_reason")
_COUNTS = ("total", "bad", "excluded", "constructed")


@dataclass(frozen=True, slots=True, order=True)
class Profile:
    """A way to slice: length and, for latency, the threshold that is still good (0 counts outcomes)."""

    granule_ms: int
    threshold_ms: int = AVAILABILITY

    @classmethod
    def of(cls, contract: Contract) -> Profile:
        """Return what a contract needs."""
        latency = contract.objective is Objective.LATENCY
        return cls(contract.granule_ms, (contract.threshold_ms or 0) if latency else AVAILABILITY)

    @property
    def digest(self) -> Digest:
        """The name under which its rollups are recorded."""
        return digest_of([[self.granule_ms, self.threshold_ms]])

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of facts that are read."""
        moments = ("published_at", "started_at", "finished_at") if self.threshold_ms else ("finished_at",)
        return (*_CODED, *moments)


@dataclass(frozen=True, slots=True)
class _Part:
    """What one batch comes to: non-empty cells of (slice, tenant, service), in the batch's own codes."""

    tenants: list[str]
    services: list[str]
    first_slice: int
    cells: Counted
    counts: tuple[Counted, ...]


def count_slices(
    sources: Sequence[FactsSource],
    profile: Profile,
    day: date,
    *,
    replaced: pl.DataFrame | None = None,
    threads: int | None = None,
) -> pl.DataFrame:
    """Count the facts of a UTC day.

    An attempt is excluded when a reason says so, when it was the customer's fault, or when it was cancelled or
    denied; it is bad when it failed or was lost and is not excluded. For a latency profile an attempt that
    never started is excluded and one that waited longer than the threshold is bad.

    Args:
        sources: files of facts of that day.
        profile: length of a slice and threshold.
        day: the UTC day of every ``finished_at``.
        replaced: rows of these files that a later row replaces; they are taken off again.
        threads: how many to count on; default: one for each CPU.

    Returns:
        ``tenant``, ``service`` (Enum, in order of name), ``number`` (start of the slice since the epoch, in granules),
        ``total``, ``bad``, ``excluded`` and ``constructed``: one row for each slice with events, sorted by the first
        three.

    Raises:
        InputError: a row lacks a required value or finished on another day.
    """
    start_us = day_start_ms(day) * _US
    parts: list[_Part] = []
    with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
        for found in pool.map(partial(_count_group, profile=profile, start_us=start_us), _groups(sources, profile)):
            parts += found
    pa.default_memory_pool().release_unused()
    if replaced is not None and len(replaced):
        table = replaced.select(profile.columns).to_arrow(compat_level=pl.CompatLevel.oldest())
        parts += [_count_batch(batch, profile, start_us, sign=-1) for batch in _coded(table).to_batches()]
    return _merge(parts, profile, day)


def count_rows(rows: pl.DataFrame, profile: Profile, day: date) -> pl.DataFrame:
    """Count a few rows in memory, each of which holds, as :func:`count_slices` counts files.

    Raises:
        InputError: a row lacks a required value or finished on another day.
    """
    table = rows.select(profile.columns).to_arrow(compat_level=pl.CompatLevel.oldest())
    batches = [batch for batch in _coded(table).to_batches() if len(batch)]
    return _merge([_count_batch(batch, profile, day_start_ms(day) * _US) for batch in batches], profile, day)


@dataclass(frozen=True, slots=True)
class _Group:
    """One row group of a file."""

    source: FactsSource
    metadata: Any
    number: int
    columns: tuple[str, ...]


def _groups(sources: Sequence[FactsSource], profile: Profile) -> list[_Group]:
    found: list[_Group] = []
    for source in sources:
        metadata = pq.read_metadata(_opened(source))
        found += [_Group(source, metadata, number, profile.columns) for number in range(metadata.num_row_groups)]
    return found


def _opened(source: FactsSource) -> Any:
    return pa.BufferReader(source.getbuffer()) if isinstance(source, io.BytesIO) else source


def _count_group(group: _Group, *, profile: Profile, start_us: int) -> list[_Part]:
    with pq.ParquetFile(
        _opened(group.source),
        metadata=group.metadata,
        read_dictionary=list(_CODED),
        pre_buffer=False,
    ) as file:
        table = file.read_row_group(group.number, columns=list(group.columns), use_threads=False)
    return [_count_batch(batch, profile, start_us) for batch in table.to_batches() if len(batch)]


def _coded(table: pa.Table) -> pa.Table:
    """Encode the text columns of a table that did not come from Parquet."""
    for name in _CODED:
        column = table.column(name).cast(pa.string()).combine_chunks().dictionary_encode()
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _count_batch(batch: pa.RecordBatch, profile: Profile, start_us: int, *, sign: int = 1) -> _Part:
    tenants, services = batch.column("tenant"), batch.column("service")
    names = tenants.dictionary.to_pylist(), services.dictionary.to_pylist()
    slices, first = _slice_numbers(batch, profile.granule_ms, start_us)
    pairs = len(names[0]) * len(names[1])
    cells = (int(slices.max()) + 1) * pairs
    if cells * _KINDS > np.iinfo(np.int32).max:
        slices = slices.astype(np.int64)
    slices *= len(names[0])
    slices += _codes(tenants, "tenant")
    slices *= len(names[1])
    slices += _codes(services, "service")
    kinds = _kinds(batch, profile)
    if cells * _KINDS <= max(_MOST_CELLS, 4 * len(batch)):
        found, counts = _count_dense(slices, kinds, cells)
    else:
        found, counts = _count_sparse(slices, kinds)
    return _Part(*names, first, found, tuple(sign * column for column in counts) if sign < 0 else counts)


def _slice_numbers(batch: pa.RecordBatch, granule_ms: int, start_us: int) -> tuple[Codes, int]:
    """Return each row's slice from the first of the batch, and that one's number in the day."""
    since = _moments(batch, "finished_at") - start_us
    if int(since.min()) < 0 or int(since.max()) >= DAY_MS * _US:
        raise InputError("A fact finished on another day than its file says", field="finished_at")
    shifted = (since >> _SHIFT).astype(np.uint32)
    shifted //= np.uint32((granule_ms * _US) >> _SHIFT)
    numbers = shifted.view(np.int32)
    first = int(numbers.min())
    numbers -= np.int32(first)
    return numbers, first


def _moments(batch: pa.RecordBatch, name: str) -> Counted:
    column = batch.column(name)
    if column.null_count and name != "started_at":
        raise InputError("A required value of a fact is missing", field=name)
    values: Counted = column.view(pa.int64()).fill_null(0).to_numpy()
    return values


def _codes(column: pa.DictionaryArray, name: str) -> Codes:
    if column.null_count:
        raise InputError("A required value of a fact is missing", field=name)
    codes: Codes = column.indices.to_numpy()
    return codes


def _kinds(batch: pa.RecordBatch, profile: Profile) -> NDArray[np.uint8]:
    latency = profile.threshold_ms > 0

    def outcome(value: str) -> int:
        known = _OUTCOMES[value]
        return known & _EXCLUDED if latency else known

    kinds = _looked_up(batch, "outcome", outcome)
    kinds = kinds | _looked_up(batch, "fault_owner", lambda value: _EXCLUDED * (value == "customer"))
    kinds = kinds | _looked_up(batch, "source", lambda value: _CONSTRUCTED * (value != "real"))
    reason = batch.column("excluded_reason")
    if reason.null_count < len(reason):
        kinds = kinds | _EXCLUDED * reason.is_valid().to_numpy(zero_copy_only=False).view(np.uint8)
    if latency:
        started = batch.column("started_at")
        late = _moments(batch, "started_at") - _moments(batch, "published_at") > profile.threshold_ms * _US
        kinds = kinds | _BAD * late.view(np.uint8)
        if started.null_count:
            kinds = kinds | _EXCLUDED * started.is_null().to_numpy(zero_copy_only=False).view(np.uint8)
    return kinds


def _looked_up(batch: pa.RecordBatch, name: str, meaning: Callable[[str], int]) -> NDArray[np.uint8]:
    column = batch.column(name)
    table = np.array([meaning(value) for value in column.dictionary.to_pylist()], dtype=np.uint8)
    if len(table) == 1 and not column.null_count:
        return np.broadcast_to(table, len(batch))
    return table.take(_codes(column, name), mode="clip")


def _count_dense(cells: Codes | Counted, kinds: NDArray[np.uint8], size: int) -> tuple[Counted, tuple[Counted, ...]]:
    """Count into one cell for each (kind, slice, tenant, service) that there could be."""
    counted = np.bincount(cells + size * kinds.astype(np.int64), minlength=_KINDS * size)
    sums = _sums(counted.reshape(_KINDS, size))
    found = np.flatnonzero(sums[0])
    return found, tuple(column[found] for column in sums)


def _count_sparse(cells: Codes | Counted, kinds: NDArray[np.uint8]) -> tuple[Counted, tuple[Counted, ...]]:
    """Count by sorting: for a batch that is spread over far more cells than it has rows."""
    keys, counted = np.unique(cells.astype(np.int64) * _KINDS + kinds, return_counts=True)
    found, place = np.unique(keys // _KINDS, return_inverse=True)
    by_kind = np.zeros((_KINDS, len(found)), dtype=np.int64)
    by_kind[keys % _KINDS, place] = counted
    return found, _sums(by_kind)


def _sums(by_kind: Counted) -> tuple[Counted, ...]:
    """Return total, bad, excluded and constructed from counts by kind; what is excluded is not bad."""
    constructed = by_kind[_CONSTRUCTED:].sum(axis=0)
    excluded = by_kind[_EXCLUDED] + by_kind[_EXCLUDED | _BAD]
    excluded += by_kind[_EXCLUDED | _CONSTRUCTED]
    excluded += by_kind[_EXCLUDED | _BAD | _CONSTRUCTED]
    bad = by_kind[_BAD] + by_kind[_BAD | _CONSTRUCTED]
    return by_kind[:_CONSTRUCTED].sum(axis=0) + constructed, bad, excluded, constructed


def _merge(parts: Sequence[_Part], profile: Profile, day: date) -> pl.DataFrame:
    """Add parts up, cell by cell, in the order of names."""
    tenants = sorted({name for part in parts for name in part.tenants})
    services = sorted({name for part in parts for name in part.services})
    in_day = DAY_MS // profile.granule_ms
    tenant_base = {name: rank * len(services) * in_day for rank, name in enumerate(tenants)}
    service_base = {name: rank * in_day for rank, name in enumerate(services)}
    keys = [_common_keys(part, tenant_base, service_base) for part in parts]
    size = len(tenants) * len(services) * in_day
    if not parts:
        found, sums = np.empty(0, dtype=np.int64), np.empty((len(_COUNTS), 0), dtype=np.int64)
    elif size <= _MOST_CELLS:
        found, sums = _add_dense(parts, keys, size)
    else:
        found, sums = _add_sparse(parts, keys)
    pair, number = np.divmod(found, in_day)
    tenant, service = np.divmod(pair, max(1, len(services)))
    first = day_start_ms(day) // profile.granule_ms
    return pl.DataFrame(
        {
            "tenant": _named(tenant, tenants),
            "service": _named(service, services),
            "number": number + first,
            **dict(zip(_COUNTS, sums, strict=True)),
        }
    )


def _named(codes: Counted, names: list[str]) -> pl.Series:
    """Return a column of names that is held as codes, in the order of the names."""
    return pl.Series(names, dtype=pl.Enum(names)).gather(codes)


def _common_keys(part: _Part, tenant_base: Mapping[str, int], service_base: Mapping[str, int]) -> Counted:
    """Translate a part's cells into (tenant, service, slice) by the rank of their names."""
    by_tenant = np.array([tenant_base[name] for name in part.tenants], dtype=np.int64)
    by_service = np.array([service_base[name] + part.first_slice for name in part.services], dtype=np.int64)
    rest, service = np.divmod(part.cells, len(part.services))
    number, tenant = np.divmod(rest, len(part.tenants))
    return by_tenant[tenant] + by_service[service] + number


def _add_dense(parts: Sequence[_Part], keys: Sequence[Counted], size: int) -> tuple[Counted, Counted]:
    sums = np.zeros((len(_COUNTS), size), dtype=np.int64)
    for part, key in zip(parts, keys, strict=True):
        for row, counts in zip(sums, part.counts, strict=True):
            row[key] += counts  # the cells of a part differ, so none is lost
    found = np.flatnonzero(sums[0])
    return found, sums[:, found]


def _add_sparse(parts: Sequence[_Part], keys: Sequence[Counted]) -> tuple[Counted, Counted]:
    key = np.concatenate(keys)
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    columns = [np.concatenate([part.counts[row] for part in parts])[order] for row in range(len(_COUNTS))]
    sums = np.stack([np.add.reduceat(column, first) for column in columns])
    kept = np.flatnonzero(sums[0])
    return key[first][kept], sums[:, kept]
