"""OpenLineage events (spec 1.x and 2.x, JSON): run, dataset and job events; one, an array, or JSON lines of them.

A run is one execution, ``run:<namespace of its job>/<runId>``, however many events tell of it, in whatever order and
however often. It uses its inputs and its job from the first event on; it produces its outputs once an event says
COMPLETE, and what earlier or later events called its outputs then counts too, because events are cumulative. A
run that failed, was aborted or never completed produces nothing. The outputs that wait are handed on in
:attr:`Reading.runs`: :mod:`mc_pipelines.provenance.run_events` settles them when the events came one by one.

A dataset is named by namespace and name, and by its version where a version facet gives one; the dataset itself uses
(lists) each version that was named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId, execution_id, named_id
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers.collector import Collector, RunEvents
from mc_pipelines.provenance.readers.parsing import decode

COMPLETE = "COMPLETE"
TYPES = frozenset({"START", "RUNNING", COMPLETE, "ABORT", "FAIL", "OTHER"})
MAXIMUM_EVENTS = 100_000
_MAXIMUM_NAME = 1500
_MAXIMUM_RUN = 2000
"""Bytes of a run\'s id, escapes counted: events wait for their run under it, in an index."""
_MAXIMUM_COLUMNS = 500


class _Run(msgspec.Struct, rename="camel"):
    run_id: str | None = None
    facets: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Job(msgspec.Struct, rename="camel"):
    namespace: str | None = None
    name: str | None = None
    facets: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Dataset(msgspec.Struct, rename="camel"):
    namespace: str | None = None
    name: str | None = None
    facets: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Event(msgspec.Struct, rename="camel"):
    """A RunEvent, DatasetEvent or JobEvent; which one is told by its members."""

    event_time: str | None = None
    event_type: str | None = None
    run: _Run | None = None
    job: _Job | None = None
    dataset: _Dataset | None = None
    inputs: list[_Dataset] | None = None
    outputs: list[_Dataset] | None = None
    producer: str | None = None


class _Parent(msgspec.Struct):
    run: _Run
    job: _Job


class _Column(msgspec.Struct, rename="camel"):
    namespace: str = ""
    name: str = ""
    field: str = ""


class _Columns(msgspec.Struct, rename="camel"):
    input_fields: list[_Column] = []


@dataclass
class _Told:
    """What the events of one document tell of one run."""

    namespace: str
    run: str
    job: NodeId | None = None
    label: str | None = None
    inputs: dict[NodeId, None] = field(default_factory=dict)
    outputs: dict[NodeId, None] = field(default_factory=dict)
    attributes: dict[str, Any] = field(default_factory=dict)
    types: dict[str, None] = field(default_factory=dict)


def read_event(content: bytes, collector: Collector) -> None:
    """Read one event.

    Raises:
        InputError: it is malformed, of an unknown type, or names no run, job or dataset.
    """
    _read([decode(content, Event, what="OpenLineage event")], collector)


def read_events(content: bytes, collector: Collector) -> None:
    """Read an array of events.

    Raises:
        InputError: one of them is refused; then all are.
    """
    _read(decode(content, list[Event], what="array of OpenLineage events"), collector)


def read_event_lines(lines: list[bytes], collector: Collector) -> None:
    """Read events that stand in a line each.

    Raises:
        InputError: one of them is refused; then all are.
    """
    _read([decode(line, Event, what="OpenLineage event") for line in lines], collector)


def _read(events: list[Event], collector: Collector) -> None:
    if not 0 < len(events) <= MAXIMUM_EVENTS:
        raise InputError(f"A document holds 1 to {MAXIMUM_EVENTS} events", field="events", value=len(events))
    collector.format = "openlineage"
    reader = _Reader(collector)
    for number, event in enumerate(events):
        try:
            reader.event(event)
        except InputError as error:
            if len(events) == 1:
                raise
            raise InputError(f"Event {number}: {error.detail}", field=error.field, value=error.value) from error
    reader.finish()


