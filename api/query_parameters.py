"""Refuse query parameters that a route does not take: a mistyped filter must not answer with every asset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute


async def refuse_unknown_parameters(request: Request) -> None:
    """Raise RequestValidationError for a query parameter that the route does not declare, or that is given twice.

    A dependency of a route or of a router. A parameter in `openapi_extra` counts as declared.
    """
    route = request.scope["route"]
    declared = set(_declared_parameters(route))
    errors = []
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in declared:
            errors.append(_error(name, "unknown_parameter", "this parameter is unknown"))
        elif count > 1:
            errors.append(_error(name, "repeated_parameter", "this parameter is given more than once"))
    if errors:
        raise RequestValidationError(errors)


def _declared_parameters(route: APIRoute) -> Iterator[str]:
    yield from _names_of(route.dependant)
    for parameter in (route.openapi_extra or {}).get("parameters", []):
        if parameter["in"] == "query":
            yield parameter["name"]


def _names_of(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for dependency in dependant.dependencies:
        yield from _names_of(dependency)


def _error(name: str, kind: str, message: str) -> dict[str, object]:
    return {"type": kind, "loc": ("query", name), "msg": message}
