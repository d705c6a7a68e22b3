"""The gateway's reads: asyncpg, read-only sessions, a time limit, reconnection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from api import asset_queries, list_queries, portfolio_queries
from api.list_items import ShownAssets
from api.list_rows import build_customer_lists, build_list_facts, build_list_row, parse_object
from api.listener import listen_forever
from api.portfolio import Portfolio
from api.ports import (
    Answer,
    ArtifactState,
    CurrentFacts,
    CustomerLists,
    ListFacts,
    ListRow,
    ListVersion,
    Question,
    RequestRow,
    StoredExplanation,
)
from api.read_batches import ReadBatches
from api.schemas.assets import AssetItem
from api.schemas.interactions import WatchedAsset
from api.schemas.models import Frontier, ModelItem, ModelList
from api.schemas.suspensions import SuspendedSubject
from shared.errors import DatabaseBusy, DatabaseUnavailable, describe_error
from shared.events import Event, InteractionRecorded, RecommendationRequested, SuspensionChanged, TransactionRecorded
from shared.far_trans.schema import parse_risk_level
from shared.logging import get_logger
from shared.postgres.engine import asyncpg_url
from shared.postgres.errors import translated
from shared.postgres.tables import is_of
from shared.recommender.candidates import asset_risk_level
from shared.recommender.types import DISMISSAL_TYPES

REACHABLE_TIMEOUT_SECONDS = 2.0
CLOSE_TIMEOUT_SECONDS = 0.5
# Statements that read lists, each for all customers that are asked at that moment.
LIST_READS_AT_ONCE = 4

log = get_logger(__name__)

_FACTS = f"""
WITH suspended AS MATERIALIZED (SELECT kind, subject FROM current_suspensions)
SELECT item.isin, asset.asset_category, asset.asset_sub_category,
       item.isin IN (SELECT p.isin FROM positions p WHERE p.customer_id = $1 AND p.held) AS is_owned,
       coalesce((
           SELECT i.interaction_type = 'dismiss' FROM user_interactions i
           WHERE i.customer_id = $1 AND i.isin = item.isin AND {is_of(DISMISSAL_TYPES)}
           ORDER BY i.sequence DESC LIMIT 1
       ), false) AS is_dismissed,
       EXISTS (SELECT FROM suspended s WHERE (s.kind, s.subject) IN
               (('asset', item.isin), ('category', asset.asset_category), ('model', $3))) AS is_suspended,
       (SELECT c.risk_level FROM latest_customers c WHERE c.customer_id = $1) AS customer_risk_level
