"""What is repeated, when, and for how long: no I/O and no clock but the test's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from far_trans_client import (
    ApiError,
    CallTimedOut,
    ConnectionFailed,
    Limits,
    ListNotReady,
    NotFound,
    Problem,
    RequestFailed,
    Unavailable,
    operations,
)
from far_trans_client.exchanges import Attempt, Exchange, call, delay_before_retry, wait_for_list
from far_trans_client.messages import Answer, Operation, retry_after_seconds

LIMITS = Limits()
REQUEST_ID = UUID("b3b0c0de-5e5e-8b1d-9f00-2a4c6e8f0a1c")


def answer(status: int, body: str = "{}", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, httpx.Headers({"Content-Type": "application/json", **named}), body.encode())


OK = answer(200, '{"status": "ok"}', X_Request_ID=str(REQUEST_ID))
LIST = answer(200, '{"status": "ok", "recommendations": []}', X_Request_ID=str(REQUEST_ID))
QUEUED = answer(202, '{"status": "queued", "request_id": null}', Retry_After="2")


@dataclass
class Network:
    """Answers the attempts of an exchange in turn; the clock advances by delays, and by what an attempt takes."""

    script: list[Answer | Exception | Callable[[Attempt], tuple[float, Answer | Exception]]]
    now: float = 1000.0
    attempts: list[Attempt] = field(default_factory=list)

    def clock(self) -> float:
        return self.now

    def run(self, exchange: Exchange[Any]) -> Any:
        try:
            attempt = next(exchange)
            while True:
                self.attempts.append(attempt)
                self.now += attempt.delay_seconds
                outcome = self.script[min(len(self.attempts), len(self.script)) - 1]
                if callable(outcome):
                    seconds, outcome = outcome(attempt)
                    self.now += seconds
                attempt = exchange.throw(outcome) if isinstance(outcome, Exception) else exchange.send(outcome)
        except StopIteration as done:
            return done.value


@pytest.mark.parametrize("failure", [answer(503), answer(500), answer(502), answer(504), ConnectionFailed("gone")])
def test_a_transient_failure_is_repeated_with_the_same_key(failure: Answer | Exception) -> None:
    network = Network([failure, failure, OK])

    assert network.run(call(operations.record_interaction("C1", "I1"), LIMITS)) == REQUEST_ID
    keys = [attempt.operation.headers["Idempotency-Key"] for attempt in network.attempts]
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_another_call_has_another_key() -> None:
    keys = {operations.record_interaction("C1", "I1").headers["Idempotency-Key"] for _ in range(3)}

    assert len(keys) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 415, 421, 422, 429, 431, 501])
def test_a_refusal_is_not_repeated(status: int) -> None:
    network = Network([answer(status, Retry_After="1")])

    with pytest.raises(ApiError) as caught:
        network.run(call(operations.models(), LIMITS))
    assert caught.value.status == status
    assert len(network.attempts) == 1


def test_a_post_without_a_key_is_not_repeated() -> None:
    network = Network([ConnectionFailed("gone")])
    without_key: Operation[None] = Operation("POST", "/recommendations", lambda _: None, body={})

    with pytest.raises(ConnectionFailed):
        network.run(call(without_key, LIMITS))
    assert len(network.attempts) == 1


@pytest.mark.parametrize("name", ["retrain", "cancel"])
def test_every_command_has_a_key(name: str) -> None:
    assert getattr(operations, name)().is_repeatable


def test_a_gateway_that_stays_away_is_given_up() -> None:
    network = Network([answer(503, "no acknowledgement")])

    with pytest.raises(Unavailable, match="503"):
        network.run(call(operations.models(), LIMITS, clock=network.clock))
    assert len(network.attempts) == LIMITS.attempts


def test_attempts_that_take_long_end_with_the_time_of_the_call() -> None:
    network = Network([lambda attempt: (attempt.timeout_seconds, CallTimedOut("slow"))])

    with pytest.raises(CallTimedOut):
        network.run(call(operations.models(), Limits(attempts=1000), clock=network.clock))
    assert network.now - 1000.0 <= Limits().timeout_seconds + 0.1
    assert all(attempt.timeout_seconds <= Limits().attempt_timeout_seconds for attempt in network.attempts)


def test_a_retry_after_is_respected_up_to_a_limit() -> None:
    network = Network([answer(503, Retry_After="3"), answer(503, Retry_After="999999"), OK])

    network.run(call(operations.record_interaction("C1", "I1"), LIMITS, clock=network.clock))
    _, second, third = network.attempts
    assert 3.0 <= second.delay_seconds <= 4.5
    assert third.delay_seconds == LIMITS.longest_delay_seconds


@given(failures=st.integers(1, 10_000), after=st.none() | st.integers(0, 10**9), drawn=st.floats(0.0, 1.0))
def test_a_delay_is_bounded_and_not_shorter_than_retry_after(failures: int, after: int | None, drawn: float) -> None:
    problem = Problem("about:blank", "", 503, "")
    error = Unavailable("", problem, retry_after_seconds=None if after is None else float(after))

    delay = delay_before_retry(error, failures, LIMITS, draw=lambda: drawn)

    assert min(after or 0.0, LIMITS.longest_delay_seconds) <= delay <= LIMITS.longest_delay_seconds


def test_delays_grow_and_differ_between_clients() -> None:
    error = ConnectionFailed("gone")

    assert [delay_before_retry(error, n, LIMITS, draw=lambda: 0.0) for n in (1, 2, 3)] == [0.25, 0.5, 1.0]
    assert delay_before_retry(error, 1, LIMITS, draw=lambda: 1.0) == 0.375


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2", 2.0),
        (" 7 ", 7.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("9" * 40, None),
        ("٣", None),
        ("Fri, 27 Nov 2026 10:00:05 GMT", 5.0),
        ("Fri, 27 Nov 2026 09:00:00 GMT", 0.0),
        ("Fri, 99 Nov 2026 09:00:00 GMT", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_or_nothing(text: str, seconds: float | None) -> None:
    headers = httpx.Headers(
        [(b"Retry-After", text.encode()), (b"Date", b"Fri, 27 Nov 2026 10:00:00 GMT")], encoding="utf-8"
    )

    assert retry_after_seconds(headers) == seconds


def test_a_date_without_the_time_of_the_answer_says_nothing() -> None:
    assert retry_after_seconds(httpx.Headers({"Retry-After": "Fri, 27 Nov 2026 10:00:05 GMT"})) is None


def waiting(network: Network, *, timeout_seconds: float = 30.0) -> Any:
    return network.run(wait_for_list("C1", REQUEST_ID, LIMITS, timeout_seconds=timeout_seconds, clock=network.clock))


def full_wait(attempt: Attempt) -> tuple[float, Answer]:
    """A gateway that waits as long as it was asked to."""
    return float(str(attempt.operation.query["wait"])), QUEUED


def test_a_list_is_awaited_with_the_id_of_its_request() -> None:
    network = Network([QUEUED, QUEUED, LIST])

    assert waiting(network).request_id == REQUEST_ID
    assert {str(attempt.operation.query["request_id"]) for attempt in network.attempts} == {str(REQUEST_ID)}
    assert [attempt.delay_seconds for attempt in network.attempts] == [0.0, 2.0, 2.0]


@pytest.mark.parametrize("timeout_seconds", [0.0, 1.0, 30.0, 100.0])
def test_a_list_that_does_not_come_ends_at_the_deadline(timeout_seconds: float) -> None:
    network = Network([full_wait])

    with pytest.raises(ListNotReady, match=str(REQUEST_ID)):
        waiting(network, timeout_seconds=timeout_seconds)
    assert network.now - 1000.0 == pytest.approx(timeout_seconds)
    assert all(0.0 <= full_wait(attempt)[0] <= 30.0 for attempt in network.attempts)


def test_a_gateway_that_does_not_wait_is_not_asked_without_a_pause() -> None:
    hasty = answer(202, '{"request_id": null}', Retry_After="0")
    network = Network([hasty])

    with pytest.raises(ListNotReady):
        waiting(network, timeout_seconds=3.0)
    assert len(network.attempts) <= 32


def test_a_gateway_that_answers_nothing_is_given_up_soon_after_the_deadline() -> None:
    network = Network([lambda attempt: (attempt.timeout_seconds, CallTimedOut("slow"))])

    with pytest.raises(CallTimedOut):
        waiting(network, timeout_seconds=10.0)
    assert network.now - 1000.0 <= 10.0 + 6.0


def test_a_request_that_failed_says_why() -> None:
    progress = (
        f'{{"request_id": "{REQUEST_ID}", "state": "failed", "requested_at": null, "reason": "InvalidWeights: no"}}'
    )
    network = Network([answer(409), answer(200, progress)])

    with pytest.raises(RequestFailed, match="InvalidWeights: no"):
        waiting(network)


def test_a_request_that_failed_is_told_also_when_nobody_knows_why() -> None:
    with pytest.raises(RequestFailed, match="no reason"):
        waiting(Network([answer(409), answer(404)]))


def test_a_request_that_never_was_is_not_awaited() -> None:
    network = Network([answer(404)])

    with pytest.raises(NotFound):
        waiting(network)
    assert len(network.attempts) == 1


def test_a_gateway_that_restarts_is_no_end_of_the_waiting() -> None:
    network = Network([QUEUED, ConnectionFailed("gone"), answer(503), LIST])

    assert waiting(network).recommendations == ()


def test_an_id_may_be_text() -> None:
    assert operations.request_status(str(uuid4())).target.startswith("/requests/")
