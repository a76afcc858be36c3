"""Which revision of a pack decides for whom: one row a cohort, moved by compare-and-swap.

A rollback is a move of this row: no build, no network. Engines of the revisions named here stay loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, RowMapping, select, update
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.foundation.errors import ConflictError, NotFoundError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.policy.records import pointers, rollouts
from mc_pipelines.policy.rollout import ACTIVE, Phase, Rollout, takes_part

GOVERNED = frozenset({"placement"})
"""The packs whose callers ask the pointer which revision decides; only they can be rolled out."""


@dataclass(frozen=True)
class Pointer:
    """The row of a pack and cohort; ``version`` grows by one with every move and fences decisions."""

    pack: str
    cohort: str
    version: int
    active: Digest
    last_known_good: Digest | None
    challenger: Digest | None
    percent: int
    warn_percent: int
    rollout_id: UUID | None
    moved_at: datetime

    def revision_for(self, tenant: str) -> Digest:
        """Return the revision that decides for a tenant."""
        if self.challenger is None or self.rollout_id is None or not takes_part(self.rollout_id, tenant, self.percent):
            return self.active
        return self.challenger

    def warning_for(self, tenant: str) -> Digest | None:
        """Return the revision that only warns a tenant, or None."""
        if self.challenger is None or self.rollout_id is None or self.revision_for(tenant) == self.challenger:
            return None
        return self.challenger if takes_part(self.rollout_id, tenant, self.warn_percent) else None


def get_pointer(connection: Connection, pack: str, cohort: str = "all") -> Pointer | None:
    """Return the pointer of a pack and cohort, or None."""
    query = select(pointers).where(pointers.c.pack == pack, pointers.c.cohort == cohort)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else Pointer(**row)


def activate_first(connection: Connection, pack: str, revision: Digest, *, now: datetime, cohort: str = "all") -> None:
    """Point a pack that has no pointer yet at a revision; one that has stays."""
    row = {
        "pack": pack,
        "cohort": cohort,
        "version": 1,
        "active": revision,
        "last_known_good": None,
        "challenger": None,
        "percent": 0,
        "warn_percent": 0,
        "rollout_id": None,
        "moved_at": now,
    }
    connection.execute(insert(pointers).values(row).on_conflict_do_nothing())


def after_move(pointer: Pointer, rollout: Rollout, *, now: datetime) -> Pointer:
    """Return where the pointer stands once a rollout stands as given."""
    if rollout.phase is Phase.COMPLETED:
        return replace(
            pointer,
            active=rollout.challenger,
            last_known_good=rollout.baseline,
            challenger=None,
            percent=0,
            warn_percent=0,
            rollout_id=None,
            moved_at=now,
        )
    if rollout.phase in ACTIVE:
        return replace(
            pointer,
            challenger=rollout.challenger,
            percent=rollout.percent,
            warn_percent=rollout.warn_percent,
            rollout_id=rollout.rollout_id,
            moved_at=now,
        )
    return replace(
        pointer, active=rollout.baseline, challenger=None, percent=0, warn_percent=0, rollout_id=None, moved_at=now
    )


def swap(connection: Connection, before: Pointer, after: Pointer) -> Pointer:
    """Move a pointer if nobody moved it since it was read; return it with its new version.

    Raises:
        ConflictError: somebody did.
    """
    moved = connection.execute(
        update(pointers)
        .where(pointers.c.pack == before.pack, pointers.c.cohort == before.cohort, pointers.c.version == before.version)
        .values(
            version=before.version + 1,
            active=after.active,
            last_known_good=after.last_known_good,
            challenger=after.challenger,
            percent=after.percent,
            warn_percent=after.warn_percent,
            rollout_id=after.rollout_id,
            moved_at=after.moved_at,
        )
    )
    if moved.rowcount != 1:
        raise ConflictError("The policy pointer was moved by somebody else", field="pack", value=before.pack)
    return replace(after, version=before.version + 1)


def roll_back(connection: Connection, pack: str, *, now: datetime, cohort: str = "all") -> Pointer:
    """Put the last known good revision back, at once; a second call changes nothing.

    Raises:
        NotFoundError: the pack has no pointer, or no earlier revision.
        ConflictError: a rollout is under way: abort that instead.
    """
    pointer = get_pointer(connection, pack, cohort)
    if pointer is None or pointer.last_known_good is None:
        raise NotFoundError("There is no earlier revision to go back to", field="pack", value=pack)
    if pointer.challenger is not None:
        raise ConflictError("A rollout of this pack is under way", field="pack", value=pack, mend="`mc rollout abort`")
    back = replace(pointer, active=pointer.last_known_good, last_known_good=None, moved_at=now)
    return swap(connection, pointer, back)


def pointer_problems(connection: Connection) -> list[str]:
    """Return, in words, every pointer that does not stand where the newest rollout of its pack and cohort put it."""
    newest: dict[tuple[str, str], RowMapping] = {}
    for row in connection.execute(select(rollouts).order_by(rollouts.c.rollout_id)).mappings():
        newest[row["pack"], row["cohort"]] = row
    problems = []
    for found in connection.execute(select(pointers)).mappings():
        pointer = Pointer(**found)
        rollout = newest.pop((pointer.pack, pointer.cohort), None)
        if rollout is not None and not _stands(pointer, rollout):
            named = f"the pointer of {pointer.pack} ({pointer.cohort})"
            problems.append(f"{named} does not stand where rollout {rollout['rollout_id']} put it")
        elif rollout is None and pointer.challenger is not None:
            problems.append(f"the pointer of {pointer.pack} ({pointer.cohort}) names rollout {pointer.rollout_id}")
    return problems + [f"the rollouts of {pack} ({cohort}) have no pointer" for pack, cohort in sorted(newest)]


def _stands(pointer: Pointer, rollout: RowMapping) -> bool:
    """Tell whether a pointer is what a rollout's row says; after a completed one it may have been rolled back."""
    phase, step = Phase(rollout["phase"]), rollout["steps"][rollout["step"]]
    if phase in ACTIVE:
        percents = {
            Phase.SIMULATE: (0, 0),
            Phase.WARN: (0, step["percent"]),
            Phase.ENFORCE: (step["percent"], 100),
        }
        return (pointer.active, pointer.challenger, pointer.rollout_id) == (
            rollout["baseline"],
            rollout["challenger"],
            rollout["rollout_id"],
        ) and (pointer.percent, pointer.warn_percent) == percents[phase]
    rolled_back = phase is Phase.COMPLETED and pointer.last_known_good is None
    decides = rollout["challenger"] if phase is Phase.COMPLETED and not rolled_back else rollout["baseline"]
    return pointer.active == decides and pointer.challenger is None
