"""The sentence of each item of a list, in the language of the client: it says only what stored numbers carry.

The first part names the component with the largest share of the score. Facts about the asset and the customer follow.
The texts are in api/sentence_catalogues/, one file for each language.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any, TypeGuard

from api.list_items import Item
from api.ports import AssetFacts, ListFacts, ListRow
from shared.errors import ConfigurationInvalid
from shared.recommender.list_rules import is_explorer
from shared.recommender.types import Basis

DEFAULT_LANGUAGE = "en"
MOST_FACTS = 2
MOST_LANGUAGES = 20  # of `Accept-Language` are looked at
LEAST_CHANGE = 0.0005  # a smaller one would be shown as 0.0 %
_FOLDER = Path(__file__).parent / "sentence_catalogues"
_QUALITY = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")


@dataclass(frozen=True)
class SentenceCatalogue:
    """The texts of one language, by section and key."""

    language: str
    texts: Mapping[str, Mapping[str, str]]

    def text(self, section: str, key: str, **values: object) -> str:
        """Return a text with these values."""
        return self.texts[section][key].format(**values)

    def percent(self, fraction: float, *, decimals: int) -> str:
        """Return a fraction as a percentage, as the language writes it."""
        return self.text("numbers", "percent", number=self.number(100 * fraction, decimals=decimals))

    def number(self, value: float, *, decimals: int) -> str:
        """Return a number with so many decimals, as the language writes it."""
        return f"{value:.{decimals}f}".replace(".", self.texts["numbers"]["decimal_mark"])

    def day(self, day: date) -> str:
        """Return a day as the language writes it."""
        return day.strftime(self.texts["numbers"]["date"])


@cache
def load_catalogues() -> Mapping[str, SentenceCatalogue]:
    """Return the catalogues by language; raises ConfigurationInvalid where one differs from the default one."""
    found = {path.stem: parse_catalogue(path.stem, path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.toml"))}
    expected = _form_of(found[DEFAULT_LANGUAGE])
    for language, catalogue in found.items():
        if differing := sorted(set(_form_of(catalogue).items()) ^ set(expected.items())):
            raise ConfigurationInvalid(
                f"sentences of {language!r}: {differing[0][0]} is not as in {DEFAULT_LANGUAGE!r}"
            )
    return found


def parse_catalogue(language: str, text: str) -> SentenceCatalogue:
    """Read a catalogue; raises ConfigurationInvalid for what is none."""
    try:
        texts = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationInvalid(f"sentences of {language!r}: {error}") from error
    for section, entries in texts.items():
        if not isinstance(entries, dict) or not all(isinstance(one, str) for one in entries.values()):
            raise ConfigurationInvalid(f"sentences of {language!r}: [{section}] must have texts only")
    return SentenceCatalogue(language, texts)


def _form_of(catalogue: SentenceCatalogue) -> dict[str, tuple[str, ...]]:
    """Return the names in braces of each text, by section and key."""
    return {
        f"[{section}] {key}": tuple(sorted({name for _, name, _, _ in Formatter().parse(text) if name is not None}))
        for section, entries in catalogue.texts.items()
        for key, text in entries.items()
    }


def choose_catalogue(asked: str | None, accepted: str) -> SentenceCatalogue:
    """Return the catalogue of the language that is asked, else of the best one of `Accept-Language`, else the default.

    A language of a region (`de-AT`) is that language. What is unknown or malformed counts as not given.
    """
    catalogues = load_catalogues()
    names = [asked] if asked else []
    names += [name for _, name in sorted(_accepted_languages(accepted), key=lambda one: -one[0])]
    known = (catalogues.get(name.partition("-")[0].lower()) for name in names)
    return next((one for one in known if one is not None), catalogues[DEFAULT_LANGUAGE])


def _accepted_languages(header: str) -> Iterator[tuple[float, str]]:
    """Yield quality and name of each language of the header (RFC 9110, 12.5.4), without those of quality 0."""
    for element in header.split(",")[:MOST_LANGUAGES]:
        name, *parameters = (part.strip(" \t") for part in element.split(";"))
        found = _QUALITY.fullmatch("".join(parameters))
        quality = 1.0 if not parameters else float(found[1]) if found else 0.0
        if quality > 0:
            yield quality, name


def explain_items(
    items: Sequence[Item], newest: ListRow, facts: ListFacts, *, customer_id: str, catalogue: SentenceCatalogue
) -> list[Item]:
    """Return the items of the whole stored list, each with its sentence as its last key."""
    explorer = is_explorer(newest.model_version, customer_id, share=facts.exploration_share)
    return [
        {
            **item,
            "sentence": build_sentence(
                item,
                facts,
                basis=newest.basis,
                is_last_place=explorer and item["rank"] == newest.k == len(items) > 1,
                catalogue=catalogue,
            ),
        }
        for item in items
    ]


def build_sentence(
    item: Item, facts: ListFacts, *, basis: str, is_last_place: bool, catalogue: SentenceCatalogue
) -> str:
    """Return what the numbers say of one item. `is_last_place`: it is the place that is kept for a new asset."""
    of_asset = facts.assets.get(item["isin"], AssetFacts())
    sentences = [_describe_score(item["components"], basis=basis, catalogue=catalogue)]
    sentences += list(_describe_facts(item, facts, of_asset, is_last_place, catalogue))[:MOST_FACTS]
    return " ".join(sentences)


def _describe_score(components: Mapping[str, float | None], *, basis: str, catalogue: SentenceCatalogue) -> str:
    values = {name: max(value or 0.0, 0.0) for name, value in components.items()}
    largest = max(values, key=values.__getitem__)
    if not (total := sum(values.values())):
        return catalogue.text("component", "none")
    share = values[largest] / total
    shown = min(share, 0.99) if share < 1 else share  # never "100 %" where another component has a part
    is_of_segment = basis == Basis.SEGMENT_PRIOR.value and largest in catalogue.texts["component_of_segment"]
    section = "component_of_segment" if is_of_segment else "component"
    return catalogue.text(section, largest, share=catalogue.percent(shown, decimals=0))


def _describe_facts(
    item: Item, facts: ListFacts, of_asset: AssetFacts, is_last_place: bool, catalogue: SentenceCatalogue
) -> Iterator[str]:
    first = of_asset.first_known_on
    # An asset that nobody has bought has the least collaborative component, which is 0.
    if is_last_place and not item["components"]["collaborative"] and _is_new(first, facts):
        yield catalogue.text("fact", "new", date=catalogue.day(first))
    if of_asset.was_bought:
        yield catalogue.text("fact", "bought_before")
    if item["sector"] and of_asset.bought_of_sector:
        key = "one_of_sector" if of_asset.bought_of_sector == 1 else "several_of_sector"
        values: dict[str, Any] = {"sector": item["sector"]}
        if of_asset.bought_of_sector > 1:
            values["count"] = of_asset.bought_of_sector
        yield catalogue.text("fact", key, **values)
    change = item.get("trailing_return_12m")
    if change is not None and abs(change) >= LEAST_CHANGE and facts.as_of is not None:
        key = "price_rose" if change > 0 else "price_fell"
        values = {"change": catalogue.percent(abs(change), decimals=1), "date": catalogue.day(facts.as_of)}
        yield catalogue.text("fact", key, **values)


def _is_new(first: date | None, facts: ListFacts) -> TypeGuard[date]:
    """Return whether the model took such an asset for new, unless somebody had bought it."""
    return first is not None and facts.as_of is not None and 0 <= (facts.as_of - first).days < facts.new_asset_days
