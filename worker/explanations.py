"""The answer to "why this asset, or why not", as JSON beside the decision of its preview (decision 59)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from shared.recommender.explanation import Explanation, RankedCandidate
from shared.served_list import rounded
from worker.items import encode_json


def encode_explanation(found: Explanation) -> str:
    """Return the JSON of an explanation; raises ValueError on a score that is not finite."""
    return encode_json(
        {
            "state": found.state,
            "candidates": found.candidates,
            "candidate": _describe_candidate(found.candidate),
            "facts": [{**asdict(fact), "effect": rounded(fact.effect)} for fact in found.facts],
            "refusals": [asdict(refusal) for refusal in found.refusals],
            "last": _describe_candidate(found.last),
        }
    )


def _describe_candidate(candidate: RankedCandidate | None) -> dict[str, Any] | None:
    if candidate is None:
        return None
    components = {
        name: None if value is None else rounded(value) for name, value in candidate.contributions._asdict().items()
    }
    return {
        "isin": candidate.isin,
        "rank": candidate.rank,
        "place": candidate.place,
        "score": rounded(sum(value or 0.0 for value in components.values())),  # as the items of a list
        "components": components,
    }
