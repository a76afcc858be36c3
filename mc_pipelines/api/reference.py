"""The reference of the API, made from its OpenAPI document: a page without scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_METHODS = ("get", "post", "put", "patch", "delete")
_FIRST_ERROR = 400


@dataclass(frozen=True, slots=True)
class Reply:
    """One status that an operation answers with."""

    status: int
    description: str
    example: str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, as the reference shows it."""

    name: str
    anchor: str
    summary: str
    description: str
    roles: tuple[str, ...]
    """Empty: anyone."""
    tenant_bound: bool
    parameters: tuple[Mapping[str, Any], ...]
    requests: tuple[tuple[str, str], ...]
    """(name, JSON) of each example of the body."""
    replies: tuple[Reply, ...]
    problems: tuple[Reply, ...]


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Return the operations of an OpenAPI document, in its order."""
    return [
        _operation(f"{method.upper()} {path}", document["paths"][path][method])
        for path in document["paths"]
        for method in _METHODS
        if method in document["paths"][path]
    ]


def render(document: Mapping[str, Any]) -> str:
    """Return the reference as HTML."""
    environment = Environment(
        loader=PackageLoader("mc_pipelines.api"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("reference.html.j2").render(info=document["info"], operations=operations(document))


def _operation(name: str, found: Mapping[str, Any]) -> Operation:
    replies = [_reply(int(status), reply) for status, reply in found["responses"].items()]
    return Operation(
        name=name,
        anchor=found["operationId"],
        summary=found["summary"],
        description=found.get("description", ""),
        roles=tuple(found.get("x-roles", ())),
        tenant_bound=bool(found.get("x-tenant-bound", False)),
        parameters=tuple(found.get("parameters", ())),
        requests=tuple(_bodies(found)),
        replies=tuple(reply for reply in replies if reply.status < _FIRST_ERROR),
        problems=tuple(reply for reply in replies if reply.status >= _FIRST_ERROR),
    )


def _bodies(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    content = found.get("requestBody", {}).get("content", {}).get("application/json", {})
    for name, example in content.get("examples", {}).items():
        yield name, _text(example["value"])


def _reply(status: int, reply: Mapping[str, Any]) -> Reply:
    content: Mapping[str, Any] = next(iter(reply.get("content", {}).values()), {})
    return Reply(status, reply["description"], _text(content["example"]) if "example" in content else None)


def _text(example: Any) -> str:
    return example.rstrip() if isinstance(example, str) else json.dumps(example, indent=2, ensure_ascii=False)
