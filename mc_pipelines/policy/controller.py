"""The rollout controller: reads evidence, judges, and writes a transition with all that belongs to it.

One transaction holds the rollout's new state, the transition, the pointer's move and the audit leaf: a
crash before the commit leaves nothing, a retry after it finds the rollout already moved. Two controllers
cannot both move a rollout: its row is locked, its sequence compared, and (rollout, sequence) is a key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.attest import log as audit_log
from mc_pipelines.attest.dsse import Envelope
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.clock import Clock, as_utc
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, MaestroError, NotFoundError
from mc_pipelines.foundation.ids import Digest
from mc_pipelines.foundation.tenants import Person
from mc_pipelines.policy import approvals
from mc_pipelines.policy import rollout as machine
from mc_pipelines.policy.approvals import Standing
from mc_pipelines.policy.evidence import Pair, Widening, count
from mc_pipelines.policy.gates import Bounds, Counts, Decision, Gate, judge
from mc_pipelines.policy.pointers import GOVERNED, Pointer, activate_first, after_move, get_pointer, roll_back, swap
from mc_pipelines.policy.proposal import MAXIMUM_AGE, Proposal
from mc_pipelines.policy.records import evidence, rollouts, transitions
from mc_pipelines.policy.rollout import ACTIVE, Act, Phase, Rollout, Step, Transition

BudgetSource = Callable[[Connection, Rollout], bool | None]
"""Tells whether the error budget is stable; None = unknown, which holds the rollout."""
_CLOCKS_DIFFER = timedelta(minutes=5)
"""So far ahead of ours may the clock be by which a proposal was made."""
Change = Callable[[Rollout, datetime], tuple[Rollout, Transition] | None]


def start_rollout(
    connection: Connection,
    proposal: Proposal,
    person: Person,
    envelope: Envelope,
    *,
    shipped: Digest,
    now: datetime,
) -> Rollout:
    """Begin a rollout that a person signed; asked again for the same challenger while it runs, return the one there is.

    Args:
        connection: the caller's transaction.
        proposal: what changes.
        person: who signed it.
        envelope: the proposal's payload with that person's signature.
        shipped: the revision that this release carries, which decides where nothing was ever rolled out.
        now: aware.

    Raises:
        ConflictError: another rollout of the pack is under way, this one was begun before, the proposal is too old, or
            ``baseline`` is not what decides now.
        InputError: the plan is malformed, both revisions are the same, or the pack's callers follow no pointer.
        ForbiddenError, VerificationError: the signature does not count; see :func:`approvals.check`.
    """
    if proposal.pack not in GOVERNED:
        raise InputError(
            "This pack is not rolled out: who asks it takes the release's revision",
            field="pack",
            value=proposal.pack,
            mend=f"change it by a release; a rollout moves {', '.join(sorted(GOVERNED))}",
        )
    if proposal.cohort != "all":
        raise InputError(
            "A rollout is for all tenants; its steps take them in by percent",
            field="cohort",
            value=proposal.cohort,
            mend="leave the cohort out: a tenant with a policy of its own would miss every later change",
        )
    running = active_rollout(connection, proposal.pack, proposal.cohort)
    if running is not None:
        if running.challenger == proposal.challenger:
            return running
        raise ConflictError(
            "Another rollout of this pack is under way", field="pack", value=proposal.pack, mend="abort it"
        )
    if not timedelta(0) <= now - proposal.proposed_at + _CLOCKS_DIFFER <= MAXIMUM_AGE:
        raise ConflictError(
            "The signed proposal is too old, or of a time to come", field="rollout", mend="propose and sign anew"
        )
    activate_first(connection, proposal.pack, shipped, now=now, cohort=proposal.cohort)
    pointer = get_pointer(connection, proposal.pack, proposal.cohort)
    if pointer is None or pointer.active != proposal.baseline:
        raise ConflictError("The baseline is not what decides now", field="baseline", value=proposal.baseline)
    begun, transition = machine.start(
        rollout_id=proposal.rollout_id, pack=proposal.pack, baseline=proposal.baseline, challenger=proposal.challenger,
        now=now, by=str(person.person_id), cohort=proposal.cohort, steps=proposal.steps, declared=proposal.declared,
    )  # fmt: skip
    insertion = insert(rollouts).values(_row(begun)).on_conflict_do_nothing().returning(rollouts.c.rollout_id)
    if connection.execute(insertion).one_or_none() is None:
        raise ConflictError(
            "This rollout was begun before, or another of the pack at the same moment",
            field="rollout",
            value=str(proposal.rollout_id),
            mend="propose it anew",
        )
    _record(connection, begun, transition)
    approvals.record(connection, proposal, person, envelope, now=now)
    return begun


def approve_rollout(
    database: Database, clock: Clock, rollout_id: UUID, person: Person, envelope: Envelope
) -> tuple[Rollout, Standing]:
    """Add a person's signature to a rollout that is under way; return it and whose signatures it has now.

    A refusal changes nothing but the audit log, which records it.

    Raises:
        NotFoundError: there is no such rollout.
        ConflictError: it has ended.
        MaestroError: the signature does not count; see :func:`approvals.record`.
    """
    try:
        with database.begin() as connection:
            rollout = _locked(connection, rollout_id, skip=False)
            if rollout is None:
                raise NotFoundError("No such rollout", field="rollout", value=str(rollout_id), mend="`mc rollout ls`")
            if rollout.phase not in ACTIVE:
                raise ConflictError("The rollout has ended", field="rollout", value=str(rollout_id))
            proposal = Proposal.of(rollout)
            approvals.record(connection, proposal, person, envelope, now=clock.now())
            return rollout, approvals.standing(connection, proposal, now=clock.now())
    except MaestroError as error:
        approvals.refused(database, clock, str(rollout_id), person, error)
        raise


def record_window(
    connection: Connection,
    rollout: Rollout,
    window_start: datetime,
    pairs: Iterable[Pair],
    unreplayable: Mapping[str, int] | None = None,
) -> None:
    """Add the pairs of one closed window to the evidence of the rollout's step; a second time changes nothing.

    Args:
        connection: the caller's transaction.
        rollout: whose step gathers evidence.
        window_start: aware.
        pairs: the decisions under both packs.
        unreplayable: by tenant, recorded decisions that could not be evaluated again.
    """
    found = count(pairs, rollout.declared)
    for tenant, number in (unreplayable or {}).items():
        found[tenant] = found.get(tenant, Counts()) + Counts(unreplayable=number)
    rows = [
        {
            "rollout_id": rollout.rollout_id,
            "step": rollout.step,
            "window_start": as_utc(window_start, field="window_start"),
            "tenant": tenant,
        }
        | asdict(counts)
        for tenant, counts in sorted(found.items())
    ]
    if rows:
        connection.execute(insert(evidence).on_conflict_do_nothing(), rows)


def counts_of(connection: Connection, rollout: Rollout) -> dict[str, Counts]:
    """Return the evidence of the rollout's step, by tenant."""
    names = tuple(asdict(Counts()))
    query = (
        select(evidence.c.tenant, *(func.sum(evidence.c[name]).label(name) for name in names))
        .where(evidence.c.rollout_id == rollout.rollout_id, evidence.c.step == rollout.step)
        .group_by(evidence.c.tenant)
    )
    return {
        row["tenant"]: Counts(**{name: int(row[name]) for name in names})
        for row in connection.execute(query).mappings()
    }


