"""Documents read into claims, nodes and edges a CPU second of one core, against a plain script in the same run.

`python -m benchmarks.provenance_ingest --json`. Each format is one made document of 2,000 components or as many events,
read whole: parsed, ids made canonical, deduplicated, checked. `cold` is the first read of a process, in which every
package URL is new; `warm` repeats documents whose package URLs were met before, as those of one organisation mostly are
(the aim of 100,000 is of the latter). The rival is a plain script: the standard library, packageurl for every
URL, a networkx graph. With `--data FOLDER` the documents below it are read instead.

Signed documents are judged besides: cold, every signature checked (ECDSA for an envelope of a known key, certificate
chain and log entry for a keyless one), and with the verdicts cached, which is what `warm` means for them. `bound` is
what no reader could pass cold: nodes and edges of a document over the time of its check. With `--database URL` the
documents of each format are recorded in that log, too (`ingest`); `embedded` starts a server for it and counts its CPU.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import networkx as nx
from packageurl import PackageURL

from benchmarks.provenance_graph import house, server_cpu
from mc_pipelines.attest.dsse import IN_TOTO_PAYLOAD_TYPE, sign
from mc_pipelines.attest.signer import LocalSigner
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.database import Database
from mc_pipelines.foundation.errors import InputError
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance.identity import package_id
from mc_pipelines.provenance.ingest import Document, ingest_documents
from mc_pipelines.provenance.readers import read_document, read_parts
from mc_pipelines.provenance.trust_roots import TrustedKey, TrustRoots
from mc_pipelines.provenance.verification import VerdictCache, verify_document

AIM = 100_000
_SIZE = 2_000
_NEEDS = 3
_LEAST = 0.1


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


_SIGNER = LocalSigner.generate()


def dsse(seed: int) -> list[bytes]:
    """Return small signed documents: a build of one thing from three, in an envelope each."""
    return [_envelope(f"{seed}-{place}") for place in range(_SIZE // 10)]


def _envelope(name: str) -> bytes:
    digests = [hashlib.sha256(f"{name} {place}".encode()).hexdigest() for place in range(4)]
    inputs = [{"uri": f"pkg:generic/{name}-{place}@1", "digest": {"sha256": digests[place]}} for place in (1, 2, 3)]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": "https://slsa.dev/provenance/v1",
        "subject": [{"name": "out", "digest": {"sha256": digests[0]}}],
        "predicate": {
            "buildDefinition": {"buildType": "https://example.org/b", "resolvedDependencies": inputs},
            "runDetails": {"builder": {"id": "https://example.org"}, "metadata": {"invocationId": name}},
        },
    }
    return sign(json.dumps(statement).encode(), IN_TOTO_PAYLOAD_TYPE, (_SIGNER,)).to_json()


FORMATS: dict[str, Callable[[int], bytes | list[bytes]]] = {
    "cyclonedx": cyclonedx,
    "spdx": spdx,
    "slsa": provenance,
    "openlineage": events,
    "dsse": dsse,
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
    """Return nodes and edges a CPU second once everything was read before."""
    total = sum(map(ours, documents))
    return total / seconds_of(lambda: list(map(ours, documents)), repeats)


def judged(documents: list[bytes], roots: TrustRoots, cache: VerdictCache) -> int:
    """Read and judge documents; return their nodes and edges."""
    found = [verify_document(content, "document", roots, cache=cache) for content in documents]
    return sum(len(claims.nodes) + len(claims.edges) + len(claims.earned) for claims in found)


def seconds_of(work: Callable[[], Any], repeats: int) -> float:
    """Return the least CPU seconds of a piece of work, done for a tenth of a second at least each time.

    The least, because what else runs on the machine only adds: caches are shared, and threads of a core, too.
    """
    found = []
    for _ in range(repeats):
        begun, count = time.process_time(), 0
        while time.process_time() - begun < _LEAST:
            work()
            count += 1
        found.append((time.process_time() - begun) / count)
    return min(found)


def verification(documents: list[bytes], roots: TrustRoots, repeats: int) -> dict[str, float]:
    """Return what judging costs beside reading: cold (every signature is checked) and with the verdicts cached.

    ``bound`` is what cannot be passed cold, however fast documents are read: nodes and edges of a document over the
    time of its signature check alone.
    """
    cache = VerdictCache()
    each = judged(documents, roots, cache) / len(documents)
    cold = seconds_of(lambda: judged(documents, roots, VerdictCache()), repeats) / len(documents)
    warm = seconds_of(lambda: judged(documents, roots, cache), repeats) / len(documents)
    return {
        "nodes_and_edges_each": each,
        "check_us_each": (cold - warm) * 1e6,
        "judged_cold": each / cold,
        "judged_warm": each / warm,
        "bound": each / (cold - warm),
    }


def recorded(
    url: str, name: str, documents: list[bytes], roots: TrustRoots, server: Callable[[], float]
) -> dict[str, float]:
    """Record documents under a tenant of their own; return nodes and edges a second, of wall time and of CPU."""
    database, tenant = Database(url), TenantId(f"bench-{os.getpid()}-{name or 'other'}")
    given = [Document("bench", content) for content in documents]
    wall, cpu, theirs = time.perf_counter(), time.process_time(), server()
    clock = FrozenClock(datetime.now(UTC))
    results = list(ingest_documents(database, tenant, given, roots, clock=clock))
    wall, cpu, theirs = time.perf_counter() - wall, time.process_time() - cpu, server() - theirs
    total = sum(one.nodes + one.edges for one in results)
    assert all(one.status == "accepted" for one in results)
    return {
        "nodes_and_edges": total,
        "per_second": total / wall,
        "per_cpu_second": total / cpu,
        "server_cpu_s": theirs,
        "cpu_s": cpu,
    }


def record_all(url: str, documents: dict[str, list[bytes]], roots: TrustRoots) -> dict[str, dict[str, float]]:
    """Record each format in a log: that of a URL, or of an embedded server of its own."""
    if url != "embedded":
        return {name: recorded(url, name, given, roots, lambda: 0.0) for name, given in documents.items()}
    with house() as at:
        return {
            name: recorded(at.database.url, name, given, roots, lambda: server_cpu(at))
            for name, given in documents.items()
        }


def made(make: Callable[[int], bytes | list[bytes]], count: int) -> list[bytes]:
    """Return made documents of one format."""
    found = [make(seed) for seed in range(count)]
    return [content for each in found for content in (each if isinstance(each, list) else [each])]


def from_folder(folder: Path) -> dict[str, list[bytes]]:
    """Return the documents below a folder that can be read, by format."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            try:
                reading = read_parts(content, path.name)
            except InputError:
                continue
            format_ = reading.claims.format.partition("-")[0] or "sigstore"
            if any(part.signatures for part in reading.parts) and format_ not in {"gcb", "npm", "pep740"}:
                format_ = reading.parts[0].container
            found.setdefault(format_, []).append(content)
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure every format, the rival, and verification."""
    if options.data is None:
        documents = {name: made(make, options.documents) for name, make in FORMATS.items()}
    else:
        documents = from_folder(options.data)
    roots = TrustRoots(keys=(TrustedKey("we", _SIGNER.public_key_pem),))
    rows: dict[str, dict[str, float]] = {}
    for name, contents in documents.items():
        package_id.cache_clear()
        first = rate(contents, ours)
        found = warm(contents, options.repeats)
        rows[name] = {"documents": len(contents), "bytes": sum(map(len, contents)), "cold": first, "warm": found}
        if any(part.signatures for part in read_parts(contents[0], name).parts):
            rows[name] |= verification(contents, roots, options.repeats)
    result: dict[str, Any] = {"benchmark": "provenance_ingest", "aim_warm": AIM, "formats": rows}
    rivals = documents.get("cyclonedx", [])
    if rivals:
        total = sum(map(plain_script, rivals))
        result["plain_script"] = total / seconds_of(lambda: list(map(plain_script, rivals)), options.repeats)
        result["ratio_warm"] = rows["cyclonedx"]["warm"] / result["plain_script"]
        result["ratio_cold"] = rows["cyclonedx"]["cold"] / result["plain_script"]
    if options.database:
        result["ingest"] = record_all(options.database, documents, roots)
    return result


def main() -> None:
    """Print the figures as text, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--documents", type=int, default=10, help="made documents of each format")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", type=Path, help="folder of documents to read instead of made ones")
    parser.add_argument("--database", help="record them, too: URL of a migrated database as mc_app, or `embedded`")
    found = run(parser.parse_args())
    if parser.parse_args().json:
        print(json.dumps(found, indent=2))
        return
    print("nodes and edges a CPU second      cold       warm   of the aim")
    for name, row in found["formats"].items():
        print(f"  {name:26} {row['cold']:>10,.0f} {row['warm']:>10,.0f} {row['warm'] / AIM:>9.2f}x")
    print("with verification          nodes+edges  check us  all checked  the bound  verdicts cached  of the aim")
    for name, row in found["formats"].items():
        if "bound" in row:
            checked = f"{row['check_us_each']:>9,.0f} {row['judged_cold']:>12,.0f} {row['bound']:>10,.0f}"
            cached = f"{row['judged_warm']:>16,.0f} {row['judged_warm'] / AIM:>10.2f}x"
            print(f"  {name:26} {row['nodes_and_edges_each']:>9.1f} {checked} {cached}")
    if "plain_script" in found:
        print(f"  plain script (cyclonedx)   {found['plain_script']:>10,.0f}   we: {found['ratio_warm']:.1f}x warm")
    for name, row in found.get("ingest", {}).items():
        wall, cpu = row["per_second"], row["per_cpu_second"]
        shares = f"{row['cpu_s']:.2f} s of our CPU, {row['server_cpu_s']:.2f} s of the server's"
        print(f"recorded {name:17} {wall:>10,.0f} a second, {cpu:>10,.0f} a second of our CPU: {shares}")


if __name__ == "__main__":
    main()
