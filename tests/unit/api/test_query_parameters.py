"""A query parameter that a route does not take is refused, by its name."""

from __future__ import annotations

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Query

from api.errors import install_problem_handlers
from api.query_parameters import refuse_unknown_parameters
from tests.asgi_client import AsgiClient


async def read_page(page: Annotated[int, Query(ge=0)] = 0) -> int:
    return page


def build_app() -> FastAPI:
    app = FastAPI()
    install_problem_handlers(app)
    parsed_by_hand = {"parameters": [{"name": "wait", "in": "query"}, {"name": "X-Header", "in": "header"}]}

    @app.get("/things", dependencies=[Depends(refuse_unknown_parameters)], openapi_extra=parsed_by_hand)
    async def list_things(
        page: Annotated[int, Depends(read_page)], kind: str = "", of: Annotated[str, Query(alias="from")] = ""
    ) -> str:
        return f"{page} {kind} {of}"

    return app


@pytest.mark.parametrize("query", ["", "kind=a", "kind=&page=1&from=b&wait=3", "page=2", "&&"])
def test_declared_parameters_are_accepted_where_given_once(query: str) -> None:
    with AsgiClient(build_app()) as client:
        assert client.get(f"/things?{query}").status_code == 200


@pytest.mark.parametrize(
    ("query", "field", "message"),
    [
        ("sektor=a", "sektor", "this parameter is unknown"),
        ("Kind=a", "Kind", "this parameter is unknown"),
        ("of=a", "of", "this parameter is unknown"),
        ("X-Header=a", "X-Header", "this parameter is unknown"),
        ("=a", "", "this parameter is unknown"),
        ("kind=a&%00=b", "\x00", "this parameter is unknown"),
        ("%ed%a0%80=b", "\ufffd\ufffd\ufffd", "this parameter is unknown"),
        ("kind=a&kind=b", "kind", "this parameter is given more than once"),
        ("kind=a&kind=a", "kind", "this parameter is given more than once"),
        ("wait=1&wait=2", "wait", "this parameter is given more than once"),
        ("page=1&page=1", "page", "this parameter is given more than once"),
    ],
)
def test_an_unknown_or_repeated_parameter_is_refused_by_its_name(query: str, field: str, message: str) -> None:
    with AsgiClient(build_app()) as client:
        answer = client.get(f"/things?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": field, "message": message}]


def test_of_many_unknown_parameters_and_of_long_names_only_a_part_is_shown() -> None:
    with AsgiClient(build_app()) as client:
        answer = client.get("/things?" + "&".join(f"{'n' * 300}{index}" for index in range(100)))
    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 20
    assert all(len(error["field"]) <= 200 for error in answer.json()["errors"])
