"""The operations of the API: one function for each builds the request and says how to read the answer.

`Client` and `AsyncClient` have a method of the same name and arguments for each function.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import TypeVar
from uuid import UUID, uuid4

from far_trans_client.answers import (
    HEADER,
    AcceptedRequest,
    Action,
    Alive,
    AssetExplanation,
    AssetItem,
    AssetList,
    ComponentWeights,
    Frontier,
    InteractionType,
    ModelList,
    PortfolioEffect,
    Preset,
    QueuedList,
    Readiness,
    RecommendationList,
    RecommendationsBody,
    RefusedRequest,
    RequestedLimits,
    RequestedWeights,
    RequestProgress,
    SuspendedSubject,
    TransactionType,
    WatchedAsset,
)
from far_trans_client.decoding import decode
from far_trans_client.errors import InvalidArgument, UnexpectedShape
from far_trans_client.messages import KEY_HEADER, Answer, Operation, read_json, retry_after_seconds

T = TypeVar("T")
_KEY = re.compile(r"[\x21-\x7e]{1,200}")


def request_recommendations(  # noqa: PLR0913  (the options of a request)
    customer_id: str,
    action: Action = "request_recs",
    *,
    weights: RequestedWeights | None = None,
    preset: Preset | None = None,
    k: int | None = None,
    categories: Sequence[str] | None = None,
    sectors: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    limits: RequestedLimits | None = None,
    save: bool | None = None,
    idempotency_key: str | None = None,
) -> Operation[UUID]:
    """Request a list and return the id of the request; `wait_for_list` takes it.

    With `save=False` the list is a preview: it is read with this id alone, and the customer's list stays.
    """
    body = {
        "customer_id": customer_id,
        "action": action,
        "weights": weights,
        "preset": preset,
        "k": k,
        "categories": categories,
        "sectors": sectors,
        "exclude": exclude,
        "limits": limits,
        "save": save,
    }
    return _event("POST", "/recommendations", body=body, key=idempotency_key)


def batch(
    requests: Sequence[RecommendationsBody], *, idempotency_key: str | None = None
) -> Operation[tuple[AcceptedRequest | RefusedRequest, ...]]:
    """Request up to 1,000 lists at once; return one result for each, in their order.

    A request that is refused stops no other.
    """
    read = _field_reader("results", tuple[AcceptedRequest | RefusedRequest, ...])
    headers, body = _key_header(idempotency_key), {"requests": list(requests)}
    return Operation("POST", "/recommendations:batch", read, headers=headers, body=body)


def recommendations(
    customer_id: str, *, explain: bool | None = None, lang: str | None = None
) -> Operation[RecommendationList]:
    """Return the newest list; it is empty for a known customer without one. Raises NotFound for an unknown one.

    With `explain=True` each item has a `sentence`, in the language `lang` where the gateway has sentences in it.
    """
    query = {"explain": explain, "lang": lang}
    return Operation("GET", "/recommendations/{customer_id}", _read_list, {"customer_id": customer_id}, query=query)


def recommendations_if_ready(
    customer_id: str,
    *,
    request_id: UUID | str | None = None,
    wait: float | None = None,
    explain: bool | None = None,
    lang: str | None = None,
) -> Operation[RecommendationList | QueuedList]:
    """Return the list of this request or a later one, or QueuedList when it is not there within `wait` seconds.

    One request; `wait_for_list` repeats it. Raises Conflict when the request failed, NotFound without such a request.
    """
    return Operation(
        "GET",
        "/recommendations/{customer_id}",
        _read_list_or_queued,
        {"customer_id": customer_id},
        query={"request_id": request_id, "wait": wait, "explain": explain, "lang": lang},
        statuses=(200, 202),
    )


def why(
    customer_id: str, isin: str, *, wait: float | None = None, lang: str | None = None
) -> Operation[AssetExplanation]:
    """Return why the customer's list has this asset, or has not; a worker answers within `wait` seconds (5).

    Raises NotFound for an unknown customer or asset, and Unavailable without an answer.
    """
    path, values = "/recommendations/{customer_id}/why/{isin}", {"customer_id": customer_id, "isin": isin}
    return Operation("GET", path, _reader(AssetExplanation), values, query={"wait": wait, "lang": lang})


def portfolio(customer_id: str) -> Operation[PortfolioEffect]:
    """Return what the newest list does to the customer's portfolio. Raises NotFound for an unknown customer."""
    path = "/recommendations/{customer_id}/portfolio"
    return Operation("GET", path, _reader(PortfolioEffect), {"customer_id": customer_id})


def request_status(request_id: UUID | str) -> Operation[RequestProgress]:
    """Return whether a request for a list is queued, answered or failed, with its times."""
    return Operation("GET", "/requests/{request_id}", _reader(RequestProgress), {"request_id": str(request_id)})


