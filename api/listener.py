"""Listens for new lists: one connection of its own for the whole process, with PostgreSQL's LISTEN."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

import asyncpg

from shared.backoff import delay_seconds
from shared.errors import DatabaseUnavailable, describe_error
from shared.logging import get_logger
from shared.postgres.errors import translated
from shared.postgres.notifications import CHANNEL, parse_payload

ANSWER_SECONDS = 2.0
# A connection that is silently broken is noticed after this time and ANSWER_SECONDS.
CHECK_SECONDS = 5.0
MOST_BACKOFF_SECONDS = 5.0

log = get_logger(__name__)


async def listen_forever(
    url: str, *, on_notified: Callable[[Sequence[str]], None], on_connected: Callable[[], None]
) -> None:
    """Do what GatewayReader.listen_forever promises, on one connection at a time."""
    failures = 0

    def note_connected() -> None:
        nonlocal failures
        failures = 0
        on_connected()

    while True:
        try:
            await _listen_once(url, on_notified=on_notified, on_connected=note_connected)
        except DatabaseUnavailable as error:
            log.warning("listener.lost", error=describe_error(error))
        except Exception:  # a bug must not end the task unnoticed
            log.exception("listener.failed")
        failures += 1
        most_seconds = delay_seconds(failures, most_seconds=MOST_BACKOFF_SECONDS)
        await asyncio.sleep(most_seconds * random.uniform(0.5, 1.0))  # noqa: S311 - jitter is no secret


async def _listen_once(
    url: str, *, on_notified: Callable[[Sequence[str]], None], on_connected: Callable[[], None]
) -> None:
    """Listen until the connection is lost; raises DatabaseUnavailable then."""
    lost = asyncio.Event()
    try:
        with translated():
            settings = {"application_name": "gateway-listener"}
            connection = await asyncpg.connect(url, timeout=ANSWER_SECONDS, server_settings=settings)
            try:
                connection.add_termination_listener(lambda _: lost.set())
                async with asyncio.timeout(ANSWER_SECONDS):
                    await connection.add_listener(CHANNEL, lambda *sent: on_notified(parse_payload(str(sent[-1]))))
                on_connected()
                await _check_until(lost, connection)
            finally:
                connection.terminate()
    except (OSError, TimeoutError) as error:
        raise DatabaseUnavailable(f"{type(error).__name__}: {error}") from error
    raise DatabaseUnavailable("the listening connection was closed")


async def _check_until(lost: asyncio.Event, connection: asyncpg.Connection) -> None:
    """Return when the connection is lost; raises TimeoutError when the database does not answer on it."""
    while not lost.is_set():
        try:
            async with asyncio.timeout(CHECK_SECONDS):
                await lost.wait()
        except TimeoutError:
            async with asyncio.timeout(ANSWER_SECONDS):
                await connection.execute("SELECT 1")
