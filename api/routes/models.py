"""List model versions, request and cancel a training, activate a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from api.errors import Conflict, NotFound
from api.gateway import GatewayDependency, PublishEvent
from api.json_bodies import REQUESTED_WITH, JsonRoute
from api.openapi import ACKNOWLEDGED, problems
from api.schemas import Acknowledged, Activation, Cancellation, Limit, ModelList, RetrainBody
from shared.events import ModelActivated, RetrainCancelled, RetrainRequested
from shared.identifiers import ModelVersion

router = APIRouter(prefix="/models", route_class=JsonRoute, tags=["models"])
# `require_json` reads this header; it is a parameter so that /docs sends it.
RequestedWith = Annotated[
    str, Header(alias=REQUESTED_WITH, description="any value; not needed with a JSON `Content-Type`")
]


@router.get("", response_model=ModelList, responses=problems(422, 503))
async def list_models(gateway: GatewayDependency, limit: Annotated[Limit, Query()] = 50) -> Response:
    """List model versions, newest first, with their metrics and the reason for their status."""
    models = await gateway.reader.fetch_models(limit=limit)
    return Response(models.model_dump_json(), media_type="application/json")


@router.post("/retrain", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def retrain(publish_event: PublishEvent, body: RetrainBody | None = None) -> Response:
    """Request a training now; `GET /models` shows its progress."""
    return await publish_event("models/retrain", RetrainRequested, body or RetrainBody())


@router.delete("/retrain", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def cancel_retraining(publish_event: PublishEvent) -> Response:
    """Cancel the queued and the running training; the served model stays."""
    return await publish_event("models/retrain/cancel", RetrainCancelled, Cancellation())


@router.post("/{version}/activate", response_model=Acknowledged, responses={**ACKNOWLEDGED, **problems(404, 409)})
async def activate(
    version: Annotated[ModelVersion, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
    requested_with: RequestedWith = "docs",
) -> Response:
    """Serve a stored version, for example as a rollback; workers load it without a pause."""
    state = await gateway.reader.fetch_artifact_state(version)
    if state == "unknown":
        raise NotFound("There is no trained model of this version.")
    if state == "gone":
        raise Conflict(
            "The artifact of this version was removed (see KEPT_VERSIONS). GET /models lists servable versions."
        )
    return await publish_event("models/activate", ModelActivated, Activation(version=version))
