"""The closed form against enumeration of every single transfer."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rinr_flower.bandwidth import model
from rinr_flower.bandwidth.model import SharingGraph
from rinr_flower.errors import ConfigError


@st.composite
def situations(draw):
    """A sharing graph with bytes and ratios of every device."""
    n = draw(st.integers(1, 8))
    kind = draw(st.sampled_from(["all", "nearest", "groups", "any"]))
    if kind == "all":
        graph = SharingGraph.all_to_all(n)
    elif kind == "nearest":
        graph = SharingGraph.nearest(n, draw(st.integers(0, n - 1)))
    elif kind == "groups":
        first = draw(st.integers(1, n))
        graph = SharingGraph.groups((first, n - first) if first < n else (n,))
    else:
        rows = (
            [draw(st.sets(st.integers(0, n - 1).filter(lambda j, i=i: j != i), max_size=n)) for i in range(n)]
            if n > 1
            else [set()]
        )
        graph = SharingGraph(tuple(tuple(sorted(r)) for r in rows))
    sizes = draw(st.lists(st.integers(0, 10**6), min_size=n, max_size=n))
    alpha = draw(st.lists(st.floats(0, 2), min_size=n, max_size=n))
    u = draw(st.lists(st.floats(0, 1), min_size=n, max_size=n))
    return graph, np.array(sizes, float), np.array(alpha), np.array(u)


def enumerate_serverless(graph, sizes, alpha, broadcast):
    total = 0.0
    for sender, receivers in enumerate(graph.receivers):
        for number, _ in enumerate(receivers):
            if not broadcast or number == 0:
                total += alpha[sender] * sizes[sender]
    return total


def enumerate_fog(graph, sizes, alpha, u, broadcast):
    up = sum(u[i] * sizes[i] for i, receivers in enumerate(graph.receivers) if receivers)
    return up, enumerate_serverless(graph, sizes, alpha, broadcast)


@settings(max_examples=120, deadline=None)
@given(situations(), st.booleans())
def test_serverless_and_fog_match_enumeration(situation, broadcast):
    graph, sizes, alpha, u = situation
    across = model.serverless_bytes(sizes, graph.counts, alpha=alpha, broadcast=broadcast)
    fog = model.fog_bytes(sizes, graph.counts, alpha=alpha, u=u, broadcast=broadcast)
    up, down = enumerate_fog(graph, sizes, alpha, u, broadcast)
    assert across.total == pytest.approx(enumerate_serverless(graph, sizes, alpha, broadcast), abs=1e-6)
    assert (fog.up, fog.down) == (pytest.approx(up, abs=1e-6), pytest.approx(down, abs=1e-6))


@settings(max_examples=60, deadline=None)
@given(situations(), st.booleans(), st.integers(0, 10**6))
def test_training_at_the_fog_matches_enumeration(situation, broadcast, beta):
    graph, sizes, _, u = situation
    trained = model.fog_training_bytes(sizes, graph.receiving, beta=beta, u=u, broadcast=broadcast)
    receiving = {j for row in graph.receivers for j in row}
    down = sum(beta for k, _ in enumerate(receiving) if not broadcast or k == 0)
    assert trained.total == pytest.approx(float(u @ sizes) + down)
    n = len(graph.receivers)
    federated = model.federated_bytes(n, beta_up=beta, beta_down=2 * beta, broadcast=broadcast)
    assert federated.total == sum(beta + (2 * beta if not broadcast or k == 0 else 0) for k in range(n))


def test_known_figures_of_the_source():
    # Ten devices, alpha = 0.083: the source's 5.16 times; without any payload bytes the limit is 9 times.
    assert model.gain(9, alpha=0.083) == pytest.approx(5.15, abs=0.01)
    assert model.gain(9, alpha=0.0) == 9
    assert model.gain(9, alpha=0.02, u=0.2) == pytest.approx(23.68, abs=0.01)


@settings(max_examples=100, deadline=None)
@given(st.floats(0.001, 0.999), st.floats(0.05, 1), st.integers(1, 500))
def test_crossovers_are_where_the_order_changes(alpha, u, devices):
    """Just below the crossing serverless sends no more than the fog, just above the fog sends less."""
    sizes = np.full(devices, 1e5)
    crossing = model.receivers_where_fog_pays(alpha=alpha, u=u)
    for r, fog_wins in ((crossing * 0.999, False), (crossing * 1.001, True)):
        fog = float(np.sum(sizes * (u + alpha * r)))
        assert (fog < float(np.sum(sizes * r))) == fog_wins
    r = crossing * 2
    edge = model.alpha_where_fog_pays(r, u=u)
    assert model.gain(r, alpha=edge * 0.999, u=u) > 1
    assert model.gain(r, alpha=edge * 1.001, u=u) < 1


def test_update_crossovers_are_where_the_order_changes():
    sizes, graph = np.full(10, 8 * 12_000.0), SharingGraph.all_to_all(10)
    edge = model.beta_where_fog_training_pays(sizes, graph.counts, graph.receiving, alpha=0.05)
    share = model.fog_bytes(sizes, graph.counts, alpha=0.05).total
    assert model.fog_training_bytes(sizes, graph.receiving, beta=edge * 0.99).total < share
    assert model.fog_training_bytes(sizes, graph.receiving, beta=edge * 1.01).total > share

    frames = model.frames_where_fog_training_pays(12_000, 9, alpha=0.05, beta=edge, devices=10, receiving=10)
    assert frames == pytest.approx(8)
    frames = model.frames_where_federated_pays(12_000, 9, alpha=0.05, u=0.5, beta_up=5e4, beta_down=7e4)
    for factor, federated_wins in ((0.99, False), (1.01, True)):
        data = np.full(10, factor * frames * 12_000)
        shared = model.fog_bytes(data, graph.counts, alpha=0.05, u=0.5).total
        assert (model.federated_bytes(10, beta_up=5e4, beta_down=7e4).total < shared) == federated_wins


def test_degenerate_cases():
    assert model.receivers_where_fog_pays(alpha=1.0) == math.inf
    assert model.serverless_bytes([], []).total == 0
    assert model.frames_where_fog_training_pays(100, 9, alpha=0, beta=10, devices=10, receiving=10) == math.inf
    with pytest.raises(ConfigError, match="0 to 4"):
        SharingGraph.nearest(5, 5)
    assert SharingGraph.nearest(5, 2).receivers[4] == (0, 1)
    assert SharingGraph.groups((2, 3)).receivers == ((1,), (0,), (3, 4), (2, 4), (2, 3))
