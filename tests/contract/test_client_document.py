"""The typed client is equal with the OpenAPI document: operations, parameters, enum values, answers, headers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from pydantic import TypeAdapter

from api.app import create_app
from api.gateway import Gateway
from far_trans_client import AsyncClient, Client, Problem, answers, operations
from far_trans_client.answers import HEADER, ListEvent
from far_trans_client.messages import Operation
from tests.fakes_gateway import FakePublisher, FakeReader

Builder = Callable[..., Operation[Any]]
# The client sends these by itself.
OWN_HEADERS = {"idempotency-key", "x-requested-with", "accept", "last-event-id"}
STREAMS = {"follow"}
DOCUMENT: dict[str, Any] = create_app(Gateway(FakePublisher(), FakeReader())).openapi()
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]


def described() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return method, path and description of every operation that new clients use."""
    for path, methods in DOCUMENT["paths"].items():
        for method, description in methods.items():
            if "legacy" not in description.get("tags", []):
                yield method.upper(), path, description


@cache
def builders() -> dict[str, Builder]:
    """Return the functions that build operations, by name."""
    found: dict[str, Builder] = {}
    for name, function in inspect.getmembers(operations, inspect.isfunction):
        returned = get_type_hints(function).get("return")
        if not name.startswith("_") and get_origin(returned) is Operation:
            found[name] = function
    return found


def built(builder: Builder, *, everything: bool) -> Operation[Any]:
    """Return the operation with a value for every parameter, or for the required ones alone."""
    hints, values = get_type_hints(builder), {}
    for name, parameter in inspect.signature(builder).parameters.items():
        if everything or parameter.default is inspect.Parameter.empty:
            values[name] = example(hints[name])
    return builder(**values)


def example(hint: Any) -> Any:
    """Return a value of this type."""
    kinds = [one for one in get_args(hint) if one is not NoneType]
    if get_origin(hint) in (Union, UnionType):
        return example(kinds[0])
    if get_origin(hint) is Literal:
        return kinds[0]
    if get_origin(hint) is tuple or str(hint).startswith("collections.abc.Sequence"):
        return (example(kinds[0]),)
    if is_dataclass(hint):
        types = get_type_hints(hint)
        required = [field.name for field in fields(hint) if field.default is MISSING]
        return cast(Any, hint)(**{name: example(types[name]) for name in required})
    known: dict[Any, Any] = {
        str: "A1",
        int: 3,
        float: 0.5,
        bool: False,
        UUID: uuid4(),
        datetime: datetime(2026, 1, 2, tzinfo=UTC),
    }
    return known[hint]


OPERATIONS = [pytest.param(method, path, one, id=f"{method} {path}") for method, path, one in described()]
BUILDERS = [pytest.param(name, id=name) for name in builders()]


def builders_of(method: str, path: str) -> dict[str, Builder]:
    found = builders().items()
    return {name: one for name, one in found if place(one) == (method, path)}


@cache
def place(builder: Builder) -> tuple[str, str]:
    operation = built(builder, everything=True)
    return operation.method, operation.path


@pytest.mark.parametrize(("method", "path", "description"), OPERATIONS)
def test_every_operation_has_a_function_in_the_client(method: str, path: str, description: dict[str, Any]) -> None:
    assert builders_of(method, path)


@pytest.mark.parametrize("name", BUILDERS)
def test_the_client_has_no_operation_that_the_api_does_not_have(name: str) -> None:
    assert place(builders()[name]) in {(method, path) for method, path, _ in described()}


@pytest.mark.parametrize("name", [name for name in builders() if name not in STREAMS])
@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_both_clients_have_a_method_with_the_arguments_of_the_function(client: type, name: str) -> None:
    method, builder = getattr(client, name), builders()[name]

    assert inspect.signature(method) == inspect.signature(builder)
    assert method.__doc__ == builder.__doc__
    assert inspect.iscoroutinefunction(method) == (client is AsyncClient)


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_both_clients_follow_with_the_arguments_of_the_stream(client: type) -> None:
    arguments = [*inspect.signature(getattr(client, "follow")).parameters]  # noqa: B009  (of either class)

    assert arguments == ["self", *inspect.signature(operations.follow).parameters]


@pytest.mark.parametrize(("method", "path", "description"), OPERATIONS)
def test_the_client_can_send_what_the_operation_takes_and_nothing_else(
    method: str, path: str, description: dict[str, Any]
) -> None:
    sent = [sent_names(built(one, everything=True)) for one in builders_of(method, path).values()]

    assert set().union(*sent) - OWN_HEADERS == {name for name, _ in taken(description)} - OWN_HEADERS


@pytest.mark.parametrize(("method", "path", "description"), OPERATIONS)
def test_the_client_always_sends_what_is_required(method: str, path: str, description: dict[str, Any]) -> None:
    required = {name for name, parameter in taken(description) if parameter["is_required"]}

    for builder in builders_of(method, path).values():
        least = sent_names(built(builder, everything=False)) - OWN_HEADERS
        assert required <= least
        defaults = {name for name, one in inspect.signature(builder).parameters.items() if one.default not in EMPTY}
        assert least - required <= defaults


@pytest.mark.parametrize(("method", "path", "description"), OPERATIONS)
def test_the_arguments_have_the_types_and_enum_values_of_the_parameters(
    method: str, path: str, description: dict[str, Any]
) -> None:
    # An argument that is None is not sent.
    expected = {name: shape(one["schema"], nulls=False) for name, one in taken(description)}
    given: dict[str, Any] = {}
    for builder in builders_of(method, path).values():
        hints = get_type_hints(builder).items()
        given |= {name: shape(as_schema(hint), nulls=False) for name, hint in hints if name in expected}

    assert given == {name: schema for name, schema in expected.items() if name not in OWN_HEADERS}


