"""`mc provenance explain|gate|check-proof|what-if`: whether a bundle may be trusted, why, and what would end it."""

from __future__ import annotations

import json as json_module
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from mc_pipelines.cli.output import Json, print_checked, print_json
from mc_pipelines.cli.provenance_questions import AsOf, KnownAt, Resolve, Tenant, open_graph
from mc_pipelines.foundation.errors import InputError

Bundle = Annotated[str, typer.Argument(help="The bundle, by digest or package URL.")]
PolicyFile = Annotated[Path | None, typer.Option("--policy", help="Gate policy in JSON; default: the pack `graph`.")]
_CODES = {"passed": 0, "failed": 1, "unknown": 1}


def explain(
    bundle: Bundle,
    tenant: Tenant,
    policy: PolicyFile = None,
    documents: Annotated[Path | None, typer.Option(help="Folder of envelopes to enclose, for check-proof.")] = None,
    as_of: AsOf = None,
    known_at: KnownAt = None,
    resolve: Resolve = "verified",
    json: Json = False,
) -> None:
    """Say why a bundle may be trusted: a proof tree on the smallest evidence. Exit code 1 unless it passes.

    Example: mc provenance explain sha256:ab…cd --tenant acme --documents attestations/ --json > proof.json
    """
    if documents is not None and not documents.is_dir():
        raise InputError("No such folder", field="--documents", value=str(documents), mend="name a folder of envelopes")
    found = _ruling(bundle, tenant, policy, as_of, known_at, resolve)
    if documents is not None:
        found["envelopes"] = dict(_envelopes(documents, found))
    if json:
        print_json(found)
    else:
        _say(found)
    raise typer.Exit(_CODES[found["result"]])


def gate(
    bundle: Bundle,
    tenant: Tenant,
    policy: PolicyFile = None,
    out: Annotated[Path | None, typer.Option(help="Where to write the signed summary.")] = None,
    sign: Annotated[bool, typer.Option("--sign", help="Sign the ruling (SLSA VSA) and record it.")] = False,
    resolve: Resolve = "verified",
    json: Json = False,
) -> None:
    """Rule on a bundle, and with --sign say so in a signed verification summary. Exit code 1 unless it passes.

    What was pruned or contradicted never passes; nothing is signed about what is not known.

    Example: mc provenance gate sha256:ab…cd --tenant acme --sign --out vsa.json
    """
    from mc_pipelines.composition import issue_summary

    if out is not None and not sign:
        raise InputError("Only a signed ruling is written", field="--out", value=str(out), mend="add --sign")
    found = _ruling(bundle, tenant, policy, None, None, resolve)
    if sign:
        context, whose, _ = open_graph(tenant)
        envelope, verdict = issue_summary(context, whose, found)
        found["summary"] = {"verdict": verdict, "envelope": json_module.loads(envelope)}
        if out is not None:
            partial = out.with_name(out.name + ".tmp")
            partial.write_bytes(envelope)
            partial.replace(out)
    if json:
        print_json(found)
    else:
        _say(found)
    raise typer.Exit(_CODES[found["result"]])


def check_proof(
    file: Annotated[Path, typer.Argument(help="What `explain --documents … --json` wrote.")],
    trust: Annotated[Path, typer.Option(help="Trust file of ours, or a JSON object {holder: PEM}.")],
    json: Json = False,
) -> None:
    """Check a proof offline, without a database; exit code 1 where it does not hold.

    Example: mc provenance check-proof proof.json --trust trust.json
    """
    from mc_pipelines.provenance.proof_check import check_proof as check

    keys, holders = _trust(trust)
    found = check(_read(file, "the proof"), keys, holders)
    print_checked(found, holds="the proof holds", broken="THE PROOF DOES NOT HOLD", json=json)
    raise typer.Exit(int(not found.ok))


def what_if(
    tenant: Tenant,
    key: Annotated[str | None, typer.Option(help="A key id, or the name of a signer.")] = None,
    builder: Annotated[str | None, typer.Option(help="A builder id.")] = None,
    policy: PolicyFile = None,
    json: Json = False,
) -> None:
    """List the bundles that pass now and would not if a key or a builder were revoked.

    Example: mc provenance what-if --tenant acme --builder https://ci.example/builder
    """
    from mc_pipelines.provenance.request import RevocationQuery
    from mc_pipelines.provenance.revocation import revocation_answer

    context, whose, allowed = open_graph(tenant)
    asked = _policy(policy) or context.gate_policy
    query = RevocationQuery(key=key, builder=builder)
    found = json_module.loads(revocation_answer(context.graph_store, whose, query, allowed, asked).body)
    if json:
        print_json(found)
        return
    counts = found["counts"]
    print(f"{counts['lost']} of {counts['passing']} bundles that pass would not; {counts['unknown']} are unknown")
    for node in found["nodes"]:
        print(f"  {node['id']}")


def _ruling(
    bundle: str, tenant: str, policy: Path | None, as_of: str | None, known_at: str | None, resolve: str
) -> dict[str, Any]:
    from mc_pipelines.provenance.gate import gate_answer
    from mc_pipelines.provenance.request import BundleQuery

    moments = {name: value for name, value in (("asOf", as_of), ("knownAt", known_at)) if value is not None}
    query = BundleQuery.parse({"bundle": bundle, "resolve": resolve} | moments)
    given = _policy(policy)
    context, whose, allowed = open_graph(tenant)
    return gate_answer(context.graph_store, whose, query, allowed, given or context.gate_policy)[2]


def _policy(path: Path | None) -> Any:
    from mc_pipelines.provenance.trust_logic import GatePolicy

    return None if path is None else GatePolicy.from_document(_read(path, "the policy"))


def _read(path: Path, what: str) -> Any:
    from mc_pipelines.foundation.canonical import parse_json

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{what.capitalize()} cannot be read: {error.strerror}", field="file", value=str(path)
        ) from error
    return parse_json(content, what=what)


def _trust(path: Path) -> tuple[dict[Any, bytes], dict[Any, str]]:
    from mc_pipelines.attest.signer import thumbprint
    from mc_pipelines.attest.trust import Trust

    document = _read(path, "the trust file")
    if isinstance(document, dict) and document and all(isinstance(each, str) for each in document.values()):
        keys = {thumbprint(pem.encode()): pem.encode() for pem in document.values()}
        return keys, {thumbprint(pem.encode()): holder for holder, pem in document.items()}
    if not isinstance(document, dict):
        raise InputError("Not a trust file", field="--trust", value=str(path))
    believed = Trust.from_json(path.read_bytes())
    return dict(believed.pems), {key.key_id: key.holder for key in believed.keys}


def _envelopes(folder: Path, found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the envelopes of the proof that lie in a folder, by the digest of their bytes."""
    import base64

    from mc_pipelines.provenance.identity import receipt_id

    wanted = {step["receipt"] for step in found.get("proof") or ()}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            if receipt_id(content) in wanted:
                yield receipt_id(content), base64.b64encode(content).decode()


def _say(found: dict[str, Any]) -> None:
    print(f"{found['bundle']}: {found['result']}")
    for reason in found["reasons"]:
        print(f"  {reason}")
    for step in found.get("proof") or ():
        print(f"  {step['node']}\n    built by {step['builder'] or '?'} in {step['execution']}")
        print(f"    signed by {step['signer']} in {step['receipt']}")
    for sort, names in (found.get("singlePoints") or {}).items():
        print(f"  alone would end it, {sort}: {', '.join(names) or 'none'}")
    if "summary" in found:
        print(f"  summary signed and recorded: {found['summary']['verdict']}")
