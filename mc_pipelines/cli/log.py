"""`mc log`: the audit log's checkpoints, entries, proofs, self-check and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="The audit log: checkpoints, entries and proofs.", no_args_is_help=True)

_Out = Annotated[Path, typer.Option("--out", help="Where to write.")]


@app.command()
def checkpoint(json: Json = False) -> None:
    """Give waiting acts their index and print the newest signed checkpoint.

    Example: mc log checkpoint > checkpoint.txt
    """
    from mc_pipelines.attest.log import latest_checkpoint, sequence
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.errors import NotFoundError

    context = open_context()
    while sequence(context.database, context.signer, context.clock) is not None:
        pass
    with context.database.begin() as connection:
        note = latest_checkpoint(connection)
    if note is None:
        raise NotFoundError("The log is empty", mend="publish something first")
    if json:
        print_json({"note": note})
    else:
        print(note, end="")


@app.command()
def serve(
    interval: Annotated[float, typer.Option(help="Seconds between looks at the queue.", min=0.05, max=60)] = 0.5,
    json: Json = False,
) -> None:
    """Give acts their index and sign checkpoints until Ctrl-C; any number of these may run.

    Example: mc log serve
    """
    import signal
    from threading import Event

    from mc_pipelines.attest import sequencer
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.keys.signers import active_signer

    context = open_context()
    context.database.refuse_privileged_role()
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    # Not context.signer, which is looked up once: a rotation changes the signer while this runs.
    signed = sequencer.run(
        context.database, lambda: active_signer(context.database, context.keyring), context.clock, stop, interval
    )
    if json:
        print_json({"checkpointsSigned": signed})
    else:
        print(f"{signed} checkpoints signed")


@app.command("ls")
def list_(
    before: Annotated[int | None, typer.Option(help="Only entries before this index.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=10_000)] = 50,
    json: Json = False,
) -> None:
    """List entries, newest first.

    Example: mc log ls --limit 20
    """
    from mc_pipelines.attest.log import list_entries
    from mc_pipelines.cli.context import open_context

    with open_context().database.begin() as connection:
        entries = list_entries(connection, before=before, limit=limit)
    columns = ("index", "at", "act", "subject", "leaf_id")
    rows = [(one.index, one.at, one.act, one.subject, one.leaf_id) for one in entries]
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


@app.command()
def prove(
    leaf_id: Annotated[str, typer.Argument(help="Leaf id, as `mc log ls` shows it.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write; default: standard output.")] = None,
    json: Json = False,
) -> None:
    """Write the proof that an entry is in the log.

    Example: mc log prove sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865 --out a.tlog-proof
    """
    from mc_pipelines.attest.log import inclusion_proof
    from mc_pipelines.cli.context import open_context

    with open_context().database.begin() as connection:
        proof = str(inclusion_proof(connection, leaf_id))
    if out is not None:
        out.write_text(proof, "utf-8")
    if json:
        print_json({"leaf": leaf_id} | ({"proof": proof} if out is None else {"out": out}))
    elif out is None:
        print(proof, end="")


@app.command()
def verify(json: Json = False) -> None:
    """Recompute the whole log; exit 1 if anything differs.

    Example: mc log verify
    """
    from mc_pipelines.attest.audit import audit_log
    from mc_pipelines.attest.key_history import SERVICE, load_history
    from mc_pipelines.attest.log import DEFAULT_ORIGIN
    from mc_pipelines.attest.note import NoteKey
    from mc_pipelines.cli.context import open_context

    context = open_context()
    with context.database.begin() as connection:
        pems = {one.public_key_pem for one in load_history(connection) if one.holder == SERVICE}
        pems.add(context.signer.public_key_pem)
        report = audit_log(connection, [NoteKey.ecdsa(DEFAULT_ORIGIN, pem) for pem in sorted(pems)])
    if json:
        print_json(report.to_document())
    else:
        for heading, lines in (
            ("proved", report.proved),
            ("not proved", report.not_proved),
            ("wrong", report.problems),
        ):
            for line in lines:
                print(f"{heading}: {line}")
    raise typer.Exit(0 if not report.problems else 1)


@app.command()
def export(out: _Out = Path("audit-log"), json: Json = False) -> None:
    """Write the log as static files in the tlog-tiles layout.

    Example: mc log export --out audit-log
    """
    from mc_pipelines.attest.tiles import export_tiles
    from mc_pipelines.cli.context import open_context

    count = 0
    with open_context().database.begin() as connection:
        for path, content in export_tiles(connection):
            target = out / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            count += 1
    if json:
        print_json({"files": count, "out": out})
    else:
        print(f"{count} files in {out}")


@app.command()
def trust(out: _Out = Path("trust.json"), json: Json = False) -> None:
    """Write the trust file that `mc verify` believes: the key history and the log's keys.

    Example: mc log trust --out trust.json
    """
    from mc_pipelines.attest.key_history import SERVICE, KeyRecord, in_order, load_history
    from mc_pipelines.attest.log import DEFAULT_ORIGIN
    from mc_pipelines.attest.note import NoteKey
    from mc_pipelines.attest.trust import Trust
    from mc_pipelines.cli.context import open_context

    context = open_context()
    signer = context.signer
    with context.database.begin() as connection:
        records = list(load_history(connection))
    if signer.key_id not in {one.key_id for one in records}:
        records.append(KeyRecord(signer.key_id, signer.public_key_pem, context.clock.now()))
    logs = tuple(NoteKey.ecdsa(DEFAULT_ORIGIN, one.public_key_pem) for one in records if one.holder == SERVICE)
    out.write_bytes(Trust(in_order(records), logs).to_json())
    if json:
        print_json({"keys": len(records), "out": out})
    else:
        print(f"{len(records)} keys in {out}")
