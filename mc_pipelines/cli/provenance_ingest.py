"""`mc provenance ingest`, `watch-dagster` and `root`: what enters the graph, and one hash over all that did."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from mc_pipelines.provenance.edge_log import IngestResult
    from mc_pipelines.provenance.ingest import Document

Tenant = Annotated[str, typer.Option(help="Whose graph.")]
Classification = Annotated[
    int | None, typer.Option(help="0 (open) to 3 (secret); default: by the tenant's data class.", min=0, max=3)
]
Purposes = Annotated[
    list[str] | None, typer.Option(help="Who reads for it sees the claims; repeatable; default: any purpose.")
]
LowValue = Annotated[
    bool, typer.Option("--low-value", help="Detail that can be made again: `mc provenance prune` lets it go first.")
]
Shared = Annotated[bool, typer.Option("--shared", help="Let `--tenant public` write what every tenant reads.")]
_SAY_EVERY = 1000


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Documents, or folders of them.")],
    tenant: Tenant,
    shared: Shared = False,
    classification: Classification = None,
    purpose: Purposes = None,
    low_value: LowValue = False,
    json: Json = False,
) -> None:
    """Record what documents claim, each whole or not at all; one that is known changes nothing.

    Reads CycloneDX, SPDX, in-toto, SLSA, DSSE, sigstore bundles, PEP 740, npm and Cloud Build attestations,
    OpenLineage events and Debian indices. Signatures are judged by our own keys and by MC_PROVENANCE_TRUST.
    Exit code 1 if any document is refused.

    Example: mc provenance ingest sbom.json attestations/ --tenant acme --classification 2 --purpose security
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.composition import provenance_marking, provenance_trust
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.ingest import ingest_documents

    whose = TenantId(parse_name(tenant, field="--tenant"))
    context = open_context()
    names: list[str] = []
    unread: list[dict[str, Any]] = []
    results = ingest_documents(
        context.database,
        whose,
        _documents(paths, names, unread),
        provenance_trust(context),
        clock=context.clock,
        operator=shared,
        marking=provenance_marking(context, whose, classification, purpose or ()),
        low_value=low_value,
    )
    rows = [_row(names[place], result) for place, result in enumerate(_counted(results))] + unread
    if json:
        print_json(rows)
    else:
        columns = ("document", "status", "nodes", "edges", "verification", "reason")
        print_table(columns, ([row[column] for column in columns] for row in rows))
        counts = Counter(row["status"] for row in rows)
        print(", ".join(f"{count} {status}" for status, count in sorted(counts.items())) or "no documents found")
    raise typer.Exit(int(any(row["status"] == "refused" for row in rows)))


def watch_dagster(
    instance: Annotated[Path, typer.Argument(help="DAGSTER_HOME of the instance: the folder of its dagster.yaml.")],
    tenant: Tenant,
    issuer: Annotated[str, typer.Option(help="What to call it; ids of its runs and assets begin with it.")] = "dagster",
    poll: Annotated[float | None, typer.Option(help="Seconds between looks; without it, one look.", min=0.5)] = None,
    classification: Classification = None,
    purpose: Purposes = None,
    json: Json = False,
) -> None:
    """Record the materialisations of a Dagster instance: which step read and made which version of which asset.

    The instance is only read. Where it went on is kept in MC_HOME; looked at anew, nothing is recorded twice.

    Example: mc provenance watch-dagster ~/dagster --tenant acme --issuer dagster/prod --poll 5 --classification 1
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.cli.dagster_watch import watch
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.foundation.ids import TenantId, parse_name

    whose = TenantId(parse_name(tenant, field="--tenant"))
    if not instance.is_dir():
        raise InputError("No such folder", field="INSTANCE", value=str(instance), mend="name a DAGSTER_HOME")
    counted = {"accepted": 0, "known": 0, "refused": 0}
    found = watch(
        open_context(),
        whose,
        instance.resolve(),
        issuer,
        poll=poll,
        classification=classification,
        purposes=purpose or (),
    )
    for results in found:
        for result in results:
            counted[result.status] += 1
            if result.status == "refused":
                typer.echo(f"refused: {result.reason}", err=True)
        if poll is not None and not json and results:
            typer.echo(f"{len(results)} materialisations", err=True)
    if json:
        print_json(counted)
    else:
        print_table(tuple(counted), [tuple(counted.values())])
    raise typer.Exit(int(counted["refused"] > 0))


def root(tenant: Tenant, json: Json = False) -> None:
    """Print one hash over all that a tenant's graph says, whatever the order in which documents came.

    Example: mc provenance root --tenant acme
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.root_hash import root_hash

    whose = TenantId(parse_name(tenant, field="--tenant"))
    with open_context().database.begin(tenant=whose) as connection:
        found = root_hash(connection, whose)
    if json:
        print_json({"tenant": whose, "root": found})
    else:
        typer.echo(found)


def _row(name: str, result: IngestResult) -> dict[str, Any]:
    return {
        "document": name,
        "status": result.status,
        "nodes": result.nodes,
        "edges": result.edges,
        "verification": result.verification,
        "reason": result.reason,
        "remarks": list(result.remarks),
    }


def _counted(results: Iterator[IngestResult]) -> Iterator[IngestResult]:
    """Say now and then how far it is, where somebody watches."""
    for place, result in enumerate(results, start=1):
        if place % _SAY_EVERY == 0 and sys.stderr.isatty():
            typer.echo(f"{place} documents", err=True)
        yield result


def _documents(paths: list[Path], names: list[str], unread: list[dict[str, Any]]) -> Iterator[Document]:
    """Yield what can be read, and its name; what cannot becomes a refusal of its own."""
    from mc_pipelines.provenance.ingest import Document
    from mc_pipelines.provenance.readers.parsing import MAXIMUM_DOCUMENT_BYTES

    for path in _files(paths):
        try:
            size = path.stat().st_size
            content = path.read_bytes() if size <= MAXIMUM_DOCUMENT_BYTES else None
            reason = f"{size} bytes, more than the {MAXIMUM_DOCUMENT_BYTES} of a document"
        except OSError as error:
            content, reason = None, f"cannot be read: {error.strerror}"
        if content is None:
            row = {"document": str(path), "status": "refused", "nodes": 0, "edges": 0}
            unread.append(row | {"verification": None, "reason": reason, "remarks": []})
            continue
        names.append(str(path))
        yield Document(path.name, content)


def _files(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.is_file())
        else:
            yield path
