"""`mc credits`: drafts, approvals and signed credit notes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table
from mc_pipelines.cli.signing import Key, Who, open_signer, signing_person

if TYPE_CHECKING:
    from mc_pipelines.composition import Context
    from mc_pipelines.sla.draft_store import Draft
    from mc_pipelines.sla.note_store import Issued

app = typer.Typer(help="Drafts, approvals and signed credit notes.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="A draft's id (its beginning is enough) or a note's number.")]


def _draft_row(draft: Draft) -> dict[str, Any]:
    return {
        "id": draft.draft_id,
        "tenant": draft.subject.tenant,
        "service": draft.subject.service,
        "period": f"{draft.subject.first}/{draft.subject.last}",
        "kind": draft.kind,
        "amount": str(draft.amount),
        "state": draft.state,
        "signatures": f"{len(draft.signatures)} of {draft.signatures_needed}",
        "expires": draft.expires_at,
    }


@app.command("ls")
def list_all(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    state: Annotated[str | None, typer.Option(help="open, issued, rejected, expired or superseded.")] = None,
    json: Json = False,
) -> None:
    """List drafts and what became of them.

    Example: mc credits ls --state open
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.sla.draft_store import list_drafts
    from mc_pipelines.sla.note_store import list_notes

    context = open_context()
    with context.database.begin() as connection:
        drafts = list_drafts(connection, tenant=None if tenant is None else TenantId(tenant), state=state)
        numbers = {issued.draft_id: issued.number for issued in list_notes(connection)}
    rows = [_draft_row(draft) | {"number": numbers.get(draft.draft_id)} for draft in drafts]
    if json:
        print_json(rows)
    else:
        columns = ("id", "tenant", "period", "kind", "amount", "state", "signatures", "number")
        print_table(columns, [[str(row[name] or "")[:22] for name in columns] for row in rows])


@app.command()
def show(
    name: Name,
    payload: Annotated[Path | None, typer.Option(help="Write the exact bytes to sign to this file.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the issued note here, its bundles and log proof beside it.")
    ] = None,
    json: Json = False,
) -> None:
    """Show a draft or a note with every figure that is signed.

    Example: mc credits show 3f9a --payload statement.json
    """
    from mc_pipelines.attest.statement import parse_statement
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.draft_store import get_draft
    from mc_pipelines.sla.note import plain_numbers
    from mc_pipelines.sla.note_store import find_note, get_note

    context = open_context()
    with context.database.begin() as connection:
        issued = get_note(connection, name) if "-" in name else None
        draft = get_draft(connection, name if issued is None else issued.draft_id)
        issued = issued or find_note(connection, draft.draft_id)
    if payload is not None:
        payload.write_bytes(draft.payload)
    if out is not None and issued is not None:
        _write_note(context, issued, out)
    statement = parse_statement(draft.payload)
    document = _draft_row(draft) | {
        "number": None if issued is None else issued.number,
        "reason": draft.reason,
        "statement": plain_numbers(dict(statement.predicate)),
    }
    if json:
        print_json(document)
        return
    figures = document.pop("statement")["figures"]
    # What the figures repeat of the draft (kind, state of the objective, reason) is said to be theirs.
    signed = ((f"signed {key}", value) for key, value in figures.items() if key not in {"days", "incidents"})
    print_table(("field", "value"), [*document.items(), *signed])


def _write_note(context: Context, issued: Issued, out: Path) -> None:
    """Write a note and what belongs beside it: NAME.json, NAME.json.tlog-proof, NAME.unsigned.json, the bundles."""
    from mc_pipelines.attest.log import sequence
    from mc_pipelines.sla.pack import NOTE, note_files

    # As with `mc pack build`: nobody need wait for the sequencer here.
    while sequence(context.database, context.signer, context.clock) is not None:
        pass
    with context.database.begin() as connection:
        found = note_files(connection, issued)
    for name, content in found.items():
        is_note = name.startswith(NOTE)
        beside = out.name + name.removeprefix(NOTE) if is_note else f"{out.stem}.{name.removeprefix('note.')}"
        out.with_name(beside).write_bytes(content)