def record_interaction(
    customer_id: str,
    isin: str,
    type: InteractionType = "click",  # noqa: A002  (the name that the API gives it)
    *,
    request_id: UUID | str | None = None,
    rank: int | None = None,
    idempotency_key: str | None = None,
) -> Operation[UUID]:
    """Record what a customer did; every list that is requested afterwards takes it into account. Returns its id.

    `request_id` and `rank` say which list showed the asset, and where.
    """
    body = {"customer_id": customer_id, "isin": isin, "type": type, "request_id": request_id, "rank": rank}
    return _event("POST", "/user_interactions", body=body, key=idempotency_key)


def record_transaction(  # noqa: PLR0913  (the fields of an order)
    customer_id: str,
    isin: str,
    *,
    type: TransactionType,  # noqa: A002  (the name that the API gives it)
    units: float,
    total_value: float,
    executed_at: datetime,
    transaction_id: str,
    currency: str | None = None,
    idempotency_key: str | None = None,
) -> Operation[UUID]:
    """Record an executed order; `executed_at` needs a time zone. Returns the id of the event.

    Orders with equal fields count once.
    """
    if executed_at.tzinfo is None:
        raise InvalidArgument("executed_at has no time zone")
    body = {
        "customer_id": customer_id,
        "isin": isin,
        "type": type,
        "units": units,
        "total_value": total_value,
        "currency": currency,
        "executed_at": executed_at,
        "transaction_id": transaction_id,
    }
    return _event("POST", "/transactions", body=body, key=idempotency_key)


def assets_page(
    *,
    q: str | None = None,
    sector: str | None = None,
    category: str | None = None,
    limit: int | None = None,
    offset: int | None = None,
) -> Operation[AssetList]:
    """Return one page of the catalogue; `assets` goes over all of them. `q` is a part of name or ISIN."""
    query = {"q": q, "sector": sector, "category": category, "limit": limit, "offset": offset}
    return Operation("GET", "/assets", _reader(AssetList), query=query)


def asset(isin: str) -> Operation[AssetItem]:
    """Return the latest version of one asset; raises NotFound."""
    return Operation("GET", "/assets/{isin}", _field_reader("asset", AssetItem), {"isin": isin})


def watchlist(customer_id: str) -> Operation[tuple[WatchedAsset, ...]]:
    """Return the assets that a customer watches, newest first."""
    read = _field_reader("watchlist", tuple[WatchedAsset, ...])
    return Operation("GET", "/customers/{customer_id}/watchlist", read, {"customer_id": customer_id})


def models(*, limit: int | None = None) -> Operation[ModelList]:
    """Return model versions, newest first, with their metrics and the reason for their status."""
    return Operation("GET", "/models", _reader(ModelList), query={"limit": limit})


def frontier(version: str) -> Operation[Frontier]:
    """Return what more weight of profitability costs and brings for this model, and the weights of each preset."""
    return Operation("GET", "/models/{version}/frontier", _reader(Frontier), {"version": version})


