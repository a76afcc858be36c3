"""Placement decisions a second, against parsing and printing the same input as JSON in the same run.

`python -m benchmarks.decision --json`. The rival is the floor that any engine with JSON at its edge pays.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from mc_pipelines.decision.packs import load_pack
from mc_pipelines.decision.regorus_engine import RegorusEngine

CAPABLE = {"read_only_root": True, "egress": ["open", "none", "ip", "fqdn"]}
PLACES = (
    ("AWS", "us-east-1"),
    ("AWS", "eu-west-1"),
    ("GCP", "us-central1"),
    ("GCP", "europe-west3"),
    ("AZURE", "eastus"),
)
REQUEST: dict[str, Any] = {
    "tenant": "acme",
    "data_class": "confidential",
    "residency": ["us"],
    "needs": {"read_only_root": True, "egress": "ip"},
    "flags": {"runner_azure_preview": False},
    "candidates": [
        {"cloud": cloud, "region": region, "capabilities": CAPABLE, "drained": False, "quota_left": 10}
        for cloud, region in PLACES
    ],
}


def measure(work: Callable[[], object], repeats: int) -> dict[str, float]:
    """Run ``work`` warm; return calls a second and quantiles in microseconds."""
    for _ in range(max(10, repeats // 20)):
        work()
    samples = []
    for _ in range(repeats):
        begun = time.perf_counter_ns()
        work()
        samples.append((time.perf_counter_ns() - begun) / 1_000)
    cuts = statistics.quantiles(samples, n=100)
    return {"per_second": 1e6 / statistics.fmean(samples), "p50_us": cuts[49], "p95_us": cuts[94], "p99_us": cuts[98]}


def run(repeats: int) -> dict[str, Any]:
    """Measure the engine and its rival, each in the same process."""
    engine = RegorusEngine(load_pack("placement"))
    begun = time.perf_counter_ns()
    first = engine.evaluate("data.placement.deny", REQUEST)
    cold = (time.perf_counter_ns() - begun) / 1_000
    assert first.error is None, first.error
    assert {denial["rule"] for denial in first.value} == {"cloud_flag", "residency"}
    decisions = measure(lambda: engine.evaluate("data.placement.deny", REQUEST), repeats)
    text = json.dumps(REQUEST)
    rival = measure(lambda: json.dumps(json.loads(text)), repeats)
    return {
        "benchmark": "decision",
        "engine": engine.name,
        "candidates": len(PLACES),
        "input_bytes": len(text),
        "cold_us": cold,
        "placement_deny": decisions,
        "json_round_trip": rival,
        "ratio_p50": decisions["p50_us"] / rival["p50_us"],
        "share_of_50_ms_at_p99": decisions["p99_us"] / 50_000,
    }


def main() -> None:
    """Print the figures as text, or as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeats", type=int, default=2_000)
    options = parser.parse_args()
    found = run(options.repeats)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    decisions, rival = found["placement_deny"], found["json_round_trip"]
    print(
        f"{found['engine']}, placement pack, {found['candidates']} candidates, first decision {found['cold_us']:.0f} us"
    )
    for name, row in (("decision", decisions), ("json round trip", rival)):
        print(
            f"{name:16} {row['per_second']:>9.0f}/s  p50 {row['p50_us']:.0f} us  p95 {row['p95_us']:.0f} us"
            f"  p99 {row['p99_us']:.0f} us"
        )
    print(
        f"a decision costs {found['ratio_p50']:.1f} round trips; p99 is {found['share_of_50_ms_at_p99']:.2%} of 50 ms"
    )


if __name__ == "__main__":
    main()
