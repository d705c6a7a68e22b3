"""The probes of the orchestrator."""

from __future__ import annotations

from fastapi import APIRouter, Response

from api.gateway import GatewayDependency
from api.json_bodies import JsonRoute
from api.schemas.answers import Alive, Readiness

router = APIRouter(route_class=JsonRoute, tags=["operations"])


@router.get("/health/live", response_model=Alive)
async def live() -> Alive:
    """Answer while the process works."""
    return Alive()


@router.get(
    "/health/ready",
    response_model=Readiness,
    responses={503: {"description": "The gateway cannot accept events now.", "model": Readiness}},
)
async def ready(gateway: GatewayDependency) -> Response:
    """Return whether the gateway accepts events: the broker answered recently and the gateway is not stopping."""
    readiness = gateway.health.readiness()
    status = 200 if readiness.status == "ok" else 503
    return Response(readiness.model_dump_json(), status, media_type="application/json")
