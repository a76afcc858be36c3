"""`mc publish`: a manifest becomes an execution."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json

app = typer.Typer(help="Publish a workflow execution from a manifest.")


@app.command()
def publish(
    manifest: Annotated[
        Path | None, typer.Argument(help="A manifest in JSON, or - for standard input; docs/reference/manifest.md.")
    ] = None,
    file: Annotated[
        list[str] | None, typer.Option("--input", help="An input file of the manifest, as PATH=FILE; repeat.")
    ] = None,
    digest: Annotated[str | None, typer.Option(help="Refuse unless the manifest has this digest.")] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Print a manifest that works, and publish nothing.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="The tenant that --example names.")] = "acme",
    json: Json = False,
) -> None:
    """Queue one execution; the same manifest again is the same execution.

    Example: mc publish nightly.json --input data.csv=/tmp/data.csv

    Example: mc publish --example | mc publish -
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.executions.manifest import example_manifest, parse_manifest
    from mc_pipelines.executions.records import get_transitions
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.runner.publish import estimate_of, store_inputs
    from mc_pipelines.runner.publish import publish as publish_manifest

    if example:
        print_json(example_manifest(tenant).document())
        return
    if manifest is None:
        raise InputError("No manifest was given", field="MANIFEST", mend="mc publish --example | mc publish -")
    parsed = parse_manifest(_read(manifest))
    if digest is not None and digest != parsed.digest:
        raise InputError(
            "The manifest has another digest", field="--digest", value=digest, mend=f"it is {parsed.digest}"
        )
    files = {}
    for given in file or []:
        name, separator, source = given.partition("=")
        if not separator:
            raise InputError("Not of the form PATH=FILE", field="--input", value=given)
        files[name] = _read(Path(source))
    context = open_context()
    now = context.clock.now()
    store_inputs(context.encrypted_store, parsed, files)
    with context.database.begin() as connection:
        execution_id, new = publish_manifest(
            connection, parsed, now=now, estimator=context.estimates, gate=context.budget_gate
        )
        estimate = estimate_of(get_transitions(connection, execution_id))
    if json:
        print_json({"executionId": execution_id, "manifestDigest": parsed.digest, "new": new, "estimate": estimate})
        return
    print(f"{execution_id} {'published' if new else 'was published before'}; `mc executions show {execution_id}`")
    if estimate is not None:
        interval = f" ({estimate['low']} to {estimate['high']})" if estimate["low"] is not None else ""
        print(f"expected to cost {estimate['cost']} {estimate['currency']}{interval}")


def _read(path: Path) -> bytes:
    from mc_pipelines.foundation.errors import InputError

    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise InputError(f"The file cannot be read: {error.strerror}", field="file", value=str(path)) from error
