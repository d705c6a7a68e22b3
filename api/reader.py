"""The gateway's reads: asyncpg, read-only sessions, a time limit, reconnection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from api.listener import listen_forever
from api.ports import Answer, ArtifactState, CurrentFacts, CustomerLists, ListRow, Question, RequestRow
from api.schemas import AssetItem, Frontier, ModelItem, ModelList
from shared.errors import DatabaseBusy, DatabaseUnavailable, describe_error
from shared.events import RECOMMENDATIONS_REQUESTED, Event, InteractionRecorded, RecommendationRequested
from shared.far_trans.schema import parse_risk_level
from shared.logging import get_logger
from shared.postgres.engine import asyncpg_url
from shared.postgres.errors import translated
from shared.postgres.tables import REFERENCE_SNAPSHOTS
from shared.recommender.candidates import asset_risk_level

REACHABLE_TIMEOUT_SECONDS = 2.0
CLOSE_TIMEOUT_SECONDS = 0.5

log = get_logger(__name__)

# A letter that was replayed is under way again.
_OPEN_LETTER = f"d.topic = '{RECOMMENDATIONS_REQUESTED}' AND d.replayed_at IS NULL"
# Each list stores its reference data and the last interaction of the customer, so no clock decides what is newer.
_LISTS = f"""
SELECT r.request_id, r.model_version, r.basis, r.items,
       r.customer_id IS NOT NULL
       OR EXISTS (SELECT FROM customer_information c WHERE c.customer_id = $1) AS known,
       r.reference_snapshot IS DISTINCT FROM ({REFERENCE_SNAPSHOTS}) AS is_stale,
       coalesce((
           SELECT i.sequence FROM user_interactions i
           WHERE i.customer_id = $1 ORDER BY i.sequence DESC LIMIT 1
       ), 0) > coalesce(r.interaction_sequence, 0) AS has_newer_interactions
FROM (SELECT) AS one LEFT JOIN recommendations r ON r.customer_id = $1
"""
# Statements of the same shape as _LISTS, for many questions at once. A decision and the list are of one transaction,
# and the requests of a customer are answered in order, so the list of an answered request is its own or a later one.
_ANSWERS = f"""
SELECT r.request_id, r.model_version, r.basis, r.items,
       r.reference_snapshot IS DISTINCT FROM ({REFERENCE_SNAPSHOTS}) AS is_stale,
       coalesce((
           SELECT i.sequence FROM user_interactions i
           WHERE i.customer_id = asked.customer_id ORDER BY i.sequence DESC LIMIT 1
       ), 0) > coalesce(r.interaction_sequence, 0) AS has_newer_interactions,
       CASE WHEN asked.request_id IS NULL THEN r.request_id IS NOT NULL
            ELSE decision.request_id IS NOT NULL OR coalesce(letter.has_later_list, false) END AS is_answered,
       decision.request_id IS NULL AND letter.has_later_list IS FALSE AS has_failed
FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS asked(customer_id, request_id, place)
LEFT JOIN recommendations r ON r.customer_id = asked.customer_id
LEFT JOIN decisions decision
    ON decision.request_id = asked.request_id AND decision.customer_id = asked.customer_id
LEFT JOIN LATERAL (
    SELECT EXISTS (
        SELECT FROM decisions made
        WHERE made.request_id = r.request_id AND made.partition = d.partition AND made.event_offset > d.event_offset
    ) AS has_later_list
    FROM dead_letters d
    WHERE d.event_id = asked.request_id AND {_OPEN_LETTER} AND d.key = convert_to(asked.customer_id, 'UTF8')
    ORDER BY d.dead_letter_id DESC LIMIT 1
) AS letter ON true
ORDER BY asked.place
"""
_REQUEST = f"""
SELECT decision.requested_at, decision.decided_at AS answered_at, letter.failed_at, letter.reason
FROM (SELECT) AS one
LEFT JOIN decisions decision ON decision.request_id = $1
LEFT JOIN LATERAL (
    SELECT d.failed_at, d.reason FROM dead_letters d
    WHERE d.event_id = $1 AND {_OPEN_LETTER} AND decision.request_id IS NULL
    ORDER BY d.dead_letter_id DESC LIMIT 1
) AS letter ON true
WHERE decision.request_id IS NOT NULL OR letter.failed_at IS NOT NULL
"""
_FACTS = """
SELECT item.isin, asset.asset_category, asset.asset_sub_category,
       EXISTS (
           SELECT FROM transactions t
           WHERE t.customer_id = $1 AND t.isin = item.isin AND t.transaction_type = 'Buy'
       ) AS is_owned,
       coalesce((
           SELECT i.interaction_type = 'dismiss' FROM user_interactions i
           WHERE i.customer_id = $1 AND i.isin = item.isin ORDER BY i.sequence DESC LIMIT 1
       ), false) AS is_dismissed,
       (SELECT c.risk_level FROM latest_customers c WHERE c.customer_id = $1) AS customer_risk_level
