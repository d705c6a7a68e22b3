"""The endpoints of lists: request one, read it, wait for it, follow the lists of a customer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import ValidationError
from pydantic_core import to_json

from api.access.control import principal_of
from api.conditional_answers import Entity, EntityResponse
from api.errors import RETRY_AFTER, GatewayStopping, conflict, not_found, unknown_customer
from api.gateway import Gateway, GatewayDependency, PublishEvent
from api.json_bodies import JsonRoute
from api.kept_lists import KeptList
from api.list_items import Item
from api.openapi import ACKNOWLEDGED, AWAITED_LIST, LIST_ANSWERS, LIST_EVENTS, problems
from api.ports import ListRow, Question
from api.query_parameters import refuse_unknown_parameters
from api.schemas.answers import Acknowledged
from api.schemas.lists import (
    AwaitedList,
    ListEvent,
    QueuedList,
    RecommendationList,
    RecommendationsBody,
    RequestProgress,
)
from api.sentences import SentenceCatalogue, choose_catalogue, explain_items
from api.shown_lists import leave_out_forbidden, parse_list_items, parse_list_weights
from api.waiting import wait_for_answer
from shared.errors import DatabaseUnavailable
from shared.events import RecommendationRequested
from shared.identifiers import CustomerId
from shared.logging import get_logger
from shared.served_list import RecommendationItem

# Between two tries of a stream that cannot read the database.
STREAM_RETRY_SECONDS = 1.0

log = get_logger(__name__)
router = APIRouter(route_class=JsonRoute, tags=["recommendations"])


@router.post("/recommendations", response_model=Acknowledged, responses=ACKNOWLEDGED)
async def request_recommendations(body: RecommendationsBody, publish_event: PublishEvent) -> Response:
    """Request a list for a customer; it can be read a moment later."""
    return await publish_event("recommendations", RecommendationRequested, body, customer_id=body.customer_id)


@router.get(
    "/recommendations/{customer_id}",
    response_model=RecommendationList,
    responses=LIST_ANSWERS,
    openapi_extra={"parameters": AWAITED_LIST},
)
async def read_recommendations(
    customer_id: Annotated[CustomerId, Path()],
    gateway: GatewayDependency,
    request: Request,
) -> Response:
    """Read a customer's newest list, best first; it is empty for a known customer without one, and for any
    other customer where the setting `LEGACY_EMPTY_LIST` says so.

    Assets are removed that meanwhile left the catalogue, became unsuitable, were suspended, are held or were dismissed.
    With `request_id` or `wait` the answer is 202 while the awaited list is not there. With `explain` each item has a
    `sentence`.
    """
    if request.scope["query_string"] and (asked := _parse_awaited(request)) is not None:
        return await _answer_with_options(asked, customer_id, gateway=gateway, request=request)
    kept = gateway.kept_lists.find(customer_id)
    lists = await gateway.reader.fetch_lists(customer_id, kept=kept.version if kept else None)
    if kept is not None and lists.is_kept:
        gateway.metrics.note_list_read(is_kept=True)
        return EntityResponse(kept.entity)
    if lists.newest is None:
        gateway.kept_lists.drop(customer_id)
    if not lists.known and not gateway.legacy_empty_list:
        raise unknown_customer()
    response = await _answer_list(lists.newest, customer_id, gateway)
    gateway.metrics.note_list_read(is_kept=False)
    if lists.version is not None:
        gateway.kept_lists.keep(customer_id, KeptList(lists.version, response.entity))
    return response


@router.get(
    "/requests/{request_id}",
    response_model=RequestProgress,
    responses=problems(404, 422, 503),
    dependencies=[Depends(refuse_unknown_parameters)],
)
async def read_request(request_id: Annotated[UUID, Path()], gateway: GatewayDependency, request: Request) -> Response:
    """Read whether a request for a list is queued, answered, or failed, with its times (UTC)."""
    principal = principal_of(request)
    only = None if principal is None else principal.customer_id
    known = await gateway.reader.fetch_request(request_id)
    if only is not None and known is not None and known.customer_id != only:
        known = None  # another customer's request is as unknown as one that never was
    if known is None and not gateway.request_ids.may_be_issued(request_id, customer_id=only):
        raise not_found("There is no such request.")
    requested_at = (known and known.requested_at) or gateway.request_ids.issued_at(request_id)
    progress = RequestProgress(
        request_id=request_id,
        state="queued" if known is None else "failed" if known.answered_at is None else "answered",
        requested_at=requested_at,
        answered_at=known and known.answered_at,
        failed_at=known and known.failed_at,
        reason=known and known.reason,
    )
    return Response(progress.model_dump_json(), media_type="application/json")


async def _hold_slot(gateway: GatewayDependency) -> AsyncIterator[None]:
    with gateway.waiters.slot():
        yield


@router.get(
    "/recommendations/{customer_id}/events",
    response_class=EventSourceResponse,
    responses=LIST_EVENTS,
    dependencies=[Depends(refuse_unknown_parameters), Depends(_hold_slot)],
)
async def follow_recommendations(
    customer_id: Annotated[CustomerId, Path()],
    gateway: GatewayDependency,
    request: Request,
    last_event_id: Annotated[UUID | None, Header(description="the list that the client has")] = None,
) -> AsyncIterator[ServerSentEvent]:
    """Follow the lists of a customer as server-sent events `list`: the newest one, then each new one.

    A list comes again when a suspension, or its end, changes what it shows.
    A client that reads slowly gets the newest list next, not every one in between.
    """
    seen: UUID | None = None
    sent: str | None = None
    changes = -1
    principal = principal_of(request)
    while True:
        try:
            # After a change for every customer the newest list is read again: it may show other assets by now.
            known, changes = seen if changes == gateway.waiters.changes else None, gateway.waiters.changes
            with gateway.waiters.waiter(Question(customer_id), seen=known) as answer:
                newest = (await answer).newest
            if principal is not None and not principal.holds():  # revoked or expired since the stream began
                return
            if newest is not None:
                is_first, seen = seen is None, newest.request_id
                event = await _build_event(newest, customer_id, gateway)
                # A client that names the list has it as it was made; a stale one may show less by now.
                is_news = event.raw_data != sent and not (is_first and seen == last_event_id and not newest.is_stale)
                sent = event.raw_data
                if is_news:
                    yield event
        except DatabaseUnavailable:
            await asyncio.sleep(STREAM_RETRY_SECONDS)
        except GatewayStopping:
            return


def _parse_awaited(request: Request) -> AwaitedList | None:
    """Return the parameters of the query, None without any; raises RequestValidationError.

    Parameters of FastAPI would cost every GET without them a quarter of the gateway's own time.
    """
    query = request.query_params
    given = {name: query[name] for name in AwaitedList.model_fields if name in query}
    if not given:
        return None
    try:
        return AwaitedList.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError([{**one, "loc": ("query", *one["loc"])} for one in error.errors()]) from error


async def _answer_with_options(asked: AwaitedList, customer_id: str, *, gateway: Gateway, request: Request) -> Response:
    """Return the awaited list, or the newest one, explained where the client wants it."""
    catalogue = None
    if asked.explain:
        catalogue = choose_catalogue(asked.lang, ",".join(request.headers.getlist("accept-language")))
    if asked.request_id is not None or asked.wait is not None:
        question, seconds = Question(customer_id, asked.request_id), asked.wait or 0.0
        return await _answer_question(question, gateway=gateway, request=request, seconds=seconds, catalogue=catalogue)
    lists = await gateway.reader.fetch_lists(customer_id)
    if not lists.known and not gateway.legacy_empty_list:
        raise unknown_customer()
    return await _answer_list(lists.newest, customer_id, gateway, catalogue)


async def _answer_question(
    question: Question, *, gateway: Gateway, request: Request, seconds: float, catalogue: SentenceCatalogue | None
) -> Response:
    request_id = question.request_id
    is_unknown = request_id is not None and not gateway.request_ids.may_be_issued(
        request_id, customer_id=question.customer_id
    )
    # The database may know an id that this key did not make; nobody waits for one that it does not know.
    if seconds and not is_unknown:
        request.state.waits = True
        answer = await wait_for_answer(question, waiters=gateway.waiters, request=request, seconds=seconds)
    else:
        [answer] = await gateway.reader.fetch_answers([question])
    if answer is not None and answer.has_failed:
        raise conflict("The request failed and has no list. GET /requests/{request_id} gives the reason.")
    if answer is not None and answer.is_answered:
        return await _answer_list(answer.newest, question.customer_id, gateway, catalogue)
    if is_unknown:
        raise not_found("The customer has no such request.")
    queued = QueuedList(request_id=request_id).model_dump_json()
    return Response(queued, 202, headers=RETRY_AFTER, media_type="application/json")


async def _answer_list(
    newest: ListRow | None, customer_id: str, gateway: Gateway, catalogue: SentenceCatalogue | None = None
) -> EntityResponse:
    """Return the list, with sentences of the catalogue where there is one."""
    language = {} if catalogue is None else {"Content-Language": catalogue.language, "Vary": "Accept-Language"}
    if newest is None or (items := parse_list_items(newest)) is None:
        return _list_response([], language)
    headers = {
        "X-Request-ID": str(newest.request_id),
        "X-Model-Version": newest.model_version,
        "X-Recommendation-Basis": newest.basis,
    }
    if (weights := parse_list_weights(newest)) is not None:
        headers["X-Recommendation-Weights"] = ",".join(f"{name}={value:.6g}" for name, value in weights.items())
    if newest.k is not None:
        headers["X-Recommendation-K"] = str(newest.k)
    if newest.is_stale:
        headers["X-Recommendation-Stale"] = "true"
    if items and (unknown := [name for name, value in items[0]["components"].items() if value is None]):
        headers["X-Components-Unknown"] = ",".join(unknown)
    if items and catalogue is not None:
        sectors, version = {item["isin"]: item["sector"] for item in items}, newest.model_version
        facts = await gateway.reader.fetch_list_facts(customer_id, sectors, model_version=version)
        items = explain_items(items, newest, facts, customer_id=customer_id, catalogue=catalogue)
    headers |= language
    shown = await leave_out_forbidden(items, newest, customer_id=customer_id, reader=gateway.reader)
    return _list_response(shown, headers)


async def _build_event(newest: ListRow, customer_id: str, gateway: Gateway) -> ServerSentEvent:
    items = parse_list_items(newest) or []
    shown = await leave_out_forbidden(items, newest, customer_id=customer_id, reader=gateway.reader)
    event = ListEvent(
        recommendations=[RecommendationItem.model_validate(one) for one in shown],
        request_id=newest.request_id,
        model_version=newest.model_version,
        basis=newest.basis,
        stale=newest.is_stale,
        weights=parse_list_weights(newest),
        k=newest.k,
    )
    return ServerSentEvent(event="list", id=str(newest.request_id), raw_data=event.model_dump_json())


def _list_response(items: list[Item], headers: dict[str, str]) -> EntityResponse:
    # A list that an older worker stored is answered with the keys that it had.
    content = b'{"status":"ok","recommendations":%b}' % to_json(items, inf_nan_mode="null")
    plain = Response(content, headers=headers, media_type="application/json")
    return EntityResponse(Entity(content, plain.raw_headers))
