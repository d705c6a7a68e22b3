"""Decisions and lists as rows: what was answered, and which list of each customer can still answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Connection, text

from shared.errors import InvalidWeights
from shared.ports import KeptEvent
from shared.postgres.bulk_insert import insert_new
from shared.postgres.tables import decisions
from shared.recommender.types import ListOptions, Weights
from shared.served_list import MILLION, RecommendationItem
from worker import queries
from worker.asset_versions import AssetVersions
from worker.items import ListItems, encode_items, encode_json
from worker.ports import Decision, ServedList

_WEIGHTS = ("weight_collaborative", "weight_content", "weight_profitability")
_LIST_COLUMNS = ("asset_versions", "contributions", "made_at", "items", "weights")


def insert_decisions(
    connection: Connection, new: Sequence[Decision], *, reference_snapshot: str, asset_versions: AssetVersions
) -> frozenset[UUID]:
    """Store one row per request and the lists, as WorkerTransaction documents it; return the new request_ids."""
    if not new:
        return frozenset()
    lists = [decision.answer.items for decision in new]
    ids = asset_versions.add({content for one in lists if isinstance(one, ListItems) for content in one.contents})
    rows = [_decision_row(one, reference_snapshot, ids) for one in new]
    stored = insert_new(connection, decisions, rows, returning="request_id")
    # One customer is one partition, consumed in order and fenced: the last decision is the newest.
    in_order = [decision for decision in new if decision.request_id in stored and not decision.is_preview]
    scored = {one.customer_id: one for one in in_order if one.answered_from == "scored"}
    last = {one.customer_id: one for one in in_order}
    renamed = [one for one in last.values() if one.answered_from == "stored"]
    if scored:
        names = _names_of(scored.values())
        connection.execute(text(queries.STORE_LISTS), {**names, "reference_snapshot": reference_snapshot})
    if renamed:
        connection.execute(text(queries.RENAME_LISTS), _names_of(renamed))
    return stored


def fetch_decided(connection: Connection, request_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
    """Return those of these requests that have a decision."""
    ids = [str(request_id) for request_id in request_ids]
    return {
        request_id: KeptEvent({"customer_id": customer_id, "action": action}, fingerprint, digest)
        for request_id, customer_id, action, fingerprint, digest in connection.exec_driver_sql(queries.DECIDED, (ids,))
    }


def fetch_fresh_lists(
    connection: Connection, customer_ids: Sequence[str], *, asset_versions: AssetVersions
) -> Mapping[str, ServedList]:
    """Return stored lists that are fresh."""
    if not customer_ids:
        return {}
    lists: dict[str, ServedList] = {}
    rows = connection.execute(text(queries.FRESH_LISTS), {"customer_ids": sorted(set(customer_ids))}).all()
    contents = asset_versions.find(connection, {one for row in rows for one in row.asset_versions or ()})
    for row in rows:
        # A list that cannot be read is not fresh: its customer is scored again, and the batch goes on.
        with suppress(ValidationError, LookupError, TypeError, ValueError, AttributeError, InvalidWeights):
            items, options = _parse_items(row, contents), _parse_options(row.options)
            weights = _parse_weights(row)
            lists[row.customer_id] = ServedList(row.model_version, row.basis, weights, items, row.k, options)
    return lists


def _names_of(answers: Collection[Decision]) -> dict[str, Any]:
    return {
        "customer_ids": [one.customer_id for one in answers],
        "request_ids": [str(one.request_id) for one in answers],
        "requested_at": [str(one.requested_at) for one in answers],
    }


def _decision_row(decision: Decision, reference_snapshot: str, ids: Mapping[str, int]) -> dict[str, Any]:
    answer = decision.answer
    options = {name: value for name, value in vars(answer.options).items() if value is not None}
    columns = {**vars(decision), **vars(answer), **_list_columns(decision, ids)}
    del columns["answer"]
    content_digest = columns.pop("content_digest")
    return {
        **columns,
        "digest": content_digest and UUID(hex=content_digest[:32]),
        "options": encode_json(options) if options else None,
        "reference_snapshot": reference_snapshot if decision.is_preview else None,
    }


def _list_columns(decision: Decision, ids: Mapping[str, int]) -> dict[str, Any]:
    """Return the list as arrays, or as JSON: that which an older version stored, or with a number that does not fit."""
    items, weights = decision.answer.items, vars(decision.answer.weights)
    columns = {**dict.fromkeys(_LIST_COLUMNS), **dict.fromkeys(_WEIGHTS)}
    if not isinstance(items, ListItems) or (contributions := items.millionths()) is None:
        return {**columns, "items": encode_items(items), "weights": encode_json(weights)}
    return {
        **columns,
        **dict(zip(_WEIGHTS, weights.values(), strict=True)),
        "asset_versions": _array(ids[content] for content in items.contents),
        "contributions": _array(contributions),
        "made_at": None if items.made_at == decision.decided_at else items.made_at,
    }


def _array(values: Iterable[int | None]) -> str:
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


def _parse_weights(row: Any) -> Weights:
    if row.asset_versions is None:
        return Weights(**row.weights)
    return Weights(row.weight_collaborative, row.weight_content, row.weight_profitability)


def _parse_items(row: Any, contents: Mapping[int, str]) -> Sequence[RecommendationItem]:
    """Return the items of a row; raises an exception for what are none."""
    if row.asset_versions is None:
        return tuple(RecommendationItem.model_validate(item) for item in row.items)
    shown = [contents[one] for one in row.asset_versions]
    contributions = [None if value is None else value / MILLION for value in row.contributions]
    return ListItems(shown, contributions, made_at=row.made_at)


def _parse_options(column: Mapping[str, Any] | None) -> ListOptions:
    """Return the options of a column; raises TypeError or AttributeError for what is none, a newer option included."""
    fields: dict[str, Any] = {} if column is None else dict(column.items())
    values: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in fields.items()}
    return ListOptions(**values)
