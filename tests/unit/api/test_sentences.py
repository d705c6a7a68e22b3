"""The sentences of explained lists: which they are, in which language, and that they claim no more than the numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ports import AssetFacts, CurrentFacts, ListFacts
from api.sentences import build_sentence, choose_catalogue, load_catalogues, parse_catalogue
from shared.errors import ConfigurationInvalid
from shared.recommender.types import RiskLevel
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakeReader
from tests.unit.api.test_recommendations import ITEM, stored_list

ENGLISH = load_catalogues()["en"]
AS_OF = date(2022, 11, 29)
EXPLORES_ALL = ListFacts(AS_OF, exploration_share=1.0, new_asset_days=30)
HISTORY = "57% of its score comes from what other customers bought, compared with your own history."


def item(*contributions: float | None, **fields: Any) -> dict[str, Any]:
    names = ("collaborative", "content", "profitability")
    return {**ITEM, "components": dict(zip(names, contributions, strict=True)), **fields}


def sentence(one: dict[str, Any], of_asset: AssetFacts | None = None, **options: Any) -> str:
    facts = ListFacts(AS_OF, 0.1, 30, {one["isin"]: of_asset or AssetFacts()})
    basis, is_last_place = options.get("basis", "history"), options.get("is_last_place", False)
    return build_sentence(one, facts, basis=basis, is_last_place=is_last_place, catalogue=ENGLISH)


def test_a_sentence_names_the_component_with_the_largest_share() -> None:
    assert sentence(item(0.4, 0.1, 0.2)) == HISTORY
    assert sentence(item(0.1, 0.3, 0.2)).startswith("50% of its score comes from its likeness")
    assert sentence(item(0.1, None, 0.2)).startswith("67% of its score comes from its rank among all candidates")


def test_a_customer_without_history_is_told_of_the_segment() -> None:
    of_segment = "100% of its score comes from what customers of your risk level and investment capacity bought."
    assert sentence(item(0.4, 0.0, 0.0), basis="segment_prior") == of_segment


def test_a_score_of_nothing_has_no_share() -> None:
    assert sentence(item(0.0, None, 0.0)) == "No component of its score speaks for it."


def test_another_component_with_a_small_part_is_not_rounded_away() -> None:
    assert sentence(item(0.7, 0.0001, 0.0)).startswith("99% of its score")


@given(st.lists(st.floats(0, 1) | st.none(), min_size=3, max_size=3))
def test_the_share_is_that_of_the_largest_component(contributions: list[float | None]) -> None:
    text = sentence(item(*contributions))
    known = [value or 0.0 for value in contributions]
    if not sum(known):
        assert text == "No component of its score speaks for it."
        return
    [share] = re.findall(r"^(\d+)%", text)
    assert abs(int(share) / 100 - max(known) / sum(known)) <= 0.01


def test_the_sector_is_named_only_where_the_customer_bought_of_it() -> None:
    listed = item(0.4, 0.1, 0.2, sector="Utilities")
    assert sentence(listed) == HISTORY
    assert sentence(listed, AssetFacts(1)).endswith(" You have bought another asset of its sector (Utilities).")
    assert sentence(listed, AssetFacts(3)).endswith(" You have bought 3 other assets of its sector (Utilities).")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (0.0843, " Its price rose by 8.4% in the twelve months before 2022-11-29."),
        (-0.5, " Its price fell by 50.0% in the twelve months before 2022-11-29."),
        (0.0001, ""),
        (None, ""),
    ],
)
def test_the_price_is_told_as_the_item_has_it(change: float | None, expected: str) -> None:
    assert sentence(item(0.4, 0.1, 0.2, trailing_return_12m=change)) == HISTORY + expected


def test_without_the_date_of_the_model_nothing_is_said_of_the_price() -> None:
    one = item(0.4, 0.1, 0.2, trailing_return_12m=0.1)
    assert build_sentence(one, ListFacts(), basis="history", is_last_place=True, catalogue=ENGLISH) == HISTORY


def test_a_new_asset_in_the_place_that_is_kept_for_one_says_so() -> None:
    new = AssetFacts(first_known_on=date(2022, 11, 10))
    told = "Its first price is of 2022-11-10: the last place of your list is kept for new assets."
    assert told in sentence(item(0.0, 0.1, 0.2), new, is_last_place=True)
    assert told not in sentence(item(0.0, 0.1, 0.2), new)
    assert told not in sentence(item(0.1, 0.1, 0.2), new, is_last_place=True)  # somebody bought it
    for day in (date(2022, 10, 30), date(2022, 11, 30), None):
        assert "first price" not in sentence(item(0.0, 0.1, 0.2), replace(new, first_known_on=day), is_last_place=True)


def test_at_most_two_facts_follow() -> None:
    everything = AssetFacts(2, True, date(2022, 11, 10))
    listed = item(0.0, 0.1, 0.2, sector="Utilities", trailing_return_12m=0.1)
    text = sentence(listed, everything, is_last_place=True)
    assert "kept for new assets" in text
    assert "bought it before" in text
    assert "sector" not in text


def named(text: str) -> list[str]:
    return re.findall(r"\{(\w+)\}", text)


@pytest.mark.parametrize("language", load_catalogues())
def test_every_text_of_every_language_can_be_built(language: str) -> None:
    catalogue = load_catalogues()[language]
    names = {name for _, entries in catalogue.texts.items() for text in entries.values() for name in named(text)}
    values = dict.fromkeys(names, "1")
    for section, entries in catalogue.texts.items():
        for key in entries:
            assert "{" not in catalogue.text(section, key, **values)
    assert catalogue.percent(0.0843, decimals=1)
    assert catalogue.day(AS_OF)


def test_a_catalogue_is_texts_in_toml() -> None:
    for text in ("[component", "[component]\nnone = 3", "none = 'x'"):
        with pytest.raises(ConfigurationInvalid, match="sentences of 'xx'"):
            parse_catalogue("xx", text)


@pytest.mark.parametrize(
    ("asked", "accepted", "expected"),
    [
        (None, "", "en"),
        ("de", "en", "de"),
        ("DE-at", "", "de"),
        ("fr", "de-CH, en;q=0.5", "de"),
        ("fr", "fr, *", "en"),
        (None, "fr, de;q=0.2, en;q=0.1", "de"),
        (None, "de;q=0, en", "en"),
        (None, "de;q=2;x, ;;, \xff=", "en"),
        (None, "fr," * 5000 + "de", "en"),
    ],
)
def test_the_language_is_the_one_that_is_asked_else_one_that_is_accepted(
    asked: str | None, accepted: str, expected: str
) -> None:
    assert choose_catalogue(asked, accepted).language == expected


def explained(client: AsgiClient, query: str = "explain=true", **headers: str) -> Any:
    return client.get(f"/recommendations/C1?{query}", headers=headers)


def test_an_explained_list_is_the_list_with_a_sentence_at_the_end_of_each_item(
    client: AsgiClient, reader: FakeReader
) -> None:
    reader.lists["C1"] = stored_list(ITEM, {**ITEM, "isin": "GRS003003035", "rank": 2})
    plain = client.get("/recommendations/C1").json()["recommendations"]
    answer = explained(client)
    items = answer.json()["recommendations"]

    assert [list(one)[-1] for one in items] == ["sentence", "sentence"]
    assert [{**one, "sentence": HISTORY} for one in plain] == items
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == ("en", "Accept-Language")
    assert client.get("/recommendations/C1?explain=false").content == client.get("/recommendations/C1").content


def test_the_language_comes_from_the_parameter_or_the_header(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = stored_list(ITEM)
    for answer in (explained(client, "explain=true&lang=de"), explained(client, **{"Accept-Language": "de-DE"})):
        assert answer.headers["Content-Language"] == "de"
        assert answer.json()["recommendations"][0]["sentence"].startswith("57 % der Bewertung")


def test_the_last_place_of_a_full_list_may_be_the_one_for_a_new_asset(client: AsgiClient, reader: FakeReader) -> None:
    last = {**item(0.0, 0.1, 0.2), "isin": "GRS003003035", "rank": 2}
    new = {"GRS003003035": AssetFacts(first_known_on=date(2022, 11, 10))}
    reader.list_facts = replace(EXPLORES_ALL, assets=new)
    for k, expected in ((2, True), (3, False)):
        reader.lists["C1"] = replace(stored_list(ITEM, last), k=k)
        assert ("kept for new" in explained(client).json()["recommendations"][1]["sentence"]) is expected
    reader.list_facts = replace(reader.list_facts, exploration_share=0.0)
    reader.lists["C1"] = replace(stored_list(ITEM, last), k=2)
    assert "kept for new" not in explained(client).text


def test_what_may_not_be_shown_is_left_out_of_an_explained_list_too(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = replace(stored_list(ITEM, {**ITEM, "isin": "GRS003003035", "rank": 2}), is_stale=True)
    levels = {"GRS434003000": RiskLevel.BALANCED, "GRS003003035": RiskLevel.CONSERVATIVE}
    reader.facts = CurrentFacts(RiskLevel.INCOME, levels, frozenset(), frozenset())
    [shown] = explained(client).json()["recommendations"]
    assert (shown["isin"], shown["rank"], shown["sentence"]) == ("GRS003003035", 1, HISTORY)


def test_an_unknown_customer_is_unknown_explained_or_not(client: AsgiClient) -> None:
    assert client.get("/recommendations/C9?explain=true").status_code == 404
    assert explained(client).json() == {"status": "ok", "recommendations": []}


@pytest.mark.parametrize("query", ["explain=maybe", "explain=true&lang=d%00", "explain=true&lang=" + "a" * 36])
def test_an_option_that_is_none_names_its_field(client: AsgiClient, query: str) -> None:
    answer = explained(client, query)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] in ("explain", "lang")


def test_an_explained_list_fails_with_the_database(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = stored_list(ITEM)
    reader.unavailable = True
    assert explained(client).status_code == 503
