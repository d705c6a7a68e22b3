"""The campaign's judgement: each kind of broken promise is seen, and a kept one is not."""

from __future__ import annotations

from dataclasses import replace

from tests.chaos.comparison import Effects, Outages, Row, Verdict, compare, count_read_your_clicks
from tests.chaos.ledger import Call, Kind, Outcome, Trade

END = 1000.0


def call(
    number: int,
    kind: Kind = "interaction",
    *,
    outcome: Outcome = "acknowledged",
    key: str | None = None,
    dismissed: str | None = None,
    trade: Trade | None = None,
    answered_at: float = 100.0,
) -> Call:
    event_id = f"event-{number}" if outcome == "acknowledged" else None
    return Call("C1", kind, number, key, outcome, event_id, answered_at, dismissed, trade)


def row(number: int, *, offset: int | None = None, partition: int = 0, isins: tuple[str, ...] = ()) -> Row:
    place = number if offset is None else offset
    return Row(f"event-{number}", "C1", partition, place, 101.0, frozenset(isins))


def find(
    calls: list[Call],
    interactions: list[Row] | None = None,
    decisions: list[Row] | None = None,
    *,
    transactions: list[Row] | None = None,
    rewinds: tuple[str, ...] = (),
    outages: Outages | None = None,
) -> Verdict:
    effects = Effects(interactions or [], decisions or [], rewinds, transactions or [])
    return compare(calls, effects, outages=outages or Outages(), until=END)


def test_promises_that_were_kept_are_clean() -> None:
    verdict = find([call(1), call(2), call(3, "request")], [row(1), row(2)], [row(3)])

    assert verdict.is_clean()
    assert verdict.acknowledged == 3


def test_an_acknowledged_event_without_a_row_is_lost() -> None:
    assert find([call(1), call(2)], [row(1)]).lost.examples == ("interaction event-2",)


def test_a_row_of_the_other_table_is_no_effect() -> None:
    assert find([call(1)], [], [row(1)]).lost.count == 1


def test_a_rejected_and_an_unknown_call_may_be_without_effect() -> None:
    assert find([call(1, outcome="rejected"), call(2, outcome="unknown")]).is_clean()


def test_two_rows_of_one_event_are_doubled() -> None:
    assert find([call(1)], [row(1), row(1, offset=9)]).doubled.count >= 1


def test_one_message_in_two_rows_is_doubled() -> None:
    assert find([call(1), call(2)], [row(1, offset=7), row(2, offset=7)]).doubled.count == 1


def test_one_key_with_two_effects_is_doubled() -> None:
    calls = [replace(call(1), key="k"), replace(call(2), key="k")]
    assert find(calls, [row(1), row(2)]).doubled.examples == ("interaction key k: 2 effects",)


def test_an_unknown_call_may_have_one_effect_and_no_more() -> None:
    calls = [call(1, outcome="unknown")]
    assert find(calls, [row(1)]).is_clean()
    assert find(calls, [row(1), row(2)]).doubled.count == 1


def test_a_rejected_call_must_have_no_effect() -> None:
    assert find([call(1, outcome="rejected")], [row(1)]).doubled.count == 1


def test_effects_in_another_order_than_promised_are_seen() -> None:
    assert find([call(1), call(2)], [row(1, offset=5), row(2, offset=4)]).out_of_order.count == 1


def test_a_customer_on_two_partitions_is_out_of_order() -> None:
    assert find([call(1), call(2)], [row(1), row(2, partition=1)]).out_of_order.count == 1


def test_fifty_answers_about_one_effect_are_in_order() -> None:
    calls = [replace(call(number), event_id="event-1", key="k") for number in range(1, 51)]
    assert find(calls, [row(1)]).is_clean()


