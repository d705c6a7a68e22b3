"""The endpoints that explain a list: why an asset is in it, or not, and what it does to the customer's portfolio."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import ValidationError

from api.errors import conflict, not_found, unavailable, unknown_customer
from api.gateway import EventPublication, GatewayDependency
from api.json_bodies import JsonRoute
from api.openapi import problems
from api.portfolio import PortfolioFigures as Figures
from api.ports import GatewayReader, ListRow, Question, StoredExplanation
from api.query_parameters import refuse_unknown_parameters
from api.schemas.explanations import AssetExplanation, PortfolioEffect, PortfolioFigures, WhyBody
from api.schemas.fields import LANGUAGE_DESCRIPTION, Language
from api.sentences import SentenceCatalogue, choose_catalogue
from api.shown_lists import leave_out_forbidden, parse_list_items, read_list_weights
from api.waiting import wait_for_answer
from api.why_sentences import explain_asset
from shared.errors import describe_error
from shared.events import RecommendationRequested
from shared.identifiers import CustomerId, Isin
from shared.logging import get_logger
from shared.served_list import rounded, rounded_or_none

log = get_logger(__name__)
router = APIRouter(route_class=JsonRoute, tags=["recommendations"])
WAIT_SECONDS = 5.0
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


@router.get(
    "/recommendations/{customer_id}/why/{isin}",
    response_model=AssetExplanation,
    responses=problems(404, 409, 422, 503),
    dependencies=[Depends(refuse_unknown_parameters)],
)
async def read_why(
    customer_id: Annotated[CustomerId, Path()],
    isin: Annotated[Isin, Path(examples=["GRS434003000"])],
    gateway: GatewayDependency,
    request: Request,
    wait: Annotated[float, Query(ge=0, le=30, description="seconds to wait for a worker")] = WAIT_SECONDS,
    lang: Annotated[Language | None, Query(description=LANGUAGE_DESCRIPTION)] = None,
) -> Response:
    """Read why the customer's list has this asset, or has not.

    A worker answers for the model of now and for all that the customer did, to the question (weights, options) of the
    newest list. Without an answer in time it is 503; repeat the request then.
    """
    lists = await gateway.reader.fetch_lists(customer_id)
    if not lists.known:
        raise unknown_customer()
    if not await gateway.catalogue.knows(isin):
        raise not_found("There is no asset with this ISIN.")
    if (await gateway.reader.fetch_models(limit=1)).active is None:
        raise unavailable("There is no model yet.")
    body = await _build_question(customer_id, isin, lists.newest, gateway.reader)
    await EventPublication(gateway, request, None)("why", RecommendationRequested, body, customer_id=customer_id)
    question = Question(customer_id, request.state.request_id)
    request.state.waits = True
    answer = await wait_for_answer(question, waiters=gateway.waiters, request=request, seconds=wait)
    if answer is not None and answer.has_failed:
        raise conflict("The worker failed to explain this asset. GET /requests/{request_id} gives the reason.")
    found = None
    if answer is not None and answer.is_answered:
        found = await gateway.reader.fetch_explanation(customer_id, request.state.request_id)
    if found is None:
        raise unavailable(f"No worker has explained it within {wait:g} seconds.")
    catalogue = choose_catalogue(lang, ",".join(request.headers.getlist("accept-language")))
    shown = await _shown_now(lists.newest, customer_id, gateway.reader)
    current = {"current_rank": shown.get(isin), "current_request_id": lists.newest and lists.newest.request_id}
    try:
        text = _describe(found, isin, catalogue, current).model_dump_json()
    except (ValidationError, LookupError, TypeError, ValueError) as error:
        log.error("explanation.unreadable", request_id=str(question.request_id), error=describe_error(error))
        raise unavailable("The explanation cannot be read.") from error
    headers = {"Content-Language": catalogue.language, "Vary": "Accept-Language"}
    return Response(text, headers=headers, media_type="application/json")


def _describe(
    found: StoredExplanation, isin: str, catalogue: SentenceCatalogue, current: Mapping[str, Any]
) -> AssetExplanation:
    """Return the answer; raises LookupError, TypeError or ValueError for a content that this version cannot read."""
    more = {
        "isin": isin,
        "sentence": explain_asset(found, catalogue=catalogue),
        "ahead": _ahead(found.content),
        "model_version": found.model_version,
        "basis": found.basis,
    }
    return AssetExplanation.model_validate({**found.content, **more, **current})


async def _build_question(customer_id: str, isin: str, newest: ListRow | None, reader: GatewayReader) -> WhyBody:
    """Return the question of the newest list, as far as it can be read; without one, that of a plain request."""
    asked: dict[str, Any] = {"customer_id": customer_id, "action": "refresh_recs", "save": False, "why": isin}
    if newest is None:
        return WhyBody.model_validate(asked)
    options = dict(await reader.fetch_list_options(customer_id, newest.request_id))
    limits = {name: options.pop(name) for name in ("per_sector", "per_category") if options.get(name)}
    try:
        weights = read_list_weights(newest)
        given = {"weights": weights, "k": newest.k, **options, **({"limits": limits} if limits else {})}
        return WhyBody.model_validate({**asked, **given})
    except ValidationError:  # somebody changed the row by hand
        return WhyBody.model_validate(asked)


async def _shown_now(newest: ListRow | None, customer_id: str, reader: GatewayReader) -> dict[str, int]:
    """Return the rank of each asset that the newest list shows now."""
    items = None if newest is None else parse_list_items(newest)
    if newest is None or not items:
        return {}
    shown = await leave_out_forbidden(items, newest, customer_id=customer_id, reader=reader)
    return {item["isin"]: item["rank"] for item in shown}


def _ahead(content: Mapping[str, Any]) -> dict[str, float | None] | None:
    """Return what the last asset of the list has more than the candidate that is below it, by component."""
    if content["state"] != "below" or content["last"] is None:
        return None
    own, last = content["candidate"]["components"], content["last"]["components"]
    return {
        name: None if value is None or last[name] is None else rounded(last[name] - value)
        for name, value in own.items()
    }
