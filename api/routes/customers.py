"""The calls that apps make: ask for a list, read it, say what the customer did, look at the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel

from api.current_lists import fetch_current_items
from api.errors import InvalidField, NotFound
from api.gateway import gateway_of
from api.idempotency import KEY_HEADER, identify
from api.json_bodies import JsonRoute
from api.openapi import problems
from api.schemas import (
    Acknowledged,
    AssetList,
    FilterText,
    InteractionBody,
    Limit,
    RecommendationList,
    RecommendationsBody,
)
from shared.events import (
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    InteractionRecorded,
    RecommendationRequested,
)
from shared.identifiers import CustomerId

router = APIRouter(route_class=JsonRoute)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=KEY_HEADER,
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="the same key and body of one customer have one effect; with another body the key is refused",
    ),
]
_REQUEST_ID = {"X-Request-ID": {"description": "names this request", "schema": {"type": "string", "format": "uuid"}}}
_LIST_HEADERS = {
    "X-Request-ID": {"description": "the request that made the list", "schema": {"type": "string", "format": "uuid"}},
    "X-Model-Version": {"description": "the model that made the list", "schema": {"type": "string"}},
    "X-Recommendation-Basis": {
        "description": "`history`, or `segment_prior` for a customer without history",
        "schema": {"type": "string"},
    },
    "X-Recommendation-Stale": {
        "description": "`true` when reference data were loaded since the list was made; absent otherwise",
        "schema": {"type": "string"},
    },
}
ACKNOWLEDGED: dict[int | str, dict[str, Any]] = {
    200: {"description": "The broker has the event.", "headers": _REQUEST_ID},
    **problems(413, 415, 422, 503),
}


@router.post("/recommendations", response_model=Acknowledged, responses=ACKNOWLEDGED, tags=["recommendations"])
async def request_recommendations(
    body: RecommendationsBody, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask for a customer's list; it can be read a moment later."""
    identity = identify("recommendations", idempotency_key, body, customer_id=body.customer_id)
    request.state.request_id = identity.event_id
    event = RecommendationRequested(
        event_id=identity.event_id,
        fingerprint=identity.fingerprint,
        customer_id=body.customer_id,
        action=body.action,
        weights=body.weights,
    )
    await gateway_of(request).publish(RECOMMENDATIONS_REQUESTED, key=body.customer_id, event=event)
    return acknowledged(identity.event_id)


@router.get(
    "/recommendations/{customer_id}",
    response_model=RecommendationList,
    responses={200: {"headers": _LIST_HEADERS}, **problems(404, 422, 503)},
    tags=["recommendations"],
)
async def read_recommendations(customer_id: Annotated[CustomerId, Path()], request: Request) -> Response:
    """Read a customer's newest list, best first; empty for a known customer without one.

    Left out are assets that since then left the catalogue, became unsuitable, were bought or were dismissed.
    """
    lists = await gateway_of(request).reader.fetch_lists(customer_id)
    if lists.newest is None:
        if not lists.known:
            raise NotFound("no customer of this id is known, and there is no list for it")
        return json_response(RecommendationList(recommendations=[]))
    headers = {
        "X-Request-ID": str(lists.newest.request_id),
        "X-Model-Version": lists.newest.model_version,
        "X-Recommendation-Basis": lists.newest.basis,
    }
    if lists.newest.is_stale:
        headers["X-Recommendation-Stale"] = "true"
    items = await fetch_current_items(gateway_of(request).reader, customer_id, lists.newest)
    return json_response(RecommendationList(recommendations=items), headers)


@router.post("/user_interactions", response_model=Acknowledged, responses=ACKNOWLEDGED, tags=["interactions"])
async def record_interaction(
    body: InteractionBody, request: Request, idempotency_key: IdempotencyKey = None
) -> Response:
    """Record what a customer did; every list that is requested afterwards takes it into account."""
    gateway = gateway_of(request)
    if not await gateway.catalogue.knows(body.isin):
        raise InvalidField("isin", "the catalogue has no such asset")
    identity = identify("user_interactions", idempotency_key, body, customer_id=body.customer_id)
    request.state.request_id = identity.event_id
    event = InteractionRecorded(
        event_id=identity.event_id,
        fingerprint=identity.fingerprint,
        customer_id=body.customer_id,
        isin=body.isin,
        type=body.type,
    )
    await gateway.publish(INTERACTIONS_RECORDED, key=body.customer_id, event=event)
    return acknowledged(identity.event_id)


@router.get("/assets", response_model=AssetList, responses=problems(422, 503), tags=["catalogue"])
async def list_assets(
    request: Request,
    sector: Annotated[FilterText | None, Query(examples=["Technology"])] = None,
    category: Annotated[FilterText | None, Query(examples=["Stock"])] = None,
    limit: Annotated[Limit, Query()] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """List assets, the latest version of each, in order of their ISIN; the filters match exactly."""
    page = await gateway_of(request).catalogue.page(
        sector=sector or None, category=category or None, limit=limit, offset=offset
    )
    content = b'{"status":"ok","total":%d,"assets":[%b]}' % (page.total, b",".join(page.assets))
    return Response(content, media_type="application/json")


def acknowledged(event_id: UUID) -> Response:
    """Return the answer to an event that the broker has."""
    return json_response(Acknowledged(), {"X-Request-ID": str(event_id)})


def json_response(content: BaseModel, headers: Mapping[str, str] | None = None) -> Response:
    """Return a model as it is, its keys in the order of its class."""
    return Response(content.model_dump_json(), headers=dict(headers or {}), media_type="application/json")
