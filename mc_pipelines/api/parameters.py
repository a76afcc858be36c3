"""Query strings, read strictly: what a question does not know is refused, never passed over."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, get_args, get_origin

from fastapi import Depends, Request
from fastapi.routing import APIRoute

from mc_pipelines.provenance.request import QueryError


def single_parameters(request: Request, *, lists: Collection[str] = ()) -> dict[str, str]:
    """Return the parameters of a query string by name.

    Args:
        request: what was sent.
        lists: names of those that may come several times; of these one value is returned.

    Raises:
        QueryError: one comes twice, and would be read differently by whoever reads it next.
    """
    given: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in given and name not in lists:
            raise QueryError("The parameter comes twice", field=name)
        given[name] = value
    return given


def refuse_undeclared(request: Request) -> None:
    """Refuse a parameter that the route does not declare.

    Raises:
        QueryError: names the first one.
    """
    route: APIRoute = request.scope["route"]
    declared = {each.alias: _is_list(each.field_info.annotation) for each in route.dependant.query_params}
    known = sorted(declared)
    unknown = sorted(single_parameters(request, lists=[name for name in known if declared[name]]).keys() - set(known))
    if unknown:
        mend = f"use {', '.join(known)}" if known else "this question takes none"
        raise QueryError("There is no such parameter", field=unknown[0], mend=mend)


def _is_list(annotation: Any) -> bool:
    return any(get_origin(each) is list for each in (annotation, *get_args(annotation)))


DECLARED_ONLY = Depends(refuse_undeclared)
"""In a route's ``dependencies``: no parameter but those in its signature."""
