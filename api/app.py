"""The gateway as an ASGI application: routes, problems, middleware, and the background tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.errors import install_problem_handlers
from api.gateway import Gateway
from api.idempotency import KEY_HEADER
from api.json_bodies import REQUESTED_WITH
from api.list_routes import router as list_router
from api.middleware import Admission, BodyLimit, RequestBoundary, RequestGuard
from api.openapi import DESCRIPTION, LIST_HEADERS, install_openapi
from api.routes import router
from shared.logging import get_logger

PREFLIGHT_SECONDS = 600
FLUSH_SECONDS = 1.0
_LOOPBACK_ONLY = Admission()

log = get_logger(__name__)


def create_app(gateway: Gateway, *, admission: Admission = _LOOPBACK_ONLY) -> FastAPI:
    """Build the application; its lifespan starts and closes publisher and reader, which need no running server."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await gateway.publisher.start()
        await gateway.reader.start()
        background = [asyncio.create_task(task) for task in gateway.background_tasks()]
        log.info("gateway.started")
        try:
            yield
        finally:
            gateway.begin_shutdown()
            for task in background:
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            await gateway.publisher.close(timeout_seconds=FLUSH_SECONDS)
            await gateway.reader.close()
            log.info("gateway.stopped")

    app = FastAPI(
        title="FAR-Trans recommender", version="1", description=DESCRIPTION, lifespan=lifespan, redirect_slashes=False
    )
    app.state.gateway = gateway
    app.include_router(list_router)
    app.include_router(router)
    install_problem_handlers(app)
    install_openapi(app)
    _add_middleware(app, gateway, admission)
    return app


def _add_middleware(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the middleware; the one added last is the outermost."""
    app.add_middleware(BodyLimit)
    if admission.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(admission.allowed_origins),
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Content-Type", KEY_HEADER, REQUESTED_WITH],
            expose_headers=[*LIST_HEADERS, "Retry-After"],
            max_age=PREFLIGHT_SECONDS,
        )
    app.add_middleware(RequestGuard, admission=admission)
    app.add_middleware(RequestBoundary, metrics=gateway.metrics)
