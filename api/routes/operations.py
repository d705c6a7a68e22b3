"""Endpoints for probes: liveness and readiness."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from api.gateway import gateway_of
from api.schemas import Alive, Readiness

router = APIRouter(tags=["operations"])


@router.get("/health/live", response_model=Alive)
async def live() -> Alive:
    """Answer as long as the process works at all."""
    return Alive()


@router.get(
    "/health/ready",
    response_model=Readiness,
    responses={503: {"description": "No events can be taken now.", "model": Readiness}},
)
async def ready(request: Request) -> Response:
    """Say whether events can be taken: the broker was seen within the last seconds, and nobody asked to stop."""
    readiness = gateway_of(request).health.readiness()
    status = 200 if readiness.status == "ok" else 503
    return Response(readiness.model_dump_json(), status, media_type="application/json")