def test_a_list_with_an_asset_that_was_bought_before_and_never_sold_is_out_of_order() -> None:
    purchase, before, after = call(2, "order", trade=("Buy", "A")), call(1, "request"), call(3, "request")
    calls, orders = [before, purchase, after], [row(2)]
    lists = [row(1, offset=1, isins=("A",)), row(3, offset=2, isins=("B", "A"))]
    assert find(calls, [], lists, transactions=orders).out_of_order.examples == (
        "request event-3 lists A, bought before",
    )
    assert count_read_your_clicks(calls) == 1
    for outcome in ("acknowledged", "unknown"):
        sale = call(4, "order", outcome=outcome, trade=("Sell", "A"))
        assert not find([*calls, sale], [], lists, transactions=[*orders, row(4)]).out_of_order.count


def test_an_order_without_a_row_is_lost_and_one_with_two_is_doubled() -> None:
    order = call(1, "order", trade=("Buy", "A"))
    assert find([order], [row(1)]).lost.examples == ("order event-1",)
    assert find([order], transactions=[row(1), row(1, offset=2)]).doubled.count
    late = [replace(row(1), sequence=2), replace(row(2), sequence=1)]
    orders = [order, call(2, "order", trade=("Buy", "B"))]
    assert find(orders, transactions=late).out_of_order.examples == ("order event-2 was kept before event-1",)


def test_a_list_with_an_asset_that_was_dismissed_before_is_out_of_order() -> None:
    dismissal, before, after = call(2, dismissed="A"), call(1, "request"), call(3, "request")
    decisions = [row(1, isins=("A",)), row(3, isins=("B",))]
    assert find([dismissal, before, after], [row(2)], decisions).is_clean()

    assert count_read_your_clicks([dismissal, before, after]) == 1

    decisions = [row(1, isins=("A",)), row(3, isins=("A", "B"))]
    found = find([dismissal, before, after], [row(2)], decisions)
    assert found.out_of_order.examples == ("request event-3 lists A, dismissed before",)


def test_a_dismissal_of_unknown_outcome_promises_nothing() -> None:
    calls = [call(1, outcome="unknown", dismissed="A"), call(2, "request")]
    assert find(calls, [], [row(2, isins=("A",))]).is_clean()


def test_a_stored_offset_that_went_backwards_is_out_of_order() -> None:
    assert find([], rewinds=("offset back",)).out_of_order.count == 1


def test_interactions_that_were_kept_in_another_order_than_the_logs_are_out_of_order() -> None:
    rows = [replace(row(1), sequence=8), replace(row(2), sequence=7)]
    verdict = find([call(1), call(2)], rows)
    assert verdict.out_of_order.examples == ("interaction event-2 was kept before event-1",)

    assert find([call(1), call(2)], [rows[0], replace(rows[1], sequence=9)]).is_clean()


def test_a_request_answered_after_a_minute_is_stuck() -> None:
    calls = [call(1, "request", answered_at=40.9)]
    assert find(calls, [], [row(1)]).stuck.count == 1
    assert find([call(1, "request", answered_at=41.1)], [], [row(1)]).stuck.count == 0


def test_while_something_is_down_nothing_is_stuck_but_a_minute_after_it_is() -> None:
    calls = [call(1, "request", answered_at=10.0)]
    assert find(calls, [], [row(1)], outages=Outages([(5.0, 50.0)])).stuck.count == 0
    assert find(calls, [], [row(1)], outages=Outages([(5.0, 40.0)])).stuck.count == 1
    assert find(calls, [], [row(1)], outages=Outages([(102.0, 103.0)])).stuck.count == 1


def test_an_outage_later_on_does_not_hide_that_a_request_was_stuck_before_it() -> None:
    calls = [call(1, "request", answered_at=10.0)]
    assert find(calls, [], [row(1)], outages=Outages([(90.0, 95.0)])).stuck.count == 1
    assert find(calls, [], [row(1)], outages=Outages([(60.0, 95.0), (30.0, 65.0)])).stuck.count == 0


def test_a_request_that_is_never_answered_is_stuck_and_lost() -> None:
    verdict = find([call(1, "request")])
    assert (verdict.stuck.count, verdict.lost.count) == (1, 1)
