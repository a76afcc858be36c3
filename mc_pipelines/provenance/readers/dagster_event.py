"""One materialisation of Dagster's own event log, as :mod:`mc_pipelines.dagster_ext.event_log` writes it down.

Dagster tags every materialisation with the version of each input that it read, so that the edges are exact: the step
uses each input asset at that version and produces its asset at its own. A step is the execution
``run:<issuer>/<run id>/<step key>``; its code at a version is a manifest that it uses. A further materialisation is a
further version of the asset, never another content of the same one; the asset itself uses (lists) each of its
versions. Where no version was recorded, the id of the event in the log is the version.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mc_pipelines.foundation.errors import InputError
from mc_pipelines.provenance.identity import NodeId, execution_id, named_id
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers.collector import Collector
from mc_pipelines.provenance.readers.parsing import decode

EVENT_TYPE = "https://maestro-conductor.example/provenance/dagster-materialization/v1"
_MAXIMUM_INPUTS = 10_000


class _Input(msgspec.Struct, rename="camel"):
    asset: str
    data_version: str | None = None
    event: int | None = None


class _Materialization(msgspec.Struct, rename="camel"):
    dagster_event: str
    issuer: str
    asset: str
    event: int
    run_id: str
    step_key: str | None = None
    job: str | None = None
    partition: str | None = None
    timestamp: str | None = None
    code_version: str | None = None
    data_version: str | None = None
    inputs: list[_Input] = []


def read_materialization(content: bytes, collector: Collector) -> None:
    """Read one materialisation.

    Raises:
        InputError: it is malformed or of another version.
    """
    event = decode(content, _Materialization, what="Dagster materialisation")
    if event.dagster_event != EVENT_TYPE:
        raise InputError("This kind of Dagster event is not read", field="dagsterEvent", value=event.dagster_event)
    if len(event.inputs) > _MAXIMUM_INPUTS:
        raise InputError(
            f"A materialisation names at most {_MAXIMUM_INPUTS} inputs", field="inputs", value=len(event.inputs)
        )
    collector.format = "dagster-materialization"
    collector.valid_from = collector.moment(event.timestamp, what="time of the materialisation")
    run = event.run_id or f"event-{event.event}"  # reported from outside a run
    step = execution_id(event.issuer, f"{run}/{event.step_key}" if event.step_key else run)
    facts = {"job": event.job, "runId": event.run_id, "finishedOn": event.timestamp}
    attributes: dict[str, Any] = {key: value for key, value in facts.items() if value}
    collector.node(step, Kind.EXECUTION, event.step_key or run, attributes=attributes)
    collector.uses(step, _code(event, collector))
    for one in event.inputs:
        version = one.data_version or (None if one.event is None else f"event-{one.event}")
        if version is None:
            collector.remark("An input without version or event is named as the asset itself.")
        collector.uses(step, _asset(collector, event.issuer, one.asset, version, {"event": one.event}, stub=True))
    name = event.asset if event.partition is None else f"{event.asset}[{event.partition}]"
    made = {"event": event.event, "partition": event.partition}
    version = event.data_version or f"event-{event.event}"
    collector.produces(step, _asset(collector, event.issuer, name, version, made, stub=False))
    if event.partition is not None:
        whole, part = named_id("asset", event.issuer, event.asset), named_id("asset", event.issuer, name)
        collector.node(whole, Kind.PACKAGE, event.asset)
        collector.uses(whole, part)


def _asset(
    collector: Collector, issuer: str, name: str, version: str | None, facts: dict[str, Any], *, stub: bool
) -> NodeId:
    plain = named_id("asset", issuer, name)
    collector.node(plain, Kind.PACKAGE, name)
    if version is None:
        return plain
    node = named_id("asset", issuer, name, version)
    attributes = {key: value for key, value in facts.items() if value is not None}
    collector.node(node, Kind.PACKAGE, f"{name}@{version}", stub=stub, attributes=None if stub else attributes)
    collector.uses(plain, node)
    return node


def _code(event: _Materialization, collector: Collector) -> NodeId:
    """Name the code that ran: the asset's definition, at its version unless Dagster had to make one up."""
    version = event.code_version if event.code_version != event.run_id else None
    node = named_id("job", event.issuer, event.asset, version)
    return collector.node(node, Kind.MANIFEST, f"definition of {event.asset}")
