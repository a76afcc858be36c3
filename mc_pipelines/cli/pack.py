"""`mc pack`: disclosure packs, built from the records and verified without them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json

app = typer.Typer(help="Disclosure packs: build and verify.", no_args_is_help=True)


@app.command()
def build(
    number: Annotated[str, typer.Argument(help="Number of a credit note.")],
    out: Annotated[Path | None, typer.Option(help="File to write; default: NUMBER.zip.")] = None,
    json: Json = False,
) -> None:
    """Write the disclosure pack of a credit note.

    Example: mc pack build MC-00000001 --out acme.zip
    """
    from mc_pipelines.attest.cosignatures import cosign_newest, parse_witnesses
    from mc_pipelines.attest.log import sequence
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.sla.note_store import get_note
    from mc_pipelines.sla.pack import build_pack
    from mc_pipelines.sla.timestamps import stamp_notes

    context = open_context()
    with context.database.begin() as connection:
        issued = get_note(connection, number)
    stamp_notes(context.database, context.clock, context.settings.tsa_url)
    # A note has an index within a second where the sequencer runs; here nobody need wait for it.
    while sequence(context.database, context.signer, context.clock) is not None:
        pass
    cosign_newest(context.database, context.clock, parse_witnesses(context.settings.witnesses))
    with context.database.begin() as connection:
        content = build_pack(connection, issued)
    path = out or Path(f"{issued.number}.zip")
    path.write_bytes(content)
    print_json({"path": path, "bytes": len(content)}) if json else print(f"{path}: {len(content)} bytes")


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A disclosure pack.")],
    trust: Annotated[Path, typer.Option(help="Trust file, from whom you trust; never from the sender of the pack.")],
    json: Json = False,
) -> None:
    """Check every file and signature and recompute the figure, offline; name the first field that differs.

    Example: mc pack verify acme.zip --trust trust.json
    """
    import mc_pipelines.sla.verification  # noqa: F401 - registers what our statements mean
    from mc_pipelines.attest.trust import Trust
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.sla.pack_verification import verify_pack

    try:
        content, believed = file.read_bytes(), Trust.from_json(trust.read_bytes())
    except OSError as error:
        raise InputError(f"A file cannot be read: {error.strerror}", field="file", value=error.filename) from error
    report = verify_pack(content, believed)
    if json:
        print_json(report.to_document())
    else:
        print(f"{file}: {'verified' if report.ok else 'NOT VERIFIED'}")
        for heading, lines in (
            ("proved", report.proved),
            ("not proved", report.not_proved),
            ("wrong", report.problems),
        ):
            for line in lines:
                print(f"  {heading}: {line}")
    raise typer.Exit(0 if report.ok else 1)
