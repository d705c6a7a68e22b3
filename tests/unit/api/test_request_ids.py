"""Ids that prove that a gateway gave them out."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.request_ids import RequestIds

KEY = "a secret of sixteen or more characters"
ids = RequestIds(KEY)
customers = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}", fullmatch=True)


def issue(customer_id: str = "C1", *, plain: UUID | None = None, repeatable: bool = False) -> UUID:
    return ids.issue(plain or uuid4(), customer_id=customer_id, repeatable=repeatable)


@given(customers, st.uuids(), st.booleans())
def test_an_id_is_a_uuid_of_version_8_that_every_gateway_with_the_key_recognises(
    customer_id: str, plain: UUID, repeatable: bool
) -> None:
    request_id = issue(customer_id, plain=plain, repeatable=repeatable)
    assert (request_id.version, request_id.variant) == (8, "specified in RFC 4122")
    assert UUID(str(request_id)) == request_id
    other_process = RequestIds(KEY)
    assert other_process.may_be_issued(request_id)
    assert other_process.may_be_issued(request_id, customer_id=customer_id)


@given(customers, customers, st.booleans())
def test_an_id_of_another_customer_is_not_issued(customer_id: str, other: str, repeatable: bool) -> None:
    request_id = issue(customer_id, repeatable=repeatable)
    assert ids.may_be_issued(request_id, customer_id=other) is (customer_id == other)


@given(st.integers(min_value=0, max_value=127))
def test_an_id_with_one_other_bit_is_not_issued(bit: int) -> None:
    changed = UUID(int=issue().int ^ (1 << bit))
    assert not ids.may_be_issued(changed, customer_id="C1")


@given(st.uuids())
def test_ids_that_nobody_signed_are_not_issued(request_id: UUID) -> None:
    assert not ids.may_be_issued(request_id)


def test_an_id_of_another_key_is_not_issued() -> None:
    assert not RequestIds(KEY + "!").may_be_issued(issue())


def test_a_repeated_request_gets_the_same_id_and_any_other_a_new_one() -> None:
    plain = uuid5(UUID(int=1), "endpoint, customer and key")
    assert issue(plain=plain, repeatable=True) == issue(plain=plain, repeatable=True)
    assert issue(plain=plain, repeatable=True) != issue(plain=uuid5(UUID(int=1), "another"), repeatable=True)
    assert len({issue(plain=plain) for _ in range(1000)}) == 1000


def test_an_id_tells_when_it_was_given_out_unless_it_is_repeatable() -> None:
    moment = datetime(2026, 11, 27, 16, 0, 0, 123000, tzinfo=UTC)
    at = RequestIds(KEY, clock=moment.timestamp)
    assert at.issued_at(at.issue(uuid4(), customer_id="C1", repeatable=False)) == moment
    assert at.issued_at(at.issue(uuid4(), customer_id="C1", repeatable=True)) is None
    assert at.issued_at(uuid4()) is None


@pytest.mark.parametrize("plain", [uuid4(), uuid5(UUID(int=1), "key")])
def test_without_a_key_ids_stay_as_they_are_and_every_one_counts_as_issued(plain: UUID) -> None:
    without = RequestIds(None)
    assert without.issue(plain, customer_id="C1", repeatable=plain.version == 5) == plain
    assert without.may_be_issued(uuid4(), customer_id="C1")
    assert without.issued_at(plain) is None
