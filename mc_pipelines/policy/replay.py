"""Evidence from recorded decisions: each is evaluated again under the old and the new revision.

Only closed hours are taken, each as one window, so that collecting again adds nothing. A decision whose
stored input was masked cannot be replayed: it is left out and counted, never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from mc_pipelines.decision.engine import PolicyEngine
from mc_pipelines.decision.log import DecisionRecord, decisions_of_day
from mc_pipelines.decision.regorus_engine import RegorusEngine
from mc_pipelines.foundation.canonical import digest_of
from mc_pipelines.foundation.clock import as_utc
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.object_store import ObjectStore
from mc_pipelines.policy.bundles import load_bundle
from mc_pipelines.policy.controller import record_window
from mc_pipelines.policy.evidence import Pair, evaluate_pair
from mc_pipelines.policy.rollout import Rollout

WINDOW = timedelta(hours=1)


@dataclass(frozen=True)
class Replay:
    """What a replay gave.

    Attributes:
        pairs: one for each decision that could be replayed.
        masked: decisions whose whole input is not on record.
    """

    pairs: tuple[Pair, ...]
    masked: int


def replay(records: Iterable[DecisionRecord], old: PolicyEngine, new: PolicyEngine, query: str) -> Replay:
    """Evaluate recorded inputs under both revisions; ``query`` names the set of denials."""
    pairs, masked = [], 0
    for record in records:
        if record.erased or digest_of(record.input) != record.input_digest:
            masked += 1
            continue
        document = record.input if isinstance(record.input, dict) else {}
        workflow = str(document.get("workflow", ""))
        pairs.append(evaluate_pair(old, new, query, record.input, tenant=record.tenant or "", workflow=workflow))
    return Replay(tuple(pairs), masked)


def collect_evidence(
    database: Database, store: ObjectStore, rollout: Rollout, *, since: datetime, now: datetime
) -> tuple[int, int]:
    """Replay the pack's decisions of all closed hours from ``since`` on into the evidence of the rollout's step.

    Args:
        database: where decisions and evidence are.
        store: where the bundles of both revisions are.
        rollout: whose step gathers evidence.
        since: aware; rounded up to a whole hour. In simulate it may lie before the rollout began.
        now: aware; the hour it lies in is not closed yet.

    Returns:
        How many decisions were replayed, and how many could not be.

    Raises:
        NotFoundError: a revision's bundle was never stored.
    """
    old = RegorusEngine(load_bundle(store, rollout.pack, rollout.baseline))
    new = RegorusEngine(load_bundle(store, rollout.pack, rollout.challenger))
    first, end = -(-as_utc(since, field="since").timestamp() // 3600), as_utc(now, field="now").timestamp() // 3600
    replayed = masked = 0
    for record_hour, records in _by_hour(database, rollout.pack, as_utc(since, field="since"), now):
        if not first <= record_hour.timestamp() // 3600 < end:
            continue
        found = replay(records, old, new, f"data.{rollout.pack}.deny")
        with database.begin() as connection:
            record_window(connection, rollout, record_hour, found.pairs)
        replayed, masked = replayed + len(found.pairs), masked + found.masked
    return replayed, masked


def _by_hour(
    database: Database, pack: str, since: datetime, now: datetime
) -> Iterable[tuple[datetime, Sequence[DecisionRecord]]]:
    day = since.date()
    while day <= as_utc(now, field="now").date():
        with database.begin() as connection:
            records = decisions_of_day(connection, pack, day)
        for hour, group in groupby(records, key=_hour_of):
            yield hour, list(group)
        day += timedelta(days=1)


def _hour_of(record: DecisionRecord) -> datetime:
    return as_utc(record.decided_at, field="decided_at").replace(minute=0, second=0, microsecond=0)
