"""Request a customer's list, and read it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response
from pydantic import TypeAdapter

from api.errors import NotFound
from api.gateway import GatewayDependency, PublishEvent
from api.json_bodies import JsonRoute
from api.openapi import ACKNOWLEDGED, LIST_HEADERS, problems
from api.ports import CurrentFacts, GatewayReader, ListRow
from api.schemas import Acknowledged, RecommendationList, RecommendationsBody
from shared.events import RecommendationRequested
from shared.identifiers import CustomerId
from shared.recommender.candidates import is_suitable
from shared.recommender.types import Customer
from shared.served_list import RecommendationItem

router = APIRouter(route_class=JsonRoute, tags=["recommendations"])
_items = TypeAdapter(list[RecommendationItem])


@router.post("/recommendations", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def request_recommendations(body: RecommendationsBody, publish_event: PublishEvent) -> Response:
    """Request a list for a customer; it can be read a moment later."""
    return await publish_event("recommendations", RecommendationRequested, body, customer_id=body.customer_id)


@router.get(
    "/recommendations/{customer_id}",
    response_model=RecommendationList,
    responses={200: {"headers": LIST_HEADERS}, **problems(404, 422, 503)},
)
async def read_recommendations(customer_id: Annotated[CustomerId, Path()], gateway: GatewayDependency) -> Response:
    """Read a customer's newest list, best first; it is empty for a known customer without one.

    Assets are removed that meanwhile left the catalogue, became unsuitable, were bought or were dismissed.
    """
    lists = await gateway.reader.fetch_lists(customer_id)
    if lists.newest is None:
        if not lists.known:
            raise NotFound("The customer is unknown and has no list.")
        return _list_response([], {})
    headers = {
        "X-Request-ID": str(lists.newest.request_id),
        "X-Model-Version": lists.newest.model_version,
        "X-Recommendation-Basis": lists.newest.basis,
    }
    if lists.newest.is_stale:
        headers["X-Recommendation-Stale"] = "true"
    return _list_response(await _fetch_current_items(gateway.reader, customer_id, lists.newest), headers)


async def _fetch_current_items(reader: GatewayReader, customer_id: str, newest: ListRow) -> list[RecommendationItem]:
    """Return the items of a list that the customer may see today, best first.

    Only a list that is older than the reference data or the customer's last interaction needs a second read.
    """
    items = _items.validate_json(newest.items)  # JSONB does not keep the order of the keys
    if not items or not (newest.is_stale or newest.has_newer_interactions):
        return items
    facts = await reader.fetch_current_facts(customer_id, [item.isin for item in items])
    shown = [item for item in items if _may_be_shown(item.isin, customer_id, facts)]
    return [item.model_copy(update={"rank": rank}) for rank, item in enumerate(shown, start=1)]


def _may_be_shown(isin: str, customer_id: str, facts: CurrentFacts) -> bool:
    asset_level = facts.asset_risk_levels.get(isin)
    return (
        asset_level is not None
        and is_suitable(asset_level, Customer(customer_id, facts.customer_risk_level))
        and isin not in facts.owned
        and isin not in facts.dismissed
    )


def _list_response(items: list[RecommendationItem], headers: dict[str, str]) -> Response:
    content = b'{"status":"ok","recommendations":%b}' % _items.dump_json(items)
    return Response(content, headers=headers, media_type="application/json")
