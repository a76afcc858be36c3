"""`mc estimator register|promote|rollback|models`: which model serves, decided by people's signatures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.estimator_sources import read_history, say
from mc_pipelines.cli.output import Json, print_json, print_table
from mc_pipelines.cli.signing import Who, open_signer, signed_statement, signing_person

if TYPE_CHECKING:
    from mc_pipelines.composition import Context
    from mc_pipelines.estimator.approvals import Move
    from mc_pipelines.estimator.promotion import Check
    from mc_pipelines.foundation.tenants import Person

Trace = Annotated[
    Path | None, typer.Option("--data", help="Judge on this Parquet trace instead of the execution facts.")
]
Key = Annotated[
    str | None, typer.Option("--key", help="Your private key, file:PATH of a PEM file; it never leaves this machine.")
]
Made = Annotated[
    Path | None, typer.Option("--envelope", help="Or a DSSE envelope that you made elsewhere over `--payload`.")
]
Payload = Annotated[Path | None, typer.Option("--payload", help="Only write the exact bytes to sign to this file.")]


def register(
    person: Who,
    key: Annotated[str, typer.Option("--key", help="Your private key, file:PATH of a PEM file.")],
    data: Trace = None,
    json: Json = False,
) -> None:
    """Learn a model from the execution facts (or a trace) and propose it, signed by you and by the service.

    What it was trained from enters the provenance graph: `mc provenance graph MODEL --tenant public` shows it.

    Example: mc estimator register --as 01890a5d-ac96-774b-bcce-b302099a8057 --key file:~/olga.pem
    """
    from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.composition import record_model_lineage
    from mc_pipelines.estimator import registry
    from mc_pipelines.estimator.training import train

    signer = open_signer(key)
    context = open_context()
    with context.database.begin() as connection:
        proposer = signing_person(connection, person)
        serving = registry.current(connection)
    artefact = train(read_history(context, data), parent_id=None if serving is None else serving.model_id)
    now = context.clock.now()
    payload = registry.proposal_of(artefact, str(proposer.person_id))
    proposal = sign(payload, IN_TOTO_PAYLOAD_TYPE, [signer])
    with _refusals_audited(context, "registration", proposer), context.database.begin() as connection:
        registry.register(
            connection, context.object_store, artefact, context.signer, proposer=proposer, proposal=proposal, at=now
        )
        registry.write_v1(connection, artefact.estimator.v1_table(int(now.timestamp()) // 86_400, artefact.prices))
        # Before the registration is committed, so that no registered model lacks its lineage.
        lineage = record_model_lineage(context, artefact)
    rows = artefact.estimator.model.rows if artefact.estimator.model else 0
    say({"model_id": artefact.model_id, "rows": rows, "lineage": lineage}, json)


def models(json: Json = False) -> None:
    """List registered models, newest first, and which one serves.

    Example: mc estimator models --json
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.estimator import registry

    with open_context().database.begin() as connection:
        rows = registry.list_models(connection)
    if json:
        print_json(rows)
        return
    shown = ("model_id", "as_of", "proposed_by", "approved_by", "serves")
    print_table(shown, [tuple(row[name] for name in shown) for row in rows])


def promote(
    model_id: Annotated[str, typer.Argument(help="sha256:... of a registered model.")],
    person: Annotated[str, typer.Option("--as", help="Your person id, not the proposer's; `mc people ls` shows it.")],
    key: Key = None,
    envelope: Made = None,
    payload: Payload = None,
    data: Trace = None,
    json: Json = False,
) -> None:
    """Make a registered model the champion: every blocking check, and a second person's signature.

    Example: mc estimator promote sha256:... --as 01890a5d-ac96-774b-bcce-b302099a8057 --key file:~/sara.pem
    """
    from dataclasses import asdict

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.estimator import registry
    from mc_pipelines.foundation.ids import parse_digest

    wanted = parse_digest(model_id, field="model_id")
    context = open_context()
    with context.database.begin() as connection:
        move, approver = registry.promotion_of(connection, wanted), signing_person(connection, person)
    if payload is not None:
        _write(payload, move)
        return
    approval = signed_statement(move.payload, key, envelope)
    with _refusals_audited(context, "promotion", approver):
        with context.database.begin() as connection:
            registry.check_promotion(connection, move, approver, approval, at=context.clock.now())
        checks = _checks(context, move, data)
        with context.database.begin() as connection:
            pointer = registry.promote(
                connection, move, checks=checks, approver=approver, approval=approval, at=context.clock.now()
            )
    say(asdict(pointer) | {"checks": [asdict(check) for check in checks]}, json)


def _checks(context: Context, move: Move, data: Path | None) -> tuple[Check, ...]:
    from mc_pipelines.estimator import registry
    from mc_pipelines.estimator.artefact import load_artefact
    from mc_pipelines.estimator.backtest import backtest
    from mc_pipelines.estimator.promotion import promotion_checks
    from mc_pipelines.estimator.shadow import shadow

    artefact = load_artefact(context.object_store.get(registry.path_of(move.model_id)), expected=move.model_id)
    history = read_history(context, data)
    judged = backtest(history, setting=artefact.estimator.setting)
    with context.database.begin() as connection:
        champion, _ = registry.load_champion(connection, context.object_store, at=context.clock.now())
    beside = None if champion is None else backtest(history, setting=champion.estimator.setting)
    return promotion_checks(
        judged,
        beside,
        imbalance=float(artefact.metrics.get("imbalance", 1.0)),
        shadow=None if champion is None else shadow(champion, artefact, history),
    )


def rollback(person: Who, key: Key = None, envelope: Made = None, payload: Payload = None, json: Json = False) -> None:
    """Move the pointer back to the model that served before; one signature, for it served with two.

    Example: mc estimator rollback --as 01890a5d-ac96-774b-bcce-b302099a8057 --key file:~/olga.pem
    """
    from dataclasses import asdict

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.estimator import registry

    context = open_context()
    with context.database.begin() as connection:
        move, who = registry.rollback_of(connection), signing_person(connection, person)
    if payload is not None:
        _write(payload, move)
        return
    approval = signed_statement(move.payload, key, envelope)
    with _refusals_audited(context, "rollback", who), context.database.begin() as connection:
        pointer = registry.roll_back(connection, move, person=who, approval=approval, at=context.clock.now())
    say(asdict(pointer), json)


def _write(path: Path, move: Move) -> None:
    path.write_bytes(move.payload)
    print(f"Wrote what you sign to {path}: {move.act} {move.model_id} as version {move.version}.")


@contextmanager
def _refusals_audited(context: Any, act: str, person: Person) -> Iterator[None]:
    from mc_pipelines.estimator.approvals import audit_refusal
    from mc_pipelines.foundation.errors import MaestroError

    try:
        yield
    except MaestroError as error:
        audit_refusal(context.database, context.clock, act, person, error)
        raise
