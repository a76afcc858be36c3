"""`mc log`: the audit log's checkpoints, entries, proofs, self-check and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from mc_pipelines.attest.dsse import Envelope
    from mc_pipelines.composition import Context

app = typer.Typer(help="The audit log: checkpoints, entries and proofs.", no_args_is_help=True)

if TYPE_CHECKING:
    from mc_pipelines.attest.note import NoteKey
    from mc_pipelines.composition import Context

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
def cosign(json: Json = False) -> None:
    """Ask the witnesses of MC_WITNESSES to cosign the newest checkpoint; exit 1 if one does not.

    Example: MC_WITNESSES=http://127.0.0.1:7380#witness.example/w1+3f9a… mc log cosign
    """
    from mc_pipelines.attest.cosignatures import cosign_newest, parse_witnesses
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.errors import ConfigurationError

    context = open_context()
    witnesses = parse_witnesses(context.settings.witnesses)
    if not witnesses:
        raise ConfigurationError("No witness is named", field="MC_WITNESSES", mend="set it to URL#VERIFIERKEY")
    refusals = cosign_newest(context.database, context.clock, witnesses)
    if json:
        print_json({"witnesses": len(witnesses), "refusals": refusals})
    else:
        print_table(
            ("witness", "newest checkpoint"),
            [(one.key.name, refusals.get(one.key.name, "cosigned")) for one in witnesses],
        )
    raise typer.Exit(1 if refusals else 0)


@app.command()
def witness(
    log: Annotated[list[str], typer.Option(help="Verifier key of a log to witness; may be repeated.")],
    name: Annotated[str, typer.Option(help="The witness's name, such as witness.example/w1.")],
    state: Annotated[Path, typer.Option(help="Folder of its key and its memory; made if absent.")],
    host: Annotated[str, typer.Option(help="Address to bind.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to bind; 0: any free one.", min=0, max=65535)] = 7380,
    json: Json = False,
) -> None:
    """Run a witness: cosigns what continues the log, refuses a fork. Needs no database; run it apart from the log.

    Example: mc log witness --name witness.example/w1 --state /var/lib/witness --log "$(mc log key)"
    """
    import signal
    import time
    from json import dumps

    from mc_pipelines.attest.note import NoteKey, WitnessNoteSigner
    from mc_pipelines.attest.witness import Witness, WitnessMemory, open_witness_key
    from mc_pipelines.attest.witness_server import witness_server

    keys = [NoteKey.parse(one) for one in log]
    signer = WitnessNoteSigner(name, open_witness_key(state / "key.pem"), lambda: int(time.time()))
    server = witness_server(Witness(signer, keys, WitnessMemory(state / "memory.json")), host, port)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    address = f"http://{host}:{server.server_address[1]}"
    print(dumps({"address": address, "key": str(signer.key)}) if json else f"{address}#{signer.key}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


@app.command()
def key(json: Json = False) -> None:
    """Print the log's verifier keys, as a witness and a trust file take them; the newest last.

    Example: mc log key
    """
    from mc_pipelines.cli.context import open_context

    keys = [str(one) for one in _log_keys(open_context())]
    print_json(keys) if json else print("\n".join(keys))


@app.command()
def serve(
    interval: Annotated[float, typer.Option(help="Seconds between looks at the queue.", min=0.05, max=60)] = 0.5,
    json: Json = False,
) -> None:
    """Give acts their index and sign checkpoints until Ctrl-C; any number of these may run.

    Example: mc log serve
    """
    import signal
    from threading import Event, Thread

    from mc_pipelines.attest import sequencer
    from mc_pipelines.attest.cosignatures import cosign_until, parse_witnesses
    from mc_pipelines.cli.context import open_context

    context = open_context()
    context.database.refuse_privileged_role()
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    witnesses = parse_witnesses(context.settings.witnesses)
    asking = Thread(target=cosign_until, args=(context.database, context.clock, witnesses, stop, interval), daemon=True)
    asking.start()
    signed = sequencer.run(context.database, lambda: context.signer, context.clock, stop, interval)
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
    from mc_pipelines.cli.context import open_context

    context = open_context()
    with context.database.begin() as connection:
        report = audit_log(connection, _log_keys(context))
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


def _log_keys(context: Context) -> list[NoteKey]:
    """Return the verifier keys of all of the service's signing keys, old and new, in the order of their ids."""
    from mc_pipelines.attest.key_history import SERVICE, load_history
    from mc_pipelines.attest.log import DEFAULT_ORIGIN
    from mc_pipelines.attest.note import NoteKey

    with context.database.begin() as connection:
        pems = [one.public_key_pem for one in load_history(connection) if one.holder == SERVICE]
    newest = context.signer.public_key_pem
    return [NoteKey.ecdsa(DEFAULT_ORIGIN, pem) for pem in (*(one for one in pems if one != newest), newest)]


