"""Record what customers do with assets."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.errors import InvalidField
from api.gateway import GatewayDependency, PublishEvent
from api.json_bodies import JsonRoute
from api.openapi import ACKNOWLEDGED
from api.schemas import Acknowledged, InteractionBody
from shared.events import InteractionRecorded

router = APIRouter(route_class=JsonRoute, tags=["interactions"])


@router.post("/user_interactions", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def record_interaction(
    body: InteractionBody, gateway: GatewayDependency, publish_event: PublishEvent
) -> Response:
    """Record an interaction; every list that is requested afterwards takes it into account."""
    if not await gateway.catalogue.knows(body.isin):
        raise InvalidField("isin", "the catalogue has no such asset")
    return await publish_event("user_interactions", InteractionRecorded, body, customer_id=body.customer_id)
