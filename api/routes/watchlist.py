"""The endpoint of a customer's watchlist."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from api.errors import unknown_customer
from api.gateway import GatewayDependency
from api.json_bodies import JsonRoute
from api.openapi import problems
from api.query_parameters import refuse_unknown_parameters
from api.schemas.interactions import Watchlist
from shared.identifiers import CustomerId

router = APIRouter(route_class=JsonRoute, tags=["interactions"])


@router.get(
    "/customers/{customer_id}/watchlist",
    response_model=Watchlist,
    responses=problems(404, 422, 503),
    dependencies=[Depends(refuse_unknown_parameters)],
)
async def read_watchlist(customer_id: Annotated[CustomerId, Path()], gateway: GatewayDependency) -> Response:
    """Read the assets of the catalogue that a customer watches, the one that was added last first."""
    watched = await gateway.reader.fetch_watchlist(customer_id)
    if not watched and not (await gateway.reader.fetch_lists(customer_id)).known:
        raise unknown_customer()
    return Response(Watchlist(watchlist=list(watched)).model_dump_json(), media_type="application/json")
