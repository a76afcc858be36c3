"""Rolls execution facts up into slices, one UTC day at a time.

A day is rolled up again only when its files have changed, and of such a day only those rows are written
whose counts changed; earlier revisions stay, which makes "as known on D" a query. A few late rows are added to the
counts that are stored (:mod:`mc_pipelines.sla.late_counts`). The counting itself is in
:mod:`mc_pipelines.sla.counting`; here its table becomes the canonical documents that evidence commits to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import orjson
import polars as pl

from mc_pipelines.executions.fact_versions import FactsSource, changed_rows, replaced_rows, row_count
from mc_pipelines.executions.facts import FactsStore, fact_source, paths_by_day
from mc_pipelines.foundation.canonical import canonical_json, digest_of
from mc_pipelines.foundation.clock import Clock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import ServiceId, TenantId
from mc_pipelines.sla.calendar import GRID_MS
from mc_pipelines.sla.contract import Contract
from mc_pipelines.sla.contract_store import list_assignments
from mc_pipelines.sla.counting import Profile, count_slices
from mc_pipelines.sla.late_counts import late_shifts
from mc_pipelines.sla.latency import slice_buckets
from mc_pipelines.sla.slice_store import RolledUp, newest_rollup, newest_rollups, write_late, write_rollup
from mc_pipelines.sla.slices import SliceDocument

BASE = Profile(GRID_MS)
"""Every tenant is counted on this, contract or not, so that a contract made later finds its past."""
_ROW = ("number", "total", "bad", "excluded")
_DOCUMENT = b'{"constructed":%d,"day":%b,"granuleMs":%d,"service":%b,"slices":%b,"tenant":%b,"thresholdMs":%d}'
_PAIR = ("tenant", "service")
_KEYS = (*_PAIR, "number")
_LATE_SHARE = 16
"""Late rows are added to stored counts where they are at most one in so many; else the day is counted as a whole."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a rollup of one day did: how many rows it looked at and how many were new or changed."""

    day: date
    days_of_slices: int
    changed: int


def roll_day(
    sources: Sequence[FactsSource], profiles: Iterable[Profile], day: date, *, threads: int | None = None
) -> list[SliceDocument]:
    """Return the slices of one UTC day for every tenant and service in its facts.

    Args:
        sources: all files of facts of that day, in the order of their paths.
        profiles: the ways to slice.
        day: the UTC day.
        threads: how many to count on; default: one for each CPU.

    Returns:
        By profile, tenant and service; byte-equal for any number of threads and any order of rows and files in
        which no two rows of one attempt were recorded at one moment.

    Raises:
        InputError: a row lacks a required value or finished on another day.
    """
    wanted = tuple(profiles)
    columns = sorted({name for profile in wanted for name in profile.columns})
    replaced = replaced_rows(sources, columns)
    found: list[SliceDocument] = []
    for profile in wanted:
        table = count_slices(sources, profile, day, replaced=replaced, threads=threads)
        buckets = slice_buckets(sources, replaced, profile) if profile.threshold_ms else None
        found += slice_documents(table, profile, day, buckets=buckets)
    return found


def slice_documents(
    table: pl.DataFrame, profile: Profile, day: date, *, buckets: pl.DataFrame | None = None
) -> list[SliceDocument]:
    """Write a table of counts as one canonical document for each tenant and service.

    Args:
        table: as :func:`count_slices` returns it.
        profile: how it was sliced.
        day: the UTC day.
        buckets: for latency: ``tenant``, ``service``, ``number`` and ``buckets``, a list of [edge, count].
    """
    if table.is_empty():
        return []
    rows = np.column_stack([table[name].to_numpy() for name in _ROW])
    codes = [table[name].to_physical().to_numpy() for name in _PAIR]
    firsts = np.flatnonzero(np.concatenate(([True], np.any([code[1:] != code[:-1] for code in codes], axis=0))))
    names = [table[name].gather(firsts).to_list() for name in _PAIR]
    sums = [np.add.reduceat(table[name].to_numpy(), firsts).tolist() for name in ("total", "constructed")]
    texts = {name: canonical_json(name) for name in {*names[0], *names[1]}}
    spread = None if buckets is None else _spread(table, buckets)
    found: list[SliceDocument] = []
    lasts = [*firsts[1:].tolist(), len(table)]
    for tenant, service, events, constructed, first, last in zip(*names, *sums, firsts.tolist(), lasts, strict=True):
        if spread is None:
            slices = orjson.dumps(rows[first:last], option=orjson.OPT_SERIALIZE_NUMPY)
        else:
            parts = zip(rows[first:last].tolist(), spread.slice(first, last - first).to_list(), strict=True)
            slices = orjson.dumps([[*row, buckets_of] if buckets_of else row for row, buckets_of in parts])
        # RFC 8785 by hand: members by name, integers and texts only. A test compares it with canonical_json.
        content = _DOCUMENT % (
            constructed,
            orjson.dumps(day),
            profile.granule_ms,
            texts[service],
            slices,
            texts[tenant],
            profile.threshold_ms,
        )
        key = (TenantId(tenant), ServiceId(service), day, profile.granule_ms, profile.threshold_ms)
        found.append(SliceDocument(*key, content, events, constructed))
    return found


