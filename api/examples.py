"""The examples of answers and problems in the description of the API; a test checks each against its schema."""

from __future__ import annotations

from typing import Any

_CUSTOMER_REQUEST = "0198c0de-7a3b-7cde-8f01-23456789abcd"
_VERSION = "20260102T103000-0001"


def _problem(status: int, name: str, title: str, detail: str, **more: Any) -> dict[str, Any]:
    kind = f"urn:far-trans-recommender:problem:{name}"
    return {"type": kind, "title": title, "status": status, "detail": detail, **more}


PROBLEM_EXAMPLES: dict[int, dict[str, Any]] = {
    401: _problem(401, "unauthorized", "The gateway does not know who calls", "The API key is not valid."),
    403: _problem(403, "missing-scope", "Key or token do not allow this", "The scope recommendations:read is missing."),
    429: _problem(429, "too-many-requests", "Requests come too often", "The limit is 1000 per 1 second."),
    404: _problem(404, "not-found", "There is no such thing", "The customer is unknown and has no list."),
    409: _problem(
        409,
        "conflict",
        "This cannot be done now",
        "The artifact of this version was removed (see KEPT_VERSIONS). GET /models lists servable versions.",
    ),
    413: _problem(413, "body-too-large", "The body is too large", "The limit is 65536 bytes."),
    415: _problem(
        415,
        "unsupported-media-type",
        "The body must be JSON and say so",
        "Content-Type must be application/json, with no charset but utf-8. It is 'text/plain'.",
    ),
    422: _problem(
        422,
        "invalid-request",
        "The request is not valid",
        "See errors.",
        errors=[{"field": "weights.content", "message": "Input should be greater than or equal to 0"}],
    ),
    503: _problem(
        503,
        "unavailable",
        "Try again later",
        "The event broker has not acknowledged the event.",
        outcome="unknown",
    ),
}

_RECOMMENDATION = {
    "isin": "GRS434003000",
    "assetname": "PUBLIC POWER CORPORATION S.A.",
    "assetcategory": "Stock",
    "sector": "Utilities",
    "industry": None,
    "current_price": 3.76,
    "profitability": 0.160494,
    "recommendation_date": "2025-11-30T22:00:00",
    "score": 0.73,
    "rank": 1,
    "components": {"collaborative": 0.41, "content": 0.12, "profitability": 0.2},
    "price_date": "2022-11-29",
    "currency": None,
    "trailing_return_12m": 0.825553,
}
_SENTENCE = (
    "56% of its score comes from what other customers bought, compared with your own history. "
    "Its price rose by 82.6% in the twelve months before 2022-11-29."
)
_ASSET = {
    "isin": "GRS434003000",
    "assetname": "PUBLIC POWER CORPORATION S.A.",
    "assetcategory": "Stock",
    "assetsubcategory": None,
    "sector": "Utilities",
    "industry": None,
    "current_price": 3.76,
    "profitability": 0.160494,
    "price_date": "2022-11-29",
    "currency": None,
    "trailing_return_12m": 0.825553,
}
_WATCHED_ASSET = {
    "isin": "GRS434003000",
    "assetname": "PUBLIC POWER CORPORATION S.A.",
    "assetcategory": "Stock",
    "sector": "Utilities",
    "industry": None,
    "current_price": 3.76,
    "added_at": "2026-01-02T10:30:00Z",
}
_SUSPENDED_ASSET = {
    "kind": "asset",
    "subject": "GRS434003000",
    "reason": "trading was halted",
    "suspended_at": "2026-01-02T10:30:00Z",
}
_MODEL = {
    "version": _VERSION,
    "status": "promoted",
    "active": True,
    "sequence": 1,
    "algorithm": "ease_next_purchase",
    "metrics": {"ndcg_at_10": 0.21},
    "champion_metrics": None,
    "reason": "the first model",
    "progress": None,
    "watermark": None,
    "started_at": "2026-01-02T10:30:00Z",
    "finished_at": "2026-01-02T10:31:00Z",
    "activated_at": "2026-01-02T10:31:01Z",
    "servable": True,
    "pinned": False,
}
_WEIGHTS = {"collaborative": 0.72, "content": 0.08, "profitability": 0.2}
_FRONTIER = {
    "status": "ok",
    "version": _VERSION,
    "points": [
        {
            "weights": _WEIGHTS,
            "ndcg_at_10": 0.21,
            "ndcg_interval_95": [0.19, 0.23],
            "roi_above_market": 0.004,
            "roi_interval_95": [0.001, 0.007],
            "volatility": 0.31,
            "turnover": 0.12,
        }
    ],
    "presets": {"balanced": _WEIGHTS},
}

