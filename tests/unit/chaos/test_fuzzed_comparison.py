"""The comparison of fuzzed messages: every way in which one can go wrong is found, and a right one is not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.comparison import Effects, FuzzedVerdict, Row, Verdict
from tests.chaos.comparison import Finding as Found
from tests.chaos.fuzzed_comparison import Delivered, Letter, compare_fuzzed
from tests.chaos.fuzzed_events import COMMANDS, INTERACTIONS, REQUESTS, Fuzzed

ACCEPTED = Fuzzed(INTERACTIONS, "InteractionRecorded", b"fuzz-1", b"{}", "isin", "any", "accepted")
REFUSED = replace(ACCEPTED, verdict="refused", refused_by="reader")
EITHER = replace(ACCEPTED, verdict="either")
COMMAND = replace(ACCEPTED, topic=COMMANDS, event_type="RetrainRequested")


def delivered(*messages: Fuzzed) -> list[Delivered]:
    return [Delivered((message.topic, 0, offset), message) for offset, message in enumerate(messages)]


def row(offset: int, *, sequence: int | None = None, event_id: str | None = None) -> Row:
    return Row(
        event_id or f"event-{offset}", "fuzz-1", 0, offset, 1.0, sequence=offset if sequence is None else sequence
    )


def letter(
    offset: int, reason: str = "ContractViolation: no", *, topic: str = INTERACTIONS, group: str = "worker"
) -> Letter:
    return Letter((topic, 0, offset), group, reason)


def find(messages: list[Fuzzed], rows: list[Row] | None = None, letters: list[Letter] | None = None) -> FuzzedVerdict:
    return compare_fuzzed(delivered(*messages), letters or [], Effects(rows or [], []))


def found(verdict: FuzzedVerdict) -> dict[str, int]:
    return {name: finding.count for name, finding in verdict.findings().items() if finding.count}


def test_what_went_as_the_contract_says_is_clean_and_counted() -> None:
    verdict = find([ACCEPTED, REFUSED, EITHER, EITHER], [row(0), row(2)], [letter(1), letter(3)])

    assert verdict.is_clean()
    assert verdict.messages == {"accepted": 1, "refused": 1, "either": 2}
    assert verdict.dead_letters == {"ContractViolation": 2}


def test_an_accepted_message_without_effect_is_lost() -> None:
    assert found(find([ACCEPTED])) == {"lost": 1}


def test_an_accepted_message_with_a_dead_letter_was_turned_away() -> None:
    assert found(find([ACCEPTED], [], [letter(0)])) == {"turned_away": 1}


def test_an_accepted_message_that_the_trainer_alone_refuses_was_turned_away() -> None:
    assert found(find([ACCEPTED], [row(0)], [letter(0, group="trainer")])) == {"turned_away": 1}


def test_a_refused_message_with_an_effect_was_let_through() -> None:
    assert found(find([REFUSED], [row(0)])) == {"let_through": 1}
    assert found(find([REFUSED], [row(0)], [letter(0)])) == {"let_through": 1}


def test_a_refused_message_without_a_dead_letter_was_let_through() -> None:
    assert found(find([REFUSED])) == {"let_through": 1}
    assert found(find([REFUSED], [], [letter(0, group="trainer")])) == {"let_through": 1}


@pytest.mark.parametrize("reason", ["ValueError: a NUL", "not a RetrainRequested: reason"])
def test_a_dead_letter_of_another_class_is_misnamed(reason: str) -> None:
    assert found(find([REFUSED], [], [letter(0, reason)])) == {"misnamed": 1}


def test_each_kind_of_refusal_has_its_class() -> None:
    unknown, reused = replace(REFUSED, refused_by="catalogue"), replace(REFUSED, refused_by="event_id")
    letters = [letter(0, "UnknownAsset: X"), letter(1, "EventIdReused: of another event")]
    assert find([unknown, reused], [], letters).is_clean()
    assert found(find([reused, unknown], [], letters)) == {"misnamed": 2}


def test_a_message_of_either_kind_must_become_one_thing_and_not_both() -> None:
    assert found(find([EITHER])) == {"lost": 1}
    assert found(find([EITHER], [row(0)], [letter(0)])) == {"doubled": 1}


def test_two_rows_of_one_message_are_doubled() -> None:
    assert found(find([ACCEPTED], [row(0), row(0, event_id="another")])) == {"doubled": 1}


def test_a_repetition_has_no_effect_of_its_own() -> None:
    again = replace(ACCEPTED, is_repetition=True)
    verdict = find([ACCEPTED, again], [row(0)])
    assert verdict.is_clean()
    assert verdict.repetitions == 1
    assert found(find([ACCEPTED, again], [row(0), row(1, event_id="event-0")])) == {"doubled": 2}


def test_an_effect_that_nobody_sent_is_doubled() -> None:
    assert found(find([ACCEPTED], [row(0), row(7)])) == {"doubled": 1}


def test_a_request_has_its_effect_among_the_decisions_alone() -> None:
    request = replace(ACCEPTED, topic=REQUESTS)
    messages = delivered(request)
    assert compare_fuzzed(messages, [], Effects([], [row(0)])).is_clean()
    assert found(compare_fuzzed(messages, [], Effects([row(0)], []))) == {"lost": 1, "doubled": 1}


def test_a_command_is_refused_by_the_trainer() -> None:
    refused = replace(COMMAND, verdict="refused", refused_by="reader")
    assert find([COMMAND, refused], [], [letter(1, topic=COMMANDS, group="trainer")]).is_clean()
    assert found(find([COMMAND], [], [letter(0, topic=COMMANDS, group="trainer")])) == {"turned_away": 1}
    assert found(find([refused], [], [letter(0, topic=COMMANDS, group="worker")])) == {"let_through": 1}


def test_interactions_that_were_kept_in_another_order_than_the_logs_are_out_of_order() -> None:
    rows = [row(0, sequence=5), row(1, sequence=4)]
    assert found(find([ACCEPTED, ACCEPTED], rows)) == {"out_of_order": 1}
    assert found(find([ACCEPTED, ACCEPTED], [replace(rows[0], customer_id="fuzz-2"), rows[1]])) == {}


def test_one_finding_makes_the_whole_verdict_red() -> None:
    clean = Verdict(0, Found(), Found(), Found(), Found())
    assert clean.is_clean()
    assert not replace(clean, fuzzed=find([ACCEPTED])).is_clean()