@app.command()
def trust(
    out: _Out = Path("trust.json"),
    tsa: Annotated[Path | None, typer.Option(help="Root certificate (PEM) of a time-stamping authority.")] = None,
    witnesses: Annotated[
        int | None, typer.Option(help="How many witnesses of MC_WITNESSES a proof must show.", min=0)
    ] = None,
    version: Annotated[int | None, typer.Option(help="An earlier version, as it was given out.", min=1)] = None,
    json: Json = False,
) -> None:
    """Write the signed trust file that `mc verify` believes: the key history, the log's keys and witnesses.

    A new version is issued where something changed; `mc log follow` takes its holder from one version to the next.

    Example: mc log trust --out trust.json
    """
    from mc_pipelines.attest.trust import read_payload
    from mc_pipelines.attest.trust_store import trust_of
    from mc_pipelines.cli.context import open_context

    context = open_context()
    if version is None:
        envelope = _issue_trust(context, tsa, witnesses)
    else:
        with context.database.begin() as connection:
            envelope = trust_of(connection, version)
    out.write_bytes(envelope.to_json())
    found = read_payload(envelope)
    if json:
        print_json({"version": found.version, "keys": len(found.keys), "out": out})
    else:
        print(f"version {found.version} with {len(found.keys)} keys in {out}")


def _issue_trust(context: Context, tsa: Path | None, witnesses: int | None) -> Envelope:
    from dataclasses import replace

    from mc_pipelines.attest.cosignatures import parse_witnesses
    from mc_pipelines.attest.trust_store import draft_trust, issue_trust
    from mc_pipelines.foundation.errors import ConflictError, VerificationError

    signer = context.signer
    with context.database.begin() as connection:
        draft = draft_trust(connection, root=signer.key_id)
        draft = replace(draft, witnesses=tuple(one.key for one in parse_witnesses(context.settings.witnesses)))
        if witnesses is not None or draft.witness_threshold > len(draft.witnesses):
            draft = replace(draft, witness_threshold=witnesses or 0)
        if tsa is not None:
            draft = replace(draft, timestamp_authorities=(tsa.read_bytes(),))
        try:
            return issue_trust(connection, draft, [signer], now=context.clock.now())
        except VerificationError as error:
            raise ConflictError(
                "The key that may change the trust file is being rotated",
                field="signer",
                value=signer.key_id,
                mend="let the rotation reach VERIFIED (`mc keys ls`), then ask again",
            ) from error


@app.command()
def follow(
    trusted: Annotated[Path, typer.Argument(help="The trust file that you have.")],
    following: Annotated[list[Path], typer.Argument(help="Later versions, in order.")],
    out: Annotated[Path | None, typer.Option("--out", help="Where to write the newest; default: nowhere.")] = None,
    json: Json = False,
) -> None:
    """Check, offline, that later versions of a trust file follow from the one that you have; exit 1 if not.

    Example: mc log follow trust.json trust-2.json trust-3.json --out trust.json
    """
    from mc_pipelines.attest.dsse import Envelope
    from mc_pipelines.attest.trust import Trust
    from mc_pipelines.attest.trust import follow as step
    from mc_pipelines.foundation.errors import VerificationError

    believed = Trust.from_json(trusted.read_bytes())
    content = trusted.read_bytes()
    for path in following:
        content = path.read_bytes()
        try:
            believed = step(believed, Envelope.from_json(content))
        except VerificationError as error:
            print_json({"ok": False, "file": path, "why": str(error)}) if json else print(f"{path}: {error}")
            raise typer.Exit(1) from error
    if out is not None:
        out.write_bytes(content)
    if json:
        print_json({"ok": True, "version": believed.version, "keys": len(believed.keys)})
    else:
        print(f"version {believed.version} follows, with {len(believed.keys)} keys")
