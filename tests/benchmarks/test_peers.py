"""The peers do the work we do: a ratio of two different tasks would say nothing."""

import math
import shutil

import numpy as np
import pytest

from benchmarks.contest import Absent
from benchmarks.peers.numpy_linear import RIDGE, Diagonal, Einsum, Gemv, Packed
from benchmarks.peers.numpy_thompson import DRAWS, estimate_slate, integrate_slate
from benchmarks.peers.redis_server import redis_client, redis_edges
from benchmarks.peers.tables import IntDict, TupleDict, TypedDict
from benchmarks.peers.vectors import FaissFlat, FaissInverted, Hnsw, NumpyScan
from benchmarks.workloads.edges import make_edges
from benchmarks.workloads.policies import Deciding
from benchmarks.workloads.replay import replay_ours
from benchmarks.workloads.retrieval import WORLDS as VECTORS
from benchmarks.workloads.retrieval import (
    Exact,
    Inverted,
    Mover,
    make_vectors,
    recall_of,
    tuned,
)
from benchmarks.worlds import WORLDS, make_world
from engine.kernels.families import NORMAL
from engine.kernels.thompson import integrate_wins


@pytest.mark.parametrize("name", WORLDS)
def test_worlds_are_the_same_every_time(name):
    world, again = make_world(name, 5, 4, 30), make_world(name, 5, 4, 30)
    assert world.x.shape == (30, 4)
    assert world.rewards.shape == (30, 5)
    assert np.array_equal(world.x, again.x)
    assert np.array_equal(world.rewards, again.rewards)
    assert np.isfinite(world.rewards).all()
    assert len(np.unique(world.rewards)) > 1


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("peer", [Einsum, Gemv, Packed])
def test_numpy_would_choose_what_our_loop_chose(name, peer):
    world, alpha = make_world(name, 40, 6, 800), WORLDS[name].alpha
    picks = replay_ours(world, alpha)
    numpy = peer(world, alpha)
    for i, pick in enumerate(picks):
        x = world.x[i]
        upper = numpy.theta @ x + alpha * np.sqrt(numpy.variance(x))
        assert upper[pick] >= upper.max() - 1e-9  # ties may be broken otherwise
        assert numpy.decide(i) == upper.argmax()
        numpy.learn(i, pick)


def test_our_loop_and_our_policy_choose_alike():
    world = make_world("decaying, alpha=1", 10, 5, 300)
    numpy = Einsum(world, 1.0)
    policy = Deciding(f"linear-ucb:alpha=1,ridge={RIDGE / 5},floor=0", world)
    for i in range(300):
        pick = policy.decide(i)
        upper = numpy.theta @ world.x[i] + np.sqrt(numpy.variance(world.x[i]))
        assert upper[pick] >= upper.max() - 1e-9
        policy.learn(i, pick)
        numpy.learn(i, pick)


def test_the_diagonal_peer_keeps_the_sums_of_its_definition():
    world = make_world("decaying, alpha=1", 3, 4, 50)
    peer = Diagonal(world, 1.0)
    precision, moment = np.full((3, 4), RIDGE), np.zeros((3, 4))
    for i in range(50):
        x, item = world.x[i], i % 3
        peer.learn(i, item)
        precision[item] += x * x
        moment[item] += world.rewards[i, item] * x
    np.testing.assert_allclose(peer.variances, 1 / precision, rtol=1e-10)
    np.testing.assert_allclose(peer.theta, moment / precision, rtol=1e-10, atol=1e-14)
    x = world.x[7]
    upper = (moment / precision) @ x + np.sqrt((1 / precision) @ (x * x))
    assert peer.decide(7) == upper.argmax()


def slate_world(items):
    rng = np.random.default_rng(3)
    return rng.normal(scale=0.1, size=items), rng.uniform(0.01, 0.2, items)


def exact(mean, sd, picks, floor):
    wins = np.empty((1, len(picks)))
    offsets = np.array([0, len(mean)])
    integrate_wins(NORMAL, mean, sd, np.empty(0), offsets, picks[None, :].copy(), wins)
    return (1 - floor) * wins[0] + floor / (len(mean) - np.arange(len(picks)))


