"""LightGCN: its gradient against finite differences, its graph by hand, and that it learns who likes what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from tests.unit.trainer.benchmark.planted_folder import TIME_POINTS, planted_folder
from trainer.benchmark.algorithms.interface import Scored
from trainer.benchmark.algorithms.lightgcn import LightGcn, bpr_gradient, bpr_loss, build_graph, propagate
from trainer.benchmark.algorithms.popularity import random
from trainer.benchmark.known import KnownData, Split
from trainer.benchmark.protocol import read_benchmark, read_relevant, read_split


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[KnownData, Split, Path]:
    data = planted_folder().write(tmp_path_factory.mktemp("planted"))
    split = read_split(data, TIME_POINTS[0].isoformat())
    benchmark = read_benchmark(data, reference_tables=data.parent / "FAR-Trans")
    return benchmark.knowledge_at(split), split, data


def test_the_gradient_is_the_slope_of_the_loss() -> None:
    generator = np.random.default_rng(3)
    links = sparse.random_array((9, 9), density=0.4, rng=generator)
    graph = sparse.csr_array(links + links.T)
    vectors = generator.normal(size=(9, 4))
    triples = np.array([[0, 1, 2, 0], [5, 6, 7, 5], [8, 8, 5, 6]])  # vectors 0, 5 and 8 are in several
    gradient = bpr_gradient(graph, vectors, triples, layers=2, l2=0.3)

    step, slopes = 1e-5, np.zeros_like(vectors)
    for place in np.ndindex(vectors.shape):
        moved = vectors.copy()
        moved[place] += step
        slopes[place] = bpr_loss(graph, moved, triples, layers=2, l2=0.3)
        moved[place] -= 2 * step
        slopes[place] = (slopes[place] - bpr_loss(graph, moved, triples, layers=2, l2=0.3)) / (2 * step)
    np.testing.assert_allclose(gradient, slopes, atol=1e-6)
    assert (np.abs(slopes).max(axis=1) > 1e-3).all()  # propagation reaches vectors that are in no triple


def test_propagation_is_the_mean_of_the_hops(planted: tuple[KnownData, Split, Path]) -> None:
    graph = build_graph(planted[0])
    vectors = np.random.default_rng(1).normal(size=(graph.shape[0], 3)).astype(np.float32)
    dense = graph.toarray()

    expected = (vectors + dense @ vectors + dense @ dense @ vectors) / 3

    np.testing.assert_allclose(propagate(graph, vectors, 2), expected, atol=1e-5)
    np.testing.assert_array_equal(dense, dense.T)


def test_a_link_counts_less_the_more_links_its_ends_have(planted: tuple[KnownData, Split, Path]) -> None:
    known = planted[0]
    customer, asset = known.customer_index[0], known.asset_index[0]
    degrees = known.holdings[[customer]].sum() * known.holdings[:, [asset]].sum()

    assert build_graph(known)[customer, known.shape[0] + asset] == pytest.approx(degrees**-0.5)


def test_it_learns_who_likes_what(planted: tuple[KnownData, Split, Path]) -> None:
    known, split, data = planted
    relevant = read_relevant(data, split.time_point.isoformat())

    def hits(scored: Scored) -> float:
        lists = scored.fit_and_rank(known, split)[:, :5]
        told = zip(split.customer_ids, lists.tolist(), strict=True)
        return float(np.mean([known.id_map.isins[a] in relevant[name] for name, row in told for a in row if a >= 0]))

    assert hits(Scored(LightGcn(factors=16, epochs=60, batch=64))) > 1.5 * hits(Scored(random))
