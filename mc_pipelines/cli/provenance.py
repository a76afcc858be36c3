"""`mc provenance`: ingest documents and query the graph."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

app = typer.Typer(help="Ingest documents and query the graph.", no_args_is_help=True)
Tenant = Annotated[str, typer.Option(help="Whose graph.")]


@app.command()
def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Documents, or folders of them.")],
    tenant: Tenant,
    json: Json = False,
) -> None:
    """Record what documents claim, each whole or not at all; one that is known changes nothing.

    Reads CycloneDX, in-toto, SLSA, DSSE and sigstore bundles. Exit code 1 if any document is refused.

    Example: mc provenance ingest sbom.json attestations/ --tenant acme
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.edge_log import ingest_claims
    from mc_pipelines.provenance.readers import read_document

    whose = TenantId(parse_name(tenant, field="--tenant"))
    context = open_context()
    rows = []
    for path in _files(paths):
        try:
            claims = read_document(path.read_bytes(), path.name)
            found = ingest_claims(context.database, whose, claims, clock=context.clock)
        except (InputError, OSError) as error:
            rows.append({"document": str(path), "status": "refused", "reason": str(error), "nodes": 0, "edges": 0})
            continue
        rows.append(
            {
                "document": str(path),
                "status": found.status,
                "reason": found.reason,
                "nodes": found.nodes,
                "edges": found.edges,
            }
        )
    if json:
        print_json(rows)
    else:
        columns = ("document", "status", "nodes", "edges", "reason")
        print_table(columns, ([row[column] for column in columns] for row in rows))
    raise typer.Exit(int(any(row["status"] == "refused" for row in rows)))


@app.command()
def graph(
    node: Annotated[str, typer.Argument(help="A digest, a package URL, a receipt or a run.")],
    tenant: Tenant,
    depth: Annotated[int, typer.Option(help="Steps from the node.", min=1, max=5)] = 2,
    direction: Annotated[str, typer.Option(help="ancestors, descendants, both or undirected.")] = "both",
    limit: Annotated[int, typer.Option(help="Most nodes.", min=1, max=5000)] = 500,
    json: Json = False,
) -> None:
    """Show what is around a node, as an operator of the tenant sees it.

    Example: mc provenance graph pkg:deb/debian/curl@7.88.1 --tenant acme --depth 3
    """
    import json as json_module

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.access import Reader, decide
    from mc_pipelines.provenance.query import graph_answer
    from mc_pipelines.provenance.request import parse_query

    whose = TenantId(parse_name(tenant, field="--tenant"))
    asked = {"node": node, "depth": str(depth), "direction": direction, "limit": str(limit)}
    query = parse_query(asked)
    context = open_context()
    engine, revision = context.graph_policy
    allowed = decide(engine, revision, Reader(whose, frozenset({"operator"}), clearance=3))
    answer = graph_answer(context.graph_store, whose, query, allowed, context.cursors)
    found = json_module.loads(answer.body)
    if json:
        print_json(found)
        return
    print_table(("node", "kind"), ((each["id"], each["kind"]) for each in found["nodes"]))
    print_table(("from", "type", "to"), ((each["from"], each["type"], each["to"]) for each in found["edges"]))


@app.command()
def build(json: Json = False) -> None:
    """Build the generations of graphs that grew; the schedule does it hourly.

    Example: mc provenance build
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.provenance.generations import build_all

    context = open_context()
    rows = [
        {"tenant": one.tenant, "generation": one.generation, "nodes": one.nodes, "edges": one.edges}
        for one in build_all(context.database, context.generations_folder, clock=context.clock)
    ]
    if json:
        print_json(rows)
    else:
        print_table(("tenant", "generation", "nodes", "edges"), (tuple(row.values()) for row in rows))


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file())
        else:
            yield path
