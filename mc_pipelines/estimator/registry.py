"""The model registry: register, promote, roll back, load.

A model's document lies in the object store under its digest, its signed statement in the database. Which
one serves is a pointer, moved by inserting the next version: whoever comes second with the same version
loses, so two promotions never both succeed. A rollback is such a move to a model that served before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, Row, func, select
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.attest.dsse import Envelope, add_signature
from mc_pipelines.attest.log import append
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement, Subject, predicate_type, statement_of
from mc_pipelines.estimator import approvals
from mc_pipelines.estimator.approvals import Move
from mc_pipelines.estimator.artefact import Artefact, load_artefact
from mc_pipelines.estimator.history import moment_of
from mc_pipelines.estimator.promotion import Check, passed
from mc_pipelines.estimator.records import champion, model, record_alert, v1_mean
from mc_pipelines.estimator.v1 import V1Table
from mc_pipelines.foundation.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    MaestroError,
    NotFoundError,
    VerificationError,
)
from mc_pipelines.foundation.ids import Digest, PersonId
from mc_pipelines.foundation.tenants import Person, get_person, is_same_person

PREDICATE_TYPE = predicate_type("estimator-model")


class Models(Protocol):
    """What the registry needs of an object store."""

    def put(self, path: str, content: bytes, *, if_absent: bool = True) -> bool:
        """Write an object."""
        ...

    def get(self, path: str) -> bytes:
        """Read an object."""
        ...


@dataclass(frozen=True, slots=True)
class Pointer:
    """Which model serves."""

    version: int
    model_id: Digest
    previous_model_id: Digest | None
    act: str
    at: datetime


def path_of(model_id: Digest) -> str:
    """Return where a model's document lies."""
    return f"estimator/models/{model_id.removeprefix('sha256:')}.json"


def proposal_of(artefact: Artefact, proposed_by: str) -> bytes:
    """Return what a person signs to propose a model: an in-toto statement about its document.

    Raises:
        InputError: there is no model in it.
    """
    fitted = artefact.estimator.model
    if fitted is None:
        raise InputError("An artefact without a model", field="model_id", value=artefact.model_id)
    return Statement(
        (Subject.of(path_of(artefact.model_id), artefact.model_id),),
        PREDICATE_TYPE,
        {"proposedBy": proposed_by, "rows": fitted.rows, "asOf": moment_of(fitted.as_of).isoformat()},
    ).to_bytes()


def register(
    connection: Connection,
    store: Models,
    artefact: Artefact,
    signer: Signer,
    *,
    proposer: Person,
    proposal: Envelope,
    at: datetime,
) -> Digest:
    """Store, sign and record a model; the same model again changes nothing.

    Args:
        connection: the transaction.
        store: of the documents.
        artefact: the model.
        signer: the product's own; its signature stands beside the proposer's.
        proposer: the person who proposes it.
        proposal: :func:`proposal_of` with that person's signature.
        at: now.

    Raises:
        InputError: there is no model in it.
        MaestroError: the signature does not count, as of :func:`approvals.require_signature`.
    """
    payload = proposal_of(artefact, str(proposer.person_id))
    approvals.require_signature(connection, payload, proposer, proposal, now=at)
    fitted = artefact.estimator.model
    assert fitted is not None  # noqa: S101 - proposal_of has checked
    path = path_of(artefact.model_id)
    store.put(path, artefact.content, if_absent=True)
    envelope = add_signature(proposal, signer)
    inserted = connection.execute(
        insert(model)
        .values(
            model_id=artefact.model_id,
            parent_id=artefact.parent_id,
            as_of=moment_of(fitted.as_of),
            path=path,
            envelope=envelope.to_json().decode(),
            metrics=dict(artefact.metrics),
            proposed_by=str(proposer.person_id),
            recorded_at=at,
        )
        .on_conflict_do_nothing()
        .returning(model.c.model_id)
    ).scalar()
    if inserted is not None:
        append(
            connection, act="estimator.model-registered", subject=artefact.model_id, content=envelope.to_json(), at=at
        )
    return artefact.model_id


def current(connection: Connection) -> Pointer | None:
    """Return the pointer; None before the first promotion."""
    row = connection.execute(select(champion).order_by(champion.c.version.desc()).limit(1)).one_or_none()
    if row is None:
        return None
    previous = Digest(row.previous_model_id) if row.previous_model_id else None
    return Pointer(row.version, Digest(row.model_id), previous, row.act, row.at)


