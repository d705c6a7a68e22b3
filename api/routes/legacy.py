"""Aliases for clients of the first version: the same handlers, or the same events, under their old paths."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.gateway import EventPublication, Gateway, GatewayDependency, PublishEvent
from api.json_bodies import BareRoute
from api.openapi import ACKNOWLEDGED, problems
from api.routes.interactions import require_asset
from api.routes.models import retrain
from api.routes.probes import live
from api.routes.watchlist import read_watchlist
from api.schemas.answers import Acknowledged, Alive
from api.schemas.interactions import InteractionBody, Watchlist, WatchlistBody
from shared.events import InteractionRecorded
from shared.identifiers import CustomerId, Isin
from shared.recommender.types import InteractionType

router = APIRouter(route_class=BareRoute, tags=["legacy"])

router.add_api_route(
    "/health",
    live,
    response_model=Alive,
    deprecated=True,
    name="health",
    description="Alias of `GET /health/live` for clients of the first version.",
)
router.add_api_route(
    "/retrain",
    retrain,
    methods=["POST"],
    response_model=Acknowledged,
    responses=ACKNOWLEDGED,
    deprecated=True,
    name="legacy_retrain",
    description="Alias of `POST /models/retrain` for clients of the first version; without a body it needs no header.",
)
router.add_api_route(
    "/watchlist/{customer_id}",
    read_watchlist,
    response_model=Watchlist,
    responses=problems(404, 422, 503),
    deprecated=True,
    name="legacy_watchlist",
    description="Alias of `GET /customers/{customer_id}/watchlist` for clients of the first version.",
)


@router.post("/watchlist/{customer_id}", response_model=Acknowledged, responses=ACKNOWLEDGED, deprecated=True)
async def watch(
    customer_id: Annotated[CustomerId, Path()],
    body: WatchlistBody,
    gateway: GatewayDependency,
    publish_event: PublishEvent,
) -> Response:
    """Record an interaction `watchlist`, for clients of the first version: `POST /user_interactions` does the same."""
    return await _publish(InteractionType.WATCHLIST, customer_id, body.isin, gateway, publish_event)


@router.post("/watchlist/{customer_id}/{isin}", response_model=Acknowledged, responses=ACKNOWLEDGED, deprecated=True)
async def watch_asset(
    customer_id: Annotated[CustomerId, Path()],
    isin: Annotated[Isin, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
) -> Response:
    """Record an interaction `watchlist`, for clients of the first version: `POST /user_interactions` does the same."""
    return await _publish(InteractionType.WATCHLIST, customer_id, isin, gateway, publish_event)


@router.delete("/watchlist/{customer_id}/{isin}", response_model=Acknowledged, responses=ACKNOWLEDGED, deprecated=True)
async def unwatch_asset(
    customer_id: Annotated[CustomerId, Path()],
    isin: Annotated[Isin, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
) -> Response:
    """Record an interaction `unwatch`, for clients of the first version: `POST /user_interactions` does the same."""
    return await _publish(InteractionType.UNWATCH, customer_id, isin, gateway, publish_event)


async def _publish(
    interaction_type: InteractionType,
    customer_id: str,
    isin: str,
    gateway: Gateway,
    publish_event: EventPublication,
) -> Response:
    await require_asset(isin, gateway)
    interaction = InteractionBody(customer_id=customer_id, isin=isin, type=interaction_type)
    return await publish_event("user_interactions", InteractionRecorded, interaction, customer_id=customer_id)
