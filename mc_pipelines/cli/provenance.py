"""`mc provenance`: ingest documents and query the graph."""

from __future__ import annotations

from typing import Annotated

import typer

from mc_pipelines.cli.output import Json, print_json, print_table
from mc_pipelines.cli.provenance_ingest import ingest, root, watch_dagster
from mc_pipelines.cli.provenance_keeping import delete_tenant, hold, live, prune, restore
from mc_pipelines.cli.provenance_proofs import check_answer, commit, prove
from mc_pipelines.cli.provenance_questions import diff, export, gaps, graph, impact, nodes, paths, snapshots
from mc_pipelines.cli.provenance_trust import check_proof, explain, gate, what_if

app = typer.Typer(help="Ingest documents and query the graph.", no_args_is_help=True)
Tenant = Annotated[str, typer.Option(help="Whose graph.")]


app.command()(ingest)
app.command("watch-dagster")(watch_dagster)
app.command()(root)


for command in (nodes, graph, paths, impact, diff, gaps, snapshots, export, prune, restore, live, hold, explain, gate):
    app.command()(command)
app.command()(commit)
app.command()(prove)
app.command("check-proof")(check_proof)
app.command("check-answer")(check_answer)
app.command("what-if")(what_if)
app.command("delete-tenant")(delete_tenant)


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