def gate_of(
    connection: Connection,
    rollout: Rollout,
    *,
    budget_stable: bool | None,
    now: datetime,
    bounds: Bounds | None = None,
) -> Gate:
    """Judge a rollout's step as it stands; what the evidence allows still waits for the people who must sign it."""
    gate = judge(
        counts_of(connection, rollout),
        bounds=bounds or Bounds(),
        budget_stable=budget_stable,
        enforcing=rollout.phase is Phase.ENFORCE,
    )
    if gate.decision is not Decision.ADVANCE or not rollout.enforces_next:
        return gate
    missing = approvals.standing(connection, Proposal.of(rollout), now=now).missing
    return gate if missing is None else replace(gate, decision=Decision.HOLD, reason=missing)


def tick(database: Database, clock: Clock, *, budget: BudgetSource, bounds: Bounds | None = None) -> list[Transition]:
    """Judge every active rollout once and move those whose gate says so; return what moved.

    Safe to run anywhere, at any time, by any number of controllers: a rollout that another one is
    working on is skipped.
    """
    with database.begin() as connection:
        active = select(rollouts.c.rollout_id).where(rollouts.c.phase.in_([phase.value for phase in ACTIVE]))
        ids = list(connection.execute(active.order_by(rollouts.c.rollout_id)).scalars())
    moved = []
    for rollout_id in ids:
        with database.begin() as connection:
            rollout = _locked(connection, rollout_id, skip=True)
            if rollout is None:
                continue
            now = clock.now()
            stable = budget(connection, rollout)
            gate = gate_of(connection, rollout, budget_stable=stable, now=now, bounds=bounds)
            changed = machine.decide(rollout, gate, now)
            if changed is not None:
                _apply(connection, rollout, *changed)
                moved.append(changed[1])
    return moved


