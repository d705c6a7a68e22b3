"""The OpenAPI document of a gateway that needs credentials names them; that of AUTH_MODE=none does not."""

from __future__ import annotations

from typing import Any

import pytest

from api.access.control import AccessControl
from api.access.principals import PUBLIC, ROUTE_SCOPES
from api.app import create_app
from api.gateway import Gateway
from tests.access import KnownCallers
from tests.fakes_gateway import FakePublisher, FakeReader


def document(*, access: AccessControl | None) -> dict[str, Any]:
    return create_app(Gateway(FakePublisher(), FakeReader(), access=access)).openapi()


@pytest.fixture(scope="module")
def guarded() -> dict[str, Any]:
    return document(access=AccessControl(KnownCallers({}), rate_limit=None))


def test_every_operation_names_its_scopes_and_its_refusals(guarded: dict[str, Any]) -> None:
    assert guarded["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    places = [(method.upper(), path) for path, methods in guarded["paths"].items() for method in methods]
    assert len(places) > 30
    for method, path in places:
        operation, scopes = guarded["paths"][path][method.lower()], ROUTE_SCOPES[method, path]
        assert operation["security"] == [{"bearer": [scope.value]} for scope in scopes]
        refusals = {"401", "403", "429"}
        assert refusals & operation["responses"].keys() == (set() if scopes == PUBLIC else refusals)


def test_a_refusal_has_a_problem_as_its_example(guarded: dict[str, Any]) -> None:
    for status, answer in guarded["paths"]["/recommendations"]["post"]["responses"].items():
        if status in ("401", "403", "429"):
            assert answer["content"]["application/problem+json"]["example"]["status"] == int(status)


def test_a_gateway_for_everybody_asks_for_no_credentials(guarded: dict[str, Any]) -> None:
    plain = document(access=None)
    assert "securitySchemes" not in plain["components"]
    for methods in plain["paths"].values():
        for operation in methods.values():
            assert "security" not in operation
            assert {"401", "403", "429"}.isdisjoint(operation["responses"])
    assert plain["paths"].keys() == guarded["paths"].keys()
