"""The gateway as an ASGI application: routes, problems, measurement, and what runs beside the requests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from api import model_routes, operations_routes, routes
from api.errors import install_problem_handlers
from api.gateway import Dependencies, Gateway
from api.middleware import BodyLimit, RequestBoundary
from api.openapi import DESCRIPTION, install_openapi
from shared.logging import get_logger

log = get_logger(__name__)


def create_app(dependencies: Dependencies) -> FastAPI:
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
    app.add_middleware(BodyLimit)
    app.add_middleware(RequestBoundary, metrics=gateway.metrics)  # the last added is the outermost
    return app
