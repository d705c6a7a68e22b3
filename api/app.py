"""The gateway as an ASGI application: routes, problems, measurement, and what runs beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from api.errors import install_problem_handlers
from api.gateway import Dependencies, Gateway
from api.guards import Admission, HeadAsGet, RequestGuard
from api.idempotency import KEY_HEADER
from api.json_bodies import REQUESTED_WITH
from api.middleware import BodyLimit, RequestBoundary
from api.openapi import DESCRIPTION, install_openapi
from api.routes import customers as routes
from api.routes import models as model_routes
from api.routes import operations as operations_routes
from shared.logging import get_logger

EXPOSED_HEADERS = (
    "X-Request-ID",
    "X-Model-Version",
    "X-Recommendation-Basis",
    "X-Recommendation-Stale",
    "Retry-After",
)
PREFLIGHT_SECONDS = 600
_EVERYBODY_ON_LOOPBACK = Admission()

log = get_logger(__name__)


def create_app(dependencies: Dependencies, *, admission: Admission = _EVERYBODY_ON_LOOPBACK) -> FastAPI:
    """Build the application; its lifespan starts and closes publisher and reader, which need no server to be up."""
    gateway = Gateway(dependencies)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await gateway.publisher.start()
        await gateway.reader.start()
        beside = [
            asyncio.create_task(gateway.health.check_forever()),
            asyncio.create_task(gateway.catalogue.refresh_forever()),
        ]
        log.info("gateway.started")
        try:
            yield
        finally:
            gateway.health.begin_shutdown()
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await gateway.publisher.close(timeout_seconds=dependencies.flush_timeout_seconds)
            await gateway.reader.close()
            log.info("gateway.stopped")

    app = FastAPI(
        title="FAR-Trans recommender", version="1", description=DESCRIPTION, lifespan=lifespan, redirect_slashes=False
    )
    app.state.gateway = gateway
    for each in (routes.router, model_routes.router, operations_routes.router):
        app.include_router(each)
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
            expose_headers=EXPOSED_HEADERS,
            max_age=PREFLIGHT_SECONDS,
        )
    app.add_middleware(RequestGuard, admission=admission)
    app.add_middleware(HeadAsGet)
    app.add_middleware(RequestBoundary, metrics=gateway.metrics)
