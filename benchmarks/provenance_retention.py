"""How long ingest waits while retention removes documents: in slices, against all of them in one transaction.

`python -m benchmarks.provenance_retention --edges 1000000 --json`. A log of low-value documents of twenty `uses` each
in an embedded PostgreSQL, a tenth of them below live bundles; half of the rest is old enough. While retention runs in
one thread, another sends small documents of the same tenant, one after the other, and notes how long each took (wall;
`before` is the same without retention). The rival is retention with no bound on a slice, on a second tenant with the
same log: what it was before slices. Both end with the same tombstones.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import text

from benchmarks.provenance_graph import House, house, say, spent
from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.foundation.clock import FrozenClock
from mc_pipelines.foundation.ids import TenantId
from mc_pipelines.provenance import pruning
from mc_pipelines.provenance.edge_log import ingest_claims, ingest_stream
from mc_pipelines.provenance.identity import NodeId
from mc_pipelines.provenance.model import Claims, Edge, EdgeType, Kind, Node
from mc_pipelines.provenance.pruning import prune
from mc_pipelines.provenance.retention import Rule, Selects
from mc_pipelines.provenance.roots import Reason, keep_root

NOW = datetime(2026, 3, 1, tzinfo=UTC)
RULES = (Rule(Selects.LOW_VALUE, 30),)
_NEEDS = 20
_BATCH = 2000


def document(number: int, draw: np.random.Generator, packages: int) -> Claims:
    """Return a low-value document: a manifest that lists packages."""
    manifest = Node(NodeId(f"sha256:{number:064x}"), Kind.MANIFEST)
    chosen = np.unique(draw.integers(0, packages, _NEEDS)).tolist()
    needs = [Node(NodeId(f"pkg:generic/p{each}@1"), Kind.PACKAGE) for each in chosen]
    return Claims(
        document=sha256_digest(str(number).encode()),
        name="benchmark",
        format="benchmark",
        nodes=(manifest, *needs),
        edges=tuple(Edge(manifest.id, each.id, EdgeType.USES) for each in needs),
        low_value=True,
    )


def load(at: House, tenant: TenantId, edges: int) -> int:
    """Record the documents, half of them forty days ago, and keep a tenth; return how many claims there are."""
    count = edges // _NEEDS
    draw = np.random.default_rng(1)
    packages = max(100, edges // 50)

    def batches(first: int, last: int) -> Iterator[list[Claims]]:
        for begin in range(first, last, _BATCH):
            yield [document(number, draw, packages) for number in range(begin, min(last, begin + _BATCH))]

    total = 0
    for first, last, age in ((0, count // 2, 40), (count // 2, count, 1)):
        clock = FrozenClock(NOW - timedelta(days=age))
        for results in ingest_stream(at.database, tenant, batches(first, last), clock=clock):
            total += sum(one.edges for one in results)
    with at.database.begin(tenant=tenant) as connection:
        for number in range(0, count, 10):
            keep_root(connection, tenant, f"sha256:{number:064x}", Reason.LIVE, by="benchmark", now=NOW)
    return total


class Sender(threading.Thread):
    """Sends small documents of a tenant one after the other, and notes how long each took."""

    def __init__(self, at: House, tenant: TenantId, first: int) -> None:
        super().__init__()
        self._at, self._tenant, self._number = at, tenant, first
        self._draw = np.random.default_rng(first)
        self.taken: list[float] = []
        self.done = threading.Event()

    def run(self) -> None:
        """Send until it is done."""
        while not self.done.is_set():
            self._number += 1
            claims = document(self._number, self._draw, 1000)
            begun = time.perf_counter()
            ingest_claims(self._at.database, self._tenant, claims, clock=FrozenClock(NOW))
            self.taken.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.002)

    def figures(self) -> dict[str, float]:
        """Return how many were sent, and the milliseconds that they took."""
        self.done.set()
        self.join()
        found = np.percentile(self.taken, [50, 99, 100]).tolist()
        return {"sent": len(self.taken)} | dict(zip(("p50_ms", "p99_ms", "longest_ms"), found, strict=True))


def measure(at: House, tenant: TenantId, at_once: int) -> dict[str, Any]:
    """Prune beside a sender."""
    quiet = Sender(at, tenant, 10**9)
    quiet.start()
    time.sleep(2)
    before = quiet.figures()
    pruning.CLAIMS_AT_ONCE = at_once
    sender = Sender(at, tenant, 2 * 10**9)
    sender.start()
    begun, cpu = time.perf_counter(), spent(at)
    report = prune(at.database, tenant, archive=None, clock=FrozenClock(NOW), rules=RULES)
    wall, cpu = time.perf_counter() - begun, spent(at) - cpu
    return {
        "documents": len(report.pruned),
        "claims": sum(each.edges for each in report.pruned),
        "protected": sum(report.protected.values()),
        "seconds": wall,
        "cpu_s_with_sender": cpu,
        "before": before,
        "meanwhile": sender.figures(),
    }


def stones(at: House, tenant: TenantId) -> str:
    """Return one hash over all tombstones of a tenant."""
    with at.database.begin(tenant=tenant) as connection:
        found = connection.execute(
            text(
                "select md5(string_agg(md5(node::text || type || direction || edges || encode(root, 'hex')), ''"
                " order by node, type, direction, root)) from provenance_tombstones where tenant = :tenant"
            ),
            {"tenant": tenant},
        )
        return str(found.scalar_one())


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Load two tenants alike and prune each its own way."""
    ways = {"slices": pruning.CLAIMS_AT_ONCE, "at_once": 10**12}
    with house() as at:
        found: dict[str, Any] = {"benchmark": "provenance_retention"}
        for name in ways:
            say(f"loading {name}")
            found["edges"] = load(at, TenantId(name.replace("_", "-")), options.edges)
        for name, size in ways.items():
            say(f"retention: {name}")
            found[name] = measure(at, TenantId(name.replace("_", "-")), size)
        assert stones(at, TenantId("slices")) == stones(at, TenantId("at-once"))
    longest = {name: found[name]["meanwhile"]["longest_ms"] for name in ways}
    return found | {"ratio_longest": longest["at_once"] / longest["slices"]}


def main() -> None:
    """Print the figures as text, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--edges", type=int, default=1_000_000)
    found = run(parser.parse_args())
    if parser.parse_args().json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['edges']:,} edges in the log")
    for name in ("slices", "at_once"):
        row = found[name]
        print(f"  {name:8} {row['claims']:,} claims of {row['documents']:,} documents in {row['seconds']:.1f} s")
        print(f"           an ingest before: {row['before']}; meanwhile: {row['meanwhile']}")
    print(f"  the longest wait is {found['ratio_longest']:.0f} times shorter in slices")


if __name__ == "__main__":
    main()