def _spread(table: pl.DataFrame, buckets: pl.DataFrame) -> pl.Series:
    named = table.select(pl.col(_PAIR).cast(pl.String), "number")
    return named.join(buckets, on=_KEYS, how="left", maintain_order="left")["buckets"]


def profiles_needed(contracts: Iterable[Contract]) -> tuple[Profile, ...]:
    """Return the base profile and those that contracts add, sorted."""
    return tuple(sorted({BASE} | {Profile.of(contract) for contract in contracts}))


def roll_up(
    database: Database,
    store: FactsStore,
    clock: Clock,
    *,
    first_day: date | None = None,
    last_day: date | None = None,
) -> list[Rolled]:
    """Roll up every UTC day whose fact files are not yet counted; a second run finds nothing to do.

    Args:
        database: as mc_app.
        store: the plain store with the lake of facts.
        clock: stamps what is written.
        first_day: the first UTC day to look at; default: the first with facts.
        last_day: the last one, included; default: the last with facts.

    Returns:
        One entry for each day that was read.
    """
    done: list[Rolled] = []
    for day, (paths, profiles) in stale_days(database, store).items():
        if (first_day is None or day >= first_day) and (last_day is None or day <= last_day):
            done.append(_roll_changed(database, store, clock, day, paths, profiles))
    return done


def stale_days(database: Database, store: FactsStore) -> dict[date, tuple[list[str], list[Profile]]]:
    """Return the UTC days whose files, or for whose contracts a profile, are not yet counted.

    Returns:
        By day: the paths of its files and the profiles that have not read exactly these.
    """
    with database.begin() as connection:
        profiles = profiles_needed(assigned.contract for assigned in list_assignments(connection))
        known = newest_rollups(connection)
    found: dict[date, tuple[list[str], list[Profile]]] = {}
    for day, paths in paths_by_day(store).items():
        files = digest_of(paths)
        stale = [profile for profile in profiles if known.get((day, profile.digest)) != files]
        if stale:
            found[day] = (paths, stale)
    return found


def _roll_changed(
    database: Database, store: FactsStore, clock: Clock, day: date, paths: list[str], profiles: Sequence[Profile]
) -> Rolled:
    sources = {path: fact_source(store, path) for path in paths}
    late = _roll_late(database, clock, day, sources, profiles)
    whole = [profile for profile in profiles if profile not in late]
    if not whole:
        return Rolled(day, *_sum(late.values()))
    found = roll_day(list(sources.values()), whole, day)
    counted = dict(late)
    with database.begin() as connection:
        for profile in whole:
            mine = [one for one in found if Profile(one.granule_ms, one.threshold_ms) == profile]
            changed = write_rollup(connection, day, profile, mine, paths=paths, now=clock.now())
            counted[profile] = (len(mine), changed)
    return Rolled(day, *_sum(counted.values()))


def _sum(counted: Iterable[tuple[int, int]]) -> tuple[int, int]:
    looked, changed = zip(*counted, strict=True)
    return sum(looked), sum(changed)


def _roll_late(
    database: Database, clock: Clock, day: date, sources: Mapping[str, FactsSource], profiles: Sequence[Profile]
) -> dict[Profile, tuple[int, int]]:
    """Add late files to what is stored, where they are few against it; return tenant-days looked at and changed.

    A profile that is not in the answer is to be counted as a whole: it never was, a file has gone, much has come,
    or another rollup came in between.
    """
    with database.begin() as connection:
        known = {profile: newest_rollup(connection, day, profile) for profile in profiles}
    done: dict[Profile, tuple[int, int]] = {}
    by_paths: dict[tuple[str, ...], dict[Profile, RolledUp]] = {}
    for profile, rolled in known.items():
        if rolled is not None and _few_are_late(sources, rolled.paths):
            by_paths.setdefault(rolled.paths, {})[profile] = rolled
    for counted, mine in by_paths.items():
        columns = sorted({name for profile in mine for name in profile.columns})
        before = set(counted)
        gone, come = changed_rows(list(sources.values()), [path not in before for path in sources], columns)
        for profile, rolled in mine.items():
            shifts = late_shifts(gone, come, profile, day)
            with database.begin() as connection:
                changed = write_late(
                    connection, day, profile, shifts, known=rolled, paths=list(sources), now=clock.now()
                )
            if changed is not None:
                done[profile] = (len(shifts), changed)
    return done


def _few_are_late(sources: Mapping[str, FactsSource], counted: Iterable[str]) -> bool:
    before = set(counted)
    if not before <= set(sources):
        return False
    late = sum(row_count(source) for path, source in sources.items() if path not in before)
    return _LATE_SHARE * late <= sum(row_count(sources[path]) for path in before)