@app.command()
def draft(tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None, json: Json = False) -> None:
    """Judge every closed period and draft what is owed; again changes nothing.

    Example: mc credits draft
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.sla.draft import draft_credits

    context = open_context()
    outcomes = draft_credits(context.database, context.clock, tenant=None if tenant is None else TenantId(tenant))
    rows = [
        {
            "tenant": one.subject.tenant,
            "period": f"{one.subject.first}/{one.subject.last}",
            "status": one.status,
            "new": one.new,
            "amount": None if one.draft is None else str(one.draft.amount),
            "id": None if one.draft is None else one.draft.draft_id,
            "reason": one.reason,
        }
        for one in outcomes
    ]
    if json:
        print_json(rows)
    else:
        print_table(tuple(rows[0]) if rows else ("tenant",), [tuple(row.values()) for row in rows])


@app.command()
def approve(
    name: Name,
    person: Who,
    key: Key,
    json: Json = False,
) -> None:
    """Sign a draft with your own key; the first signature is the maker's, the next a checker's.

    Example: mc credits approve 3f9a --as 0197... --key file:~/mary.pem
    """
    from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.draft_store import get_draft
    from mc_pipelines.sla.issue import complete
    from mc_pipelines.sla.review import approve as add_signature

    signer = open_signer(key)
    context = open_context()
    with context.database.begin() as connection:
        found, who = get_draft(connection, name), signing_person(connection, person)
    envelope = sign(found.payload, IN_TOTO_PAYLOAD_TYPE, [signer])
    found = add_signature(context.database, context.clock, found.draft_id, who, envelope)
    issued = complete(context.database, context.clock, found.draft_id)
    answer = _draft_row(found) | {"number": None if issued is None else issued.number}
    if json:
        print_json(answer)
    elif issued is None:
        print(f"{answer['signatures']} signatures; {answer['id'][:12]} waits for another person")
    else:
        print(f"{issued.number}: {issued.amount} to {found.subject.tenant}")


@app.command()
def reject(
    name: Name,
    person: Who,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; it goes into the log.")],
    json: Json = False,
) -> None:
    """End a draft with a reason; it is not made again on the same facts.

    Example: mc credits reject 3f9a --as 0197... --reason "the invoice is disputed"
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.review import reject as end

    context = open_context()
    with context.database.begin() as connection:
        who = signing_person(connection, person)
    found = end(context.database, context.clock, name, who, reason)
    print_json(_draft_row(found)) if json else print(f"{found.draft_id[:12]} is rejected")


@app.command()
def reverse(
    name: Name,
    person: Who,
    reason: Annotated[str, typer.Option(help="Why, in a sentence; it is signed and goes into the log.")],
    json: Json = False,
) -> None:
    """Ask to take an issued note back; the reversal is issued once two people have approved it.

    Example: mc credits reverse MC-00000001 --as 0197... --reason "the contract had been assigned by mistake"
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.reversal import draft_reversal

    context = open_context()
    with context.database.begin() as connection:
        who = signing_person(connection, person)
    found = draft_reversal(context.database, context.clock, name, who, reason)
    if json:
        print_json(_draft_row(found))
    else:
        print(f"{found.draft_id[:12]}: {found.amount} to {found.subject.tenant}, {found.state}; `mc credits approve`")


@app.command()
def redraft(name: Name, person: Who, json: Json = False) -> None:
    """Draft a rejected or reversed credit again on the same facts; otherwise only new facts give a new draft.

    Example: mc credits redraft 3f9a --as 0197...
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.review import draft_again

    context = open_context()
    with context.database.begin() as connection:
        who = signing_person(connection, person)
    found = draft_again(context.database, context.clock, name, who)
    print_json(_draft_row(found)) if json else print(f"{found.draft_id[:12]}: {found.amount}, {found.state}")


@app.command()
def review(
    month: Annotated[str, typer.Argument(help="UTC month of issue, such as 2026-01.")],
    person: Who,
    key: Key,
    out: Annotated[Path, typer.Option(help="File to write the signed review to.")],
    onto: Annotated[Path | None, typer.Option(help="The review that the other person signed.")] = None,
    json: Json = False,
) -> None:
    """Sign the financial review of a month; docs/sla/financial-review.md says what to look at first.

    Example: mc credits review 2026-01 --as 0197... --key file:~/carl.pem --onto mary.json --out review.json
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.financial_review import sign_review

    signer, earlier = open_signer(key), None if onto is None else onto.read_bytes()
    context = open_context()
    with context.database.begin() as connection:
        who = signing_person(connection, person)
    content = sign_review(context.database, context.clock, month, who, signer, onto=earlier)
    out.write_bytes(content)
    answer = {"month": month, "out": out, "signatures": 1 if onto is None else 2}
    print_json(answer) if json else print(f"{out}: {answer['signatures']} of 2 signatures")


@app.command()
def check(json: Json = False) -> None:
    """Prove that nothing was left out: incidents == notes + determinations, breaches == notes; exit 1 if not.

    Example: mc credits check
    """
    from dataclasses import asdict

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.completeness import check_completeness

    context = open_context()
    with context.database.begin() as connection:
        found = check_completeness(connection)
    if json:
        print_json(asdict(found) | {"ok": found.ok})
    else:
        print_table(
            ("what", "missing"), [(name, "\n".join(lines) or "nothing") for name, lines in asdict(found).items()]
        )
    raise typer.Exit(0 if found.ok else 1)


@app.command()
def export(
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
    style: Annotated[str, typer.Option("--format", help="csv (register) or beancount (ledger).")] = "csv",
    tenant: Annotated[str | None, typer.Option(help="Only this tenant (csv).")] = None,
    json: Json = False,
) -> None:
    """Export the register of issued documents for finance, or the ledger.

    Example: mc credits export --out credits.csv
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.sla.ledger import beancount
    from mc_pipelines.sla.register import register_csv

    if style not in {"csv", "beancount"}:
        raise InputError("Not a format", field="--format", value=style, mend="use csv or beancount")
    context = open_context()
    with context.database.begin() as connection:
        who = None if tenant is None else TenantId(tenant)
        content = beancount(connection) if style == "beancount" else register_csv(connection, tenant=who)
    if out is not None:
        out.write_text(content, encoding="utf-8")
    if json:
        print_json({"format": style} | ({"content": content} if out is None else {"out": out}))
    elif out is None:
        print(content, end="")