# By the name of the schema. `Name STATUS` is for one status of a schema that has several.
ANSWER_EXAMPLES: dict[str, Any] = {
    "Acknowledged": {"status": "ok"},
    "Alive": {"status": "ok"},
    "Readiness": {"status": "ok", "broker": True, "database": True, "shutting_down": False},
    "Readiness 503": {"status": "unavailable", "broker": False, "database": True, "shutting_down": False},
    "RecommendationList": {"status": "ok", "recommendations": [{**_RECOMMENDATION, "sentence": _SENTENCE}]},
    "AssetExplanation": {
        "status": "ok",
        "isin": "GRS003003035",
        "state": "below",
        "sentence": "It has rank 12 of 214 candidates. GRS434003000, on place 10 of the list, has 0.0130 more. "
        "For it speaks: its predicted return.",
        "candidates": 214,
        "candidate": {
            "isin": "GRS003003035",
            "rank": 12,
            "place": None,
            "score": 0.717,
            "components": {"collaborative": 0.4, "content": 0.11, "profitability": 0.207},
        },
        "facts": [{"component": "profitability", "signal": "profitability", "effect": 0.112}],
        "refusals": [],
        "last": {
            "isin": "GRS434003000",
            "rank": 10,
            "place": 10,
            "score": 0.73,
            "components": {"collaborative": 0.41, "content": 0.12, "profitability": 0.2},
        },
        "ahead": {"collaborative": 0.01, "content": 0.01, "profitability": -0.007},
        "model_version": _VERSION,
        "basis": "history",
        "current_rank": None,
        "current_request_id": _CUSTOMER_REQUEST,
    },
    "PortfolioEffect": {
        "status": "ok",
        "request_id": _CUSTOMER_REQUEST,
        "model_version": _VERSION,
        "as_of": "2022-11-29",
        "before": {
            "assets": 3,
            "priced": 3,
            "volatility": 0.284113,
            "sector_hhi": 0.555556,
            "share_above_profile": 0.333333,
        },
        "after": {
            "assets": 13,
            "priced": 12,
            "volatility": 0.163027,
            "sector_hhi": 0.171598,
            "share_above_profile": 0.076923,
        },
    },
    "QueuedList": {"status": "queued", "request_id": _CUSTOMER_REQUEST},
    "RequestProgress": {
        "status": "ok",
        "request_id": _CUSTOMER_REQUEST,
        "state": "answered",
        "requested_at": "2026-01-02T10:30:00Z",
        "answered_at": "2026-01-02T10:30:00.400000Z",
        "failed_at": None,
        "reason": None,
    },
    "BatchResults": {
        "status": "ok",
        "results": [
            {"customer_id": "85583A768E48870A546D", "status": "ok", "request_id": _CUSTOMER_REQUEST},
            {"customer_id": "00017496858921195E5A", "status": "error", "problem": PROBLEM_EXAMPLES[422]},
        ],
    },
    "Watchlist": {"status": "ok", "watchlist": [_WATCHED_ASSET]},
    "AssetAnswer": {"status": "ok", "asset": _ASSET},
    "AssetList": {"status": "ok", "total": 1, "assets": [_ASSET]},
    "SuspensionList": {"status": "ok", "suspensions": [_SUSPENDED_ASSET]},
    "ModelList": {"status": "ok", "active": _VERSION, "models": [_MODEL]},
    "Frontier": _FRONTIER,
}
LIST_EVENT_EXAMPLE = (
    "event: list\n"
    'data: {"status":"ok","recommendations":[],'
    f'"request_id":"{_CUSTOMER_REQUEST}","model_version":"{_VERSION}","basis":"history","stale":false,'
    '"weights":{"collaborative":0.72,"content":0.08,"profitability":0.2},"k":10}\n'
    f"id: {_CUSTOMER_REQUEST}\n\n"
)
