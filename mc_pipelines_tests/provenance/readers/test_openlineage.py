from __future__ import annotations

import itertools
from typing import Any

import pytest

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.model import Claims
from mc_pipelines.provenance.readers import read_document, read_parts
from mc_pipelines_tests.provenance.readers.documents import dump

RUN = "run:etl/0196f7c2-0000-7000-8000-000000000001"
IN, OUT, JOB = "dataset:db/in", "dataset:db/out", "job:etl/load"


def dataset(name: str, version: str | None = None, **facets: Any) -> dict[str, Any]:
    if version is not None:
        facets["version"] = {"datasetVersion": version}
    return {"namespace": "db", "name": name, "facets": facets}


def event(type_: str | None = "COMPLETE", **over: Any) -> dict[str, Any]:
    return {
        "eventType": type_,
        "eventTime": "2026-01-19T17:00:00.123456789Z",
        "run": {"runId": RUN.rpartition("/")[2]},
        "job": {"namespace": "etl", "name": "load"},
        "inputs": [dataset("in")],
        "outputs": [dataset("out")],
        "producer": "https://example.org/scheduler",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    } | over


def read(*events: dict[str, Any]) -> Claims:
    return read_document(dump(list(events) if len(events) > 1 else events[0]), "x")


def triples(claims: Claims) -> set[tuple[str, str, str]]:
    return {(one.source, one.type.value, one.target) for one in claims.edges}


def test_one_event() -> None:
    claims = read(event())
    assert triples(claims) == {(RUN, "uses", JOB), (RUN, "uses", IN), (RUN, "produces", OUT)}
    assert claims.valid_from is not None
    assert claims.valid_from.microsecond == 123456  # nanoseconds are cut, not refused


@pytest.mark.parametrize("type_", ["START", "RUNNING", "OTHER", "FAIL", "ABORT", None])
def test_what_did_not_complete_produces_nothing(type_: str | None) -> None:
    reading = read_parts(dump(event(type_)), "x")
    assert triples(reading.claims) == {(RUN, "uses", JOB), (RUN, "uses", IN)}
    [run] = reading.runs
    assert (run.run, run.completed, run.waiting) == (RUN, False, (OUT,))
    assert any("wait" in one for one in reading.claims.remarks)
    assert OUT in {node.id for node in reading.claims.nodes}


def test_inputs_only_at_the_start_and_outputs_named_before_it_completes() -> None:
    start, end = event("START"), event("COMPLETE", inputs=[], outputs=[])
    late = event("RUNNING", inputs=[dataset("late")], outputs=[])
    whole = {(RUN, "uses", JOB), (RUN, "uses", IN), (RUN, "uses", "dataset:db/late"), (RUN, "produces", OUT)}
    for order in itertools.permutations([start, end, late]):
        assert triples(read(*order, start)) == whole


def test_a_version_is_a_dataset_of_its_own_that_the_dataset_lists() -> None:
    claims = read(event(inputs=[dataset("in", "41")], outputs=[dataset("out", "7")]))
    assert triples(claims) == {
        (RUN, "uses", JOB),
        (RUN, "uses", f"{IN}@41"),
        (RUN, "produces", f"{OUT}@7"),
        (IN, "uses", f"{IN}@41"),
        (OUT, "uses", f"{OUT}@7"),
    }


def test_names_cannot_collide_and_unicode_stays() -> None:
    tricky = [{"namespace": "a/b", "name": "c"}, {"namespace": "a", "name": "b/c"}, {"namespace": "a", "name": "x@1"}]
    tricky += [{"namespace": "a", "name": "x", "facets": {"version": {"datasetVersion": "1"}}}]  # type: ignore[dict-item]
    tricky += [{"namespace": "日本", "name": "データ\u200b"}]
    claims = read(event(inputs=tricky, outputs=[]))
    assert len({one.target for one in claims.edges if one.source == RUN}) == 1 + len(tricky)
    assert "データ\u200b" in {node.label for node in claims.nodes}


def test_parent_and_times_are_facts_about_the_run() -> None:
    parent = {"run": {"runId": "up"}, "job": {"namespace": "etl", "name": "all"}}
    run = {"runId": RUN.rpartition("/")[2], "facets": {"parent": parent}}
    claims = read(event("START", run=run), event(run=run))
    [node] = [node for node in claims.nodes if node.id == RUN]
    assert node.attributes is not None
    assert node.attributes["parent"] == "run:etl/up"
    assert node.attributes["states"] == ["COMPLETE", "START"]
    assert {"startedOn", "finishedOn"} <= node.attributes.keys()


def test_job_and_dataset_events() -> None:
    document = {key: value for key, value in event().items() if key not in {"run", "eventType"}}
    assert triples(read(document)) == {(JOB, "uses", IN), (OUT, "uses", JOB)}
    alone = {"eventTime": document["eventTime"], "dataset": dataset("in", "3")}
    assert triples(read(alone)) == {(IN, "uses", f"{IN}@3")}


def test_code_version_names_the_job() -> None:
    job = {"namespace": "etl", "name": "load", "facets": {"sourceCodeLocation": {"version": "abc"}}}
    assert (RUN, "uses", f"{JOB}@abc") in triples(read(event(job=job)))


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"run": {}}, "run.runId"),
        ({"run": {"runId": ""}}, "run.runId"),
        ({"job": None}, "job.name"),
        ({"job": {"namespace": "x"}}, "job.name"),
        ({"eventType": "FINISHED"}, "eventType"),
        ({"inputs": [{"name": "without namespace"}]}, "inputs.name"),
        ({"outputs": [{"namespace": "n", "name": "x" * 2000}]}, "outputs.name"),
        ({"run": {"runId": "x\ny"}}, "run"),
        ({"run": 3}, "OpenLineage event"),
        ({"run": None}, "run.runId"),
        ({"eventType": None, "run": None, "job": None}, "run"),
    ],
)
def test_refused_with_the_member_at_fault(over: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        read(event(**over))
    assert caught.value.field == field
    if field != "OpenLineage event":
        with pytest.raises(InputError, match="Event 1"):
            read(event(), event(**over))


@pytest.mark.parametrize("moment", ["2026-01-19T17:00:00", "{{RUN_START_TIME}}", "yesterday", "", None])
def test_a_time_that_is_none_is_ignored(moment: str | None) -> None:
    claims = read(event(eventTime=moment))
    assert claims.valid_from is None
    assert bool(claims.remarks) == bool(moment)


def test_malformed_facets_are_ignored_with_a_remark() -> None:
    claims = read(event(inputs=[{"namespace": "db", "name": "in", "facets": [1]}]))
    assert any("facets" in one for one in claims.remarks)
    broken = dataset("out", columnLineage={"fields": {"a": 3}})
    assert any("column lineage" in one for one in read(event(outputs=[broken])).remarks)


def test_column_lineage_is_a_fact_about_the_dataset() -> None:
    fields = {"total": {"inputFields": [{"namespace": "db", "name": "in", "field": "price"}]}}
    claims = read(event(outputs=[dataset("out", columnLineage={"fields": fields})]))
    attributes = {node.id: node.attributes or {} for node in claims.nodes}
    assert attributes[OUT]["columnLineage"] == {"total": ["db/in:price"]}
