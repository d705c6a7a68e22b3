"""Who calls, and which scope each route needs. A route without an entry here does not start (api/app.py)."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a key or a token allows. None of them includes another one."""

    EVENTS_WRITE = "events:write"
    RECOMMENDATIONS_READ = "recommendations:read"
    MODELS_ADMIN = "models:admin"
    POLICY_ADMIN = "policy:admin"
    AUDIT_READ = "audit:read"


# What a key or a token of one customer can allow. The others concern every customer.
CUSTOMER_SCOPES = frozenset({Scope.EVENTS_WRITE, Scope.RECOMMENDATIONS_READ})

_WRITE, _READ = (Scope.EVENTS_WRITE,), (Scope.RECOMMENDATIONS_READ,)
_MODELS = (Scope.MODELS_ADMIN,)
_POLICY = (Scope.POLICY_ADMIN,)
_SEE_MODELS = (Scope.MODELS_ADMIN, Scope.AUDIT_READ)
PUBLIC: tuple[Scope, ...] = ()  # answers anybody: probes, and the description of the API

# Any of the scopes is enough. By method and template; `/v1` is an alias that is gone before a route is chosen.
ROUTE_SCOPES: dict[tuple[str, str], tuple[Scope, ...]] = {
    ("POST", "/recommendations"): _WRITE,
    ("POST", "/recommendations:batch"): _WRITE,
    ("GET", "/recommendations/{customer_id}"): _READ,
    ("GET", "/recommendations/{customer_id}/events"): _READ,
    ("GET", "/recommendations/{customer_id}/portfolio"): _READ,
    ("GET", "/recommendations/{customer_id}/why/{isin}"): _READ,
    ("GET", "/requests/{request_id}"): _READ,
    ("POST", "/user_interactions"): _WRITE,
    ("POST", "/transactions"): _WRITE,
    ("GET", "/customers/{customer_id}/watchlist"): _READ,
    ("GET", "/assets"): _READ,
    ("GET", "/assets/{isin}"): _READ,
    ("GET", "/models"): _SEE_MODELS,
    ("GET", "/models/{version}/frontier"): _SEE_MODELS,
    ("POST", "/models/retrain"): _MODELS,
    ("DELETE", "/models/retrain"): _MODELS,
    ("POST", "/models/{version}/activate"): _MODELS,
    ("POST", "/models/{version}/pin"): _MODELS,
    ("POST", "/models/{version}/unpin"): _MODELS,
    ("POST", "/retrain"): _MODELS,
    ("GET", "/suspensions"): (Scope.MODELS_ADMIN, Scope.POLICY_ADMIN, Scope.AUDIT_READ),
    ("POST", "/assets/{isin}/suspend"): _POLICY,
    ("POST", "/assets/{isin}/resume"): _POLICY,
    ("POST", "/categories/{name}/suspend"): _POLICY,
    ("POST", "/categories/{name}/resume"): _POLICY,
    ("POST", "/models/{version}/suspend"): _MODELS,
    ("POST", "/models/{version}/resume"): _MODELS,
    ("GET", "/watchlist/{customer_id}"): _READ,
    ("POST", "/watchlist/{customer_id}"): _WRITE,
    ("POST", "/watchlist/{customer_id}/{isin}"): _WRITE,
    ("DELETE", "/watchlist/{customer_id}/{isin}"): _WRITE,
    ("GET", "/health"): PUBLIC,
    ("GET", "/health/live"): PUBLIC,
    ("GET", "/health/ready"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", "/docs/{name}"): PUBLIC,
    ("GET", "/openapi.json"): PUBLIC,
}


def _always() -> bool:
    return True


@dataclass(frozen=True)
class Principal:
    """Who calls. `customer_id`: the only customer that exists for it; None for all customers.

    `holds`: returns whether key or token is still valid, for answers that go on for long.
    """

    name: str
    scopes: frozenset[Scope]
    customer_id: str | None = None
    holds: Callable[[], bool] = _always

    def __post_init__(self) -> None:
        if self.customer_id is not None:  # whoever gave out more: one customer cannot administer
            object.__setattr__(self, "scopes", self.scopes & CUSTOMER_SCOPES)

    def has_any(self, scopes: Collection[Scope]) -> bool:
        """Return whether one of these scopes is among its own."""
        return not self.scopes.isdisjoint(scopes)

    def may_see(self, customer_id: str) -> bool:
        """Return whether this customer exists for it."""
        return self.customer_id is None or self.customer_id == customer_id
