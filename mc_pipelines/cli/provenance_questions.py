# ruff: noqa: PLR0917 - every option of a command is a parameter
"""`mc provenance nodes|graph|paths|impact|diff|gaps|snapshots|export`: questions of the graph, as operators see it."""

from __future__ import annotations

import json as json_module
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from mc_pipelines.composition import Context
    from mc_pipelines.foundation.ids import TenantId
    from mc_pipelines.provenance.access import Filter
    from mc_pipelines.provenance.answer import Answer

Tenant = Annotated[str, typer.Option(help="Whose graph.")]
Node = Annotated[str, typer.Argument(help="A digest, a package URL, a receipt or a run.")]
Depth = Annotated[int, typer.Option(help="Steps from the node.", min=1, max=5)]
Direction = Annotated[str, typer.Option(help="ancestors, descendants, both or undirected.")]
Limit = Annotated[int, typer.Option(help="Most nodes.", min=1, max=5000)]
AsOf = Annotated[str | None, typer.Option(help="The moment at which claims must hold, with its zone.")]
KnownAt = Annotated[str | None, typer.Option(help="Leave out what was learnt later.")]
Kinds = Annotated[str | None, typer.Option(help="Kinds to enter, such as package,bundle; default: all five.")]
Types = Annotated[str | None, typer.Option(help="Edges to follow, such as uses,produces; default: all four.")]
FanOut = Annotated[int, typer.Option(help="Most neighbours followed of a node, each way.", min=1, max=100_000)]
Verified = Annotated[bool, typer.Option("--verified", help="Keep to documents that we verified.")]
Resolve = Annotated[str, typer.Option(help="Alias claims that count: verified, claimed or none.")]


def open_graph(tenant: str) -> tuple[Context, TenantId, Filter]:
    """Return what a question is put to: the context, whose graph, and what an operator may see of it."""
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.access import Reader, decide

    whose = TenantId(parse_name(tenant, field="--tenant"))
    context = open_context()
    engine, revision = context.graph_policy
    return context, whose, decide(engine, revision, Reader(whose, frozenset({"operator"}), clearance=3))


def _given(**options: Any) -> dict[str, str]:
    """Return options as parameters of a question; what was not given is left out."""
    names = {"as_of": "asOf", "known_at": "knownAt", "from_": "from", "max_length": "maxLength", "fan_out": "fanOut"}
    given = {
        names.get(name, name): value for name, value in options.items() if value is not None and value is not False
    }
    return {name: "true" if value is True else str(value) for name, value in given.items()}


def _scope(as_of: str | None, known_at: str | None, resolve: str, *, verified: bool) -> dict[str, str]:
    return _given(as_of=as_of, known_at=known_at, resolve=resolve, verified="only" if verified else None)


def _warn(answer: Answer) -> None:
    if not answer.complete:
        print("not complete: see truncated, fanOut and pruned in --json", file=sys.stderr)


def _document(answer: Answer) -> dict[str, Any]:
    _warn(answer)
    found: dict[str, Any] = json_module.loads(answer.body)
    return found


def nodes(
    tenant: Tenant,
    kinds: Annotated[str | None, typer.Option(help="Such as bundle,execution; default: all five.")] = None,
    contains: Annotated[str | None, typer.Option(help="What the id must hold.")] = None,
    after: Annotated[str | None, typer.Option(help="The last node of the page before.")] = None,
    limit: Limit = 50,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    verified: Verified = False,
    json: Json = False,
) -> None:
    """List the nodes that a tenant's documents name, newest first: where to begin without an id at hand.

    Example: mc provenance nodes --tenant acme --kinds bundle --contains shop
    """
    from mc_pipelines.provenance.listing import nodes_answer
    from mc_pipelines.provenance.request import ListQuery

    asked = _given(kinds=kinds, contains=contains, after=after, limit=limit, as_of=as_of, known_at=known_at)
    query = ListQuery.parse(asked | _given(verified="only" if verified else None))
    context, whose, allowed = open_graph(tenant)
    found = json_module.loads(nodes_answer(context.graph_store, whose, query, allowed).body)
    if json:
        print_json(found)
        return
    if not found["nodes"]:
        print("no such nodes; `mc provenance ingest` records documents that name some", file=sys.stderr)
    rows = ((each["id"], each["kind"], "stub" if each.get("stub") else "") for each in found["nodes"])
    print_table(("node", "kind", ""), rows)
    if found["next"] is not None:
        print(f"more: --after {found['next']}")


