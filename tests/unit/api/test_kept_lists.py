"""Answers of lists that are kept: never another answer than without them, and within their bytes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.app import create_app
from api.conditional_answers import Entity
from api.gateway import Gateway
from api.kept_lists import KeptList, KeptLists
from api.ports import CurrentFacts, ListRow, ListVersion
from shared.recommender.types import RiskLevel
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader
from tests.unit.api.test_recommendations import ITEM, stored_list

MEBIBYTE = 1024 * 1024
CUSTOMERS = ("C1", "C2", "C3")
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Accept-Encoding": "gzip"},
    {"Accept-Encoding": "identity"},
    {"Accept-Encoding": "gzip;q=0"},
)


def gateway(reader: FakeReader, kept_bytes: int) -> Gateway:
    return Gateway(FakePublisher(), reader, kept_list_bytes=kept_bytes)


def ranked(count: int, score: float) -> ListRow:
    return stored_list(*({**ITEM, "isin": f"GR{rank}", "rank": rank, "score": score} for rank in range(1, count + 1)))


def change(reader: FakeReader, kind: str, customer_id: str, number: int) -> None:
    """Do to the database what workers, loads and operators do."""
    row = reader.lists.get(customer_id)
    if kind == "store":
        reader.lists[customer_id] = ranked(number % 13, number / 7)
    elif kind == "facts":
        reader.facts = CurrentFacts(RiskLevel.AGGRESSIVE, {f"GR{n}": RiskLevel.INCOME for n in range(number)}, *NO_ONE)
    elif kind == "load":
        reader.lists |= {each: replace(one, is_stale=not one.is_stale) for each, one in reader.lists.items()}
    elif row is not None and kind == "remove":
        del reader.lists[customer_id]
    elif row is not None:
        fields: dict[str, dict[str, Any]] = {
            "damage": {"items": "{"},
            "rename": {"request_id": uuid4()},
            "rewrite": {"items": ranked(number % 13, 0.5).items},
            "interact": {"has_newer_interactions": True},
        }
        reader.lists[customer_id] = replace(row, **fields[kind])


NO_ONE = (frozenset[str](), frozenset[str]())
KINDS = ("store", "facts", "remove", "damage", "rename", "rewrite", "interact", "load")
_changes = st.tuples(st.sampled_from(KINDS), st.sampled_from(CUSTOMERS), st.integers(0, 40))
_reads = st.tuples(
    st.sampled_from(CUSTOMERS), st.sampled_from(HEADERS), st.booleans(), st.sampled_from(["GET", "HEAD"])
)


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.one_of(_changes, _reads), min_size=5, max_size=40), kept_bytes=st.sampled_from([9000, MEBIBYTE])
)
def test_no_answer_differs_from_the_one_without_kept_answers(steps: list[Any], kept_bytes: int) -> None:
    reader = FakeReader(customers={"C1"})
    keeping = gateway(reader, kept_bytes)
    tags: dict[str, str] = {}
    with AsgiClient(create_app(keeping)) as kept, AsgiClient(create_app(gateway(reader, 0))) as plain:
        for step in steps:
            if step[0] in KINDS:
                change(reader, *step)
                continue
            customer_id, headers, is_conditional, method = step
            if is_conditional and customer_id in tags:
                headers = {**headers, "If-None-Match": tags[customer_id]}
            found, expected = (
                one.request(method, f"/recommendations/{customer_id}", headers=headers) for one in (kept, plain)
            )
            assert (found.status_code, found.content) == (expected.status_code, expected.content)
            assert found.headers.multi_items() == expected.headers.multi_items()
            tags[customer_id] = expected.headers.get("etag", "")
            assert keeping.kept_lists.bytes <= kept_bytes


def source_counts(gateway: Gateway) -> Mapping[str, float]:
    return {name: gateway.metrics.list_reads.labels(name)._value.get() for name in ("kept", "built")}


@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_an_unchanged_list_is_written_once_and_a_changed_one_again(coding: str) -> None:
    reader = FakeReader()
    keeping = gateway(reader, MEBIBYTE)
    with AsgiClient(create_app(keeping)) as client:

        def read() -> Any:
            return client.get("/recommendations/C1", headers={"Accept-Encoding": coding}).json()["recommendations"]

        reader.lists["C1"] = ranked(10, 0.5)
        assert [len(read()) for _ in range(4)] == [10] * 4
        assert source_counts(keeping) == {"kept": 3, "built": 1}
        entry = keeping.kept_lists.find("C1")
        assert entry is not None
        assert (entry.entity.compressed is not None) == (coding == "gzip")
        reader.lists["C1"] = ranked(9, 0.5)
        assert [len(read()) for _ in range(2)] == [9] * 2
        assert source_counts(keeping) == {"kept": 4, "built": 2}
        del reader.lists["C1"]
        client.get("/recommendations/C1")
        assert (len(keeping.kept_lists), keeping.kept_lists.bytes) == (0, 0)


def entry(body_bytes: int) -> KeptList:
    # The texts are new each time, as those of real answers are.
    headers = [(b"x-header-%d" % n, b"%d" % n * 20) for n in range(8)]
    return KeptList(
        ListVersion(uuid4(), 123_456), Entity(bytes(body_bytes), [*headers, (b"content-type", b"application/json")])
    )


def test_the_answers_that_were_used_last_stay_within_the_bytes() -> None:
    lists = KeptLists(most_bytes=40_000)
    for number in range(20):
        lists.keep(f"C{number}", entry(4000))
        assert lists.find("C0") is not None
        assert lists.bytes <= 40_000
    assert lists.find("C19") is not None
    assert lists.find("C1") is None
    lists.keep("C19", entry(100_000))  # more than all bytes: it is not kept, and the older one is wrong
    assert lists.find("C19") is None
    for number in range(20):
        lists.drop(f"C{number}")
    assert (len(lists), lists.bytes) == (0, 0)


def test_a_gzip_form_is_kept_up_to_the_bytes_that_were_counted_for_it() -> None:
    entity = entry(4000).entity
    entity.keep_compressed(bytes(2001))
    assert entity.compressed is None
    entity.keep_compressed(bytes(2000))
    assert entity.compressed is not None


def test_no_answer_is_kept_with_no_bytes() -> None:
    lists = KeptLists(most_bytes=0)
    lists.keep("C1", entry(0))
    assert (len(lists), lists.bytes) == (0, 0)


@pytest.mark.parametrize("body_bytes", [40, 4000])
def test_the_bytes_are_those_that_the_objects_take(body_bytes: int) -> None:
    lists = KeptLists(most_bytes=100 * MEBIBYTE)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number in range(500):
            kept = entry(body_bytes)
            if kept.entity.is_compressible:
                kept.entity.keep_compressed(bytes(body_bytes // 2))
            lists.keep(f"customer-{number}", kept)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.6 * lists.bytes < after - before <= lists.bytes
