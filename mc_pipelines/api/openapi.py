"""The OpenAPI document: what FastAPI derives, with roles, problems and examples for every operation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from mc_pipelines.api.problems import MEDIA_TYPE, MalformedRequestError, MediaTypeError, Problem
from mc_pipelines.foundation.errors import (
    PROBLEM_BASE,
    ConflictError,
    ForbiddenError,
    InputError,
    MaestroError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)

_PROBLEMS: dict[int, tuple[str, MaestroError]] = {
    400: (
        "The request cannot be read",
        MalformedRequestError("Input should be less than or equal to 5", field="depth", value=6),
    ),
    401: ("No bearer token, or one that does not hold", UnauthenticatedError("No bearer token", field="Authorization")),
    403: (
        "The caller may not do this",
        ForbiddenError("This needs one of the roles [operator]", mend="ask an operator for the role"),
    ),
    404: ("No such thing, or none that the caller may know of", NotFoundError("No such thing", field="id")),
    406: ("None of the forms asked for can be made", MaestroError("No such form", field="Accept")),
    409: (
        "Contradicts what is recorded",
        ConflictError("The figure differs", field="expected", value="10.00", recomputed="123.45"),
    ),
    410: ("Retention removed it", MaestroError("Retention removed the claims about this node", field="node")),
    413: ("The body is too large", MaestroError("The body is larger than 4194304 bytes.")),
    415: ("The body is not JSON", MediaTypeError("The body is read as JSON only", field="Content-Type")),
    422: (
        "The request means nothing here",
        InputError("Not a valid name", field="tenant", value="ACME", mend="use 1 to 63 of a-z, 0-9"),
    ),
    503: (
        "Something this depends on is down or switched off",
        UnavailableError("The flag is off", field="flag", value="sla_credits"),
    ),
}
_REFERENCE = "#/components/schemas/{model}"
_TITLES = {
    406: ("not-acceptable", "Not acceptable"),
    410: ("pruned", "Pruned"),
    413: ("body-too-large", "Body too large"),
}
_MODELS: dict[str, type[BaseModel]] = {"Problem": Problem}
"""Models that stand in the document by name, beside those that FastAPI finds in the routes itself."""
_METHODS = frozenset({"get", "post", "put", "patch", "delete"})


def answers(
    example: Any,
    *problems: int,
    status: int = 200,
    description: str = "Done",
    media_type: str = "application/json",
    further: Mapping[int, tuple[str, Any]] | None = None,
) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route: an example of its answer, and which problems it has of its own.

    Args:
        example: of the body of the answer.
        *problems: statuses beyond those that every operation has.
        status: of the answer.
        description: of the answer.
        media_type: of the answer.
        further: other statuses of success, each with its description and example.
    """
    found: dict[int | str, dict[str, Any]] = {code: _problem(code) for code in problems}
    for code, (says, shown) in {status: (description, example), **(further or {})}.items():
        found[code] = {"description": says, "content": {media_type: {"example": shown}}}
    return found


def schema_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the reference of a model that a route reads by itself; it then stands in the document by its name."""
    _MODELS[model.__name__] = model
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def install(app: FastAPI, operations: Mapping[str, Mapping[str, Any]]) -> None:
    """Let an application describe itself.

    Args:
        app: the application, with all its routes.
        operations: of the access pack: which roles each operation takes.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _finished(app, operations)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _finished(app: FastAPI, operations: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for name, model in _MODELS.items():
        schema = model.model_json_schema(ref_template=_REFERENCE)
        schemas |= {part: shape for part, shape in schema.pop("$defs", {}).items() if part not in schemas}
        schemas[name] = schema
    components["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "of the OIDC issuer"}
    }
    for path, methods in document["paths"].items():
        for method in _METHODS & set(methods):
            rule = operations.get(f"{method.upper()} {path}", {"roles": []})
            _finish_operation(methods[method], rule)
    return document


def _finish_operation(operation: dict[str, Any], rule: Mapping[str, Any]) -> None:
    roles = sorted(rule["roles"])
    is_open = "anyone" in roles
    operation["security"] = [] if is_open else [{"bearer": []}]
    if not is_open:
        operation["x-roles"] = roles
        operation["x-tenant-bound"] = rule.get("tenant_bound", True)
    for media in operation.get("requestBody", {}).get("content", {}).values():
        if "$ref" in media["schema"]:  # of schema_of, beside what FastAPI says of any object
            media["schema"] = {"$ref": media["schema"]["$ref"]}
    responses = operation["responses"]
    body = "requestBody" in operation
    usual = [503] if is_open else [401, 403, 503]
    usual += [400] if body or operation.get("parameters") else []
    usual += [413, 415] if body else []
    if body:
        responses["422"] = _problem(422)
    elif MEDIA_TYPE not in responses.get("422", {}).get("content", {}):
        responses.pop("422", None)  # what FastAPI adds by itself
    for code in usual:
        responses.setdefault(str(code), _problem(code))
    operation["responses"] = dict(sorted(responses.items()))


def _problem(code: int) -> dict[str, Any]:
    description, error = _PROBLEMS[code]
    shown = error.problem() | {"status": code}
    if code in _TITLES:
        shown |= {"type": PROBLEM_BASE + _TITLES[code][0], "title": _TITLES[code][1]}
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {MEDIA_TYPE: {"schema": schema, "example": shown}}}