@pytest.mark.parametrize(("method", "path", "description"), OPERATIONS)
def test_the_client_reads_the_statuses_of_a_success(method: str, path: str, description: dict[str, Any]) -> None:
    read = {status for one in builders_of(method, path).values() for status in built(one, everything=True).statuses}
    modelled = {int(status) for status, one in description["responses"].items() if not is_problem(one)}

    assert read == modelled


@pytest.mark.parametrize(("method", "path", "description"), OPERATIONS)
def test_the_answers_have_the_fields_and_headers_of_the_document(
    method: str, path: str, description: dict[str, Any]
) -> None:
    if path.endswith("/events"):
        assert shape(as_schema(ListEvent)) == shape(reference("ListEvent"))
        return
    kinds = [one for builder in builders_of(method, path).values() for one in answer_types(builder)]
    types = {getattr(one, "__name__", ""): one for one in kinds}
    for status, answer in description["responses"].items():
        if is_problem(answer):
            continue
        schema = answer["content"]["application/json"]["schema"]
        name = schema["$ref"].rpartition("/")[2]
        if name == "Acknowledged":
            assert types == {"UUID": UUID}
        elif name in types:
            assert shape(as_schema(types[name]), headers_of(types[name])) == shape(schema), status
            assert set(headers_of(types[name]).values()) == set(answer.get("headers", {}))
        else:  # an answer of one field is that field
            [(_, _, expected)] = shape(schema)
            [kind] = types.values()
            assert shape(as_schema(kind)) == expected


def test_the_problem_has_the_fields_of_the_document() -> None:
    assert shape(as_schema(Problem)) == shape(reference("Problem"))


def test_every_dataclass_of_answers_is_exported() -> None:
    import far_trans_client

    public = {name for name in vars(answers) if inspect.isclass(getattr(answers, name)) and name[0].isupper()}
    own = {name for name in public if getattr(answers, name).__module__ == answers.__name__}
    assert own <= set(far_trans_client.__all__)


EMPTY = (None, inspect.Parameter.empty)


def taken(description: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return name, schema and necessity of each parameter and each field of the body."""
    for one in description.get("parameters", []):
        name = one["name"].lower() if one["in"] == "header" else one["name"]
        yield name, {"schema": one["schema"], "is_required": one.get("required", False)}
    if "requestBody" in description:
        body = resolved(without_null(description["requestBody"]["content"]["application/json"]["schema"]))
        current = {name: schema for name, schema in body["properties"].items() if not schema.get("deprecated")}
        for name, schema in current.items():
            yield name, {"schema": schema, "is_required": name in body.get("required", [])}


def sent_names(operation: Operation[Any]) -> set[str]:
    query = parse_qs(urlsplit(operation.target).query, keep_blank_values=True)
    body = json.loads(operation.content) if operation.content else {}
    headers = {name.lower() for name in operation.headers}
    return {*operation.path_values, *query, *body, *headers}


def is_problem(answer: Mapping[str, Any]) -> bool:
    return "application/problem+json" in answer.get("content", {})


def answer_types(builder: Builder) -> list[type]:
    [answer] = get_args(get_type_hints(builder)["return"])
    return list(get_args(answer)) if get_origin(answer) in (Union, UnionType) else [answer]


def headers_of(kind: type) -> dict[str, str]:
    return {field.name: field.metadata[HEADER] for field in fields(kind) if HEADER in field.metadata}


@cache
def as_schema(hint: Any) -> dict[str, Any]:
    """Return the JSON Schema of a type of the client; text stands for an id as well as a UUID does."""
    if hint in (UUID | str, UUID | str | None):
        hint = UUID
    return TypeAdapter(hint).json_schema(ref_template="#/components/schemas/{model}")


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def resolved(schema: Mapping[str, Any], known: Mapping[str, Any] = SCHEMAS) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return known[name] if name else schema


def without_null(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    kinds = [one for one in schema.get("anyOf", []) if one.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else schema


def shape(schema: Mapping[str, Any], left_out: Mapping[str, str] | None = None, *, nulls: bool = True) -> Any:
    """Return what a client has to know of a schema: types, null, enum values, formats, fields in order, the required.

    What is left out: texts, limits of values, constants, the fields of `left_out`, and null where it means absent.
    """
    known = {**SCHEMAS, **schema.get("$defs", {})}

    def shaped(one: Mapping[str, Any]) -> Any:
        one = resolved(one if nulls else without_null(one), known)
        if "anyOf" in one:
            return sorted((shaped(kind) for kind in one["anyOf"]), key=str)
        if "enum" in one:
            return ["enum", *sorted(one["enum"])]
        if "properties" in one:
            names = [
                name
                for name, field in one["properties"].items()
                if "const" not in field and name not in (left_out or {})
            ]
            required = one.get("required", [])
            return [(name, name in required, shaped(one["properties"][name])) for name in names]
        if one.get("type") == "array":
            return ["array", *map(shaped, one.get("prefixItems") or [one["items"]])]
        if one.get("type") == "object":
            inner = one.get("additionalProperties", True)
            return ["object", inner if isinstance(inner, bool) else shaped(inner)]
        return one.get("type"), one.get("format")

    return shaped(schema)
