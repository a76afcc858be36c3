"""`mc provenance prune|restore|live|hold|delete-tenant`: what stays in the graph, what leaves it, what comes back."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

Tenant = Annotated[str, typer.Option(help="Whose graph.")]


class Act(StrEnum):
    """What to do with a node that is kept."""

    ADD = "add"
    END = "end"
    LS = "ls"


def prune(
    tenant: Tenant,
    low_value_days: Annotated[int, typer.Option(help="Days that low-value documents stay.", min=1)] = 30,
    superseded_days: Annotated[int, typer.Option(help="Days that superseded documents stay.", min=1)] = 180,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, only say what would go.")] = False,
    json: Json = False,
) -> None:
    """Say which recomputable detail may leave the hot tier, and with --apply let it go to the cold one.

    Nothing below a live bundle or a legal hold goes, nor receipts and what they sign or verify.

    Example: mc provenance prune --tenant acme --low-value-days 14
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.cold import Archive
    from mc_pipelines.provenance.pruning import prune as do_prune
    from mc_pipelines.provenance.pruning import report_document
    from mc_pipelines.provenance.retention import Rule, Selects

    whose = TenantId(parse_name(tenant, field="--tenant"))
    rules = (Rule(Selects.LOW_VALUE, low_value_days), Rule(Selects.SUPERSEDED, superseded_days))
    context = open_context()
    archive = Archive(context.encrypted_store, whose)
    report = do_prune(context.database, whose, archive=archive, clock=context.clock, rules=rules, dry_run=not apply)
    if json:
        print_json(report_document(report))
        return
    print_table(("document", "rule", "edges"), ((each.digest, each.rule, each.edges) for each in report.pruned))
    kept = ", ".join(f"{count} by {rule}" for rule, count in report.protected.items()) or "none"
    verb = "gone to the cold tier" if apply else "would go (--apply lets them)"
    print(f"{len(report.pruned)} documents {verb}; old enough but protected: {kept}; {report.roots} roots in force")


def restore(
    document: Annotated[str, typer.Argument(help="Digest of the pruned document.")],
    tenant: Tenant,
    json: Json = False,
) -> None:
    """Bring a pruned document back from the cold tier.

    Example: mc provenance restore sha256:ab…cd --tenant acme
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_digest, parse_name
    from mc_pipelines.provenance.cold import Archive
    from mc_pipelines.provenance.restoring import restore as do_restore

    whose = TenantId(parse_name(tenant, field="--tenant"))
    digest = parse_digest(document, field="document")
    context = open_context()
    archive = Archive(context.encrypted_store, whose)
    seq = do_restore(context.database, whose, digest, archive=archive, clock=context.clock)
    if json:
        print_json({"document": digest, "seq": seq})
    else:
        print(f"{digest} is back, as event {seq}")


def live(
    act: Annotated[Act, typer.Argument(help="add, end or ls.")],
    tenant: Tenant,
    node: Annotated[str | None, typer.Argument(help="The bundle.")] = None,
    json: Json = False,
) -> None:
    """Record which bundles are live: gaps are ranked by them, and nothing below them is pruned.

    Example: mc provenance live add pkg:oci/shop@sha256:ab… --tenant acme
    """
    _keep("live", act, tenant, node, json=json)


def hold(
    act: Annotated[Act, typer.Argument(help="add, end or ls.")],
    tenant: Tenant,
    node: Annotated[str | None, typer.Argument(help="The node.")] = None,
    json: Json = False,
) -> None:
    """Put a legal hold on a node: nothing below it is pruned, and the tenant's graph cannot be deleted.

    Example: mc provenance hold add run:mc/0196f7c2 --tenant acme
    """
    _keep("hold", act, tenant, node, json=json)


def delete_tenant(
    tenant: Tenant,
    keys: Annotated[
        bool, typer.Option("--keys", help="Destroy its data keys too: nothing sealed for it opens again.")
    ] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without, only count.")] = False,
    json: Json = False,
) -> None:
    """Delete a tenant's graph: rows, generations, cold files, and with --keys what its sealed data opens with.

    Example: mc provenance delete-tenant --tenant acme --keys
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance import offboarding

    whose = TenantId(parse_name(tenant, field="--tenant"))
    context = open_context()
    done = offboarding.delete_tenant(
        context.database,
        whose,
        folder=context.generations_folder,
        objects=context.object_store,
        clock=context.clock,
        by="mc",
        keys=keys,
        dry_run=not apply,
    )
    if json:
        print_json({"tenant": whose, "dryRun": not apply, "rows": done.rows, "files": done.files, "keys": done.keys})
        return
    print_table(("table", "rows"), done.rows.items())
    print(f"{done.files} files, {done.keys} data keys{'' if apply else ': nothing was deleted (--apply does it)'}")


def _keep(reason: str, act: Act, tenant: str, node: str | None, *, json: bool) -> None:
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.request import parse_query_node
    from mc_pipelines.provenance.roots import Reason, keep_root, list_roots, release_root

    whose = TenantId(parse_name(tenant, field="--tenant"))
    why = Reason(reason)
    found: dict[str, Any] = {}
    identifier = None if act is Act.LS else parse_query_node(node, field="node")
    context = open_context()
    with context.database.begin(tenant=whose) as connection:
        if identifier is not None:
            change = keep_root if act is Act.ADD else release_root
            changed = change(connection, whose, identifier, why, by="mc", now=context.clock.now())
            found = {"node": identifier, "reason": reason, "changed": changed}
        roots = [each for each in list_roots(connection, whose) if each.reason is why]
    if act is not Act.LS:
        if json:
            print_json(found)
        else:
            done = "begun" if act is Act.ADD else "ended"
            print(f"{found['node']}: {reason} {done}{'' if found['changed'] else ' before'}")
        return
    rows = [{"node": each.node, "since": each.since, "until": each.until} for each in roots]
    if json:
        print_json(rows)
    else:
        print_table(("node", "since", "until"), ([*row.values()] for row in rows))
