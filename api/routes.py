"""All endpoints but those of lists: interactions, assets, models and probes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from api import schemas
from api.errors import InvalidField, conflict, not_found
from api.gateway import Gateway, GatewayDependency, PublishEvent
from api.json_bodies import REQUESTED_WITH, JsonRoute
from api.openapi import ACKNOWLEDGED, problems
from api.ports import ArtifactState
from shared.events import (
    InteractionRecorded,
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

router = APIRouter(route_class=JsonRoute)


# --- interactions and assets ---


@router.post("/user_interactions", response_model=schemas.Acknowledged, responses=ACKNOWLEDGED, tags=["interactions"])
async def record_interaction(
    body: schemas.InteractionBody, gateway: GatewayDependency, publish_event: PublishEvent
) -> Response:
    """Record an interaction; every list that is requested afterwards takes it into account."""
    if not await gateway.catalogue.knows(body.isin):
        raise InvalidField("isin", "the catalogue has no such asset")
    return await publish_event("user_interactions", InteractionRecorded, body, customer_id=body.customer_id)


@router.get("/assets", response_model=schemas.AssetList, responses=problems(422, 503), tags=["catalogue"])
async def list_assets(
    gateway: GatewayDependency,
    sector: Annotated[schemas.FilterText | None, Query(examples=["Technology"])] = None,
    category: Annotated[schemas.FilterText | None, Query(examples=["Stock"])] = None,
    limit: Annotated[schemas.Limit, Query()] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """List the latest version of assets, in order of their ISIN; the filters match exactly."""
    page = await gateway.catalogue.page(sector=sector or None, category=category or None, limit=limit, offset=offset)
    content = b'{"status":"ok","total":%d,"assets":[%b]}' % (page.total, b",".join(page.assets))
    return Response(content, media_type="application/json")


# --- models ---


@router.get("/models", response_model=schemas.ModelList, responses=problems(422, 503), tags=["models"])
async def list_models(gateway: GatewayDependency, limit: Annotated[schemas.Limit, Query()] = 50) -> Response:
    """List model versions, newest first, with their metrics and the reason for their status."""
    models = await gateway.reader.fetch_models(limit=limit)
    return Response(models.model_dump_json(), media_type="application/json")


@router.get(
    "/models/{version}/frontier", response_model=schemas.Frontier, responses=problems(404, 422, 503), tags=["models"]
)
async def read_frontier(version: Annotated[ModelVersion, Path()], gateway: GatewayDependency) -> Response:
    """Read what more weight of profitability costs and brings for this model, and the weights of each preset."""
    frontier = await gateway.reader.fetch_frontier(version)
    if frontier is None:
        raise not_found("There is no evaluated model of this version.")
    return Response(frontier.model_dump_json(), media_type="application/json")


@router.post("/models/retrain", response_model=schemas.Acknowledged, responses=ACKNOWLEDGED, tags=["models"])
async def retrain(publish_event: PublishEvent, body: schemas.RetrainBody | None = None) -> Response:
    """Request a training now; `GET /models` shows its progress."""
    return await publish_event("models/retrain", RetrainRequested, body or schemas.RetrainBody())


@router.delete("/models/retrain", response_model=schemas.Acknowledged, responses=ACKNOWLEDGED, tags=["models"])
async def cancel_retraining(publish_event: PublishEvent) -> Response:
    """Cancel the queued and the running training; the served model stays."""
    return await publish_event("models/retrain/cancel", RetrainCancelled, schemas.Cancellation())


@router.post(
    "/models/{version}/activate",
    response_model=schemas.Acknowledged,
    responses={**ACKNOWLEDGED, **problems(404, 409)},
    tags=["models"],
)
async def activate(
    version: Annotated[ModelVersion, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
    requested_with: RequestedWith = "docs",
) -> Response:
    """Serve a stored version, for example as a rollback; workers load it without a pause."""
    await _check_servable(version, gateway)
    return await publish_event("models/activate", ModelActivated, schemas.ChosenVersion(version=version))


@router.post(
    "/models/{version}/pin",
    response_model=schemas.Acknowledged,
    responses={**ACKNOWLEDGED, **problems(404, 409)},
    tags=["models"],
)
async def pin(
    version: Annotated[ModelVersion, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
    requested_with: RequestedWith = "docs",
) -> Response:
    """Keep a stored version on the models volume, and while it is served let no training replace it."""
    await _check_servable(version, gateway)
    return await publish_event("models/pin", ModelPinned, schemas.ChosenVersion(version=version))


@router.post(
    "/models/{version}/unpin",
    response_model=schemas.Acknowledged,
    responses={**ACKNOWLEDGED, **problems(404)},
    tags=["models"],
)
async def unpin(
    version: Annotated[ModelVersion, Path()],
    gateway: GatewayDependency,
    publish_event: PublishEvent,
    requested_with: RequestedWith = "docs",
) -> Response:
    """End a pin, also of a version that is gone; the next training that is good enough may replace the version."""
    await _check_trained(version, gateway)
    return await publish_event("models/unpin", ModelUnpinned, schemas.ChosenVersion(version=version))


async def _check_trained(version: str, gateway: Gateway) -> ArtifactState:
    state = await gateway.reader.fetch_artifact_state(version)
    if state == "unknown":
        raise not_found("There is no trained model of this version.")
    return state


async def _check_servable(version: str, gateway: Gateway) -> None:
    if await _check_trained(version, gateway) == "gone":
        raise conflict(
            "The artifact of this version was removed (see KEPT_VERSIONS). GET /models lists servable versions."
        )


# --- probes ---


@router.get("/health/live", response_model=schemas.Alive, tags=["operations"])
async def live() -> schemas.Alive:
    """Answer while the process works."""
    return schemas.Alive()


@router.get(
    "/health/ready",
    response_model=schemas.Readiness,
    responses={503: {"description": "The gateway cannot accept events now.", "model": schemas.Readiness}},
    tags=["operations"],
)
async def ready(gateway: GatewayDependency) -> Response:
    """Return whether the gateway accepts events: the broker answered recently and the gateway is not stopping."""
    readiness = gateway.health.readiness()
    status = 200 if readiness.status == "ok" else 503
    return Response(readiness.model_dump_json(), status, media_type="application/json")
