"""`mc provenance commit|prove|check-answer`: roots of generations in the audit log, and answers proven against them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_checked, print_json, print_table
from mc_pipelines.cli.provenance_questions import AsOf, Direction, Node, Tenant

if TYPE_CHECKING:
    from mc_pipelines.attest.report import Report

_OtherTenant = Annotated[str | None, typer.Option("--tenant", help="Whose generation; default: everybody's.")]
Depth = Annotated[int, typer.Option(help="Steps from the node.", min=1, max=3)]


def commit(tenant: _OtherTenant = None, json: Json = False) -> None:
    """Put the roots of the current generations into the audit log; what is there already stays as it is.

    Example: mc provenance commit --tenant acme
    """
    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.errors import NotFoundError
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.committing import commit_all, commit_current

    context = open_context()
    folder = context.generations_folder
    if tenant is None:
        made = commit_all(context.database, folder, clock=context.clock)
    else:
        whose = TenantId(parse_name(tenant, field="--tenant"))
        one = commit_current(context.database, folder, whose, clock=context.clock)
        if one is None:
            raise NotFoundError("The tenant has no generation", field="--tenant", mend="`mc provenance build`")
        made = [one]
    columns = ("tenant", "generation", "seq", "nodes", "root")
    rows = [(each.tenant, each.generation, each.seq, each.nodes, each.root.hex()) for each in made]
    if json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)


def prove(
    node: Node,
    tenant: Tenant,
    out: Annotated[Path, typer.Option("--out", help="Where to write the answer and its proof.")],
    depth: Depth = 2,
    direction: Direction = "ancestors",
    as_of: AsOf = None,
    json: Json = False,
) -> None:
    """Write what is around a node with the proof that it is right and whole, as an auditor of the tenant sees it.

    Example: mc provenance prove pkg:oci/shop@1 --tenant acme --depth 3 --out answer.json
    """
    from json import loads

    from mc_pipelines.cli.context import open_context
    from mc_pipelines.foundation.ids import TenantId, parse_name
    from mc_pipelines.provenance.access import Reader
    from mc_pipelines.provenance.proving import decide_whole, proven_answer
    from mc_pipelines.provenance.request import ProofQuery

    given = {"node": node, "depth": str(depth), "direction": direction} | ({} if as_of is None else {"asOf": as_of})
    query = ProofQuery.parse(given)
    whose = TenantId(parse_name(tenant, field="--tenant"))
    context = open_context()
    engine, revision = context.graph_policy
    # Only an auditor may read for every purpose; an operator's view could leave something out.
    allowed = decide_whole(engine, revision, Reader(whose, frozenset({"auditor"}), clearance=3))
    body = proven_answer(context.graph_store, whose, query, allowed, context.cursors).body
    partial = out.with_name(out.name + ".tmp")
    partial.write_bytes(body)
    partial.replace(out)
    document = loads(body)
    size = {"nodes": len(document["answer"]["nodes"]), "edges": len(document["answer"]["edges"]), "bytes": len(body)}
    logged = all(each["logProof"] is not None for each in document["partitions"])
    if json:
        print_json(size | {"out": out, "logProofs": logged})
    else:
        print(f"{size['nodes']} nodes and {size['edges']} edges, {len(body)} bytes in {out}")
        print("with log proofs" if logged else "without log proofs: the log's sequencer has not come to the roots yet")


def check_answer(
    file: Annotated[Path, typer.Argument(help="What `prove` or the route proof wrote.")],
    trust: Annotated[Path | None, typer.Option(help="Trust file: checks the log proofs, too.")] = None,
    log_proof: Annotated[
        list[Path] | None, typer.Option("--log-proof", help="Log proof that is not in the file; may be repeated.")
    ] = None,
    own_only: Annotated[
        bool, typer.Option("--own-only", help="Be content where the file has no generation of the shared partition.")
    ] = False,
    json: Json = False,
) -> None:
    """Check a proven answer offline: right, whole, and its roots in the audit log; exit 0, 1 if not, 2 if unreadable.

    Example: mc provenance check-answer answer.json --trust trust.json
    """
    from mc_pipelines.attest.verify import read_file
    from mc_pipelines.foundation.canonical import parse_json
    from mc_pipelines.foundation.errors import InputError
    from mc_pipelines.provenance.answer_check import check_answer as check

    document = parse_json(read_file(file), what="proven answer")
    found = check(document, own_only=own_only)
    if found.ok and trust is not None:
        report = _check_logged(found.commitments, document, trust, log_proof or [])
        found.proved += report.proved
        found.problems += report.problems
        found.not_proved += report.not_proved
    elif log_proof:
        raise InputError("A log proof is checked with a trust file", field="--trust", mend="`mc log trust` writes one")
    elif found.ok:
        found.not_proved.append("That the roots are in the audit log: no trust file was given.")
    print_checked(found, holds="the answer is right and whole", broken="THE ANSWER DOES NOT HOLD", json=json)
    raise typer.Exit(int(not found.ok))


def _check_logged(commitments: list[bytes], document: dict[str, Any], trust: Path, further: list[Path]) -> Report:
    """Check that a trusted log holds each commitment, by the proof in the file or by one given beside it."""
    from mc_pipelines.attest.report import Report
    from mc_pipelines.attest.trust import Trust
    from mc_pipelines.attest.verify import read_file, verify_logged
    from mc_pipelines.foundation.errors import MaestroError

    believed = Trust.from_json(read_file(trust))
    report = Report("proven answer")
    beside = [read_file(path) for path in further]
    for content, part in zip(commitments, document["partitions"], strict=True):
        own = part["logProof"]
        proofs = [*beside, *([own.encode()] if isinstance(own, str) else [])]
        reasons = ["no log proof is in the file; see --log-proof"]
        for proof in proofs:
            try:
                verify_logged(content, believed, proof, report)
            except MaestroError as error:
                reasons.append(str(error))
            else:
                break
        else:
            report.problems.append(
                f"The root of {part['tenant']}'s generation is not shown to be logged: {reasons[-1]}"
            )
    return report
