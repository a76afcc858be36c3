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

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from mc_pipelines.attest.log import append
from mc_pipelines.attest.signer import Signer
from mc_pipelines.attest.statement import Statement, Subject, predicate_type
from mc_pipelines.estimator.artefact import Artefact, load_artefact
from mc_pipelines.estimator.history import moment_of
from mc_pipelines.estimator.promotion import Check, passed
from mc_pipelines.estimator.records import champion, model, record_alert, v1_mean
from mc_pipelines.estimator.v1 import V1Table
from mc_pipelines.foundation.canonical import canonical_json
from mc_pipelines.foundation.errors import ConflictError, ForbiddenError, InputError, MaestroError, NotFoundError
from mc_pipelines.foundation.ids import Digest

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


def register(
    connection: Connection, store: Models, artefact: Artefact, signer: Signer, *, proposed_by: str, at: datetime
) -> Digest:
    """Store, sign and record a model; the same model again changes nothing.

    Args:
        connection: the transaction.
        store: of the documents.
        artefact: the model.
        signer: of its statement.
        proposed_by: id of the person or service that proposes it.
        at: now.
    """
    fitted = artefact.estimator.model
    if fitted is None:
        raise InputError("An artefact without a model", field="model_id", value=artefact.model_id)
    path = path_of(artefact.model_id)
    store.put(path, artefact.content, if_absent=True)
    statement = Statement(
        subjects=(Subject.of(path, artefact.model_id),),
        predicate_type=PREDICATE_TYPE,
        predicate={"proposedBy": proposed_by, "rows": fitted.rows, "asOf": moment_of(fitted.as_of).isoformat()},
    )
    envelope = statement.sign([signer])
    inserted = connection.execute(
        insert(model)
        .values(
            model_id=artefact.model_id,
            parent_id=artefact.parent_id,
            as_of=moment_of(fitted.as_of),
            path=path,
            envelope=envelope.to_json().decode(),
            metrics=dict(artefact.metrics),
            proposed_by=proposed_by,
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


def promote(
    connection: Connection,
    model_id: Digest,
    *,
    expected_version: int,
    checks: Sequence[Check],
    approved_by: str,
    at: datetime,
) -> Pointer:
    """Make a registered model the champion.

    Args:
        connection: the transaction.
        model_id: the challenger.
        expected_version: the pointer's version that the decision was made on; 0 for the first.
        checks: all of them must have passed.
        approved_by: a second person, not the one who proposed the model.
        at: now.

    Raises:
        NotFoundError: the model is not registered.
        ConflictError: a check failed, or somebody moved the pointer meanwhile.
        ForbiddenError: the approver is the proposer.
    """
    proposed_by = _proposer(connection, model_id)
    if not checks or not passed(checks):
        failed = [check.name for check in checks if not check.passed] or ["no checks were run"]
        raise ConflictError("The challenger did not pass", field="checks", value=", ".join(failed))
    return _move(connection, model_id, expected_version, "promote", proposed_by, approved_by, checks, at)


def roll_back(
    connection: Connection, *, expected_version: int, asked_by: str, approved_by: str, at: datetime
) -> Pointer:
    """Move the pointer to the model that served before the present one.

    Raises:
        NotFoundError: there is none.
        ConflictError: somebody moved the pointer meanwhile.
        ForbiddenError: one person alone asks and approves.
    """
    now = current(connection)
    if now is None or now.previous_model_id is None:
        raise NotFoundError("No earlier model to go back to", field="model_id", mend="switch the flag estimator_v2 off")
    return _move(connection, now.previous_model_id, expected_version, "rollback", asked_by, approved_by, (), at)


def load_champion(connection: Connection, store: Models, *, at: datetime) -> tuple[Artefact | None, bool]:
    """Return the serving model, and whether there is one that could not be read.

    Never fails: an unreadable or altered file is an alert, and v1 serves.
    """
    pointer = current(connection)
    if pointer is None:
        return None, False
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


def _proposer(connection: Connection, model_id: Digest) -> str:
    found = connection.execute(select(model.c.proposed_by).where(model.c.model_id == model_id)).scalar()
    if found is None:
        raise NotFoundError("No such model", field="model_id", value=model_id, mend="register it first")
    return str(found)


def _move(
    connection: Connection,
    model_id: Digest,
    expected_version: int,
    act: str,
    proposed_by: str,
    approved_by: str,
    checks: Sequence[Check],
    at: datetime,
) -> Pointer:
    if proposed_by == approved_by:
        raise ForbiddenError("A second person must approve", field="approved_by", value=approved_by)
    now = current(connection)
    version = now.version if now is not None else 0
    inserted = None
    if version == expected_version:
        inserted = connection.execute(
            insert(champion)
            .values(
                version=expected_version + 1,
                model_id=model_id,
                previous_model_id=now.model_id if now is not None else None,
                act=act,
                proposed_by=proposed_by,
                approved_by=approved_by,
                checks=[asdict(check) for check in checks],
                at=at,
            )
            .on_conflict_do_nothing()
            .returning(champion.c.version)
        ).scalar()
    if inserted is None:
        raise ConflictError(
            "The pointer has moved meanwhile",
            field="expected_version",
            value=expected_version,
            mend="look again, then decide",
        )
    content = canonical_json({"model": model_id, "version": inserted, "act": act, "approvedBy": approved_by})
    append(connection, act=f"estimator.{act}", subject=model_id, content=content, at=at)
    return Pointer(inserted, model_id, now.model_id if now is not None else None, act, at)
