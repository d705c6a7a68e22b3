"""The gateway's reads: asyncpg, read-only sessions, bounded in time, up again when the database is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from shared.adapters.urls import asyncpg_url
from shared.errors import DatabaseUnavailable
from shared.gateway_ports import (
    AssetPage,
    AssetRow,
    CustomerLists,
    EffectKind,
    ListRow,
    ModelPage,
    ModelRow,
)

REACHABLE_TIMEOUT_SECONDS = 2.0
CLOSE_TIMEOUT_SECONDS = 0.5

_LISTS = """
SELECT r.request_id, r.model_version, r.basis, r.items,
       r.customer_id IS NOT NULL
       OR EXISTS (SELECT FROM customer_information c WHERE c.customer_id = $1) AS known
FROM (SELECT) AS one LEFT JOIN recommendations r ON r.customer_id = $1
"""
_ASSETS = """
WITH matching AS (
    SELECT * FROM current_assets
    WHERE ($1::text IS NULL OR sector = $1) AND ($2::text IS NULL OR asset_category = $2)
), page AS (
    SELECT * FROM matching ORDER BY isin LIMIT $3 OFFSET $4
)
SELECT total.count AS total, page.isin,
       coalesce(page.asset_name, page.asset_short_name, page.isin) AS assetname,
       page.asset_category AS assetcategory, page.asset_sub_category AS assetsubcategory,
       page.sector, page.industry,
       coalesce(price.close_price, bounds.price_max_date) AS current_price, bounds.profitability