def list_models(connection: Connection) -> list[dict[str, Any]]:
    """Return registered models, newest first: id, moment, proposer, who let it serve, and whether it serves now."""
    now = current(connection)
    last = select(champion.c.model_id, func.max(champion.c.version).label("version")).group_by(champion.c.model_id)
    newest = last.subquery()
    rows = connection.execute(
        select(model, champion.c.approved_by)
        .outerjoin(newest, newest.c.model_id == model.c.model_id)
        .outerjoin(champion, champion.c.version == newest.c.version)
        .order_by(model.c.recorded_at.desc(), model.c.model_id)
    )
    return [
        {
            "model_id": row.model_id,
            "parent_id": row.parent_id,
            "as_of": row.as_of,
            "proposed_by": row.proposed_by,
            "approved_by": row.approved_by,
            "serves": now is not None and now.model_id == row.model_id,
        }
        for row in rows
    ]


def promotion_of(connection: Connection, model_id: Digest) -> Move:
    """Return the move that makes a registered model the champion, as a second person signs it.

    Raises:
        NotFoundError: the model is not registered.
    """
    _registered(connection, model_id)
    now = current(connection)
    return Move("promote", model_id, now.model_id if now else None, now.version + 1 if now else 1)


def rollback_of(connection: Connection) -> Move:
    """Return the move to the model that served before the present one, as a person signs it.

    Raises:
        NotFoundError: there is none.
    """
    now = current(connection)
    if now is None or now.previous_model_id is None:
        raise NotFoundError("No earlier model to go back to", field="model_id", mend="switch the flag estimator_v2 off")
    return Move("rollback", now.previous_model_id, now.model_id, now.version + 1)


def promote(
    connection: Connection, move: Move, *, checks: Sequence[Check], approver: Person, approval: Envelope, at: datetime
) -> Pointer:
    """Make a registered model the champion.

    Args:
        connection: the transaction.
        move: of :func:`promotion_of`, when the decision was made.
        checks: all of them must have passed.
        approver: a second person, not the one who proposed the model.
        approval: the move with that person's signature.
        at: now.

    Raises:
        NotFoundError: the model is not registered.
        ConflictError: a check failed, or somebody moved the pointer meanwhile.
        ForbiddenError: the approver is the proposer by whatever name or key, or either signature counts no more.
        VerificationError: the approver signed something else.
    """
    if not checks or not passed(checks):
        failed = [check.name for check in checks if not check.passed] or ["no checks were run"]
        raise ConflictError("The challenger did not pass", field="checks", value=", ".join(failed))
    proposed_by = check_promotion(connection, move, approver, approval, at=at)
    return _move(connection, move, proposed_by, approver, approval, checks, at)


def check_promotion(connection: Connection, move: Move, approver: Person, approval: Envelope, *, at: datetime) -> str:
    """Return the proposer's id if both signatures count now; before the long checks, and again after them.

    Raises:
        NotFoundError: the model is not registered.
        ForbiddenError: the approver is the proposer by whatever name or key, or either signature counts no more.
        VerificationError: the approver signed something else.
    """
    row = _registered(connection, move.model_id)
    proposer = get_person(connection, PersonId(UUID(row.proposed_by)))
    first = approvals.require_key_of(connection, Envelope.from_json(row.envelope), row.proposed_by, at=at)
    if not proposer.roles & approvals.ROLES:
        raise ForbiddenError("The proposer may not propose models any more", field="role", value=sorted(proposer.roles))
    second = approvals.require_signature(connection, move.payload, approver, approval, now=at)
    if first == second or is_same_person(proposer, approver):
        raise ForbiddenError(
            "A second person must approve, not the proposer by whatever name or key",
            field="person",
            value=str(approver.person_id),
            mend="let another sign",
        )
    return str(row.proposed_by)


def roll_back(connection: Connection, move: Move, *, person: Person, approval: Envelope, at: datetime) -> Pointer:
    """Move the pointer to the model that served before; one signature, for two people let that model serve.

    Args:
        connection: the transaction.
        move: of :func:`rollback_of`, when the decision was made.
        person: who takes the present model back.
        approval: the move with that person's signature.
        at: now.

    Raises:
        NotFoundError: the model is not registered.
        ConflictError: somebody moved the pointer meanwhile.
        ForbiddenError: the person may not, or signed with another's key.
        VerificationError: the person signed something else.
    """
    row = _registered(connection, move.model_id)
    approvals.require_signature(connection, move.payload, person, approval, now=at)
    return _move(connection, move, row.proposed_by, person, approval, (), at)


