"""Decisions and lists as rows: what was answered, and which list of each customer can still answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Connection, text

from shared.errors import InvalidWeights
from shared.ports import KeptEvent
from shared.postgres.bulk_insert import build_array
from shared.postgres.notifications import CHANNEL, build_payloads
from shared.postgres.prepared import execute_prepared
from shared.recommender.types import NO_OPTIONS, ListOptions, Weights
from shared.served_list import RecommendationItem
from worker import queries
from worker.asset_versions import AssetVersions
from worker.items import ListItems, encode_items, encode_json
from worker.ports import Decision, ServedList

_WEIGHTS = ("weight_collaborative", "weight_content", "weight_profitability")
_OF_DECISION = (
    *("request_id", "customer_id", "action", "answered_from", "risk_level", "fingerprint", "partition"),
    *("event_offset", "requested_at", "decided_at", "is_preview", "explanation"),
)
_OF_ANSWER = ("model_version", "basis", "k", "policy_digest")
_LIST_COLUMNS = ("asset_versions", "contributions", "made_at", "items", "weights")


def insert_decisions(
    connection: Connection, new: Sequence[Decision], *, reference_snapshot: str, asset_versions: AssetVersions
) -> frozenset[UUID]:
    """Store one row per request and the lists, as WorkerTransaction documents it; return the new request_ids."""
    if not new:
        return frozenset()
    lists = [decision.answer.items for decision in new]
    ids = asset_versions.add({content for one in lists if isinstance(one, ListItems) for content in one.contents})
    columns = _decision_columns(new, reference_snapshot, ids)
    arrays = [build_array(values) for values in columns.values()]
    payloads = build_array(build_payloads(one.customer_id for one in new))
    build = partial(queries.build_store_decisions, tuple(columns))
    rows = execute_prepared(connection, "store_decisions", build, *arrays, reference_snapshot, CHANNEL, payloads)
    stored = frozenset(request_id for (request_id,) in rows)
    in_order = [decision for decision in new if decision.request_id in stored and not decision.is_preview]
    last = {one.customer_id: one for one in in_order}
    if renamed := [one for one in last.values() if one.answered_from == "stored"]:
        connection.execute(text(queries.RENAME_LISTS), _names_of(renamed))
    return stored


def fetch_decided(connection: Connection, request_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
    """Return those of these requests that have a decision."""
    rows = execute_prepared(connection, "read_decided", lambda: queries.DECIDED, build_array(request_ids))
    return {
        request_id: KeptEvent({"customer_id": customer_id, "action": action}, fingerprint, digest)
        for request_id, customer_id, action, fingerprint, digest in rows
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
            lists[row.customer_id] = ServedList(
                row.model_version, row.basis, weights, items, row.k, options, row.policy_digest
            )
    return lists


def _names_of(answers: Collection[Decision]) -> dict[str, Any]:
    return {
        "customer_ids": [one.customer_id for one in answers],
        "request_ids": [str(one.request_id) for one in answers],
        "requested_at": [str(one.requested_at) for one in answers],
    }


def _decision_columns(
    new: Sequence[Decision], reference_snapshot: str, ids: Mapping[str, int]
) -> dict[str, Sequence[Any]]:
    """Return the columns of decisions, each with one value for each of them."""
    answers = [one.answer for one in new]
    lists = [_list_row(one, ids) for one in new]
    return {
        **{name: [getattr(one, name) for one in new] for name in _OF_DECISION},
        **{name: [getattr(one, name) for one in answers] for name in _OF_ANSWER},
        **{name: [row[number] for row in lists] for number, name in enumerate((*_LIST_COLUMNS, *_WEIGHTS))},
        "digest": [one.content_digest and one.content_digest[:32] for one in new],
        "options": [_options_text(one.options) for one in answers],
        "reference_snapshot": [reference_snapshot if one.is_preview else None for one in new],
    }


def _options_text(options: ListOptions) -> str | None:
    if options == NO_OPTIONS:
        return None
    return encode_json({name: value for name, value in vars(options).items() if value is not None})


def _list_row(decision: Decision, ids: Mapping[str, int]) -> tuple[Any, ...]:
    """Return the list as arrays, or as JSON: that which an older version stored, or with a number that does not fit.

    The values are those of _LIST_COLUMNS and _WEIGHTS.
    """
    items, weights = decision.answer.items, decision.answer.weights
    if not isinstance(items, ListItems) or items.millionths is None:
        return (None, None, None, encode_items(items), encode_json(vars(weights)), None, None, None)
    made_at = None if items.made_at == decision.decided_at else items.made_at
    arrays = build_array([ids[content] for content in items.contents]), build_array(items.millionths)
    return (*arrays, made_at, None, None, weights.collaborative, weights.content, weights.profitability)


def _parse_weights(row: Any) -> Weights:
    if row.asset_versions is None:
        return Weights(**row.weights)
    return Weights(row.weight_collaborative, row.weight_content, row.weight_profitability)


def _parse_items(row: Any, contents: Mapping[int, str]) -> Sequence[RecommendationItem]:
    """Return the items of a row; raises an exception for what are none."""
    if row.asset_versions is None:
        return tuple(RecommendationItem.model_validate(item) for item in row.items)
    shown = [contents[one] for one in row.asset_versions]
    if len(row.contributions) != 3 * len(shown):
        raise ValueError("a list has three contributions for each asset")
    return ListItems(shown, row.contributions, made_at=row.made_at)


def _parse_options(column: Mapping[str, Any] | None) -> ListOptions:
    """Return the options of a column; raises TypeError or AttributeError for what is none, a newer option included."""
    fields: dict[str, Any] = {} if column is None else dict(column.items())
    values: dict[str, Any] = {name: tuple(one) if isinstance(one, list) else one for name, one in fields.items()}
    return ListOptions(**values)
