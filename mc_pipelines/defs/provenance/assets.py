"""The provenance graph: receipts become edges, edges become generations that answer in milliseconds."""

from typing import Any

import dagster as dg

from mc_pipelines.defs.partitions import retries
from mc_pipelines.defs.resources import Maestro
from mc_pipelines.defs.tables import outcome, table


@dg.asset(
    group_name="provenance",
    owners=["team:security"],
    kinds={"postgres"},
    code_version="1",
    retry_policy=retries(),
    description="The edge log: what each receipt claims, once; other documents come by `mc provenance ingest`.",
)
def provenance_edges(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Ingest every receipt that the log does not know yet."""
    from collections import Counter

    from mc_pipelines.composition import provenance_marking, provenance_trust, receipt_documents
    from mc_pipelines.provenance.ingest import ingest_documents

    context = maestro.open()
    roots = provenance_trust(context)
    counted: Counter[tuple[str, str]] = Counter()
    for tenant, documents in receipt_documents(context):
        marking = provenance_marking(context, tenant)
        results = ingest_documents(context.database, tenant, documents, roots, clock=context.clock, marking=marking)
        counted.update((one.status, one.verification) for one in results)
    rows = [(*key, number) for key, number in sorted(counted.items())]
    return dg.MaterializeResult(metadata={"receipts": table(("status", "verdict", "receipts"), rows)})


@dg.asset(
    deps=[provenance_edges],
    group_name="provenance",
    owners=["team:security"],
    kinds={"numpy", "postgres"},
    code_version="1",
    pool="provenance_generation",
    description="Memory-mapped generations of every tenant's graph; readers swap to the newest by compare-and-set.",
)
def provenance_generation(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Build what the log is ahead of, and commit to it; a tenant without news keeps its generation and its root."""
    from mc_pipelines.provenance.committing import commit_all
    from mc_pipelines.provenance.generations import build_all

    context = maestro.open()
    built = build_all(context.database, context.generations_folder, clock=context.clock)
    committed = commit_all(context.database, context.generations_folder, clock=context.clock)
    rows = [(one.generation[:12], one.seq, one.nodes, one.edges, one.bytes) for one in built]
    return dg.MaterializeResult(
        metadata={
            "nodes": sum(one.nodes for one in built),
            "edges": sum(one.edges for one in built),
            "bytes": sum(one.bytes for one in built),
            "committed": len(committed),
            "generations": table(("generation", "sequence", "nodes", "edges", "bytes"), rows),
        }
    )


@dg.asset_check(
    asset=provenance_generation,
    blocking=True,
    description="Every current generation holds the same edges in both directions, in order.",
)
def generations_are_sound(maestro: Maestro) -> dg.AssetCheckResult:
    """Read each current file from end to end."""
    from mc_pipelines.foundation.errors import MaestroError
    from mc_pipelines.provenance.edge_log import known_tenants
    from mc_pipelines.provenance.generations import check_structure
    from mc_pipelines.provenance.pointer import current_generation

    context = maestro.open()
    problems = []
    with context.database.begin() as connection:
        tenants = known_tenants(connection)
    for number, tenant in enumerate(tenants):
        with context.database.begin(tenant=tenant) as connection:
            current = current_generation(connection, tenant)
        if current is None:
            problems.append(f"shard {number} has no generation")
            continue
        try:
            check_structure(context.generations_folder / current.path)
        except MaestroError as error:
            problems.append(str(error))
    return dg.AssetCheckResult(**outcome(not problems, problems, shards=len(tenants)))


@dg.asset(
    deps=[provenance_edges],
    group_name="provenance",
    owners=["team:security"],
    kinds={"postgres", "parquet"},
    code_version="1",
    pool="provenance_generation",
    description="Recomputable detail leaves the hot tier; never what lies below a live bundle or a legal hold.",
)
def provenance_retention(maestro: Maestro) -> dg.MaterializeResult[Any]:
    """Prune every tenant's graph by the rules; what goes is archived first and leaves tombstones."""
    from mc_pipelines.composition import prune_graphs

    reports = list(prune_graphs(maestro.open()))
    rows = [
        (number, len(one.pruned), sum(each.edges for each in one.pruned), sum(one.protected.values()), one.roots)
        for number, one in enumerate(reports)
    ]
    return dg.MaterializeResult(
        metadata={
            "documents": sum(row[1] for row in rows),
            "edges": sum(row[2] for row in rows),
            "shards": table(("shard", "pruned", "edges", "protected", "roots"), rows),
        }
    )


@dg.asset_check(
    asset=provenance_retention,
    blocking=True,
    description="At no node below a live bundle or a legal hold does a tombstone stand that came after it was kept.",
)
def nothing_live_was_pruned(maestro: Maestro) -> dg.AssetCheckResult:
    """Walk up from every root and look for tombstones."""
    from mc_pipelines.composition import graph_tenants
    from mc_pipelines.provenance.kept import pruned_below_roots

    context = maestro.open()
    tenants = graph_tenants(context)
    problems = [
        f"shard {number}: {count} nodes below a root have been pruned since it is kept"
        for number, tenant in enumerate(tenants)
        if (count := pruned_below_roots(context.database, tenant, now=context.clock.now()))
    ]
    return dg.AssetCheckResult(**outcome(not problems, problems, shards=len(tenants)))
