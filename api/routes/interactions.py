"""The endpoints that record what customers did: interactions and executed orders."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.errors import InvalidField
from api.gateway import Gateway, GatewayDependency, PublishEvent
from api.json_bodies import JsonRoute
from api.openapi import ACKNOWLEDGED
from api.schemas.answers import Acknowledged
from api.schemas.interactions import InteractionBody, TransactionBody
from shared.events import (
    InteractionRecorded,
    TransactionRecorded,
)

router = APIRouter(route_class=JsonRoute, tags=["interactions"])


@router.post("/user_interactions", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def record_interaction(body: InteractionBody, publish_event: PublishEvent) -> Response:
    """Record an interaction; every list that is requested afterwards takes it into account.

    An impression is recorded as well, and changes no list.
    """
    await require_asset(body.isin, publish_event.gateway)
    return await publish_event("user_interactions", InteractionRecorded, body, customer_id=body.customer_id)


@router.post("/transactions", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def record_transaction(
    body: TransactionBody, gateway: GatewayDependency, publish_event: PublishEvent
) -> Response:
    """Record an executed order; every list that is requested afterwards takes it into account."""
    await require_asset(body.isin, gateway)
    return await publish_event("transactions", TransactionRecorded, body, customer_id=body.customer_id)


async def require_asset(isin: str, gateway: Gateway) -> None:
    """Raise InvalidField for an asset that the catalogue does not have: the worker could not store the event."""
    if not await gateway.catalogue.knows(isin):
        raise InvalidField("isin", "the catalogue has no such asset")
