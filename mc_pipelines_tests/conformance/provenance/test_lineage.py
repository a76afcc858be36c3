"""Real OpenLineage events, reconciled with counts that an independent script made."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.model import EdgeType, Kind
from mc_pipelines.provenance.readers import read_parts
from mc_pipelines.provenance.readers.collector import Reading

REFUSALS = {
    "run.runId",
    "job.name",
    "eventType",
    "inputs.name",
    "outputs.name",
    "dataset.name",
    "run",
    "OpenLineage event",
}
PLACEHOLDER = re.compile(rb"\{\{[A-Z0-9_]+\}\}")


def filled(content: bytes) -> bytes:
    """The documents with the times that a template leaves to whoever plays it."""
    return PLACEHOLDER.sub(b"2026-01-19T17:00:00.123456789Z", content)


def folders(provenance: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted((provenance / "openlineage").rglob("*.json")):
        found.setdefault(str(path.parent.relative_to(provenance)), []).append(path)
    return found


def is_event(event: Any) -> bool:
    """Whether a document of the collection is an event at all; most of the specification's are facets by themselves."""
    return isinstance(event, dict) and bool({"eventTime", "eventType"} & event.keys())


def reading_of(content: bytes, name: str, events: list[Any]) -> Reading | None:
    """What is read of a document; None where it is refused, for one of the reasons for which an event may be."""
    refusal, reading = None, None
    try:
        reading = read_parts(content, name)
    except InputError as error:
        refusal = error
    if not all(map(is_event, events)):
        assert refusal is not None, name
        assert "Not a provenance document" in str(refusal), (name, refusal)
    elif refusal is not None:
        assert refusal.field in REFUSALS, (name, refusal)
    return reading


def totals(readings: list[Reading]) -> dict[str, int]:
    """Distinct things over several documents, as the independent script counts them."""
    nodes = {node.id: node for reading in readings for node in reading.claims.nodes}
    edges = {edge for reading in readings for edge in reading.claims.edges}
    datasets = {node.id.partition("@")[0] for node in nodes.values() if node.id.startswith("dataset:")}
    runs = {node.id for node in nodes.values() if node.kind is Kind.EXECUTION}
    return {
        "datasets": len(datasets),
        "jobs": len({node.id.partition("@")[0] for node in nodes.values() if node.id.startswith("job:")}),
        "runs": len(runs),
        "uses": sum(
            one.type is EdgeType.USES and one.source in runs and one.target.startswith("dataset:") for one in edges
        ),
        "produces": sum(one.type is EdgeType.PRODUCES for one in edges),
        "parents": sum("parent" in (node.attributes or {}) for node in nodes.values()),
    }


def test_events_of_every_folder(provenance: Path, expected: dict[str, Any]) -> None:
    found = folders(provenance)
    assert found.keys() == expected["openlineage"].keys()
    for folder, paths in found.items():
        fact, readings, events, columns = expected["openlineage"][folder], [], 0, 0
        whole = True
        for path in paths:
            content = filled(path.read_bytes())
            parsed = json.loads(content)
            told = parsed if isinstance(parsed, list) else [parsed]
            events += len(told)
            reading = reading_of(content, path.name, told)
            if reading is not None:
                readings.append(reading)
            elif all(map(is_event, told)) and not any(is_nameless(one) for one in told):
                whole = False
        for reading in readings:
            for node in reading.claims.nodes:
                columns += sum(map(len, (node.attributes or {}).get("columnLineage", {}).values()))
        assert events == fact["events"]
        found_there, wanted = (
            totals(readings),
            {
                "datasets": fact["datasets"],
                "jobs": fact["jobs"],
                "runs": fact["runs"],
                "uses": fact["uses_edges_run_dataset"],
                "produces": fact["produces_edges_run_dataset"],
                "parents": fact["parent_run_edges"],
            },
        )
        if whole:
            assert found_there == wanted, folder
            assert columns == fact["column_lineage_input_fields_summed_over_events"]
        else:  # a refused event names what no other one does: less is known, never more
            assert all(found_there[name] <= count for name, count in wanted.items()), folder


def is_nameless(event: dict[str, Any]) -> bool:
    """Whether it is a run event without a run id: it tells of nothing, and must be refused."""
    return "run" in event and not (event["run"] or {}).get("runId")


def test_order_and_repetition_of_events_change_nothing(provenance: Path) -> None:
    [path] = (provenance / "openlineage" / "marquez").glob("*.json")
    events = json.loads(filled(path.read_bytes()))
    first = read_parts(json.dumps(events).encode(), "x").claims
    shuffled = events + events[:7]
    random.Random(4).shuffle(shuffled)  # noqa: S311 - an order, not a secret
    again = read_parts(json.dumps(shuffled).encode(), "x").claims
    assert set(first.edges) == set(again.edges)
    assert {(one.id, one.kind) for one in first.nodes} == {(one.id, one.kind) for one in again.nodes}
    lines = b"\n".join(json.dumps(one).encode() for one in events)
    assert set(read_parts(lines, "x").claims.edges) == set(first.edges)