FROM unnest($2::text[]) AS item(isin)
LEFT JOIN LATERAL (
    SELECT asset_category, asset_sub_category FROM latest_assets a WHERE a.isin = item.isin LIMIT 1
) AS asset ON true
"""
# The curve of a model is long and has a route of its own.
_MODEL_COLUMNS = ("metrics - 'frontier' AS metrics" if name == "metrics" else name for name in ModelItem.model_fields)
_SUSPENSIONS = """
SELECT kind, subject, reason, recorded_at AS suspended_at FROM current_suspensions
ORDER BY recorded_at DESC, kind, subject
"""
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
    TransactionRecorded: "SELECT fingerprint FROM recorded_transactions WHERE event_id = $1",
    SuspensionChanged: "SELECT fingerprint FROM recorded_suspensions WHERE event_id = $1",
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
        self._shown_assets = ShownAssets()
        self._lists = ReadBatches(
            self._fetch_many_lists, timeout_seconds=timeout_seconds, most_at_once=min(LIST_READS_AT_ONCE, pool_size)
        )

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

    async def fetch_lists(self, customer_id: str, *, kept: ListVersion | None = None) -> CustomerLists:
        return await self._lists.fetch((customer_id, kept))

    async def _fetch_many_lists(
        self, asked: Sequence[tuple[str, ListVersion | None]], seconds: float
    ) -> list[CustomerLists]:
        until = asyncio.get_running_loop().time() + seconds
        columns = zip(*((one, *(kept or (None, None))) for one, kept in asked), strict=True)
        rows = await self._fetch(list_queries.LISTS, *map(list, columns), timeout_seconds=seconds)
        lists = await self._list_rows(rows, until=until)
        return [build_customer_lists(row, newest) for row, newest in zip(rows, lists, strict=True)]

    async def fetch_answers(self, questions: Sequence[Question]) -> Sequence[Answer]:
        customer_ids = [question.customer_id for question in questions]
        rows = await self._fetch(list_queries.ANSWERS, customer_ids, [question.request_id for question in questions])
        lists = await self._list_rows(rows)
        return [
            Answer(newest, is_answered=row["is_answered"], has_failed=row["has_failed"])
            for row, newest in zip(rows, lists, strict=True)
        ]

    async def _list_rows(self, rows: Sequence[asyncpg.Record], *, until: float | None = None) -> list[ListRow | None]:
        """Return the list of each row, None where there is none; reads what is not known yet of the shown assets.

        `until`: when it fails, by the clock of the event loop; None: after the time limit of a read.
        """
        ids = {one for row in rows for one in row["asset_versions"] or ()}
        assets = self._shown_assets.find(ids)
        if missing := ids - assets.keys():
            seconds = None if until is None else until - asyncio.get_running_loop().time()
            found = await self._fetch(list_queries.SHOWN_ASSETS, list(missing), timeout_seconds=seconds)
            assets.update(self._shown_assets.add({row["asset_version_id"]: row["content"] for row in found}))
        return [build_list_row(row, assets) for row in rows]

    async def fetch_request(self, request_id: UUID) -> RequestRow | None:
        rows = await self._fetch(list_queries.REQUEST, request_id)
        return RequestRow(**rows[0]) if rows else None

    async def fetch_current_facts(
        self, customer_id: str, isins: Sequence[str], *, model_version: str = ""
    ) -> CurrentFacts:
        rows = await self._fetch(_FACTS, customer_id, list(isins), model_version)
        return CurrentFacts(
            customer_risk_level=parse_risk_level(rows[0]["customer_risk_level"]) if rows else None,
            asset_risk_levels={
                row["isin"]: asset_risk_level(row["asset_category"], row["asset_sub_category"])
                for row in rows
                if row["asset_category"] is not None
            },
            owned=frozenset(row["isin"] for row in rows if row["is_owned"]),
            dismissed=frozenset(row["isin"] for row in rows if row["is_dismissed"]),
            suspended=frozenset(row["isin"] for row in rows if row["is_suspended"]),
        )

    async def fetch_list_facts(
        self, customer_id: str, sectors: Mapping[str, str | None], *, model_version: str
    ) -> ListFacts:
        asked = (customer_id, list(sectors), list(sectors.values()), model_version)
        return build_list_facts(await self._fetch(list_queries.LIST_FACTS, *asked))

    async def fetch_portfolio(
        self, customer_id: str, isins: Sequence[str], *, request_id: UUID, model_version: str, made_on: date
    ) -> Portfolio:
        [row] = await self._fetch(portfolio_queries.ORIGIN, customer_id, request_id, model_version)
        origin = portfolio_queries.build_origin(row, made_on=made_on)
        asked = (customer_id, list(isins), made_on, origin.sequence, origin.as_of)
        assets = portfolio_queries.build_assets(await self._fetch(portfolio_queries.PORTFOLIO, *asked))
        held = {isin: asset for isin, (is_held, asset) in assets.items() if is_held}
        return Portfolio(origin, held, {isin: assets[isin][1] for isin in isins})

    async def fetch_list_options(self, customer_id: str, request_id: UUID) -> Mapping[str, Any]:
        rows = await self._fetch(list_queries.LIST_OPTIONS, request_id, customer_id)
        return parse_object(rows[0]["options"]) if rows else {}

    async def fetch_explanation(self, customer_id: str, request_id: UUID) -> StoredExplanation | None:
        rows = await self._fetch(list_queries.EXPLANATION, request_id, customer_id)
        if not rows or not (content := parse_object(rows[0]["explanation"])):
            return None
        return StoredExplanation(content, rows[0]["model_version"], rows[0]["basis"])

    async def fetch_suspensions(self) -> Sequence[SuspendedSubject]:
        return [SuspendedSubject.model_validate(dict(row)) for row in await self._fetch(_SUSPENSIONS)]

    async def fetch_watchlist(self, customer_id: str) -> Sequence[WatchedAsset]:
        as_of = await self._fetch_active_as_of()
        return [
            WatchedAsset.model_validate(dict(row))
            for row in await self._fetch(asset_queries.WATCHLIST, customer_id, as_of)
        ]

    async def fetch_reference_version(self) -> str:
        return str((await self._fetch(asset_queries.CATALOGUE_VERSION))[0][0])

    async def has_isin(self, isin: str, *, timeout_seconds: float) -> bool:
        statement = "SELECT EXISTS (SELECT FROM latest_assets WHERE isin = $1) AS found"
        [row] = await self._fetch(statement, isin, timeout_seconds=timeout_seconds)
        return bool(row["found"])

    async def fetch_assets(self, *, limit: int) -> Sequence[AssetItem]:
        rows = await self._fetch(asset_queries.ASSETS, await self._fetch_active_as_of(), limit)
        return [AssetItem.model_validate(dict(row)) for row in rows]

    async def fetch_asset(self, isin: str, *, timeout_seconds: float) -> AssetItem | None:
        as_of = await self._fetch_active_as_of(timeout_seconds=timeout_seconds)
        rows = await self._fetch(asset_queries.ASSET, as_of, isin, timeout_seconds=timeout_seconds)
        return AssetItem.model_validate(dict(rows[0])) if rows else None

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

    async def fetch_fingerprints(
        self, request_ids: Sequence[UUID], *, timeout_seconds: float
    ) -> Mapping[UUID, str | None]:
        statement = "SELECT request_id, fingerprint FROM decisions WHERE request_id = ANY($1::uuid[])"
        rows = await self._fetch(statement, list(request_ids), timeout_seconds=timeout_seconds)
        return {row["request_id"]: row["fingerprint"] for row in rows}

    async def _fetch_active_as_of(self, *, timeout_seconds: float | None = None) -> date | None:
        """Return the date of the active model; None without one, and for a date that the trainer did not write."""
        rows = await self._fetch(asset_queries.ACTIVE_AS_OF, timeout_seconds=timeout_seconds)
        try:
            return date.fromisoformat(rows[0]["as_of"]) if rows else None
        except (TypeError, ValueError):
            return None

    async def listen_forever(
        self, *, on_notified: Callable[[Sequence[str]], None], on_connected: Callable[[], None]
    ) -> None:
        await listen_forever(self._url, on_notified=on_notified, on_connected=on_connected)

    async def _fetch(
        self, statement: str, *arguments: object, timeout_seconds: float | None = None
    ) -> Sequence[asyncpg.Record]:
        if self._pool is None:
            raise DatabaseUnavailable("the reader is closed")
        pool, is_connected = self._pool, False
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds

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


async def _nothing_to_reset(_: object) -> None:
    return None
