"""The search of assets answers what a look at every asset would answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from api.asset_search import AssetSearch, fold
from api.catalogue import AssetQuery, Catalogue
from api.schemas.assets import AssetItem
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakeReader, build_asset

# Few letters, so that texts meet: two cases, an ending that folds to two letters, a ligature, right-to-left letters,
# a combining accent, and what a pattern language would read as its own.
LETTERS = "aAbß\ufb01IiİéE\u0301שׁ%_\\ '\"\n*.[1"
NAMES = st.text(LETTERS, min_size=1, max_size=6) | st.text(st.characters(exclude_characters="\0", codec="utf-8"))
ISINS = st.text("aAbB1", min_size=1, max_size=4)
LABELS = st.sampled_from([None, "S1", "S2"])


def asset(isin: str, name: str, sector: str | None = None, category: str = "Stock") -> AssetItem:
    return build_asset(isin, name, category, None, sector, None, None, None)


def search_naively(assets: Sequence[AssetItem], query: AssetQuery) -> list[str]:
    """Look at every asset: this ISIN first, then names that begin so, then in order of the ISIN."""
    folded = fold(query.q or "")
    found = [
        (fold(one.isin) != folded, not fold(one.assetname).startswith(folded), one.isin)
        for one in assets
        if (folded in fold(one.isin) or folded in fold(one.assetname))
        and query.sector in (None, one.sector)
        and query.category in (None, one.assetcategory)
    ]
    # A second asset whose ISIN differs in case only is exact as well; their order is that of the ISIN.
    return [isin for _, _, isin in sorted((a, b and a, isin) for a, b, isin in found)]


def search(assets: Sequence[AssetItem], query: AssetQuery, *, limit: int = 1000, offset: int = 0) -> list[str]:
    page = Catalogue(assets).page(query, limit=limit, offset=offset)
    return [json.loads(content)["isin"] for content in page.assets]


@given(
    st.lists(st.tuples(ISINS, NAMES, LABELS, st.sampled_from(["C1", "C2"])), unique_by=lambda row: row[0]),
    st.text(LETTERS, min_size=1, max_size=5) | ISINS,
    LABELS,
    st.sampled_from([None, "C1"]),
    st.integers(0, 5),
    st.integers(1, 5),
)
@example([("A", "ab", None, "C1"), ("AB", "x", None, "C1"), ("ab", "x", None, "C1")], "aB", None, None, 0, 5)
def test_a_search_answers_what_a_look_at_every_asset_does(
    rows: list[tuple[str, str, str | None, str]],
    q: str,
    sector: str | None,
    category: str | None,
    offset: int,
    limit: int,
) -> None:
    assets = [asset(*row) for row in sorted(rows)]
    query = AssetQuery(sector=sector, category=category, q=q)
    expected = search_naively(assets, query)
    assert search(assets, query) == expected
    assert search(assets, query, limit=limit, offset=offset) == expected[offset : offset + limit]
    assert Catalogue(assets).page(query, limit=1, offset=0).total == len(expected)


def test_the_isin_comes_first_then_names_that_begin_so_then_the_order_of_the_isin() -> None:
    assets = [asset("A1", "In the middle: XS1"), asset("B1", "XS1 first"), asset("XS1", "Z"), asset("XS12", "Y")]
    assert search(assets, AssetQuery(q="xs1")) == ["XS1", "B1", "A1", "XS12"]
    assert search(assets, AssetQuery(q="xs1"), limit=2, offset=1) == ["B1", "A1"]


@pytest.mark.parametrize(
    ("name", "q"),
    [
        ("STRASSE", "straße"),
        ("Straße", "STRASSE"),
        ("ΟΔΟΣ", "οδος"),
        ("e\u0301lan", "ÉLAN"),
        ("ﬁnance", "FI"),
        ("ＡＢＣ", "abc"),
        ("בנק הפועלים", "הפוע"),
        ("50% of_all \\ 'it' \"is\"", "50% OF_ALL \\ 'IT' \"IS\""),
        ("two\nlines", "O\nL"),
        ("x" * 1000, "X" * 200),
    ],
)
def test_case_spelling_and_special_characters_do_not_matter(name: str, q: str) -> None:
    assert search([asset("A", name), asset("B", "another")], AssetQuery(q=q)) == ["A"]


@pytest.mark.parametrize("q", ["%", "_", "\\", "*", ".", "[a-z]", "' OR ''='", "A.", "%%"])
def test_no_character_stands_for_others(q: str) -> None:
    assert search([asset("A", "abc"), asset("B", "Zoë")], AssetQuery(q=q)) == []


def test_a_text_that_few_assets_have_is_looked_for_in_few_of_them() -> None:
    """Without the pairs, the search would be a look at every asset, for each request."""
    rows = [(f"GR{number:06}", f"Fund of {number}") for number in range(2000)] + [("XS1", "Quartz fund of zinc")]
    index = AssetSearch(rows)
    everywhere = range(len(rows))
    assert index.find("quartz", among=everywhere) == [2000]
    for q, count in (("quartz", 1), ("fund of zinc", 1), ("zz", 0), ("fu", 2001)):
        assert len(index.candidates(q, among=everywhere)) == count
    assert index.candidates("fund", among=[5, 7]) == [5, 7]


def test_assets_are_searched_with_filters_and_pages(client: AsgiClient, reader: FakeReader) -> None:
    reader.assets = [asset(f"A{number}", f"Bank {number}", "Finance", "Bond") for number in range(5)]
    reader.assets.append(asset("B1", "A bank", "Finance"))
    reader.reference_version = "loaded again"
    client.run(client.app.state.gateway.catalogue.refresh)

    def isins(**query: Any) -> tuple[int, list[str]]:
        answer = client.get("/assets", params=query)
        assert answer.status_code == 200
        return answer.json()["total"], [one["isin"] for one in answer.json()["assets"]]

    assert isins(q="BANK", limit=2, offset=4) == (6, ["A4", "B1"])
    assert isins(q="bank", category="Stock", sector="Finance") == (1, ["B1"])
    assert isins(q="bank", category="Stock", sector="Energy") == (0, [])
    assert isins(q="") == isins()
    assert isins(q="bank", offset=1_000_000) == (6, [])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("q=" + "x" * 201, "q"),
        ("q=%00", "q"),
        ("q=a&q=b", "q"),
        ("sektor=Technology", "sektor"),
        ("limit=1&limit=1", "limit"),
    ],
)
def test_a_bad_search_is_refused_by_the_name_of_its_parameter(client: AsgiClient, query: str, field: str) -> None:
    answer = client.get(f"/assets?{query}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


def test_one_asset_is_read_from_memory(client: AsgiClient, reader: FakeReader) -> None:
    reader.calls.clear()
    answer = client.get("/assets/GRS434003000")
    assert answer.status_code == 200
    assert list(answer.json()) == ["status", "asset"]
    assert answer.json()["asset"] == client.get("/assets").json()["assets"][0]
    assert reader.calls == []


def test_an_asset_that_was_loaded_a_moment_ago_is_read_from_the_database(
    client: AsgiClient, reader: FakeReader
) -> None:
    reader.assets.append(asset("NEW1", "New"))
    assert client.get("/assets/NEW1").json()["asset"]["assetname"] == "New"


@pytest.mark.parametrize("isin", ["UNKNOWN", "grs434003000"])
def test_an_unknown_asset_is_404_whether_or_not_the_database_answers(
    client: AsgiClient, reader: FakeReader, isin: str
) -> None:
    for reader.unavailable in (False, True):
        answer = client.get(f"/assets/{isin}")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_unknown_assets_cost_the_database_only_so_many_lookups_a_second(client: AsgiClient, reader: FakeReader) -> None:
    reader.calls.clear()
    answers = [client.get(f"/assets/UNKNOWN{number}").status_code for number in range(60)]
    assert answers == [404] * 60
    assert reader.calls.count("fetch_asset") < 60
    assert client.get("/assets/GRS434003000").status_code == 200


@pytest.mark.parametrize(("path", "field"), [("a%20b", "isin"), ("x" * 21, "isin"), ("A%00", "isin"), ("A?q=1", "q")])
def test_a_bad_path_or_parameter_of_one_asset_is_refused(client: AsgiClient, path: str, field: str) -> None:
    answer = client.get(f"/assets/{path}")
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
