"""The calls that operators make about models: look, retrain, cancel, activate."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from api.errors import Conflict, NotFound
from api.gateway import gateway_of
from api.idempotency import identify
from api.json_bodies import REQUESTED_WITH, JsonRoute
from api.openapi import problems
from api.routes.customers import ACKNOWLEDGED, IdempotencyKey, acknowledged, json_response
from api.schemas import Acknowledged, Activation, Cancellation, Limit, ModelItem, ModelList, RetrainBody
from shared.events import MODEL_NAME, MODELS_COMMANDS, ModelActivated, RetrainCancelled, RetrainRequested
from shared.identifiers import ModelVersion

router = APIRouter(prefix="/models", route_class=JsonRoute, tags=["models"])
# Read by `require_json`; described here so that /docs sends it.
RequestedWith = Annotated[
    str, Header(alias=REQUESTED_WITH, description="any value; not needed with a JSON `Content-Type`")
]


@router.get("", response_model=ModelList, responses=problems(422, 503))
async def list_models(request: Request, limit: Annotated[Limit, Query()] = 50) -> Response:
    """List model versions, newest first, with their metrics and the reason for what became of them."""
    page = await gateway_of(request).reader.fetch_models(limit=limit)
    models = [ModelItem.model_validate(model) for model in page.models]
    return json_response(ModelList(active=page.active, models=models))


@router.post("/retrain", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def retrain(
    request: Request, body: RetrainBody | None = None, idempotency_key: IdempotencyKey = None
) -> Response:
    """Ask for a training now; `GET /models` shows how it goes."""
    body = body or RetrainBody()
    identity = identify("models/retrain", idempotency_key, body)
    request.state.request_id = identity.event_id
    event = RetrainRequested(event_id=identity.event_id, fingerprint=identity.fingerprint, reason=body.reason)
    await gateway_of(request).publish(MODELS_COMMANDS, key=MODEL_NAME, event=event)
    return acknowledged(identity.event_id)


@router.delete("/retrain", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def cancel_retraining(request: Request, idempotency_key: IdempotencyKey = None) -> Response:
    """Ask that the training that runs, and one that waits, be given up; the served model stays."""
    identity = identify("models/retrain/cancel", idempotency_key, Cancellation())
    request.state.request_id = identity.event_id
    event = RetrainCancelled(event_id=identity.event_id, fingerprint=identity.fingerprint)
    await gateway_of(request).publish(MODELS_COMMANDS, key=MODEL_NAME, event=event)
    return acknowledged(identity.event_id)


@router.post("/{version}/activate", response_model=Acknowledged, responses={**ACKNOWLEDGED, **problems(404, 409)})
async def activate(
    version: Annotated[ModelVersion, Path()],
    request: Request,
    requested_with: RequestedWith = "docs",
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Ask that a stored version be served, a rollback for instance; workers swap it in without a pause."""
    gateway = gateway_of(request)
    state = await gateway.reader.fetch_artifact_state(version)
    if state == "unknown":
        raise NotFound("no model of this version was trained to its end")
    if state == "gone":
        raise Conflict("the artifact of this version was removed (KEPT_VERSIONS); GET /models says what is servable")
    identity = identify("models/activate", idempotency_key, Activation(version=version))
    request.state.request_id = identity.event_id
    event = ModelActivated(event_id=identity.event_id, fingerprint=identity.fingerprint, version=version)
    await gateway.publish(MODELS_COMMANDS, key=MODEL_NAME, event=event)
    return acknowledged(identity.event_id)
