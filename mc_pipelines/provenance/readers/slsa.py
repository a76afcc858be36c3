"""SLSA provenance v0.1, v0.2 and v1: an execution uses materials and its configuration, and produces the subjects.

Our own execution receipts are SLSA provenance v1 with further members; they are read the same way.
An execution is named by its builder and invocation id; where there is no invocation id, by the predicate's digest.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mc_pipelines.foundation.canonical import sha256_digest
from mc_pipelines.provenance.identity import NodeId, execution_id, named_id
from mc_pipelines.provenance.model import Kind
from mc_pipelines.provenance.readers.parsing import decode
from mc_pipelines.provenance.readers.statement import Frame, Resource

PREFIX = "https://slsa.dev/provenance/"
UNKNOWN_BUILDER = "unknown"
_MAXIMUM_RUN_ID = 1024


class _Builder(msgspec.Struct, rename="camel"):
    id: str | None = None
    builder_dependencies: list[Resource] | None = None


class _Metadata(msgspec.Struct):
    """Both spellings of the invocation id occur in v0.1 documents."""

    invocation: str | None = msgspec.field(default=None, name="buildInvocationId")
    invocation_old: str | None = msgspec.field(default=None, name="buildInvocationID")
    started: str | None = msgspec.field(default=None, name="buildStartedOn")
    finished: str | None = msgspec.field(default=None, name="buildFinishedOn")


class _ConfigSource(msgspec.Struct, rename="camel"):
    uri: str | None = None
    digest: dict[str, str] | None = None
    entry_point: str | None = None


class _Invocation(msgspec.Struct, rename="camel"):
    config_source: _ConfigSource | None = None


class _Recipe(msgspec.Struct, rename="camel"):
    type: str | None = None
    defined_in_material: int | None = None
    entry_point: str | None = None


class _Provenance0(msgspec.Struct, rename="camel"):
    builder: _Builder | None = None
    build_type: str | None = None
    invocation: _Invocation | None = None
    recipe: _Recipe | None = None
    metadata: _Metadata | None = None
    materials: list[Resource] | None = None


class _Definition(msgspec.Struct, rename="camel"):
    build_type: str | None = None
    external_parameters: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    resolved_dependencies: list[Resource] | None = None


class _RunMetadata(msgspec.Struct, rename="camel"):
    invocation_id: str | None = None
    started_on: str | None = None
    finished_on: str | None = None


class _RunDetails(msgspec.Struct):
    builder: _Builder | None = None
    metadata: _RunMetadata | None = None
    byproducts: list[Resource] | None = None


class _Provenance1(msgspec.Struct, rename="camel"):
    build_definition: _Definition | None = None
    run_details: _RunDetails | None = None


def read_slsa(frame: Frame) -> str | None:
    """Read SLSA provenance; return the builder that it names.

    Raises:
        InputError: the predicate has not the shape of its version.
    """
    version = frame.statement.predicate_type.removeprefix(PREFIX)
    return _read_1(frame) if version.startswith("v1") else _read_0(frame)


def _read_0(frame: Frame) -> str | None:
    predicate = decode(frame.predicate, _Provenance0, what="SLSA provenance")
    metadata = predicate.metadata or _Metadata()
    builder = predicate.builder.id if predicate.builder is not None else None
    execution = _execution(
        frame,
        builder,
        metadata.invocation or metadata.invocation_old,
        predicate.build_type or (predicate.recipe.type if predicate.recipe else None),
        metadata.started,
        metadata.finished,
    )
    materials = [frame.resource(one) for one in predicate.materials or ()]
    _use(frame, execution, materials)
    source = predicate.invocation.config_source if predicate.invocation is not None else None
    if source is not None:
        _use_configuration(frame, execution, Resource(uri=source.uri, digest=source.digest), source.entry_point)
    elif predicate.recipe is not None and predicate.recipe.defined_in_material is not None:
        place = predicate.recipe.defined_in_material
        if predicate.materials and 0 <= place < len(predicate.materials):
            _use_configuration(frame, execution, predicate.materials[place], predicate.recipe.entry_point)
    return builder


def _read_1(frame: Frame) -> str | None:
    predicate = decode(frame.predicate, _Provenance1, what="SLSA provenance")
    definition = predicate.build_definition or _Definition()
    details = predicate.run_details or _RunDetails()
    metadata = details.metadata or _RunMetadata()
    builder = details.builder.id if details.builder is not None else None
    execution = _execution(
        frame, builder, metadata.invocation_id, definition.build_type, metadata.started_on, metadata.finished_on
    )
    _use(frame, execution, [frame.resource(one) for one in definition.resolved_dependencies or ()])
    if details.builder is not None:
        _use(frame, execution, [frame.resource(one) for one in details.builder.builder_dependencies or ()])
    _use_parameters(frame, execution, definition.external_parameters)
    for byproduct in details.byproducts or ():
        node = frame.resource(byproduct)
        if node is not None:
            frame.collector.produces(execution, node)
    return builder


def _execution(
    frame: Frame, builder: str | None, invocation: str | None, type_: str | None, started: str | None, ended: str | None
) -> NodeId:
    collector = frame.collector
    if not builder:
        collector.remark("The provenance names no builder.")
    if not invocation or len(invocation) > _MAXIMUM_RUN_ID:
        collector.remark("The provenance has no invocation id; the execution is named by the predicate's digest.")
        invocation = sha256_digest(bytes(frame.predicate))
    execution = execution_id(builder or UNKNOWN_BUILDER, invocation)
    attributes: dict[str, Any] = {
        "builder": builder,
        "buildType": type_,
        "startedOn": started,
        "finishedOn": ended,
    }
    attributes = {key: value for key, value in attributes.items() if value}
    collector.node(execution, Kind.EXECUTION, invocation, attributes=attributes)
    collector.signs(frame.receipt, execution)
    for subject in frame.subjects:
        collector.produces(execution, subject)
    moment = collector.moment(ended or started, what="time of the build")
    if moment is not None and collector.valid_from is None:
        collector.valid_from = moment
    return execution


def _use(frame: Frame, execution: NodeId, nodes: list[NodeId | None]) -> None:
    for node in nodes:
        if node is not None:
            frame.collector.uses(execution, node)


def _use_configuration(frame: Frame, execution: NodeId, source: Resource, entry_point: str | None) -> None:
    """Let the execution use its configuration file: a manifest named by repository, path and commit."""
    collector = frame.collector
    repository = frame.resource(source)
    if not source.uri or not entry_point:
        if repository is not None:
            collector.uses(execution, repository)
        return
    version = None if repository is None else collector.artifact(source.digest, uri=source.uri)
    manifest = named_id("job", source.uri, entry_point, version)
    collector.node(manifest, Kind.MANIFEST, entry_point, attributes={"source": source.uri})
    collector.uses(execution, manifest)
    if repository is not None:
        collector.uses(manifest, repository)


def _use_parameters(frame: Frame, execution: NodeId, raw: msgspec.Raw | msgspec.UnsetType) -> None:
    """Let the execution use what its external parameters name by digest, and the workflow they name by path."""
    parameters = None if raw is msgspec.UNSET else decode(raw, object, what="external parameters")
    if not isinstance(parameters, dict):
        return
    workflow = parameters.get("workflow")
    if isinstance(workflow, dict):
        path, repository = workflow.get("path"), workflow.get("repository")
        if isinstance(path, str) and isinstance(repository, str) and path and repository:
            reference = workflow.get("ref")
            manifest = named_id("job", repository, path, reference if isinstance(reference, str) else None)
            frame.collector.node(manifest, Kind.MANIFEST, path, attributes={"source": repository})
            frame.collector.uses(execution, manifest)
    for name, value in parameters.items():
        resource = _resource_of(value)
        if resource is not None:
            node = frame.resource(resource, Kind.MANIFEST if name == "manifest" else Kind.PACKAGE)
            if node is not None:
                frame.collector.uses(execution, node)


def _resource_of(value: Any) -> Resource | None:
    if not isinstance(value, dict) or not isinstance(value.get("digest"), dict | str):
        return None
    digest = value["digest"]
    if isinstance(digest, str):
        algorithm, separator, hexadecimal = digest.partition(":")
        digest = {algorithm: hexadecimal} if separator else None
    try:
        return msgspec.convert({**value, "digest": digest}, Resource)
    except msgspec.ValidationError:
        return None
