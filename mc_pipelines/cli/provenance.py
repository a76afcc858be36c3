"""`mc provenance`: ingest documents and query the graph."""

from __future__ import annotations

from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table
from mc_pipelines.cli.provenance_ingest import ingest, root, watch_dagster

app = typer.Typer(help="Ingest documents and query the graph.", no_args_is_help=True)
Tenant = Annotated[str, typer.Option(help="Whose graph.")]


app.command()(ingest)
app.command("watch-dagster")(watch_dagster)
app.command()(root)


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
