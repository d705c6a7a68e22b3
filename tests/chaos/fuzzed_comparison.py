"""The fuzzed messages against the database: each has exactly what its verdict says. Pure: no clock, no connection."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.comparison import (
    KINDS,
    Effects,
    Finding,
    FuzzedVerdict,
    Place,
    find_out_of_sequence,
    find_repeated_ids,
)
from tests.chaos.fuzzed_events import COMMANDS, INTERACTIONS, PROFILES, REQUESTS, TRANSACTIONS, Fuzzed


@dataclass(frozen=True)
class Letter:
    """One dead letter and the consumer group that wrote it."""

    place: Place
    group: str
    reason: str

    @property
    def error_class(self) -> str:
        return self.reason.partition(":")[0]


@dataclass(frozen=True)
class Delivered:
    """A fuzzed message and where it stands in the log."""

    place: Place
    fuzzed: Fuzzed


def compare_fuzzed(delivered: Sequence[Delivered], letters: Sequence[Letter], effects: Effects) -> FuzzedVerdict:
    """Return the verdict; `effects` are those of the fuzzer's customers, `letters` those of both groups."""
    rows = _rows_by_place(effects)
    at_place: dict[Place, list[Letter]] = defaultdict(list)
    for letter in letters:
        at_place[letter.place].append(letter)
    found: dict[str, list[str]] = defaultdict(list)
    for each in delivered:
        for name in _find_in_message(each.fuzzed, at_place[each.place], rows[each.place]):
            found[name].append(
                f"{each.fuzzed.event_type} {each.fuzzed.field or 'message'}: {each.fuzzed.change} {each.place}"
            )
    places = {each.place for each in delivered}
    found["doubled"] += [f"{place}: an effect that no message was sent for" for place in rows.keys() - places]
    found["doubled"] += [each for kind in KINDS for each in find_repeated_ids(kind, effects.of(kind))]
    found["doubled"] += find_repeated_ids("profile", effects.profiles)
    own = [letter for each in delivered for letter in at_place[each.place] if letter.group == _owner(each.fuzzed)]
    return FuzzedVerdict(
        messages=Counter(each.fuzzed.verdict for each in delivered),
        repetitions=sum(each.fuzzed.is_repetition for each in delivered),
        dead_letters=Counter(letter.error_class for letter in own),
        out_of_order=Finding.of(
            find_out_of_sequence(effects.interactions)
            + find_out_of_sequence(effects.transactions, "order")
            + find_out_of_sequence(effects.profiles, "profile")
        ),
        **{name: Finding.of(examples) for name, examples in found.items()},
    )


def _find_in_message(fuzzed: Fuzzed, letters: Sequence[Letter], rows: int) -> Iterator[str]:
    """Return the names of the findings of one message; how often a command had its effect is not checked."""
    own = [letter for letter in letters if letter.group == _owner(fuzzed)]
    if fuzzed.verdict == "refused":
        if rows or not own:
            yield "let_through"
        if any(letter.error_class not in fuzzed.error_classes for letter in own):
            yield "misnamed"
        return
    if fuzzed.verdict == "accepted" and letters:
        yield "turned_away"
    if fuzzed.topic == COMMANDS:
        return
    expected = 0 if fuzzed.is_repetition or own else 1
    if rows < expected:
        yield "lost"
    if rows > expected:
        yield "doubled"


def _rows_by_place(effects: Effects) -> Counter[Place]:
    topics = (
        (INTERACTIONS, effects.interactions),
        (REQUESTS, effects.decisions),
        (TRANSACTIONS, effects.transactions),
        (PROFILES, effects.profiles),
    )
    return Counter((topic, row.partition, row.offset) for topic, rows in topics for row in rows)


def _owner(fuzzed: Fuzzed) -> str:
    """Return the consumer group that has to refuse a message of this topic."""
    return "trainer" if fuzzed.topic == COMMANDS else "worker"