FROM (SELECT count(*) FROM matching) AS total
LEFT JOIN page ON true
LEFT JOIN LATERAL (
    SELECT close_price FROM current_close_prices c WHERE c.isin = page.isin LIMIT 1
) AS price ON true
LEFT JOIN current_limit_prices AS bounds ON bounds.isin = page.isin
ORDER BY page.isin
"""
_ASSET_COLUMNS = tuple(AssetRow.__dataclass_fields__)
_MODEL_COLUMNS = tuple(ModelRow.__dataclass_fields__)
_MODELS = f"""
SELECT {", ".join(_MODEL_COLUMNS)} FROM model_versions ORDER BY started_at DESC, version DESC LIMIT $1
"""
_ACTIVE_MODEL = "SELECT version FROM model_versions WHERE active ORDER BY sequence DESC NULLS LAST LIMIT 1"
_HAS_ARTIFACT = """
SELECT EXISTS (
    SELECT FROM model_versions
    WHERE version = $1 AND status IN ('stored', 'promoted') AND manifest_sha256 IS NOT NULL
)
"""
_FINGERPRINTS: dict[EffectKind, str] = {
    "decision": "SELECT fingerprint FROM decisions WHERE request_id = $1",
    "interaction": "SELECT fingerprint FROM user_interactions WHERE event_id = $1",
}
# The connection broke, not the statement: worth one more try on a new connection.
_LOST_CONNECTION = (
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.ConnectionFailureError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    ConnectionError,
)
_UNAVAILABLE = (
    *_LOST_CONNECTION,
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.UndefinedTableError,  # not migrated yet
)


class PostgresGatewayReader:
    """Reads through a pool that connects on demand; `timeout_seconds` bounds each read, waiting included."""

    def __init__(self, database_url: str, *, timeout_seconds: float, pool_size: int) -> None:
        self._url = asyncpg_url(database_url)
        self._timeout_seconds = timeout_seconds
        self._pool_size = pool_size
        self._pool: asyncpg.Pool | None = None

    async def start(self) -> None:
        """Make the pool; no connection is opened yet."""
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
            # Nothing here leaves state in a session, so no second round trip to clean it.
            reset=_nothing_to_reset,
        )

    async def close(self) -> None:
        """Close politely, then by force."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def is_reachable(self) -> bool:
        """Whether a session answers now."""
        try:
            await self._fetch("SELECT 1", timeout_seconds=REACHABLE_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            return False
        return True

    async def fetch_lists(self, customer_id: str) -> CustomerLists:
        """Return the newest list of a customer and whether the bank knows the customer."""
        row = (await self._fetch(_LISTS, customer_id))[0]
        if row["request_id"] is None:
            return CustomerLists(known=row["known"], newest=None)
        newest = ListRow(row["request_id"], row["model_version"], row["basis"], row["items"])
        return CustomerLists(known=True, newest=newest)

    async def fetch_isins(self) -> frozenset[str]:
        """Return every ISIN of the catalogue."""
        return frozenset(row["isin"] for row in await self._fetch("SELECT DISTINCT isin FROM asset_information"))

    async def has_isin(self, isin: str, *, timeout_seconds: float) -> bool:
        """Whether the catalogue has this ISIN now."""
        statement = "SELECT EXISTS (SELECT FROM asset_information WHERE isin = $1) AS found"
        rows = await self._fetch(statement, isin, timeout_seconds=timeout_seconds)
        return bool(rows[0]["found"])

    async def fetch_assets(self, *, sector: str | None, category: str | None, limit: int, offset: int) -> AssetPage:
        """Return assets whose latest version matches exactly, in order of their ISIN."""
        rows = await self._fetch(_ASSETS, sector, category, limit, offset)
        assets = [AssetRow(*(row[name] for name in _ASSET_COLUMNS)) for row in rows if row["isin"] is not None]
        return AssetPage(assets=assets, total=rows[0]["total"])

    async def fetch_models(self, *, limit: int) -> ModelPage:
        """Return the newest model versions first."""
        active = await self._fetch(_ACTIVE_MODEL)
        rows = await self._fetch(_MODELS, limit)
        return ModelPage(active=active[0]["version"] if active else None, models=[_model_row(row) for row in rows])

    async def has_artifact(self, version: str) -> bool:
        """Whether this version was trained to its end."""
        return bool((await self._fetch(_HAS_ARTIFACT, version))[0]["exists"])

    async def fetch_fingerprint(self, kind: EffectKind, event_id: UUID, *, timeout_seconds: float) -> str | None:
        """Return the fingerprint that came with the event of this id, None if there is no effect of it."""
        rows = await self._fetch(_FINGERPRINTS[kind], event_id, timeout_seconds=timeout_seconds)
        return rows[0]["fingerprint"] if rows else None

    async def _fetch(
        self, statement: str, *arguments: object, timeout_seconds: float | None = None
    ) -> Sequence[asyncpg.Record]:
        if self._pool is None:
            raise DatabaseUnavailable("the reader is closed")
        pool = self._pool
        bound_seconds = timeout_seconds or self._timeout_seconds
        try:
            async with asyncio.timeout(bound_seconds):
                try:
                    return await _fetch_once(pool, statement, arguments, bound_seconds)
                except _LOST_CONNECTION:
                    # After a restart of the database every pooled connection is broken: leave them all.
                    await pool.expire_connections()
                    return await _fetch_once(pool, statement, arguments, bound_seconds)
        except _UNAVAILABLE as error:
            raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error


async def _fetch_once(
    pool: asyncpg.Pool, statement: str, arguments: tuple[object, ...], bound_seconds: float
) -> Sequence[asyncpg.Record]:
    connection = await pool.acquire(timeout=bound_seconds)
    try:
        rows: Sequence[asyncpg.Record] = await connection.fetch(statement, *arguments)
    except BaseException:
        # A cancelled statement on a silent server would hold the caller: throw the connection away.
        connection.terminate()
        raise
    finally:
        await pool.release(connection)
    return rows


async def _nothing_to_reset(_: object) -> None:
    return None


def _model_row(row: asyncpg.Record) -> ModelRow:
    values: dict[str, Any] = {name: row[name] for name in _MODEL_COLUMNS}
    for name in ("metrics", "champion_metrics", "watermark"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return ModelRow(**values)
