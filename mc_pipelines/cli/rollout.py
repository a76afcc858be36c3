"""`mc rollout`: begin a change of policy, watch it, hold it, abort it."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table
from mc_pipelines.cli.signing import Key, Who, open_signer, signed_statement, signing_person

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mc_pipelines.composition import Context
    from mc_pipelines.decision.packs import Pack
    from mc_pipelines.policy.rollout import Rollout

app = typer.Typer(help="Rollouts: simulate, warn, enforce, abort.", no_args_is_help=True)

By = Annotated[str, typer.Option(help="Who does it; goes into the audit log, so an id and not a name.")]
Reason = Annotated[str, typer.Option(help="Why; goes into the audit log.")]
RolloutArgument = Annotated[str, typer.Argument(help="Id of the rollout.")]


class Budget(StrEnum):
    """What is known about the error budget."""

    STABLE = "stable"
    UNSTABLE = "unstable"
    UNKNOWN = "unknown"


def _facts(rollout: Rollout) -> dict[str, Any]:
    return {
        "rollout": rollout.rollout_id,
        "pack": rollout.pack,
        "phase": rollout.phase,
        "step": rollout.step,
        "percent": rollout.percent,
        "held": rollout.held,
        "baseline": rollout.baseline,
        "challenger": rollout.challenger,
        "since": rollout.step_started_at,
    }


def _print(rollout: Rollout, *, json: bool) -> None:
    if json:
        print_json(_facts(rollout))
    else:
        print_table(("what", "value"), _facts(rollout).items())


@app.command()
def start(
    pack: Annotated[str, typer.Argument(help="Pack whose policy changes.")],
    challenger: Annotated[Path, typer.Option(help="Folder of the new revision, named like the pack.")],
    person: Who,
    key: Key,
    declare: Annotated[
        list[str] | None, typer.Option(help="Deny rule that may stop denying, as RULE or RULE:TENANT; repeatable.")
    ] = None,
    json: Json = False,
) -> None:
    """Begin in simulate, if the guard lets the new revision through; your signature goes with it.

    The packs' bundles are stored first, signed by the service. Enforcing takes a second person: `mc rollout approve`.

    Example: mc rollout start placement --challenger ../next/policy/placement --as 0197... --key file:~/olga.pem
    """
    from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.decision.packs import load_pack, read_pack
    from mc_pipelines.foundation.ids import uuid7
    from mc_pipelines.policy.controller import active_revision, start_rollout
    from mc_pipelines.policy.evidence import Widening
    from mc_pipelines.policy.proposal import Proposal

    signer = open_signer(key)
    _refuse_findings(challenger)
    new = read_pack(challenger)
    _refuse_other_name(pack, new.name)
    context = open_context()
    shipped = load_pack(pack)
    _store_bundles(context, (shipped, new))
    now = context.clock.now()
    with context.database.begin() as connection:
        proposal = Proposal(
            uuid7(now),
            pack,
            active_revision(connection, pack) or shipped.revision,
            new.revision,
            declared=tuple(
                Widening(rule, tenant or None) for rule, _, tenant in (text.partition(":") for text in declare or ())
            ),
        )
        rollout = start_rollout(
            connection,
            proposal,
            signing_person(connection, person),
            sign(proposal.payload, IN_TOTO_PAYLOAD_TYPE, [signer]),
            shipped=shipped.revision,
            now=now,
        )
    _print(rollout, json=json)


@app.command()
def approve(
    rollout: RolloutArgument,
    person: Who,
    key: Annotated[str | None, typer.Option("--key", help="Your private key, file:PATH of a PEM file.")] = None,
    envelope: Annotated[
        Path | None, typer.Option(help="Or a DSSE envelope that you made elsewhere over `mc rollout show --payload`.")
    ] = None,
    json: Json = False,
) -> None:
    """Sign a rollout with your own key: two people, one of them of security, let it be enforced.

    Example: mc rollout approve 019bd7a0-0000-7000-8000-000000000000 --as 0197... --key file:~/sara.pem
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import parse_uuid
    from mc_pipelines.policy.controller import approve_rollout, get_rollout
    from mc_pipelines.policy.proposal import Proposal

    context = open_context()
    rollout_id = parse_uuid(rollout, field="rollout")
    with context.database.begin() as connection:
        found, who = get_rollout(connection, rollout_id), signing_person(connection, person)
    signed = signed_statement(Proposal.of(found).payload, key, envelope)
    found, standing = approve_rollout(context.database, context.clock, rollout_id, who, signed)
    if json:
        print_json(_facts(found) | {"signatures": len(standing.signed), "missing": standing.missing})
    else:
        print(f"{len(standing.signed)} people have signed; {standing.missing or 'it may be enforced on its evidence'}")


def _refuse_findings(folder: Path) -> None:
    from mc_pipelines.policy.guard import check_folder

    findings = check_folder(folder)
    for finding in findings:
        typer.echo(str(finding), err=True)
    if findings:
        raise typer.Exit(1)


def _store_bundles(context: Context, packs: Iterable[Pack]) -> None:
    from mc_pipelines.attest.key_history import service_keys
    from mc_pipelines.policy.bundles import build_bundle, store_bundle

    signer = context.signer
    with context.database.begin() as connection:
        trusted = service_keys(connection)
    for each in packs:
        store_bundle(context.object_store, build_bundle(each), signer, trusted=trusted)


