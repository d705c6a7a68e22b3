"""The gateway as an ASGI application: routes, problems, middleware, and the background tasks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from api.access.principals import PUBLIC, ROUTE_SCOPES
from api.conditional_answers import ConditionalAnswers
from api.direct_calls import DirectCalls
from api.errors import install_problem_handlers
from api.gateway import Gateway
from api.idempotency import KEY_HEADER
from api.json_bodies import REQUESTED_WITH, JsonRoute
from api.middleware import Admission, BodyLimit, FailureBoundary, RequestBoundary, RequestGuard
from api.openapi import DESCRIPTION, LIST_HEADERS, TAGS, install_openapi
from api.routes import (
    assets,
    batches,
    docs,
    explanations,
    interactions,
    legacy,
    lists,
    models,
    probes,
    suspensions,
    watchlist,
)
from shared.errors import ConfigurationInvalid
from shared.logging import get_logger

PREFLIGHT_SECONDS = 600
FLUSH_SECONDS = 1.0
_LOOPBACK_ONLY = Admission()

log = get_logger(__name__)


def create_app(
    gateway: Gateway, *, admission: Admission = _LOOPBACK_ONLY, checked_before_serving: bool = False
) -> FastAPI:
    """Build the application; its lifespan starts and closes publisher and reader, which need no running server.

    `checked_before_serving`: check broker and database before the first request, so that a process that joins others
    is not unready for a moment.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await gateway.publisher.start()
        await gateway.reader.start()
        if checked_before_serving:
            await gateway.health.check()
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
        title="FAR-Trans recommender",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=lifespan,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # looked for at each request otherwise
        docs_url=None,  # api/routes/docs.py
        redoc_url=None,
    )
    app.state.gateway = gateway
    for routes in (
        lists,
        explanations,
        batches,
        interactions,
        watchlist,
        assets,
        suspensions,
        models,
        probes,
        legacy,
        docs,
    ):
        app.include_router(routes.router)
    if gateway.access is not None:
        _require_scopes(app)
    install_problem_handlers(app)
    install_openapi(app, is_guarded=gateway.access is not None)
    _add_middleware(app, gateway, admission)
    return app


def _require_scopes(app: FastAPI) -> None:
    """Raise ConfigurationInvalid for a route that access control would not see, or whose scope is not declared."""
    for route in routes_of(app):
        for method in sorted(set(route.methods or ()) - {"HEAD"}):
            scopes = ROUTE_SCOPES.get((method, route.path))
            if scopes is None:
                raise ConfigurationInvalid(f"{method} {route.path} has no scope in api/access/principals.py")
            if scopes != PUBLIC and not isinstance(route, JsonRoute):
                raise ConfigurationInvalid(f"{method} {route.path} is no JsonRoute: nothing would ask for its scope")


def routes_of(app: FastAPI) -> list[Route]:
    """Return every route that answers a method and a path; raises ConfigurationInvalid for one of another kind."""
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    for route in routes:
        if not isinstance(route, Route) or not route.methods:
            raise ConfigurationInvalid(f"{route} answers requests that no scope protects")
    return [route for route in routes if isinstance(route, Route)]


def _add_middleware(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the middleware; the one added last is the outermost."""
    app.add_middleware(DirectCalls, gateway=gateway, routes=[*lists.router.routes, *interactions.router.routes])
    app.add_middleware(BodyLimit)
    app.add_middleware(ConditionalAnswers)
    app.add_middleware(FailureBoundary)
    if admission.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(admission.allowed_origins),
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                KEY_HEADER,
                REQUESTED_WITH,
                "If-None-Match",
                "Last-Event-ID",
            ],
            expose_headers=[*LIST_HEADERS, "Retry-After", "ETag"],
            max_age=PREFLIGHT_SECONDS,
        )
    app.add_middleware(RequestGuard, admission=admission)
    app.add_middleware(RequestBoundary, metrics=gateway.metrics)
