"""List the assets of the catalogue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.gateway import GatewayDependency
from api.json_bodies import JsonRoute
from api.openapi import problems
from api.schemas import AssetList, FilterText, Limit

router = APIRouter(route_class=JsonRoute, tags=["catalogue"])


@router.get("/assets", response_model=AssetList, responses=problems(422, 503))
async def list_assets(
    gateway: GatewayDependency,
    sector: Annotated[FilterText | None, Query(examples=["Technology"])] = None,
    category: Annotated[FilterText | None, Query(examples=["Stock"])] = None,
    limit: Annotated[Limit, Query()] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """List the latest version of assets, in order of their ISIN; the filters match exactly."""
    page = await gateway.catalogue.page(sector=sector or None, category=category or None, limit=limit, offset=offset)
    content = b'{"status":"ok","total":%d,"assets":[%b]}' % (page.total, b",".join(page.assets))
    return Response(content, media_type="application/json")