def _refuse_other_name(pack: str, found: str) -> None:
    from mc_pipelines.foundation.errors import InputError

    if pack != found:
        raise InputError("The folder holds another pack", field="--challenger", value=found, mend=f"name it {pack}")


@app.command()
def ls(json: Json = False) -> None:
    """List all rollouts, newest first.

    Example: mc rollout ls --json
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.policy.controller import list_rollouts

    context = open_context()
    with context.database.begin() as connection:
        rows = [_facts(rollout) for rollout in list_rollouts(connection)]
    if json:
        print_json(rows)
    else:
        shown = ("rollout", "pack", "phase", "step", "percent", "held", "since")
        print_table(shown, [tuple(row[name] for name in shown) for row in rows])


@app.command()
def show(
    rollout: RolloutArgument,
    payload: Annotated[Path | None, typer.Option(help="Write the exact bytes to sign to this file.")] = None,
    json: Json = False,
) -> None:
    """Show a rollout: where it stands, what its evidence says now, and how it came there.

    Example: mc rollout show 019bd7a0-0000-7000-8000-000000000000 --json
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import parse_uuid
    from mc_pipelines.policy.approvals import standing
    from mc_pipelines.policy.controller import gate_of, get_rollout, history
    from mc_pipelines.policy.proposal import Proposal

    context = open_context()
    now = context.clock.now()
    with context.database.begin() as connection:
        found = get_rollout(connection, parse_uuid(rollout, field="rollout"))
        proposal = Proposal.of(found)
        gate = gate_of(connection, found, budget_stable=None, now=now)
        signed = standing(connection, proposal, now=now).signed
        documents = history(connection, found.rollout_id)
    if payload is not None:
        payload.write_bytes(proposal.payload)
    people = [
        {"person": one.person.person_id, "roles": sorted(one.person.roles), "key": one.key_id, "at": one.signed_at}
        for one in signed
    ]
    if json:
        statistics = gate.statistics | {"reason": gate.reason}
        print_json(_facts(found) | {"gate": statistics, "signatures": people, "history": documents})
        return
    _print(found, json=False)
    print_table(
        ("signed by", "roles", "at"),
        [(one.person.person_id, ", ".join(sorted(one.person.roles)), one.signed_at) for one in signed],
    )
    totals = gate.statistics["totals"]
    print_table(("evidence of this step", "count"), totals.items())
    print_table(
        ("#", "act", "after", "by", "at", "reason"),
        [
            tuple(document[name] for name in ("sequence", "act", "after", "by", "at", "reason"))
            for document in documents
        ],
    )


@app.command()
def hold(rollout: RolloutArgument, reason: Reason, by: By = "operator", json: Json = False) -> None:
    """Keep a rollout where it is; evidence of harm still aborts it.

    Example: mc rollout hold 019bd7a0-0000-7000-8000-000000000000 --reason "customer asked"
    """
    _set_hold(rollout, held=True, reason=reason, by=by, json=json)


@app.command()
def resume(rollout: RolloutArgument, reason: Reason, by: By = "operator", json: Json = False) -> None:
    """Let a held rollout go on.

    Example: mc rollout resume 019bd7a0-0000-7000-8000-000000000000 --reason "customer agreed"
    """
    _set_hold(rollout, held=False, reason=reason, by=by, json=json)


def _set_hold(rollout: str, *, held: bool, reason: str, by: str, json: bool) -> None:
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import parse_uuid
    from mc_pipelines.policy.controller import hold_rollout

    context = open_context()
    with context.database.begin() as connection:
        found = hold_rollout(
            connection,
            parse_uuid(rollout, field="rollout"),
            held=held,
            reason=reason,
            by=by,
            now=context.clock.now(),
        )
    _print(found, json=json)


@app.command()
def abort(rollout: RolloutArgument, reason: Reason, by: By = "operator", json: Json = False) -> None:
    """End a rollout: the old revision decides for everybody again, at once.

    Example: mc rollout abort 019bd7a0-0000-7000-8000-000000000000 --reason "wrong rule"
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import parse_uuid
    from mc_pipelines.policy.controller import abort_rollout

    context = open_context()
    with context.database.begin() as connection:
        rollout_id = parse_uuid(rollout, field="rollout")
        found = abort_rollout(connection, rollout_id, reason=reason, by=by, now=context.clock.now())
    _print(found, json=json)


@app.command()
def tick(
    budget: Annotated[Budget, typer.Option(help="Whether the error budget is stable; unknown holds.")] = Budget.UNKNOWN,
    json: Json = False,
) -> None:
    """Judge every active rollout once and move those whose evidence says so; what the sensor does.

    Example: mc rollout tick --budget stable
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.policy import controller

    stable = {Budget.STABLE: True, Budget.UNSTABLE: False, Budget.UNKNOWN: None}[budget]
    context = open_context()
    moved = controller.tick(context.database, context.clock, budget=lambda _connection, _rollout: stable)
    if json:
        print_json([transition.document() for transition in moved])
    elif not moved:
        print("nothing moved")
    for transition in () if json else moved:
        print(f"{transition.rollout_id}: {transition.act} to {transition.after} ({transition.reason})")