def load_champion(connection: Connection, store: Models, *, at: datetime) -> tuple[Artefact | None, bool]:
    """Return the serving model, and whether there is one that could not be read.

    Never fails: an unreadable or altered file is an alert, and v1 serves; so is a champion that lacks a signature.
    """
    pointer = current(connection)
    if pointer is None:
        return None, False
    try:
        _require_signed(connection, pointer.version)
    except MaestroError as error:
        detail = {"model_id": pointer.model_id, "version": pointer.version, "error": str(error)}
        record_alert(connection, kind="model-unsigned", workflow=None, at=at, detail=detail)
        return None, True
    try:
        return load_artefact(store.get(path_of(pointer.model_id)), expected=pointer.model_id), False
    except (MaestroError, OSError) as error:
        record_alert(
            connection,
            kind="model-unreadable",
            workflow=None,
            at=at,
            detail={"model_id": pointer.model_id, "error": str(error)},
        )
        return None, True


def write_v1(connection: Connection, table: V1Table) -> None:
    """Record v1's table of a midnight; the first one written stands."""
    rows: list[dict[str, Any]] = [
        {"day": table.day, "workflow": name, "mean_seconds": mean, "last_price": table.prices.get(name)}
        for name, mean in {**table.means, "": table.overall}.items()
        if math.isfinite(mean)
    ]
    if rows:
        connection.execute(insert(v1_mean).on_conflict_do_nothing(), rows)


def read_v1(connection: Connection, *, day: int) -> V1Table | None:
    """Return v1's newest table of ``day`` or earlier."""
    newest = select(v1_mean.c.day).where(v1_mean.c.day <= day).order_by(v1_mean.c.day.desc()).limit(1)
    rows = connection.execute(select(v1_mean).where(v1_mean.c.day == newest.scalar_subquery())).all()
    if not rows:
        return None
    means = {row.workflow: row.mean_seconds for row in rows if row.workflow}
    overall = next((row.mean_seconds for row in rows if not row.workflow), float("nan"))
    prices = {row.workflow: row.last_price for row in rows if row.last_price is not None}
    return V1Table(rows[0].day, means, overall, prices)


def _registered(connection: Connection, model_id: Digest) -> Row[Any]:
    found = connection.execute(select(model).where(model.c.model_id == model_id)).one_or_none()
    if found is None:
        raise NotFoundError("No such model", field="model_id", value=model_id, mend="register it first")
    return found


def _require_signed(connection: Connection, version: int) -> None:
    """Verify the people's signatures that let this version of the pointer serve, as they counted when made."""
    row = connection.execute(select(champion).where(champion.c.version == version)).one()
    replaces = Digest(row.previous_model_id) if row.previous_model_id else None
    approval = Envelope.from_json(row.approval)
    if approval.payload != Move(row.act, Digest(row.model_id), replaces, row.version).payload:
        raise VerificationError("The approval is not of this move", field="approval", value=version)
    approvals.require_key_of(connection, approval, row.approved_by, at=row.at)
    if row.act == "rollback":
        earlier = (
            select(champion.c.version)
            .where(champion.c.model_id == row.model_id, champion.c.act == "promote", champion.c.version < version)
            .order_by(champion.c.version.desc())
            .limit(1)
        )
        promoted = connection.execute(earlier).scalar()
        if promoted is None:
            raise VerificationError("This model never served", field="model_id", value=row.model_id)
        _require_signed(connection, promoted)
        return
    proposed = _registered(connection, Digest(row.model_id))
    proposal = Envelope.from_json(proposed.envelope)
    if Digest(row.model_id) not in {one.sha256 for one in statement_of(proposal).subjects}:
        raise VerificationError("The proposal is of another model", field="model_id", value=row.model_id)
    first = approvals.require_key_of(connection, proposal, proposed.proposed_by, at=proposed.recorded_at)
    if any(first == one.keyid for one in approval.signatures):
        raise VerificationError("One key proposed and approved", field="approval", value=version)


def _move(
    connection: Connection,
    move: Move,
    proposed_by: str,
    person: Person,
    approval: Envelope,
    checks: Sequence[Check],
    at: datetime,
) -> Pointer:
    now = current(connection)
    inserted = None
    if (now.version if now is not None else 0) == move.version - 1:
        inserted = connection.execute(
            insert(champion)
            .values(
                version=move.version,
                model_id=move.model_id,
                previous_model_id=move.replaces,
                act=move.act,
                proposed_by=proposed_by,
                approved_by=str(person.person_id),
                approval=approval.to_json().decode(),
                checks=[asdict(check) for check in checks],
                at=at,
            )
            .on_conflict_do_nothing()
            .returning(champion.c.version)
        ).scalar()
    if inserted is None:
        raise ConflictError(
            "The pointer has moved meanwhile", field="version", value=move.version, mend="look again, then decide"
        )
    append(connection, act=f"estimator.{move.act}", subject=move.model_id, content=approval.to_json(), at=at)
    return Pointer(inserted, move.model_id, move.replaces, move.act, at)
