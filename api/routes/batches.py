"""The endpoint that requests lists for many customers at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import ValidationError

from api.errors import describe_fields, describe_problem, describe_publish_failure, unknown_customer
from api.gateway import EventPublication, PublishEvent
from api.idempotency import digest
from api.json_bodies import JsonRoute
from api.openapi import problems
from api.schemas.answers import FieldProblem, Problem
from api.schemas.lists import AcceptedRequest, BatchBody, BatchResults, RecommendationsBody, RefusedRequest
from shared.errors import PublishFailed
from shared.identifiers import is_customer_id
from shared.logging import get_logger

# A request with every option has about 300. Each unknown field would be one error of about 500 bytes.
MOST_VALUES = 500
SHOWN_ERRORS = 5  # of each request

log = get_logger(__name__)
router = APIRouter(route_class=JsonRoute, tags=["recommendations"])


@router.post("/recommendations:batch", response_model=BatchResults, responses=problems(413, 415, 422))
async def request_many_recommendations(body: BatchBody, publish_event: PublishEvent) -> Response:
    """Request lists for up to 1,000 customers; the body has up to 1 MiB.

    Each request has a result of its own, in the same order: a request that is not valid, or that the broker does not
    take, stops no other. With an `Idempotency-Key` each request has one effect, and another batch with the key is
    rejected.
    """
    parsed = [_hide_others(_parse(one), publish_event) for one in body.requests]
    publish_event.count_more(len(parsed) - 1)
    accepted = {place: one for place, one in enumerate(parsed) if isinstance(one, RecommendationsBody)}
    fingerprint = digest(_content(one, given) for one, given in zip(parsed, body.requests, strict=True))
    published = await publish_event.publish_requests("recommendations:batch", accepted, fingerprint=fingerprint)
    results = [
        _result(given, one) if isinstance(one, Problem) else _published_result(one, *published[place])
        for place, (given, one) in enumerate(zip(body.requests, parsed, strict=True))
    ]
    failed = sum(failure is not None for _, failure in published.values())
    if failed:
        log.warning("batch.failed", requests=len(results), failed=failed)
    return Response(BatchResults(results=results).model_dump_json(exclude_none=True), media_type="application/json")


def _parse(given: Any) -> RecommendationsBody | Problem:
    if _count_values(given, most=MOST_VALUES) > MOST_VALUES:
        return _invalid([FieldProblem(field="body", message=f"has more than {MOST_VALUES} values")])
    try:
        return RecommendationsBody.model_validate(given)
    except ValidationError as error:
        errors = error.errors()[:SHOWN_ERRORS]
        return _invalid(describe_fields([{**one, "loc": ("body", *one["loc"])} for one in errors]))


def _hide_others(
    parsed: RecommendationsBody | Problem, publish_event: EventPublication
) -> RecommendationsBody | Problem:
    """Return the problem of an unknown customer for one that does not exist for the caller."""
    if isinstance(parsed, Problem) or publish_event.may_see(parsed.customer_id):
        return parsed
    return describe_problem(404, unknown_customer().detail)


def _invalid(errors: Sequence[FieldProblem]) -> Problem:
    return describe_problem(422, "See errors.", errors=errors)


def _count_values(given: Any, *, most: int) -> int:
    """Return how many values are in `given`, itself included; some number over `most` where there are more."""
    inner: Any = given.values() if isinstance(given, dict) else given if isinstance(given, list) else ()
    count = 1 + len(inner)
    for value in inner:
        if count > most:
            break
        if isinstance(value, dict | list):
            count += _count_values(value, most=most - count)
    return count


def _content(parsed: RecommendationsBody | Problem, given: Any) -> bytes:
    """Return what the fingerprint of a batch has of one request: however it is spelled, or as given if not valid."""
    if isinstance(parsed, RecommendationsBody):
        return parsed.model_dump_json(exclude_none=True).encode()
    return json.dumps(given, sort_keys=True).encode()


def _result(given: Any, problem: Problem) -> RefusedRequest:
    customer_id = given.get("customer_id") if isinstance(given, dict) else None
    is_readable = isinstance(customer_id, str) and is_customer_id(customer_id)
    return RefusedRequest(customer_id=customer_id if is_readable else None, problem=problem)


def _published_result(
    body: RecommendationsBody, request_id: UUID, failure: PublishFailed | None
) -> AcceptedRequest | RefusedRequest:
    if failure is None:
        return AcceptedRequest(customer_id=body.customer_id, request_id=request_id)
    problem = describe_publish_failure(failure)
    return RefusedRequest(customer_id=body.customer_id, request_id=request_id, problem=problem)
