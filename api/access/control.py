"""Decides for each request who calls, whether the route allows it, and whether it comes too often."""

from __future__ import annotations

import math
import time
from typing import Protocol

import limits
from fastapi import Request
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.types import Scope as AsgiScope

from api.access.principals import ROUTE_SCOPES, Principal
from api.errors import MissingScope, too_many_requests, unauthorized, unknown_customer


class Authenticator(Protocol):
    """Knows whose credentials are valid."""

    async def authenticate(self, credentials: str) -> Principal:
        """Return who has these credentials; raises the 401, or AccessUndecided."""

    async def refresh_forever(self) -> None:
        """Keep what it knows up to date until cancelled."""


class RateLimit:
    """At most so many requests of a principal in any window, such as `100/second`, in this process."""

    def __init__(self, limit: str) -> None:
        self._limit = limits.parse(limit)
        # Two counters for a principal, which the storage forgets after two windows.
        self._storage = MemoryStorage()
        self._limiter = SlidingWindowCounterRateLimiter(self._storage)

    @property
    def most(self) -> int:
        """The number of requests in a window."""
        return self._limit.amount

    def remembered(self) -> int:
        """Return how many counters are kept now."""
        return len(self._storage.storage)

    def count(self, principal: Principal, requests: int = 1) -> None:
        """Count requests; raises the 429 where they are more than the limit, and then counts none of them."""
        if not requests or self._limiter.hit(self._limit, principal.name, cost=requests):
            return
        free_at = self._limiter.get_window_stats(self._limit, principal.name).reset_time
        raise too_many_requests(str(self._limit), seconds=max(1, math.ceil(free_at - time.time())))


class AccessControl:
    """The one place that admits requests. Routes ask it before they read a body."""

    def __init__(self, authenticator: Authenticator, *, rate_limit: str | None) -> None:
        self._authenticator = authenticator
        self.rate_limit = None if rate_limit is None else RateLimit(rate_limit)

    async def admit(self, scope: AsgiScope, route: str, *, customer_id: str | None = None) -> None:
        """Store who calls where `principal_of` finds it; raises the refusal.

        `route`: the template, which must be in ROUTE_SCOPES. `customer_id`: the customer that the path names.
        """
        needed = ROUTE_SCOPES[scope["method"], route]
        state = scope.setdefault("state", {})
        if not needed or state.get("admitted") == route:  # DirectCalls asked already and left the rest to the route
            return
        principal = await self._authenticator.authenticate(_credentials(scope))
        if self.rate_limit is not None:
            self.rate_limit.count(principal)
        if not principal.has_any(needed):
            raise MissingScope(needed[0].value)
        if customer_id is not None and not principal.may_see(customer_id):
            raise unknown_customer()
        state.update(principal=principal, admitted=route)

    async def refresh_forever(self) -> None:
        """Keep keys up to date until cancelled."""
        await self._authenticator.refresh_forever()


def principal_of(request: Request) -> Principal | None:
    """Return who calls; None where everybody may."""
    found: Principal | None = request.scope.get("state", {}).get("principal")
    return found


def _credentials(scope: AsgiScope) -> str:
    """Return what follows `Bearer`; raises the 401 for none and for several."""
    given = [value for name, value in scope["headers"] if name == b"authorization"]
    if not given:
        raise unauthorized("Send an API key or a token: `Authorization: Bearer ...`.", is_missing=True)
    value: str = given[0].decode("latin-1")
    scheme, _, credentials = value.partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise unauthorized("Send one header `Authorization: Bearer ...`.")
    return credentials.strip(" ")