def retrain(reason: str | None = None, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """Request a training now and return the id of the command; `models` shows its progress."""
    return _event("POST", "/models/retrain", body={"reason": reason}, key=idempotency_key)


def cancel(*, idempotency_key: str | None = None) -> Operation[UUID]:
    """Cancel the queued and the running training; the served model stays. Returns the id of the command."""
    return _event("DELETE", "/models/retrain", key=idempotency_key)


def activate(version: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """Serve a stored version, for example as a rollback. Returns the id of the command."""
    return _event("POST", "/models/{version}/activate", {"version": version}, key=idempotency_key)


def pin(version: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """Keep a stored version, and while it is served let no training replace it. Returns the id of the command."""
    return _event("POST", "/models/{version}/pin", {"version": version}, key=idempotency_key)


def unpin(version: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """End a pin. Returns the id of the command."""
    return _event("POST", "/models/{version}/unpin", {"version": version}, key=idempotency_key)


def suspensions() -> Operation[tuple[SuspendedSubject, ...]]:
    """Return what is suspended, the newest suspension first."""
    return Operation("GET", "/suspensions", _field_reader("suspensions", tuple[SuspendedSubject, ...]))


def suspend_asset(isin: str, reason: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """Take an asset out of all lists, stored ones included. Returns the id of the event."""
    return _event("POST", "/assets/{isin}/suspend", {"isin": isin}, body={"reason": reason}, key=idempotency_key)


def resume_asset(isin: str, reason: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """End the suspension of an asset. Returns the id of the event."""
    return _event("POST", "/assets/{isin}/resume", {"isin": isin}, body={"reason": reason}, key=idempotency_key)


def suspend_category(name: str, reason: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """Take every asset of a category out of all lists, stored ones included. Returns the id of the event."""
    return _event("POST", "/categories/{name}/suspend", {"name": name}, body={"reason": reason}, key=idempotency_key)


def resume_category(name: str, reason: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """End the suspension of a category. Returns the id of the event."""
    return _event("POST", "/categories/{name}/resume", {"name": name}, body={"reason": reason}, key=idempotency_key)


def suspend_model(version: str, reason: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """Show no list of a model, and make none with it. Returns the id of the event."""
    body = {"reason": reason}
    return _event("POST", "/models/{version}/suspend", {"version": version}, body=body, key=idempotency_key)


def resume_model(version: str, reason: str, *, idempotency_key: str | None = None) -> Operation[UUID]:
    """End the suspension of a model. Returns the id of the event."""
    body = {"reason": reason}
    return _event("POST", "/models/{version}/resume", {"version": version}, body=body, key=idempotency_key)


def live() -> Operation[Alive]:
    """Return when the process of the gateway works."""
    return Operation("GET", "/health/live", _reader(Alive))


def ready() -> Operation[Readiness]:
    """Return whether the gateway accepts events; `status` is `unavailable` where not."""
    return Operation("GET", "/health/ready", _reader(Readiness), statuses=(200, 503))


def follow(customer_id: str, *, last_event_id: UUID | str | None = None) -> Operation[None]:
    """Build the request of a stream; `following.py` reads it."""
    headers = {"Accept": "text/event-stream"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = str(last_event_id)
    path_values = {"customer_id": customer_id}
    return Operation("GET", "/recommendations/{customer_id}/events", _read_nothing, path_values, headers=headers)


def _event(
    method: str,
    path: str,
    path_values: Mapping[str, str] | None = None,
    *,
    body: Mapping[str, object] | None = None,
    key: str | None,
) -> Operation[UUID]:
    """Return the operation of an event, with a key of its own, so that repetitions have one effect."""
    headers = _key_header(key)
    if body is None:
        headers["X-Requested-With"] = "far-trans-client"  # a POST without a body needs it
    return Operation(method, path, _read_event_id, path_values or {}, headers=headers, body=body)


def _key_header(key: str | None) -> dict[str, str]:
    if key is not None and not _KEY.fullmatch(key):
        raise InvalidArgument("an Idempotency-Key has 1 to 200 visible ASCII characters")
    return {KEY_HEADER: str(uuid4()) if key is None else key}


def _reader(kind: type[T]) -> Callable[[Answer], T]:
    return lambda answer: decode(kind, read_json(answer))


def _field_reader(name: str, kind: type[T]) -> Callable[[Answer], T]:
    """Return what reads an answer whose one field beside `status` has this name."""

    def read(answer: Answer) -> T:
        body = read_json(answer)
        if not isinstance(body, dict) or name not in body:
            raise UnexpectedShape(f"body.{name} is missing")
        return decode(kind, body[name])

    return read


def _read_nothing(_: Answer) -> None:
    return None


def _read_event_id(answer: Answer) -> UUID:
    decode(Alive, read_json(answer))
    return _uuid(answer.headers.get("X-Request-ID", ""))


def _read_list(answer: Answer) -> RecommendationList:
    newest = decode(RecommendationList, read_json(answer))
    names = {field.name: field.metadata[HEADER] for field in fields(RecommendationList) if HEADER in field.metadata}
    given = {name: answer.headers.get(header) for name, header in names.items()}
    return replace(
        newest,
        request_id=None if given["request_id"] is None else _uuid(given["request_id"]),
        model_version=given["model_version"],
        basis=given["basis"],
        weights=_weights(given["weights"]),
        k=None if given["k"] is None else _whole_number(given["k"]),
        is_stale=given["is_stale"] == "true",
        components_unknown=tuple(filter(None, (given["components_unknown"] or "").split(","))),
    )


def _read_list_or_queued(answer: Answer) -> RecommendationList | QueuedList:
    if answer.status == 200:
        return _read_list(answer)
    queued = decode(QueuedList, read_json(answer))
    return replace(queued, retry_after_seconds=retry_after_seconds(answer.headers))


def _weights(text: str | None) -> ComponentWeights | None:
    """Return the weights of `collaborative=0.72,content=0.08,profitability=0.2`."""
    if text is None:
        return None
    try:
        values = {name: float(value) for name, value in (part.split("=") for part in text.split(","))}
        if not all(map(math.isfinite, values.values())):
            raise ValueError("a weight is not finite")
        return ComponentWeights(**values)
    except (ValueError, TypeError) as error:
        raise UnexpectedShape(f"the header X-Recommendation-Weights is {text[:200]!r}, not the weights") from error


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise UnexpectedShape(f"the header X-Recommendation-K is {text[:200]!r}, not a number")
    return int(text)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise UnexpectedShape(f"the header X-Request-ID is {text[:200]!r}, not a UUID") from error
