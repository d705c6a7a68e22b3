"""Schemathesis: requests generated from the published OpenAPI document get answers that the document describes.

SECURITY_CASES (320; `make security`: 5,000) is how many are sent to all operations together. The seed is fixed.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok

from api.app import create_app
from api.examples import ANSWER_EXAMPLES
from api.gateway import Gateway
from api.ports import ListRow
from api.schemas.interactions import WatchedAsset
from api.schemas.models import Frontier, ModelList
from api.schemas.suspensions import SuspendedSubject
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, build_asset

pytestmark = pytest.mark.security

CASES = int(os.environ.get("SECURITY_CASES", "320"))
SEED = 20261128
ADDRESS = "http://127.0.0.1"
ISIN, VERSION, REQUEST_ID = "GRS434003000", "v1", "0198c0de-7a3b-7cde-8f01-23456789abcd"
# Identifiers that exist. Generated ones hardly ever do.
KNOWN = {"customer_id": "C1", "isin": ISIN, "version": VERSION, "request_id": REQUEST_ID, "name": "Stock"}
# Rules that a JSON schema cannot state: (field, message) of a 422 that a request within the schema may get.
BEYOND_THE_SCHEMA = {
    ("isin", "the catalogue has no such asset"),
    ("Idempotency-Key", "this key was used with another body"),
    ("executed_at", "Value error, is more than a day ahead"),
    ("executed_at", "Value error, is before 2000-01-01"),
    ("executed_at", "Value error, is after the year 9000"),
    ("limits", "Value error, give per_sector, per_category or both"),
    ("preset", "Value error, give weights or a preset, not both"),
    ("weights", "Value error, Weights must be finite, not negative, and not all zero."),
}
# Of any field: 1.0 is an integer for JSON Schema; the gateway asks for one that is written without a fraction.
OF_ANY_FIELD = {"Input should be a valid integer"}
BATCH = "POST /recommendations:batch"
# A worker answers it, and there is none here: 503 after `wait`, as the document says.
WHY = "GET /recommendations/{customer_id}/why/{isin}"

load_all_checks()
[ACCEPTANCE] = CHECKS.get_by_names(["positive_data_acceptance"])
[NO_SERVER_ERROR] = CHECKS.get_by_names(["not_a_server_error"])
[REJECTION] = CHECKS.get_by_names(["negative_data_rejection"])


def build_reader() -> FakeReader:
    """Return a database that has one of everything, from the examples of the description."""
    answers: dict[str, Any] = ANSWER_EXAMPLES
    [item] = answers["RecommendationList"]["recommendations"][:1]
    models = ModelList.model_validate(answers["ModelList"]).models
    return FakeReader(
        customers={"C1"},
        assets=[build_asset(ISIN, "PPC", "Stock", None, "Technology", None, 3.76, 0.16)],
        lists={"C1": ListRow(UUID(REQUEST_ID), VERSION, "history", json.dumps([{**item, "isin": ISIN}]))},
        models=[models[0].model_copy(update={"version": VERSION, "servable": True, "status": "stored"})],
        frontiers={VERSION: Frontier.model_validate(answers["Frontier"])},
        watchlists={"C1": [WatchedAsset.model_validate(one) for one in answers["Watchlist"]["watchlist"]]},
        suspensions=[SuspendedSubject.model_validate(one) for one in answers["SuspensionList"]["suspensions"]],
        answered={("C1", UUID(REQUEST_ID))},
    )


SCHEMA = schemathesis.openapi.from_dict(create_app(Gateway(FakePublisher(), build_reader())).openapi())
OPERATIONS = {found.ok().label: found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok)}
# An event stream does not end; tests/unit/api/test_following.py reads it.
STREAMS = {"GET /recommendations/{customer_id}/events"}
FINITE = sorted(OPERATIONS.keys() - STREAMS)


def has_inputs(label: str) -> bool:
    operation = OPERATIONS[label]
    return bool(operation.body) or any(True for _ in operation.iter_parameters())


@pytest.fixture
def client() -> Iterator[AsgiClient]:
    """The whole ASGI stack on stand-ins of broker and database."""
    gateway = Gateway(FakePublisher(), build_reader())
    with AsgiClient(create_app(gateway)) as client:
        client.run(gateway.catalogue.refresh)
        client.run(gateway.health.check)
        yield client


@pytest.mark.parametrize("label", FINITE)
def test_every_answer_is_one_that_the_document_describes(client: AsgiClient, label: str) -> None:
    operation, share = OPERATIONS[label], math.ceil(CASES / len([one for one in FINITE if has_inputs(one)]))
    sent = []
    cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if has_inputs(label):
        cases |= operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @seed(SEED)
    @settings(
        max_examples=share,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases, is_known=st.booleans())
    def send_and_check(case: Case[Any], is_known: bool) -> None:
        if is_known and _is_positive(case):
            _name_what_exists(case)
        answer = send(client, case)
        sent.append(answer.status_code)
        check(case, answer)

    send_and_check()
    if has_inputs(label):
        assert len(sent) >= share


def test_only_event_streams_are_left_out() -> None:
    streams = {
        label
        for label, operation in OPERATIONS.items()
        if "text/event-stream" in operation.definition.raw["responses"].get("200", {}).get("content", {})
    }
    assert streams == STREAMS
    assert len(FINITE) > 25


def send(client: AsgiClient, case: Case[Any]) -> httpx.Response:
    """Send the bytes that Schemathesis would; a wait for a list is shortened."""
    if case.operation.label == WHY and not (case.query or {}).get("wait"):
        case.query = {**(case.query or {}), "wait": 0.001}
    if _is_long_wait((case.query or {}).get("wait")):
        case.query["wait"] = 0.001
    arguments = case.as_transport_kwargs(base_url=ADDRESS)
    names = ("method", "url", "headers", "params", "data", "json", "cookies", "files")
    prepared = requests.Request(**{name: arguments[name] for name in names if name in arguments}).prepare()
    assert prepared.method is not None
    assert prepared.url is not None
    # No web page can send this header unasked, so a POST without a body is not refused as one of a web page.
    headers = {**prepared.headers, "X-Requested-With": "tests"}
    return client.request(prepared.method, prepared.url, headers=headers, content=prepared.body or b"")


def check(case: Case[Any], answer: httpx.Response) -> None:
    """Run all checks of Schemathesis; two of them know less than the document says in words."""
    left_out: list[Any] = []
    if answer.status_code == 422 and _is_refused_beyond_the_schema(answer):
        left_out.append(ACCEPTANCE)
    if case.operation.label == BATCH and answer.status_code == 200:
        left_out.append(REJECTION)  # each request of a batch has a result of its own
    if case.operation.label == WHY and answer.status_code == 503:
        left_out.append(NO_SERVER_ERROR)
    case.validate_response(answer, excluded_checks=left_out)


def _is_refused_beyond_the_schema(answer: httpx.Response) -> bool:
    errors = [(error["field"], error["message"]) for error in answer.json()["errors"]]
    return all(error in BEYOND_THE_SCHEMA or error[1] in OF_ANY_FIELD for error in errors)


def _is_positive(case: Case[Any]) -> bool:
    return case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE


def _name_what_exists(case: Case[Any]) -> None:
    """Put identifiers that exist into path, query and body."""
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            place.update({name: value for name, value in KNOWN.items() if name in place})


def _is_long_wait(given: object) -> bool:
    try:
        return 0.001 < float(str(given)) <= 30
    except ValueError:
        return False
