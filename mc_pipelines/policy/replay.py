"""Evidence from recorded decisions: each is evaluated again under the old and the new revision.

Only closed windows are taken, each once, so that collecting again adds nothing and costs nothing. A decision whose
stored input was masked cannot be replayed: it is left out and counted, never guessed at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import func, select

from mc_pipelines.decision.engine import PolicyEngine
from mc_pipelines.decision.log import DecisionRecord, decisions_of_day
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.ids import Digest, KeyId
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.policy.bundles import load_bundle
from mc_pipelines.policy.controller import record_window
from mc_pipelines.policy.evidence import Pair, evaluate_pair
from mc_pipelines.policy.records import evidence
from mc_pipelines.policy.rollout import Rollout

WINDOW = timedelta(minutes=5)
"""Short enough that a bad pack is found within minutes of the first decision it spoils."""
SETTLE = timedelta(seconds=30)
"""A window is closed this long after its end: decisions are stamped before their transaction commits."""
_NAMES_THE_ASKING = frozenset({"execution"})
"""Members of an input that name this one question and decide nothing: a retry differs in nothing else."""


@dataclass(frozen=True)
class Replay:
    """What a replay gave.

    Attributes:
        pairs: one for each different question that could be replayed.
        masked: by tenant, decisions whose whole input is not on record.
    """

    pairs: tuple[Pair, ...]
    masked: Mapping[str, int]


def replay(records: Iterable[DecisionRecord], old: PolicyEngine, new: PolicyEngine, query: str) -> Replay:
    """Evaluate recorded inputs under both revisions, each question once; ``query`` names the set of denials."""
    pairs: dict[tuple[str, str, Digest], Pair] = {}
    masked: Counter[str] = Counter()
    for record in records:
        if record.erased or digest_of(record.input) != record.input_digest:
            masked[record.tenant or ""] += 1
            continue
        document = record.input if isinstance(record.input, dict) else {}
        key = record.tenant or "", str(document.get("workflow", "")), _question(document)
        if key not in pairs:
            tenant, workflow, digest = key
            pairs[key] = evaluate_pair(
                old, new, query, record.input, tenant=tenant, workflow=workflow, input_digest=digest
            )
    return Replay(tuple(pairs.values()), dict(masked))


def collect_evidence(
    database: Database,
    store: ObjectStore,
    rollout: Rollout,
    *,
    trusted: Mapping[KeyId, bytes],
    since: datetime,
    now: datetime,
) -> tuple[int, int]:
    """Replay the pack's decisions of all closed windows from ``since`` on into the evidence of the rollout's step.

    Args:
        database: where decisions and evidence are.
        store: where the bundles of both revisions are.
        rollout: whose step gathers evidence.
        trusted: the keys (PEM) that sign bundles.
        since: aware; rounded up to a whole window. In simulate it may lie before the rollout began.
        now: aware; the window it lies in is not closed yet.

    Returns:
        How many decisions were replayed, and how many could not be.

    Raises:
        NotFoundError: a revision's bundle was never stored.
        VerificationError: a bundle is not signed by a trusted key.
    """
    since = max(as_utc(since, field="since"), _collected_until(database, rollout))
    first = -(-int(since.timestamp()) // int(WINDOW.total_seconds()))
    end = int((as_utc(now, field="now") - SETTLE).timestamp()) // int(WINDOW.total_seconds())
    if first >= end:
        return 0, 0
    old = RegorusEngine(load_bundle(store, rollout.pack, rollout.baseline, trusted=trusted))
    new = RegorusEngine(load_bundle(store, rollout.pack, rollout.challenger, trusted=trusted))
    replayed = masked = 0
    for window, records in _by_window(database, rollout, since, now):
        if not first <= window < end:
            continue
        found = replay(records, old, new, f"data.{rollout.pack}.deny")
        begins = datetime.fromtimestamp(window * WINDOW.total_seconds(), UTC)
        with database.begin() as connection:
            record_window(connection, rollout, begins, found.pairs, found.masked)
        replayed, masked = replayed + len(found.pairs), masked + sum(found.masked.values())
    return replayed, masked


def _collected_until(database: Database, rollout: Rollout) -> datetime:
    """Return the end of the last window of this step that has evidence; windows are collected in order."""
    mine = (evidence.c.rollout_id == rollout.rollout_id, evidence.c.step == rollout.step)
    with database.begin() as connection:
        last: datetime | None = connection.execute(select(func.max(evidence.c.window_start)).where(*mine)).scalar()
    return datetime(1970, 1, 1, tzinfo=UTC) if last is None else last + WINDOW


def _question(document: Mapping[str, Any]) -> Digest:
    return digest_of({name: value for name, value in document.items() if name not in _NAMES_THE_ASKING})


def _by_window(
    database: Database, rollout: Rollout, since: datetime, now: datetime
) -> Iterable[tuple[int, Sequence[DecisionRecord]]]:
    day = since.date()
    while day <= as_utc(now, field="now").date():
        with database.begin() as connection:
            records = decisions_of_day(connection, rollout.pack, day, since=since)
        mine = (one for one in records if rollout.cohort in {"all", one.tenant})
        for window, group in groupby(mine, key=_window_of):
            yield window, list(group)
        day += timedelta(days=1)


def _window_of(record: DecisionRecord) -> int:
    return int(record.decided_at.timestamp()) // int(WINDOW.total_seconds())
