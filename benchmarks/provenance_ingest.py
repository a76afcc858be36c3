"""Documents read into claims, nodes and edges a CPU second of one core, against a plain script in the same run.

`python -m benchmarks.provenance_ingest --json`. Each format is one made document of 2,000 components or as many events,
read whole: parsed, ids made canonical, deduplicated, checked. `cold` is the first read of a process, in which every
package URL is new; `warm` repeats documents whose package URLs were met before, as those of one organisation mostly are
(the aim of 100,000 is of the latter). The rival is a plain script: the standard library, packageurl for every
URL, a networkx graph. With `--data FOLDER` the documents below it are read instead. Verification: DSSE envelopes judged
a second, by a key that holds. With `--database URL` the same documents are recorded in that log, too (`ingest`).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import networkx as nx
from packageurl import PackageURL

from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.identity import package_id
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.readers import read_document
from mc_pipelines.provenance.trust_roots import TrustedKey, TrustRoots
from mc_pipelines.provenance.verification import verify_document

AIM = 100_000
_SIZE = 2_000
_NEEDS = 3


def cyclonedx(seed: int) -> bytes:
    """Return a bill of materials; documents of one seed name the same packages."""
    names = [f"package-{seed}-{place}" for place in range(_SIZE)]
    components = [
        {
            "type": "library",
            "bom-ref": f"pkg:npm/%40scope/{name}@1.{place % 9}.0",
            "name": name,
            "version": f"1.{place % 9}.0",
            "purl": f"pkg:npm/%40scope/{name}@1.{place % 9}.0?vcs_url=git%2Bhttps%3A%2F%2Fexample.org%2F{name}",
            "licenses": [{"license": {"id": "Apache-2.0"}}],
        }
        for place, name in enumerate(names)
    ]
    needs = [
        {
            "ref": one["bom-ref"],
            "dependsOn": [components[(place * 7 + step) % _SIZE]["bom-ref"] for step in range(1, _NEEDS + 1)],
        }
        for place, one in enumerate(components)
    ]
    frame = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "serialNumber": f"urn:uuid:{seed}"}
    return json.dumps(frame | {"components": components, "dependencies": needs}).encode()


def spdx(seed: int) -> bytes:
    """Return the same in SPDX 2.3."""
    bom = json.loads(cyclonedx(seed))
    ids = {one["bom-ref"]: f"SPDXRef-{place}" for place, one in enumerate(bom["components"])}
    packages = [
        {
            "SPDXID": ids[one["bom-ref"]],
            "name": one["name"],
            "versionInfo": one["version"],
            "externalRefs": [{"referenceType": "purl", "referenceLocator": one["purl"]}],
        }
        for one in bom["components"]
    ]
    relations = [
        {"spdxElementId": ids[one["ref"]], "relationshipType": "DEPENDS_ON", "relatedSpdxElement": ids[target]}
        for one in bom["dependencies"]
        for target in one["dependsOn"]
    ]
    frame = {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "documentNamespace": f"urn:{seed}"}
    return json.dumps(frame | {"packages": packages, "relationships": relations}).encode()


def provenance(seed: int) -> bytes:
    """Return a SLSA statement of many materials."""
    materials = [
        {"uri": f"pkg:npm/package-{seed}-{place}@1.0.0", "digest": {"sha256": f"{seed:032x}{place:032x}"}}
        for place in range(_SIZE)
    ]
    return json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": "https://slsa.dev/provenance/v1",
            "subject": [{"name": "out", "digest": {"sha256": f"{seed:064x}"}}],
            "predicate": {
                "buildDefinition": {"buildType": "https://example.org/b", "resolvedDependencies": materials},
                "runDetails": {"builder": {"id": "https://example.org"}, "metadata": {"invocationId": str(seed)}},
            },
        }
    ).encode()


def events(seed: int) -> bytes:
    """Return OpenLineage events, a line each."""
    return b"\n".join(
        json.dumps(
            {
                "eventType": "COMPLETE",
                "eventTime": "2026-01-19T06:00:00.123456Z",
                "run": {"runId": f"{seed}-{place}"},
                "job": {"namespace": "etl", "name": f"job-{place % 50}"},
                "inputs": [{"namespace": "db", "name": f"t{(place * 3 + step) % 500}"} for step in range(3)],
                "outputs": [{"namespace": "db", "name": f"t{place % 500}"}],
            }
        ).encode()
        for place in range(_SIZE)
    )


FORMATS: dict[str, Callable[[int], bytes]] = {
    "cyclonedx": cyclonedx,
    "spdx": spdx,
    "slsa": provenance,
    "openlineage": events,
}


def plain_script(content: bytes) -> int:
    """Read a CycloneDX document as a script would; return nodes and edges."""
    document = json.loads(content)
    graph = nx.DiGraph()
    names = {}
    for one in document.get("components", ()):
        purl = one.get("purl")
        names[one.get("bom-ref")] = name = PackageURL.from_string(purl).to_string() if purl else one["name"]
        graph.add_node(name, label=one["name"])
    for one in document.get("dependencies", ()):
        for target in one.get("dependsOn", ()):
            graph.add_edge(names.get(one["ref"], one["ref"]), names.get(target, target))
    return int(graph.number_of_nodes() + graph.number_of_edges())


def rate(documents: Iterable[bytes], read: Callable[[bytes], int]) -> float:
    """Return nodes and edges a CPU second."""
    begun = time.process_time()
    total = sum(map(read, documents))
    return total / (time.process_time() - begun)


def ours(content: bytes) -> int:
    """Read one document; return its nodes and edges."""
    claims = read_document(content, "document")
    return len(claims.nodes) + len(claims.edges)


def warm(documents: list[bytes], repeats: int) -> float:
    """Return the median rate of several passes after one that is not counted."""
    rate(documents, ours)
    found = sorted(rate(documents, ours) for _ in range(repeats))
    return found[len(found) // 2]


def verifications(seconds: float) -> float:
    """Return DSSE envelopes read and judged a CPU second, each by a key that holds."""
    signer = LocalSigner.generate()
    payload = json.dumps(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "predicateType": "https://example.org/t",
            "subject": [{"name": "a", "digest": {"sha256": "a" * 64}}],
        }
    ).encode()
    content = sign(payload, IN_TOTO_PAYLOAD_TYPE, (signer,)).to_json()
    roots = TrustRoots(keys=(TrustedKey("we", signer.public_key_pem),))
    begun, count = time.process_time(), 0
    while time.process_time() - begun < seconds:
        claims = verify_document(content, "x", roots)
        count += 1
    assert claims.earned
    return count / (time.process_time() - begun)


def recorded(url: str, documents: list[bytes]) -> dict[str, float]:
    """Record documents under a tenant of their own; return nodes and edges a second, of wall time and of our CPU."""
    database, tenant = Database(url), TenantId(f"bench-{os.getpid()}")
    given = [Document("bench", content) for content in documents]
    wall, cpu = time.perf_counter(), time.process_time()
    clock = FrozenClock(datetime.now(UTC))
    results = list(ingest_documents(database, tenant, given, TrustRoots(), clock=clock))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    total = sum(one.nodes + one.edges for one in results)
    assert all(one.status == "accepted" for one in results)
    return {"nodes_and_edges": total, "per_second": total / wall, "per_cpu_second": total / cpu}


def from_folder(folder: Path) -> dict[str, list[bytes]]:
    """Return the documents below a folder that can be read, by format."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            try:
                format_ = read_document(content, path.name).format.partition("-")[0]
            except InputError:
                continue
            found.setdefault(format_, []).append(content)
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every format, the rival, and verification."""
    if options.data is None:
        documents = {name: [make(seed) for seed in range(options.documents)] for name, make in FORMATS.items()}
    else:
        documents = from_folder(options.data)
    rows = {}
    for name, contents in documents.items():
        package_id.cache_clear()
        first = rate(contents, ours)
        found = warm(contents, options.repeats)
        rows[name] = {"bytes": sum(map(len, contents)), "cold": first, "warm": found, "share_of_aim": found / AIM}
    result: dict[str, Any] = {"benchmark": "provenance_ingest", "aim_warm": AIM, "formats": rows}
    rivals = documents.get("cyclonedx", [])
    if rivals:
        result["plain_script"] = rate(rivals, plain_script)
        result["ratio_warm"] = rows["cyclonedx"]["warm"] / result["plain_script"]
        result["ratio_cold"] = rows["cyclonedx"]["cold"] / result["plain_script"]
    result["verified_per_second"] = verifications(options.seconds)
    if options.database:
        result["ingest"] = recorded(options.database, documents["cyclonedx"])
    return result


def main() -> None:
    """Print the figures as text, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--documents", type=int, default=10, help="made documents of each format")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of verification")
    parser.add_argument("--data", type=Path, help="folder of documents to read instead of made ones")
    parser.add_argument("--database", help="URL of a migrated database, as mc_app, to record them in")
    found = run(parser.parse_args())
    if parser.parse_args().json:
        print(json.dumps(found, indent=2))
        return
    print("nodes and edges a CPU second      cold       warm   of the aim")
    for name, row in found["formats"].items():
        print(f"  {name:26} {row['cold']:>10,.0f} {row['warm']:>10,.0f} {row['share_of_aim']:>9.2f}x")
    if "plain_script" in found:
        print(f"  plain script (cyclonedx)   {found['plain_script']:>10,.0f}   we: {found['ratio_warm']:.1f}x warm")
    print(f"DSSE envelopes read and verified a CPU second: {found['verified_per_second']:,.0f}")
    if "ingest" in found:
        row = found["ingest"]
        print(f"recorded: {row['per_second']:,.0f} a second, {row['per_cpu_second']:,.0f} a second of our CPU")


if __name__ == "__main__":
    main()
