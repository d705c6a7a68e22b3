"""Every algorithm of the benchmark by its name."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.offline.algorithms.ease import ease
from trainer.offline.algorithms.interface import Algorithm, Scored
from trainer.offline.algorithms.popularity import popularity, random, recent_popularity

ALGORITHMS: Mapping[str, Algorithm] = {
    "random": Scored(random),
    "popularity": Scored(popularity),
    "recent-popularity": Scored(recent_popularity(half_life_days=120.0)),
    "ease": Scored(ease(l2=300.0)),
    "ease-recent": Scored(ease(l2=100.0, row_half_life_days=240.0)),
}