FROM unnest($2::text[]) AS item(isin)
LEFT JOIN LATERAL (
    SELECT asset_category, asset_sub_category FROM latest_assets a WHERE a.isin = item.isin LIMIT 1
) AS asset ON true
"""
_ASSETS = """
WITH page AS (
    SELECT * FROM latest_assets ORDER BY isin LIMIT $1
)
SELECT page.isin,
       coalesce(page.asset_name, page.asset_short_name, page.isin) AS assetname,
       page.asset_category AS assetcategory, page.asset_sub_category AS assetsubcategory,
       page.sector, page.industry,
       coalesce(price.close_price, bounds.price_max_date) AS current_price, bounds.profitability
FROM page
LEFT JOIN LATERAL (
    SELECT close_price FROM latest_close_prices c WHERE c.isin = page.isin LIMIT 1
) AS price ON true
LEFT JOIN latest_limit_prices AS bounds ON bounds.isin = page.isin
ORDER BY page.isin
"""
# The curve of a model is long and has a route of its own.
_MODEL_COLUMNS = ("metrics - 'frontier' AS metrics" if name == "metrics" else name for name in ModelItem.model_fields)
_MODELS = f"""
SELECT {", ".join(_MODEL_COLUMNS)} FROM model_versions ORDER BY started_at DESC, version DESC LIMIT $1
"""
_ACTIVE_MODEL = "SELECT version FROM model_versions WHERE active ORDER BY sequence DESC NULLS LAST LIMIT 1"
# NULL in a row of an older trainer means servable.
_SERVABLE = """
SELECT coalesce(servable, true) AS servable FROM model_versions
WHERE version = $1 AND status IN ('stored', 'promoted') AND manifest_sha256 IS NOT NULL
"""
_FINGERPRINTS: dict[type[Event], str] = {
    RecommendationRequested: "SELECT fingerprint FROM decisions WHERE request_id = $1",
    InteractionRecorded: "SELECT fingerprint FROM user_interactions WHERE event_id = $1",
}
# The connection broke, so the statement is repeated once on a new connection.
_LOST_CONNECTION = (
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.ConnectionFailureError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    ConnectionError,
)


class PostgresGatewayReader:
    """The GatewayReader on PostgreSQL, which documents every method.

    The pool connects on demand; `timeout_seconds` limits each read, including the wait for a connection.
    """

    def __init__(self, database_url: str, *, timeout_seconds: float, pool_size: int) -> None:
        self._url = asyncpg_url(database_url)
        self._timeout_seconds = timeout_seconds
        self._pool_size = pool_size
        self._pool: asyncpg.Pool | None = None
        self._answered_at = float("-inf")

    async def start(self) -> None:
        milliseconds = str(int(self._timeout_seconds * 1000))
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._pool_size,
            timeout=self._timeout_seconds,
            server_settings={
                "default_transaction_read_only": "on",
                "statement_timeout": milliseconds,
                "application_name": "gateway",
            },
            # No statement leaves state in a session, so no round trip is needed to reset it.
            reset=_nothing_to_reset,
        )

    async def close(self) -> None:
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def is_reachable(self) -> bool:
        try:
            await self._fetch("SELECT 1", timeout_seconds=REACHABLE_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            return False
        return True

    async def fetch_lists(self, customer_id: str) -> CustomerLists:
        [row] = await self._fetch(_LISTS, customer_id)
        columns = dict(row)
        known = columns.pop("known")
        return CustomerLists(known, newest=None if row["request_id"] is None else ListRow(**columns))

    async def fetch_answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        customer_ids = [question.customer_id for question in questions]
        rows = await self._fetch(_ANSWERS, customer_ids, [question.request_id for question in questions])
        return [_answer(dict(row)) for row in rows]

    async def fetch_request(self, request_id: UUID) -> RequestRow | None:
        rows = await self._fetch(_REQUEST, request_id)
        return RequestRow(**rows[0]) if rows else None

    async def fetch_current_facts(self, customer_id: str, isins: Sequence[str]) -> CurrentFacts:
        rows = await self._fetch(_FACTS, customer_id, list(isins))
        return CurrentFacts(
            customer_risk_level=parse_risk_level(rows[0]["customer_risk_level"]) if rows else None,
            asset_risk_levels={
                row["isin"]: asset_risk_level(row["asset_category"], row["asset_sub_category"])
                for row in rows
                if row["asset_category"] is not None
            },
            owned=frozenset(row["isin"] for row in rows if row["is_owned"]),
            dismissed=frozenset(row["isin"] for row in rows if row["is_dismissed"]),
        )

    async def fetch_reference_version(self) -> str:
        return str((await self._fetch(REFERENCE_SNAPSHOTS))[0][0])

    async def has_isin(self, isin: str, *, timeout_seconds: float) -> bool:
        statement = "SELECT EXISTS (SELECT FROM asset_information WHERE isin = $1) AS found"
        [row] = await self._fetch(statement, isin, timeout_seconds=timeout_seconds)
        return bool(row["found"])

    async def fetch_assets(self, *, limit: int) -> Sequence[AssetItem]:
        rows = await self._fetch(_ASSETS, limit)
        return [AssetItem.model_validate(dict(row)) for row in rows]

    async def fetch_models(self, *, limit: int) -> ModelList:
        active = await self._fetch(_ACTIVE_MODEL)
        rows = await self._fetch(_MODELS, limit)
        models = [ModelItem.model_validate(dict(row)) for row in rows]
        return ModelList(active=active[0]["version"] if active else None, models=models)

    async def fetch_frontier(self, version: str) -> Frontier | None:
        rows = await self._fetch("SELECT metrics->'frontier' AS curve FROM model_versions WHERE version = $1", version)
        if not rows or rows[0]["curve"] is None:
            return None
        try:
            return Frontier.model_validate({**json.loads(rows[0]["curve"]), "version": version})
        except (TypeError, ValueError) as error:  # JSON that the trainer did not write; ValidationError is a ValueError
            log.error("frontier.unreadable", version=version, error=describe_error(error))
            return None

    async def fetch_artifact_state(self, version: str) -> ArtifactState:
        rows = await self._fetch(_SERVABLE, version)
        if not rows:
            return "unknown"
        return "servable" if rows[0]["servable"] else "gone"

    async def fetch_fingerprint(self, event: Event, *, timeout_seconds: float) -> str | None:
        statement = _FINGERPRINTS.get(type(event))
        if statement is None:  # a command, which the trainer keeps
            return None
        rows = await self._fetch(statement, event.event_id, timeout_seconds=timeout_seconds)
        return rows[0]["fingerprint"] if rows else None

    async def listen_forever(
        self, *, on_notified: Callable[[Sequence[str]], None], on_connected: Callable[[], None]
    ) -> None:
        await listen_forever(self._url, on_notified=on_notified, on_connected=on_connected)

    async def _fetch(
        self, statement: str, *arguments: object, timeout_seconds: float | None = None
    ) -> Sequence[asyncpg.Record]:
        if self._pool is None:
            raise DatabaseUnavailable("the reader is closed")
        pool, seconds, is_connected = self._pool, timeout_seconds or self._timeout_seconds, False

        async def fetch_once() -> Sequence[asyncpg.Record]:
            nonlocal is_connected
            connection = await pool.acquire()
            is_connected = True
            try:
                rows: Sequence[asyncpg.Record] = await connection.fetch(statement, *arguments)
            except BaseException:
                # Cancelling a statement on a silent server would block: terminate the connection.
                connection.terminate()
                raise
            finally:
                await pool.release(connection)
            return rows

        loop = asyncio.get_running_loop()
        started_at = loop.time()
        try:
            with translated():
                async with asyncio.timeout(seconds):
                    try:
                        rows = await fetch_once()
                    except _LOST_CONNECTION:
                        # After a restart of the database all pooled connections are broken.
                        await pool.expire_connections()
                        rows = await fetch_once()
        except (OSError, TimeoutError) as error:
            # The database answered another read while this one waited: all connections are in use.
            if isinstance(error, TimeoutError) and not is_connected and self._answered_at > started_at:
                raise DatabaseBusy(f"no connection was free for {seconds} s") from error
            raise DatabaseUnavailable(f"{type(error).__name__} within {seconds} s: {error}") from error
        self._answered_at = loop.time()
        return rows


def _answer(columns: dict[str, Any]) -> Answer:
    is_answered, has_failed = columns.pop("is_answered"), columns.pop("has_failed")
    newest = None if columns["request_id"] is None else ListRow(**columns)
    return Answer(newest, is_answered=is_answered, has_failed=has_failed)


async def _nothing_to_reset(_: object) -> None:
    return None