def change(connection: Connection, rollout_id: UUID, now: datetime, how: Change) -> Rollout:
    """Apply a person's change (hold, resume, abort) and return the rollout as it then stands.

    Raises:
        NotFoundError: there is no such rollout.
        ConflictError: it has ended.
    """
    rollout = _locked(connection, rollout_id, skip=False)
    if rollout is None:
        raise NotFoundError("No such rollout", field="rollout", value=str(rollout_id), mend="`mc rollout ls`")
    changed = how(rollout, now)
    if changed is None:
        return rollout
    _apply(connection, rollout, *changed)
    return changed[0]


def hold_rollout(
    connection: Connection, rollout_id: UUID, *, held: bool, reason: str, by: str, now: datetime
) -> Rollout:
    """Hold a rollout by hand, or let it go on; see :func:`change`."""
    return change(connection, rollout_id, now, lambda it, at: machine.hold(it, held=held, reason=reason, by=by, now=at))


def abort_rollout(connection: Connection, rollout_id: UUID, *, reason: str, by: str, now: datetime) -> Rollout:
    """Abort a rollout by hand: every tenant has the old pack back with the commit; see :func:`change`."""
    return change(connection, rollout_id, now, lambda it, at: machine.abort(it, reason=reason, by=by, now=at))


def roll_back_pack(
    connection: Connection, pack: str, *, by: str, reason: str, now: datetime, cohort: str = "all"
) -> Pointer:
    """Put a pack's last known good revision back and say so in the audit log; see :func:`pointers.roll_back`."""
    pointer = roll_back(connection, pack, now=now, cohort=cohort)
    document = {
        "pack": pack,
        "cohort": cohort,
        "active": pointer.active,
        "version": pointer.version,
        "by": by,
        "reason": reason,
    }
    audit_log.append(
        connection,
        act="policy.rolled-back",
        subject=f"policy-pointer/{pack}/{cohort}",
        content=canonical_json(document),
        at=now,
    )
    return pointer


def active_revision(connection: Connection, pack: str, cohort: str = "all") -> Digest | None:
    """Return the revision that decides for a cohort outside any rollout, or None where none was activated yet."""
    pointer = get_pointer(connection, pack, cohort)
    return None if pointer is None else pointer.active


