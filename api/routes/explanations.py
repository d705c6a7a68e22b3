"""The endpoints that explain a list: what it does to the customer's portfolio."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Response

from api.errors import unknown_customer
from api.gateway import GatewayDependency
from api.json_bodies import JsonRoute
from api.openapi import problems
from api.portfolio import PortfolioFigures as Figures
from api.query_parameters import refuse_unknown_parameters
from api.schemas.explanations import PortfolioEffect, PortfolioFigures
from api.shown_lists import leave_out_forbidden, parse_list_items
from shared.identifiers import CustomerId
from shared.served_list import rounded_or_none

router = APIRouter(route_class=JsonRoute, tags=["recommendations"])
_NO_LIST: dict[str, Any] = dict.fromkeys(("request_id", "model_version", "as_of", "before", "after"))


@router.get(
    "/recommendations/{customer_id}/portfolio",
    response_model=PortfolioEffect,
    responses=problems(404, 422, 503),
    dependencies=[Depends(refuse_unknown_parameters)],
)
async def read_portfolio_effect(customer_id: Annotated[CustomerId, Path()], gateway: GatewayDependency) -> Response:
    """Read what the newest list does to the customer's portfolio, from what was known when it was made.

    Every asset has the same weight.
    """
    lists = await gateway.reader.fetch_lists(customer_id)
    if not lists.known:
        raise unknown_customer()
    newest = lists.newest
    items = None if newest is None else parse_list_items(newest)
    if newest is None or not items:
        return _respond(PortfolioEffect(**_NO_LIST))
    shown = await leave_out_forbidden(items, newest, customer_id=customer_id, reader=gateway.reader)
    portfolio = await gateway.reader.fetch_portfolio(
        customer_id,
        [item["isin"] for item in shown],
        request_id=newest.request_id,
        model_version=newest.model_version,
        made_on=datetime.fromisoformat(items[0]["recommendation_date"]).date(),
    )
    before, after = await asyncio.to_thread(portfolio.measure)
    return _respond(
        PortfolioEffect(
            request_id=newest.request_id,
            model_version=newest.model_version,
            as_of=portfolio.origin.as_of,
            before=_shown_figures(before),
            after=_shown_figures(after),
        )
    )


def _shown_figures(figures: Figures) -> PortfolioFigures:
    numbers = {name: rounded_or_none(getattr(figures, name)) for name in PortfolioFigures.model_fields}
    return PortfolioFigures.model_validate({**numbers, "assets": figures.assets, "priced": figures.priced})


def _respond(answer: PortfolioEffect) -> Response:
    return Response(answer.model_dump_json(), media_type="application/json")
