"""Payloads of notifications: every customer once, none too long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.postgres.notifications import MOST_BYTES, build_payloads, parse_payload

customers = st.lists(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}", fullmatch=True), max_size=500)


@given(customers)
def test_the_payloads_name_every_customer_once(customer_ids: list[str]) -> None:
    payloads = list(build_payloads(customer_ids))
    assert [one for payload in payloads for one in parse_payload(payload)] == list(dict.fromkeys(customer_ids))


def test_a_batch_of_the_longest_ids_is_as_few_payloads_as_the_limit_allows() -> None:
    payloads = list(build_payloads(f"{number:064d}" for number in range(1000)))
    assert max(len(payload.encode()) for payload in payloads) <= MOST_BYTES < 8000
    assert len(payloads) == 9


def test_nobody_is_no_payload() -> None:
    assert list(build_payloads([])) == []