@pytest.mark.parametrize(("items", "k"), [(2, 2), (30, 5), (300, 10)])
def test_the_peers_propensities_are_those_we_state(items, k):
    mean, sd = slate_world(items)
    rng = np.random.default_rng(1)
    for _ in range(10):
        picks, stated = integrate_slate(rng, mean, sd, k, 0.05)
        assert len(set(picks.tolist())) == k
        np.testing.assert_allclose(stated, exact(mean, sd, picks, 0.05), atol=1e-5)
        picks, stated = estimate_slate(rng, mean, sd, k, 0.05)
        assert len(set(picks.tolist())) == k
        expected = exact(mean, sd, picks, 0.05)
        # Later slots reuse the draws of the first: a little more than one binomial's error.
        assert np.all(np.abs(stated - expected) < 6 * 0.5 / math.sqrt(DRAWS))


def sums_of(edges):
    expected = np.zeros((edges.clusters * edges.items, 2))
    keys = edges.cluster * edges.items + edges.item[:, None]
    np.add.at(expected[:, 0], keys, edges.weight**2)
    np.add.at(expected[:, 1], keys, edges.weight * edges.reward[:, None])
    return expected


def test_tables_hold_the_sums_of_their_edges():
    edges = make_edges(12, 7, 200)
    given = edges.cluster, edges.weight, edges.item, edges.reward
    expected = sums_of(edges)
    for kind in (TypedDict, IntDict, TupleDict):
        table = kind(edges.clusters, edges.items)
        table.add(*given)
        sums = table.sums if kind is TypedDict else list(table.sums.values())
        np.testing.assert_allclose(np.array(sums), expected, rtol=1e-12)
    assert np.array_equal(np.sort(edges.cluster, axis=1)[:, 1:] > 0, np.ones((200, 9), bool))


def test_without_a_redis_server_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with redis_client() as client:
        assert isinstance(client, Absent)
        assert redis_edges(client, make_edges(3, 2, 5)) is client
        assert "not installed" in client.reason or "redis-server" in client.reason


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on PATH")
def test_redis_holds_the_sums_of_its_edges():
    pytest.importorskip("redis")
    edges = make_edges(12, 3, 100)
    with redis_client() as client:
        redis_edges(client, edges).call(None)
        found = np.array(
            [
                [float(client.hget(f"c{cluster}", f"{item}:{name}")) for name in "pb"]
                for cluster in range(12)
                for item in range(3)
            ]
        )
    np.testing.assert_allclose(found, sums_of(edges), rtol=1e-12)


@pytest.mark.parametrize("world", VECTORS)
@pytest.mark.parametrize("kind", [Exact, Inverted, NumpyScan, FaissFlat, FaissInverted, Hnsw])
def test_indexes_find_the_true_ten_before_and_after_all_have_moved(kind, world):
    if hasattr(kind, "module"):
        pytest.importorskip(kind.module)
    vectors = make_vectors(world, 2000, 8)
    index = kind(vectors.before, 16)
    for scan in index.scans:  # the last: all lists
        index.tune(scan)
    mover = Mover(index, vectors)
    for _ in range(3):
        mover.step()
    mover.finish()
    for at, found in (
        (vectors.before, kind(vectors.before, 16)),
        (vectors.after, index),
    ):
        for scan in found.scans:
            found.tune(scan)
        true = np.argsort(-(vectors.queries @ at.T), axis=1, kind="stable")[:, :10]
        rows = found.search(vectors.queries, 10)
        assert recall_of(rows, true) >= (0.97 if kind is Hnsw else 0.9999)


def test_an_index_scans_as_much_as_it_needs():
    vectors = make_vectors("factors", 2000, 8)
    true = np.argsort(-(vectors.queries @ vectors.before.T), axis=1)[:, :10]
    index = tuned(Inverted, vectors, 32, true)
    assert recall_of(index.search(vectors.queries[:200], 10), true[:200]) >= 0.95
    assert index.name.endswith(f"scanning {index.nprobe}")
    assert index.nprobe < 32
