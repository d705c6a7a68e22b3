"""The fuzzer: the seed decides all, every field is changed, and the reader agrees with the hand-written verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice

import pytest

from shared.errors import ContractViolation
from shared.events import (
    CUSTOMER_TOPICS,
    EVENTS_OF_TOPIC,
    CustomerChanged,
    InteractionRecorded,
    RecommendationRequested,
    TransactionRecorded,
    content_digest,
    decode,
)
from tests.chaos.fuzzed_events import (
    CHANGES,
    COMMANDS,
    INTERACTIONS,
    NAME_SPACE,
    REQUESTS,
    TOPIC_OF,
    TRANSACTIONS,
    Fuzzed,
    Fuzzer,
    Stored,
)
from tests.chaos.fuzzed_fields import Verdict

NOW = datetime.now(UTC)  # the reader compares with its own clock too; the fuzzer keeps an hour away from the bound
ISINS = ("GRS434003000", "US0378331005", "DE0007164600")
LARGEST = 120_000
MESSAGES = 20_000
STORED = (
    Stored(INTERACTIONS, "0b7c3c0e-3f5e-4a53-9d0f-5f1d0c2a9b11"),
    Stored(REQUESTS, "1b7c3c0e-3f5e-4a53-9d0f-5f1d0c2a9b11"),
    Stored(TRANSACTIONS, "2b7c3c0e-3f5e-4a53-9d0f-5f1d0c2a9b11"),
)


def fuzzer(seed: int = 1) -> Fuzzer:
    return Fuzzer(seed, isins=ISINS, largest_bytes=LARGEST, now=lambda: NOW)


def stream(seed: int = 1) -> Iterator[Fuzzed]:
    """Three events of customers, then a command, and so on."""
    source = fuzzer(seed)
    while True:
        for _ in range(3):
            yield source.customer_event(STORED)
        yield source.command(may_train=True)


@pytest.fixture(scope="module")
def messages() -> list[Fuzzed]:
    return list(islice(stream(), MESSAGES))


def read(message: Fuzzed) -> bool:
    """Return whether the production reader takes the bytes."""
    try:
        decode(message.topic, message.value, logged_at=NOW)
    except ContractViolation:
        return False
    return True


def test_the_same_seed_gives_the_same_messages() -> None:
    assert list(islice(stream(7), 300)) == list(islice(stream(7), 300))
    assert list(islice(stream(7), 300)) != list(islice(stream(8), 300))


def test_the_reader_agrees_with_the_verdict_of_twenty_thousand_messages(messages: list[Fuzzed]) -> None:
    disagreements = Counter(
        (each.event_type, each.field, each.change, each.verdict)
        for each in messages
        if each.verdict != "either" and read(each) != (each.refused_by != "reader")
    )

    assert not disagreements


def test_what_is_refused_names_who_refuses_it_and_nothing_else_does(messages: list[Fuzzed]) -> None:
    for each in messages:
        assert (each.refused_by is not None) == (each.verdict == "refused")
        assert bool(each.error_classes) == (each.verdict == "refused")


def test_every_field_of_every_event_is_changed_in_every_way(messages: list[Fuzzed]) -> None:
    seen = {(each.event_type, each.field, each.change) for each in messages}

    of_customers = {kind.__name__ for topic in CUSTOMER_TOPICS for kind in EVENTS_OF_TOPIC[topic]}
    assert of_customers <= CHANGES.keys()
    for event_type, changes in CHANGES.items():
        model = next(m for m in EVENTS_OF_TOPIC[TOPIC_OF[event_type]] if m.__name__ == event_type)
        assert {change.field for change in changes} - {"", "key"} == set(model.model_fields)
        wanted = {
            (event_type, change.field, change.name)
            for change in changes
            if change.field != "key" or TOPIC_OF[event_type] != COMMANDS
        }
        assert wanted <= seen, wanted - seen


def test_every_field_of_every_event_is_refused_and_accepted_in_some_way() -> None:
    for event_type, changes in CHANGES.items():
        verdicts: dict[str, set[Verdict]] = {}
        for change in changes:
            verdicts.setdefault(change.field, set()).add(change.verdict)
        only_refused = {field for field, found in verdicts.items() if "accepted" not in found}
        assert only_refused <= {"schema_version", "event_type", "key"}, event_type
        assert all("refused" in found for found in verdicts.values()), event_type


def test_the_contract_leaves_almost_nothing_open(messages: list[Fuzzed]) -> None:
    counts = Counter(each.verdict for each in messages)

    assert counts["either"] < 0.03 * MESSAGES
    assert counts["accepted"] > 0.2 * MESSAGES
    assert counts["refused"] > 0.4 * MESSAGES


def test_accepted_events_are_of_the_fuzzers_own_customers_and_have_their_key(messages: list[Fuzzed]) -> None:
    for each in messages:
        if each.verdict == "accepted" and each.topic != COMMANDS:
            event = decode(each.topic, each.value, logged_at=NOW)
            assert isinstance(
                event, InteractionRecorded | RecommendationRequested | TransactionRecorded | CustomerChanged
            )
            assert event.customer_id.startswith(NAME_SPACE)
            assert each.key == event.customer_id.encode()


def test_an_accepted_event_id_is_new_unless_the_message_is_a_repetition(messages: list[Fuzzed]) -> None:
    contents: dict[tuple[str, str], str] = {}
    repetitions = 0
    for each in messages:
        if each.verdict == "either" or each.refused_by not in (None, "event_id"):
            continue
        event = decode(each.topic, each.value, logged_at=NOW)
        name = (each.topic, str(event.event_id))
        known = contents.get(name)
        if each.verdict == "accepted":
            assert (known is not None) == each.is_repetition
            assert known in (None, content_digest(event))
            contents[name] = content_digest(event)
            repetitions += each.is_repetition
        else:
            assert known != content_digest(event)
            assert known is not None or name[1] in {stored.event_id for stored in STORED}
    assert repetitions > 100


def test_a_reused_event_id_has_the_key_of_its_first_event_so_that_the_log_orders_them(messages: list[Fuzzed]) -> None:
    keys: dict[str, bytes | None] = {}
    for each in messages:
        if each.verdict == "either" or each.refused_by not in (None, "event_id"):
            continue
        event_id = str(decode(each.topic, each.value, logged_at=NOW).event_id)
        if each.is_repetition or each.change == "other content":
            assert not each.any_partition
            assert keys[event_id] == each.key
        elif each.verdict == "accepted":
            keys[event_id] = each.key


def test_no_message_is_larger_than_allowed_and_some_are_almost_so(messages: list[Fuzzed]) -> None:
    sizes = [len(each.value or b"") + len(each.key or b"") for each in messages]

    assert max(sizes) <= LARGEST
    assert max(sizes) > LARGEST - 2000


def test_without_leave_no_command_asks_for_a_training() -> None:
    source = fuzzer()
    commands = [source.command(may_train=False) for _ in range(2000)]

    assert any(each.event_type == "RetrainRequested" for each in commands)
    assert all(each.verdict == "refused" for each in commands if each.event_type == "RetrainRequested")