def graph(
    node: Node,
    tenant: Tenant,
    depth: Depth = 2,
    direction: Direction = "both",
    kinds: Kinds = None,
    types: Types = None,
    limit: Limit = 500,
    fan_out: FanOut = 1000,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    verified: Verified = False,
    resolve: Resolve = "verified",
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    json: Json = False,
) -> None:
    """Show what is around a node; an answer that is not whole says so.

    Example: mc provenance graph pkg:deb/debian/curl@7.88.1 --tenant acme --depth 3
    """
    from mc_pipelines.provenance.query import graph_answer
    from mc_pipelines.provenance.request import GraphQuery

    asked = _given(node=node, depth=depth, direction=direction, kinds=kinds, types=types, limit=limit)
    asked |= _given(fan_out=fan_out, cursor=cursor)
    query = GraphQuery.parse(asked | _scope(as_of, known_at, resolve, verified=verified))
    context, whose, allowed = open_graph(tenant)
    found = _document(graph_answer(context.graph_store, whose, query, allowed, context.cursors))
    if json:
        print_json(found)
        return
    print_table(("node", "kind"), ((each["id"], each["kind"]) for each in found["nodes"]))
    print_table(("from", "type", "to"), ((each["from"], each["type"], each["to"]) for each in found["edges"]))
    if found["truncated"]:
        print(f"more: --cursor {found['truncated']['cursor']}")


def paths(
    source: Annotated[str, typer.Argument(help="Where paths begin.")],
    target: Annotated[str, typer.Argument(help="Where they end.")],
    tenant: Tenant,
    direction: Direction = "both",
    kinds: Kinds = None,
    types: Types = None,
    max_length: Annotated[int, typer.Option(help="Steps at most.", min=1, max=50)] = 20,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    verified: Verified = False,
    resolve: Resolve = "verified",
    json: Json = False,
) -> None:
    """Say why one node reaches another; exit code 1 where no path was found.

    Example: mc provenance paths pkg:oci/shop@1 pkg:deb/debian/libc6@2.36 --tenant acme
    """
    from mc_pipelines.provenance.paths import paths_answer
    from mc_pipelines.provenance.request import PathQuery

    asked = _given(from_=source, to=target, direction=direction, kinds=kinds, types=types, max_length=max_length)
    query = PathQuery.parse(asked | _scope(as_of, known_at, resolve, verified=verified))
    context, whose, allowed = open_graph(tenant)
    found = _document(paths_answer(context.graph_store, whose, query, allowed))
    if json:
        print_json(found)
    elif found["found"] == "yes":
        print(f"{found['count']} shortest path(s) of {found['length']} step(s), towards {found['direction']}")
        for path in found["paths"]:
            print("  " + "\n    > ".join(path))
    else:
        print(f"found: {found['found']}")
    raise typer.Exit(int(found["found"] != "yes"))


def impact(
    node: Node,
    tenant: Tenant,
    kinds: Kinds = None,
    types: Types = None,
    limit: Limit = 500,
    plan: Annotated[bool, typer.Option("--plan", help="Say in which order to rebuild.")] = False,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    verified: Verified = False,
    resolve: Resolve = "verified",
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    json: Json = False,
) -> None:
    """Count what stands on a node, and list it: its blast radius.

    Example: mc provenance impact pkg:npm/left-pad@1.3.0 --tenant acme --plan
    """
    from mc_pipelines.provenance.impact import impact_answer
    from mc_pipelines.provenance.request import ImpactQuery

    asked = _given(node=node, kinds=kinds, types=types, limit=limit, plan=plan, cursor=cursor)
    query = ImpactQuery.parse(asked | _scope(as_of, known_at, resolve, verified=verified))
    context, whose, allowed = open_graph(tenant)
    found = _document(impact_answer(context.graph_store, whose, query, allowed, context.cursors))
    if json:
        print_json(found)
        return
    print(found["says"])
    counted = sorted(found["counts"]["total"])
    print_table(
        ("kind", "direct", "total"),
        ((k, found["counts"]["direct"].get(k, 0), found["counts"]["total"][k]) for k in counted),
    )
    print_table(("bundle", "live"), ((each["id"], "yes" if each["live"] else "") for each in found["bundles"]))
    for step in found.get("plan", ()):
        print(f"step {step['step']}: {step['count']}: {', '.join(step['nodes'][:5])}")


