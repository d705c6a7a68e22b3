"""The endpoints that take an asset, a category or a model out of every list, and back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from api.errors import not_found
from api.gateway import GatewayDependency, PublishEvent
from api.json_bodies import JsonRoute
from api.openapi import ACKNOWLEDGED, problems
from api.query_parameters import refuse_unknown_parameters
from api.routes.models import check_trained
from api.schemas.answers import Acknowledged
from api.schemas.suspensions import SuspensionBody, SuspensionChange, SuspensionList
from shared.events import Subject, SuspensionChanged, SuspensionKind
from shared.identifiers import Isin, ModelVersion

router = APIRouter(route_class=JsonRoute, tags=["suspensions"])


@router.get(
    "/suspensions",
    response_model=SuspensionList,
    responses=problems(422, 503),
    dependencies=[Depends(refuse_unknown_parameters)],
)
async def list_suspensions(gateway: GatewayDependency) -> Response:
    """List what is suspended; a suspension that is listed here is in effect."""
    suspensions = SuspensionList(suspensions=list(await gateway.reader.fetch_suspensions()))
    return Response(suspensions.model_dump_json(), media_type="application/json")


@router.post("/assets/{isin}/suspend", response_model=Acknowledged, responses={**ACKNOWLEDGED, **problems(404)})
async def suspend_asset(
    isin: Annotated[Isin, Path()], body: SuspensionBody, gateway: GatewayDependency, publish_event: PublishEvent
) -> Response:
    """Take an asset out of all lists, those that are stored included, until it is resumed."""
    if not await gateway.catalogue.knows(isin):
        raise not_found("The catalogue has no such asset.")
    return await _publish(publish_event, "asset", isin, body, suspended=True)


@router.post("/assets/{isin}/resume", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def resume_asset(isin: Annotated[Isin, Path()], body: SuspensionBody, publish_event: PublishEvent) -> Response:
    """End the suspension of an asset; without one nothing changes."""
    return await _publish(publish_event, "asset", isin, body, suspended=False)


@router.post("/categories/{name}/suspend", response_model=Acknowledged, responses={**ACKNOWLEDGED, **problems(404)})
async def suspend_category(
    name: Annotated[Subject, Path()], body: SuspensionBody, gateway: GatewayDependency, publish_event: PublishEvent
) -> Response:
    """Take every asset of a category out of all lists, those that are stored included, until it is resumed."""
    if not await gateway.catalogue.knows_category(name):
        raise not_found("No asset has this category; its name is `assetcategory` at GET /assets.")
    return await _publish(publish_event, "category", name, body, suspended=True)


@router.post("/categories/{name}/resume", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def resume_category(
    name: Annotated[Subject, Path()], body: SuspensionBody, publish_event: PublishEvent
) -> Response:
    """End the suspension of a category; assets that are suspended by themselves stay so."""
    return await _publish(publish_event, "category", name, body, suspended=False)


@router.post("/models/{version}/suspend", response_model=Acknowledged, responses={**ACKNOWLEDGED, **problems(404)})
async def suspend_model(
    version: Annotated[ModelVersion, Path()],
    body: SuspensionBody,
    gateway: GatewayDependency,
    publish_event: PublishEvent,
) -> Response:
    """Show no list of a model, and score none with it; while it is served, requests wait for another one."""
    await check_trained(version, gateway)
    return await _publish(publish_event, "model", version, body, suspended=True)


@router.post("/models/{version}/resume", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def resume_model(
    version: Annotated[ModelVersion, Path()], body: SuspensionBody, publish_event: PublishEvent
) -> Response:
    """End the suspension of a model; its lists are shown again."""
    return await _publish(publish_event, "model", version, body, suspended=False)


async def _publish(
    publish_event: PublishEvent, kind: SuspensionKind, subject: str, body: SuspensionBody, *, suspended: bool
) -> Response:
    change = SuspensionChange(kind=kind, subject=subject, suspended=suspended, reason=body.reason)
    command = "suspend" if suspended else "resume"
    return await publish_event(f"{kind}/{command}/{subject}", SuspensionChanged, change)
