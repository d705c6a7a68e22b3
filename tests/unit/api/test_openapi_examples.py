"""Every answer and every problem of the description has an example, which its schema accepts."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

import api.schemas
from api.app import create_app
from api.errors import build_problem
from api.gateway import Gateway
from api.schemas.lists import ListEvent
from tests.fakes_gateway import FakePublisher, FakeReader

DESCRIPTION = create_app(Gateway(FakePublisher(), FakeReader())).openapi()


@dataclass(frozen=True)
class Content:
    """One kind of answer of one operation."""

    name: str
    status: str
    media_type: str
    described: dict[str, Any]

    @property
    def schema_name(self) -> str:
        return str(self.described["schema"].get("$ref", "")).rpartition("/")[2]


def contents() -> Iterator[Content]:
    for path, operations in DESCRIPTION["paths"].items():
        for method, operation in operations.items():
            for status, answer in operation["responses"].items():
                for media_type, described in answer.get("content", {}).items():
                    yield Content(f"{method.upper()} {path} {status}", status, media_type, described)


CONTENTS = list(contents())


def models() -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for module in pkgutil.iter_modules(api.schemas.__path__):
        for value in vars(importlib.import_module(f"api.schemas.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, BaseModel):
                found[value.__name__] = value
    return found


def test_each_operation_describes_its_answers() -> None:
    described = {content.name for content in CONTENTS}
    for path, operations in DESCRIPTION["paths"].items():
        for method in operations:
            assert any(name.startswith(f"{method.upper()} {path} 2") for name in described)
    assert len(CONTENTS) > 40


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: content.name)
def test_an_answer_has_an_example_that_its_schema_accepts(content: Content) -> None:
    assert "example" in content.described, f"add one for {content.schema_name or content.described} to api/examples.py"
    shown = content.described["example"]
    if content.media_type == "text/event-stream":
        fields = dict(line.split(": ", 1) for line in shown.splitlines() if line)
        assert ListEvent.model_validate_json(fields["data"]).model_dump(mode="json") == json.loads(fields["data"])
        assert (fields["event"], fields["id"]) == ("list", json.loads(fields["data"])["request_id"])
        return
    model = models()[content.schema_name]
    parsed = model.model_validate_json(json.dumps(shown))
    # Every key, in its order, and no other.
    assert list(parsed.model_dump(exclude_none=content.schema_name == "Problem")) == list(shown)
    assert parsed.model_dump(mode="json", exclude_unset=True) == shown


@pytest.mark.parametrize(
    "content", [content for content in CONTENTS if content.schema_name == "Problem"], ids=lambda content: content.name
)
def test_the_example_of_a_problem_is_what_the_gateway_answers(content: Content) -> None:
    shown = content.described["example"]
    assert str(shown["status"]) == content.status
    built = json.loads(bytes(build_problem(shown["status"], shown["detail"]).body))
    assert {**shown, **built} == shown
