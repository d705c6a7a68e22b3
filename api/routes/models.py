"""The endpoints of model versions, and the commands about them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Response

from api.errors import conflict, not_found
from api.gateway import Gateway, GatewayDependency, PublishEvent
from api.json_bodies import REQUESTED_WITH, JsonRoute
from api.openapi import ACKNOWLEDGED, problems
from api.ports import ArtifactState
from api.query_parameters import refuse_unknown_parameters
from api.schemas.answers import Acknowledged
from api.schemas.fields import Limit
from api.schemas.models import Cancellation, ChosenVersion, Frontier, ModelList, RetrainBody
from shared.events import (
    ModelActivated,
    ModelPinned,
    ModelUnpinned,
    RetrainCancelled,
    RetrainRequested,
)
from shared.identifiers import ModelVersion

# The header is checked by `JsonRoute`; it is a parameter so that /docs sends it.
RequestedWith = Annotated[
    str, Header(alias=REQUESTED_WITH, description="any value; not needed with a JSON `Content-Type`")
]

router = APIRouter(route_class=JsonRoute, tags=["models"])


@router.get("/models", response_model=ModelList, responses=problems(422, 503))
async def list_models(gateway: GatewayDependency, limit: Annotated[Limit, Query()] = 50) -> Response:
    """List model versions, newest first, with their metrics and the reason for their status."""
    models = await gateway.reader.fetch_models(limit=limit)
    return Response(models.model_dump_json(), media_type="application/json")


@router.get(
    "/models/{version}/frontier",
    response_model=Frontier,
    responses=problems(404, 422, 503),
    dependencies=[Depends(refuse_unknown_parameters)],
)
async def read_frontier(version: Annotated[ModelVersion, Path()], gateway: GatewayDependency) -> Response:
    """Read what more weight of profitability costs and brings for this model, and the weights of each preset."""
    frontier = await gateway.reader.fetch_frontier(version)
    if frontier is None:
        raise not_found("There is no evaluated model of this version.")
    return Response(frontier.model_dump_json(), media_type="application/json")


@router.post("/models/retrain", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def retrain(publish_event: PublishEvent, body: RetrainBody | None = None) -> Response:
    """Request a training now; `GET /models` shows its progress."""
    return await publish_event("models/retrain", RetrainRequested, body or RetrainBody())


@router.delete("/models/retrain", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def cancel_retraining(publish_event: PublishEvent) -> Response:
    """Cancel the queued and the running training; the served model stays."""
    return await publish_event("models/retrain/cancel", RetrainCancelled, Cancellation())


@router.post(
    "/models/{version}/activate",
    response_model=Acknowledged,
    responses={**ACKNOWLEDGED, **problems(404, 409)},
)
async def activate(
    version: Annotated[ModelVersion, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
    requested_with: RequestedWith = "docs",
) -> Response:
    """Serve a stored version, for example as a rollback; workers load it without a pause."""
    await _check_servable(version, gateway)
    return await publish_event("models/activate", ModelActivated, ChosenVersion(version=version))


@router.post(
    "/models/{version}/pin",
    response_model=Acknowledged,
    responses={**ACKNOWLEDGED, **problems(404, 409)},
)
async def pin(
    version: Annotated[ModelVersion, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
    requested_with: RequestedWith = "docs",
) -> Response:
    """Keep a stored version on the models volume, and while it is served let no training replace it."""
    await _check_servable(version, gateway)
    return await publish_event("models/pin", ModelPinned, ChosenVersion(version=version))


@router.post(
    "/models/{version}/unpin",
    response_model=Acknowledged,
    responses={**ACKNOWLEDGED, **problems(404)},
)
async def unpin(
    version: Annotated[ModelVersion, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
    requested_with: RequestedWith = "docs",
) -> Response:
    """End a pin, also of a version that is gone; the next training that is good enough may replace the version."""
    await check_trained(version, gateway)
    return await publish_event("models/unpin", ModelUnpinned, ChosenVersion(version=version))


async def check_trained(version: str, gateway: Gateway) -> ArtifactState:
    """Return the state of the artifact of a version; raises the 404 for a version that was never trained."""
    state = await gateway.reader.fetch_artifact_state(version)
    if state == "unknown":
        raise not_found("There is no trained model of this version.")
    return state


async def _check_servable(version: str, gateway: Gateway) -> None:
    if await check_trained(version, gateway) == "gone":
        raise conflict(
            "The artifact of this version was removed (see KEPT_VERSIONS). GET /models lists servable versions."
        )