def active_rollout(connection: Connection, pack: str, cohort: str = "all") -> Rollout | None:
    """Return the rollout of a pack that is under way, or None."""
    query = select(rollouts).where(
        rollouts.c.pack == pack,
        rollouts.c.cohort == cohort,
        rollouts.c.phase.in_([phase.value for phase in ACTIVE]),
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _rollout(dict(row))


def get_rollout(connection: Connection, rollout_id: UUID) -> Rollout:
    """Return a rollout.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = connection.execute(select(rollouts).where(rollouts.c.rollout_id == rollout_id)).mappings().one_or_none()
    if row is None:
        raise NotFoundError("No such rollout", field="rollout", value=str(rollout_id), mend="`mc rollout ls`")
    return _rollout(dict(row))


def list_rollouts(connection: Connection) -> list[Rollout]:
    """Return all rollouts, newest first."""
    query = select(rollouts).order_by(rollouts.c.rollout_id.desc())
    return [_rollout(dict(row)) for row in connection.execute(query).mappings()]


def history(connection: Connection, rollout_id: UUID) -> list[dict[str, Any]]:
    """Return the documents of a rollout's transitions, in order."""
    query = select(transitions.c.document).where(transitions.c.rollout_id == rollout_id)
    return list(connection.execute(query.order_by(transitions.c.sequence)).scalars())


def _locked(connection: Connection, rollout_id: UUID, *, skip: bool) -> Rollout | None:
    query = select(rollouts).where(rollouts.c.rollout_id == rollout_id).with_for_update(skip_locked=skip)
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _rollout(dict(row))


def _apply(connection: Connection, before: Rollout, after: Rollout, transition: Transition) -> None:
    if transition.act in {Act.ADVANCED, Act.COMPLETED} and before.enforces_next:
        missing = approvals.standing(connection, Proposal.of(before), now=transition.at).missing
        if missing is not None:  # whoever calls this: nothing is enforced without the people's signatures
            raise ForbiddenError(missing, field="rollout", value=str(before.rollout_id), mend="`mc rollout approve`")
    changed = connection.execute(
        update(rollouts)
        .where(rollouts.c.rollout_id == before.rollout_id, rollouts.c.sequence == before.sequence)
        .values(
            step=after.step,
            phase=after.phase.value,
            held=after.held,
            step_started_at=after.step_started_at,
            sequence=after.sequence,
        )
    )
    if changed.rowcount != 1:
        raise ConflictError(
            "The rollout was moved by another controller", field="rollout", value=str(before.rollout_id)
        )
    _record(connection, after, transition)


def _record(connection: Connection, after: Rollout, transition: Transition) -> None:
    document = transition.document()
    connection.execute(
        insert(transitions).values(
            rollout_id=transition.rollout_id,
            sequence=transition.sequence,
            act=transition.act.value,
            at=transition.at,
            document=document,
        )
    )
    pointer = get_pointer(connection, after.pack, after.cohort)
    if pointer is None:
        raise ConflictError("The pack has no pointer", field="pack", value=after.pack)
    swap(connection, pointer, after_move(pointer, after, now=transition.at))
    audit_log.append(
        connection,
        act=f"policy.rollout-{transition.act.value}",
        subject=f"policy-rollout/{transition.rollout_id}",
        content=canonical_json(document),
        at=transition.at,
    )


def _row(rollout: Rollout) -> dict[str, Any]:
    steps = [
        {"phase": step.phase.value, "percent": step.percent, "deadline_seconds": int(step.deadline.total_seconds())}
        for step in rollout.steps
    ]
    return {
        "rollout_id": rollout.rollout_id,
        "pack": rollout.pack,
        "cohort": rollout.cohort,
        "baseline": rollout.baseline,
        "challenger": rollout.challenger,
        "steps": steps,
        "declared": [asdict(widening) for widening in rollout.declared],
        "step": rollout.step,
        "phase": rollout.phase.value,
        "held": rollout.held,
        "step_started_at": rollout.step_started_at,
        "sequence": rollout.sequence,
    }


def _rollout(row: dict[str, Any]) -> Rollout:
    steps = tuple(
        Step(Phase(step["phase"]), step["percent"], timedelta(seconds=step["deadline_seconds"]))
        for step in row["steps"]
    )
    declared = tuple(Widening(**widening) for widening in row["declared"])
    return Rollout(**(row | {"steps": steps, "declared": declared, "phase": Phase(row["phase"])}))
