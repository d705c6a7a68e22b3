"""The endpoints of the catalogue."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Response

from api.catalogue import AssetQuery
from api.errors import not_found
from api.gateway import GatewayDependency
from api.json_bodies import JsonRoute
from api.openapi import problems
from api.query_parameters import refuse_unknown_parameters
from api.schemas.assets import AssetAnswer, AssetList
from api.schemas.fields import FilterText, Limit
from shared.identifiers import Isin

router = APIRouter(route_class=JsonRoute, tags=["catalogue"], dependencies=[Depends(refuse_unknown_parameters)])


@router.get("/assets", response_model=AssetList, responses=problems(422, 503))
async def list_assets(
    gateway: GatewayDependency,
    q: Annotated[
        FilterText | None, Query(description="a part of name or ISIN, without regard to case", examples=["electric"])
    ] = None,
    sector: Annotated[FilterText | None, Query(examples=["Technology"])] = None,
    category: Annotated[FilterText | None, Query(examples=["Stock"])] = None,
    limit: Annotated[Limit, Query()] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """List the latest version of assets, in order of their ISIN; the filters match exactly.

    With `q` the asset with exactly this ISIN comes first, then those whose name begins with `q`, then the others. No
    character of `q` has a special meaning.
    """
    query = AssetQuery(sector=sector or None, category=category or None, q=q)
    page = await gateway.catalogue.page(query, limit=limit, offset=offset)
    content = b'{"status":"ok","total":%d,"assets":[%b]}' % (page.total, b",".join(page.assets))
    return Response(content, media_type="application/json")


@router.get("/assets/{isin}", response_model=AssetAnswer, responses=problems(404, 422, 503))
async def read_asset(isin: Annotated[Isin, Path(examples=["GRS434003000"])], gateway: GatewayDependency) -> Response:
    """Read the latest version of one asset."""
    if (content := await gateway.catalogue.find(isin)) is None:
        raise not_found("There is no asset with this ISIN.")
    return Response(b'{"status":"ok","asset":%b}' % content, media_type="application/json")
