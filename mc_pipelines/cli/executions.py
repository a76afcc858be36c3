"""`mc executions`: list, show, receipts, and the ingestion of traces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mc_pipelines.executions.records import Transition

app = typer.Typer(help="List, show and ingest executions.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="An execution's id; `mc executions ls`.")]


@app.command("ls")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many, newest first.", min=1, max=10_000)] = 50,
    json: Json = False,
) -> None:
    """List the newest executions with their state.

    Example: mc executions ls --tenant acme
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.executions.records import list_executions

    with open_context().database.begin() as connection:
        rows = list_executions(connection, tenant=tenant, limit=limit)
    if json:
        print_json(rows)
    else:
        columns = ("execution_id", "tenant", "workflow", "state", "attempt", "published_at")
        print_table(columns, ([row[column] for column in columns] for row in rows))


@app.command()
def show(execution_id: Id, json: Json = False) -> None:
    """Show an execution's manifest, every step and where its receipt is.

    Example: mc executions show 019bd7c0-0000-7000-8000-000000000000
    """
    from dataclasses import asdict

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.executions.manifest import without_values
    from mc_pipelines.executions.records import get_execution, get_receipt, get_transitions
    from mc_pipelines.foundation.ids import parse_uuid

    wanted = parse_uuid(execution_id, field="execution_id")
    with open_context().database.begin() as connection:
        published = get_execution(connection, wanted)
        steps = get_transitions(connection, wanted)
        receipt = get_receipt(connection, wanted)
    if json:
        shown = asdict(published) | {"manifest": without_values(published.manifest)}
        found = {"execution": shown, "transitions": [asdict(step) for step in steps]}
        print_json(found | {"receipt": None if receipt is None else asdict(receipt)})
        return
    print(f"{published.execution_id} of {published.tenant}: {published.workflow} ({published.manifest_digest})")
    rows = ([step.at, step.state, step.attempt, step.detail.get("reason", "")] for step in steps)
    print_table(("at", "state", "attempt", "reason"), rows)
    for line in _warnings(steps):
        print(line)
    if receipt is not None:
        print(f"receipt {receipt.receipt_digest} at {receipt.path}")


def _warnings(steps: Sequence[Transition]) -> Iterator[str]:
    """Yield what a policy that is being rolled out would have denied."""
    for step in steps:
        warning = step.detail.get("warning") or {}
        for denial in warning.get("wouldDeny", ()):
            what = f"{denial['candidate']}: {denial['why']} (fix: {denial['fix']})"
            yield f"warning: policy {warning['revision'][:19]} will deny {what}"


@app.command()
def receipt(
    execution_id: Id,
    out: Annotated[Path | None, typer.Option(help="Write the signed envelope here instead of printing it.")] = None,
    json: Json = False,
) -> None:
    """Print the signed receipt of an execution; `mc verify` checks it offline.

    Example: mc executions receipt 019bd7c0-0000-7000-8000-000000000000 --out receipt.json
    """
    from dataclasses import asdict

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.executions.records import get_execution, get_receipt
    from mc_pipelines.foundation.errors import NotFoundError
    from mc_pipelines.foundation.ids import parse_uuid

    wanted = parse_uuid(execution_id, field="execution_id")
    context = open_context()
    with context.database.begin() as connection:
        get_execution(connection, wanted)
        found = get_receipt(connection, wanted)
    if found is None:
        raise NotFoundError(
            "The execution has not ended yet", field="execution_id", value=execution_id, mend="mc runner drain"
        )
    content = context.encrypted_store.get(found.path, tenant=found.tenant)
    if out is not None:
        out.write_bytes(content)
    if json:
        print_json(asdict(found) | ({"envelope": content.decode()} if out is None else {"out": out}))
    elif out is None:
        print(content.decode())
    else:
        print(f"{out}: {found.receipt_digest}")


@app.command()
def ingest(
    paths: Annotated[list[Path] | None, typer.Argument(help="Parquet traces; none with --simulate.")] = None,
    overlay_seed: Annotated[int, typer.Option(help="Seed of what the traces lack.", min=0)] = 7,
    tenants: Annotated[str, typer.Option(help="Tenants to share the workflows out to, by comma.")] = "",
    simulate: Annotated[bool, typer.Option("--simulate", help="Ninety simulated days up to yesterday.")] = False,
    json: Json = False,
) -> None:
    """Load traces into the lake of execution facts; the same again changes nothing.

    What a trace lacks is constructed by a seeded overlay (docs/reference/overlay.md); its rows say so.

    Example: mc executions ingest traces/*.parquet --tenants acme,globex
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.executions.ingest import ingest_simulation, ingest_traces
    from mc_pipelines.executions.overlay import DEFAULT_TENANTS, Overlay
    from mc_pipelines.executions.simulator import last_ninety_days
    from mc_pipelines.foundation.errors import InputError

    if bool(paths) == simulate:
        raise InputError("Give either Parquet traces or --simulate", field="PATHS")
    overlay = Overlay(overlay_seed, tuple(tenants.split(",")) if tenants else DEFAULT_TENANTS)
    context = open_context()
    if simulate:
        first_day = last_ninety_days(context.clock.now())
        reports = [ingest_simulation(context.object_store, first_day=first_day, overlay=overlay)]
    else:
        reports = ingest_traces(context.object_store, paths or [], overlay)
    if json:
        print_json([report.document() for report in reports])
        return
    print_table(
        ("origin", "rows", "first day", "last day", "files", "new files"),
        ([one.origin, one.rows, one.first_day, one.last_day, one.files, one.files_written] for one in reports),
        title="Execution facts (source=constructed)",
    )
    print(f"constructed by the overlay, seed {overlay.seed}: {', '.join(reports[0].constructed)}")
