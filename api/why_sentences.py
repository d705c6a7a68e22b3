"""The answer to "why this asset, or why not" in words, from what a worker stored (worker/explanations.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from api.ports import StoredExplanation
from api.sentences import SentenceCatalogue
from shared.recommender.types import Basis

LEAST_EFFECT = 0.0005  # a smaller one moves nothing that is shown


def explain_asset(found: StoredExplanation, *, catalogue: SentenceCatalogue) -> str:
    """Return state, rank or rules, and what speaks for and against the asset."""
    content = found.content
    sentences = [_describe_refusal(refusal, catalogue) for refusal in content["refusals"]]
    candidate, last = content["candidate"], content["last"]
    if content["state"] == "listed":
        sentences.append(catalogue.text("why", "listed", place=candidate["place"]))
    if content["state"] == "below" and last is not None:
        difference = catalogue.number(last["score"] - candidate["score"], decimals=4)
        values = {"rank": candidate["rank"], "candidates": content["candidates"], "last": last["isin"]}
        sentences.append(catalogue.text("why", "below", place=last["place"], difference=difference, **values))
    sentences += _describe_facts(content["facts"], found.basis, catalogue)
    return " ".join(sentences)


def _describe_refusal(refusal: Mapping[str, Any], catalogue: SentenceCatalogue) -> str:
    """Return the text of a rule; a rule of a newer worker, or one with other inputs, has a general one."""
    rule, threshold = refusal["rule"], refusal["threshold"]
    values = {**refusal["inputs"], **(threshold if isinstance(threshold, dict) else {})}
    try:
        return catalogue.text("rule", rule, **values)
    except (KeyError, TypeError):
        return catalogue.text("rule", "other", rule=rule)


def _describe_facts(facts: Sequence[Mapping[str, Any]], basis: str, catalogue: SentenceCatalogue) -> list[str]:
    told = []
    for key, sign in (("for_it", 1), ("against_it", -1)):
        names = [_name_of(fact["signal"], basis, catalogue) for fact in facts if sign * fact["effect"] >= LEAST_EFFECT]
        if names:
            told.append(catalogue.text("why", key, signals="; ".join(names)))
    return told


def _name_of(signal: str, basis: str, catalogue: SentenceCatalogue) -> str:
    if signal == "content" and basis == Basis.SEGMENT_PRIOR.value:
        signal = "content_of_segment"
    known = signal if signal in catalogue.texts["signal"] else "other"
    return catalogue.text("signal", known, **({"signal": signal} if known == "other" else {}))