class _Reader:
    """The events of one document on their way into a collector."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._runs: dict[NodeId, _Told] = {}
        self._columns: dict[NodeId, dict[str, dict[str, None]]] = {}

    def event(self, event: Event) -> None:
        moment = self._collector.moment(event.event_time, what="eventTime")
        if moment is not None:
            self._collector.valid_from = min(self._collector.valid_from or moment, moment)
        if event.dataset is not None:
            self._dataset(event.dataset, "dataset")
        if event.run is not None or event.event_type is not None:  # only events of runs have a type
            self._run_event(event, moment)
        elif event.job is not None:
            self._job_event(event.job, event)
        elif event.dataset is None:
            raise InputError("The event tells of no run, job or dataset", field="run")

    def finish(self) -> None:
        """Claim the edges of the runs, now that all events are read."""
        collector = self._collector
        runs = []
        for identifier, told in self._runs.items():
            completed = COMPLETE in told.types
            told.attributes["states"] = sorted(told.types)
            collector.node(identifier, Kind.EXECUTION, told.label or told.run, attributes=told.attributes)
            for used in (*([told.job] if told.job else ()), *told.inputs):
                collector.uses(identifier, used)
            if completed:
                for output in told.outputs:
                    collector.produces(identifier, output)
            elif told.outputs:
                collector.remark("Outputs of a run that is not known to have completed wait for that.")
            runs.append(RunEvents(identifier, completed, () if completed else tuple(told.outputs)))
        for node, columns in self._columns.items():
            found = {column: sorted(inputs)[:_MAXIMUM_COLUMNS] for column, inputs in sorted(columns.items())}
            known = collector.nodes[node]
            merged = {**(known.attributes or {}), "columnLineage": found}
            collector.nodes[node] = msgspec.structs.replace(known, attributes=merged)
        collector.runs = tuple(runs)

    def _run_event(self, event: Event, moment: datetime | None) -> None:
        run, job = event.run, event.job
        if run is None or not run.run_id:
            raise InputError(
                "A run event without a run id tells of nothing", field="run.runId", mend="send the id of the run"
            )
        if job is None or not job.namespace or not job.name:
            raise InputError("A run event names its job", field="job.name")
        type_ = (event.event_type or "OTHER").upper()
        if type_ not in TYPES:
            raise InputError("Not a type of run event", field="eventType", value=event.event_type)
        identifier = execution_id(_short(job.namespace, "job.namespace"), _short(run.run_id, "run.runId"))
        if len(identifier.encode()) > _MAXIMUM_RUN:
            raise InputError(
                f"A run is named by at most {_MAXIMUM_RUN} bytes", field="run.runId", value=run.run_id[:80]
            )
        told = self._runs.setdefault(identifier, _Told(job.namespace, run.run_id))
        told.job, told.label = self._job(job), job.name
        told.types[type_] = None
        self._attributes(told, event, run, moment, type_)
        for dataset in event.inputs or ():
            told.inputs[self._dataset(dataset, "inputs")] = None
        for dataset in event.outputs or ():
            told.outputs[self._dataset(dataset, "outputs")] = None

    def _attributes(self, told: _Told, event: Event, run: _Run, moment: datetime | None, type_: str) -> None:
        if event.producer:
            told.attributes["producer"] = event.producer[:_MAXIMUM_NAME]
        if moment is not None:
            key = "startedOn" if type_ == "START" else "finishedOn" if type_ in {COMPLETE, "FAIL", "ABORT"} else None
            if key:
                told.attributes[key] = moment.isoformat()
        parent = self._parent(self._facets(run.facets, "run").get("parent"))
        if parent is not None:
            told.attributes["parent"] = parent

    def _parent(self, facet: Any) -> NodeId | None:
        """Return the run that started this one; it is a fact about the run, not an edge: it produced no output."""
        try:
            above = msgspec.convert(facet, _Parent)
        except msgspec.ValidationError:
            return None
        if not above.run.run_id or not above.job.namespace:
            return None
        return execution_id(_short(above.job.namespace, "parent.job"), _short(above.run.run_id, "parent.run"))

    def _job_event(self, described: _Job, event: Event) -> None:
        """Read a job without a run: it uses its inputs, and its outputs stand on it."""
        job = self._job(described)
        for dataset in event.inputs or ():
            self._collector.uses(job, self._dataset(dataset, "inputs"))
        for dataset in event.outputs or ():
            self._collector.uses(self._dataset(dataset, "outputs"), job)

    def _job(self, job: _Job) -> NodeId:
        if not job.namespace or not job.name:
            raise InputError("A job has a namespace and a name", field="job.name", value=job.name)
        location = self._facets(job.facets, "job").get("sourceCodeLocation")
        version = location.get("version") if isinstance(location, dict) else None
        version = version[:_MAXIMUM_NAME] if isinstance(version, str) and version else None
        node = named_id("job", _short(job.namespace, "job.namespace"), _short(job.name, "job.name"), version)
        self._collector.node(node, Kind.MANIFEST, job.name, attributes={"namespace": job.namespace})
        return node

    def _dataset(self, dataset: _Dataset, where: str) -> NodeId:
        """Name a dataset, at its version where one is given."""
        collector = self._collector
        if not dataset.namespace or not dataset.name:
            raise InputError("A dataset has a namespace and a name", field=f"{where}.name", value=dataset.name)
        namespace = _short(dataset.namespace, f"{where}.namespace")
        name = _short(dataset.name, f"{where}.name")
        plain = named_id("dataset", namespace, name)
        collector.node(plain, Kind.PACKAGE, dataset.name, attributes={"namespace": dataset.namespace})
        facets = self._facets(dataset.facets, "dataset")
        version = facets.get("version")
        text = version.get("datasetVersion") if isinstance(version, dict) else None
        node = plain
        if isinstance(text, str) and text:
            node = named_id("dataset", namespace, name, _short(text, f"{where}.facets.version.datasetVersion"))
            attributes = {"namespace": dataset.namespace, "version": text}
            collector.node(node, Kind.PACKAGE, f"{dataset.name}@{text}", attributes=attributes)
            collector.uses(plain, node)
        self._lineage(node, facets.get("columnLineage"))
        return node

    def _lineage(self, node: NodeId, facet: Any) -> None:
        """Keep which columns a column comes from, as a fact about the dataset: detail, not edges."""
        fields = facet.get("fields") if isinstance(facet, dict) else None
        if not isinstance(fields, dict):
            return
        try:
            columns = msgspec.convert(fields, dict[str, _Columns])
        except msgspec.ValidationError:
            self._collector.remark("A malformed column lineage facet was ignored.")
            return
        kept = self._columns.setdefault(node, {})
        for column, found in columns.items():
            if len(kept) < _MAXIMUM_COLUMNS:
                names = kept.setdefault(column, {})
                names.update(dict.fromkeys(f"{one.namespace}/{one.name}:{one.field}" for one in found.input_fields))

    def _facets(self, raw: msgspec.Raw | msgspec.UnsetType, what: str) -> dict[str, Any]:
        if raw is msgspec.UNSET:
            return {}
        try:
            found = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            found = None
        if not isinstance(found, dict):
            if found is not None:
                self._collector.remark(f"Malformed {what} facets were ignored.")
            return {}
        if any(not isinstance(facet, dict) for facet in found.values()):
            self._collector.remark(f"A {what} facet that is no object was ignored.")
        return found


def _short(text: str, where: str) -> str:
    if len(text) > _MAXIMUM_NAME:
        raise InputError(f"A name has at most {_MAXIMUM_NAME} characters", field=where, value=text[:80])
    return text