def diff(
    a: Annotated[str, typer.Argument(help="One node.")],
    b: Annotated[str, typer.Argument(help="The other; may be the same at another moment.")],
    tenant: Tenant,
    direction: Annotated[str, typer.Option(help="ancestors or descendants.")] = "ancestors",
    as_of_a: Annotated[str | None, typer.Option(help="The moment of the first.")] = None,
    as_of_b: Annotated[str | None, typer.Option(help="The moment of the second.")] = None,
    known_at_a: Annotated[str | None, typer.Option(help="What was known then of the first.")] = None,
    known_at_b: Annotated[str | None, typer.Option(help="What was known then of the second.")] = None,
    verified: Verified = False,
    resolve: Resolve = "verified",
    json: Json = False,
) -> None:
    """Say what differs between what two nodes stand on; exit code 1 where something does.

    Example: mc provenance diff pkg:oci/shop@1 pkg:oci/shop@2 --tenant acme
    """
    from mc_pipelines.provenance.diff import diff_answer
    from mc_pipelines.provenance.request import DiffQuery

    moments = {"asOfA": as_of_a, "asOfB": as_of_b, "knownAtA": known_at_a, "knownAtB": known_at_b}
    asked = _given(a=a, b=b, direction=direction, **moments)
    query = DiffQuery.parse(asked | _scope(None, None, resolve, verified=verified))
    context, whose, allowed = open_graph(tenant)
    found = _document(diff_answer(context.graph_store, whose, query, allowed))
    if json:
        print_json(found)
    else:
        print_table(
            ("package", "from", "to"),
            ((each["package"], ", ".join(each["from"]), ", ".join(each["to"])) for each in found["changed"]),
            title="changed versions",
        )
        only = ((each["side"], each["kind"], each["id"]) for each in found["nodes"] if each["side"] != "both")
        print_table(("only in", "kind", "node"), only)
    raise typer.Exit(int(found["same"] != "yes"))


def gaps(
    tenant: Tenant,
    node: Annotated[str | None, typer.Option(help="Look among its ancestors only.")] = None,
    limit: Limit = 100,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    json: Json = False,
) -> None:
    """List what nobody can vouch for, by how many live bundles stand on it.

    Example: mc provenance gaps --tenant acme
    """
    from mc_pipelines.provenance.gaps import gaps_answer
    from mc_pipelines.provenance.request import GapQuery

    query = GapQuery.parse(_given(node=node, limit=limit, as_of=as_of, known_at=known_at))
    context, whose, allowed = open_graph(tenant)
    found = _document(gaps_answer(context.graph_store, whose, query, allowed))
    if json:
        print_json(found)
        return
    columns = ("gap", "bundles", "kind", "node", "why")
    print_table(columns, ([each[column] for column in columns] for each in found["gaps"]))


def snapshots(tenant: Tenant, json: Json = False) -> None:
    """Say which event answers are read at now, and which generations are kept.

    Example: mc provenance snapshots --tenant acme
    """
    from mc_pipelines.provenance.snapshots import snapshots_answer

    context, whose, _ = open_graph(tenant)
    found = json_module.loads(snapshots_answer(context.graph_store, whose).body)
    if json:
        print_json(found)
        return
    print(f"event {found['seq']} of the tenant, {found['shared']} of what is shared")
    columns = ("generation", "seq", "nodes", "edges", "builtAt", "current")
    print_table(columns, ([each[column] for column in columns] for each in found["generations"]))


def export(
    node: Node,
    tenant: Tenant,
    form: Annotated[
        str, typer.Option("--format", help="json, cytoscape, dot, graphml, mermaid, prov-json, csv or svg.")
    ],
    out: Annotated[Path | None, typer.Option(help="File to write; default: standard output.")] = None,
    depth: Depth = 2,
    direction: Direction = "both",
    kinds: Kinds = None,
    types: Types = None,
    limit: Limit = 500,
    fan_out: FanOut = 1000,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    verified: Verified = False,
    resolve: Resolve = "verified",
    json: Json = False,
) -> None:
    """Write what is around a node in a form that other programs read.

    Example: mc provenance export pkg:oci/shop@1 --tenant acme --format graphml --out shop.graphml
    """
    from mc_pipelines.provenance.formats import choose_form
    from mc_pipelines.provenance.query import graph_answer
    from mc_pipelines.provenance.request import GraphQuery

    chosen = choose_form(form, None)
    asked = _given(node=node, depth=depth, direction=direction, kinds=kinds, types=types, limit=limit)
    asked |= _given(fan_out=fan_out, evidence=True)
    query = GraphQuery.parse(asked | _scope(as_of, known_at, resolve, verified=verified))
    context, whose, allowed = open_graph(tenant)
    answer = graph_answer(context.graph_store, whose, query, allowed, context.cursors, form=chosen)
    _warn(answer)
    if out is None:
        sys.stdout.buffer.write(answer.body)
        return
    partial = out.with_name(out.name + ".tmp")
    partial.write_bytes(answer.body)
    partial.replace(out)
    written = {"file": out, "nodes": answer.nodes, "edges": answer.edges, "complete": answer.complete}
    if json:
        print_json(written)
    else:
        print(f"{out}: {answer.nodes} nodes, {answer.edges} edges")
