"""The description at /docs: problems as application/problem+json, the same schema for all of them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.schemas import FieldProblem, Problem

DESCRIPTION = """
Personal, suitable and explained asset recommendations.

1. `POST /recommendations` asks for a list: 200 as soon as the event broker has the request.
2. `GET /recommendations/{customer_id}` reads the newest list a moment later.
3. `POST /user_interactions` records a click: every list that is requested afterwards takes it into account.

Failures are `application/problem+json` (RFC 9457).
"""
_DESCRIPTIONS = {
    404: "There is no such thing.",
    409: "The version exists and is no longer on the models volume.",
    413: "The body is larger than 64 KiB.",
    415: "The body is not announced as JSON; a POST without a body needs a JSON `Content-Type` or `X-Requested-With`.",
    422: "The request is not valid; `errors` names the fields.",
    503: "Broker or database is away; try again after `Retry-After` seconds. `outcome` tells whether the event may "
    "have been taken.",
}
_PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the description of these failures for a route."""
    return {
        status: {
            "description": _DESCRIPTIONS[status],
            "content": _PROBLEM_CONTENT,
            **({"headers": _RETRY_AFTER} if status == 503 else {}),
        }
        for status in statuses
    }


def install_openapi(app: FastAPI) -> None:
    """Let the app describe itself with the problem schemas that `problems` refers to."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
            schemas = schema.setdefault("components", {}).setdefault("schemas", {})
            for model in (Problem, FieldProblem):
                described = model.model_json_schema(ref_template="#/components/schemas/{model}")
                described.pop("$defs", None)
                schemas[model.__name__] = described
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
