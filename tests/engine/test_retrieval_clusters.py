"""Streaming k-means beside its twin; versions, cuts, saved bytes, clusters that died."""

import numpy as np
import pytest

from engine.errors import ConfigError, ShapeError, SnapshotError
from engine.feature_kinds import Clusters
from engine.retrieval.clusters import ClusterConfig, StreamingClusters
from tests.engine.vectors import clustered
from tests.naive import retrieval as naive


def learned(vectors, cuts=1, **options):
    made = StreamingClusters(ClusterConfig(size=vectors.shape[1], **options))
    for part in np.array_split(vectors, cuts):
        made.learn(part)
    return made


@pytest.mark.parametrize("size", [1, 5, 16, 33])
@pytest.mark.parametrize("count", [1, 2, 7, 130])
def test_learning_equals_its_twin(count, size):
    rng = np.random.default_rng(size)
    vectors = clustered(rng, 1500, size, centres=9)
    vectors[700:] += 3.0  # clusters that were there die
    vectors[5:9] = vectors[4]  # seeds of which there is one
    vectors[20, 0], vectors[21, 0], vectors[22, 0] = np.nan, np.inf, 2e9
    options = {"count": count, "half_life": 100, "check_every": 3, "dead_share": 0.3}
    made = learned(vectors, **options, least_step=0.02)
    twin = naive.Clusters(made.config)
    for x in vectors:
        twin.learn(x)
    assert made.refused == 3
    assert made.events == twin.events == 1497
    state = made._learned
    np.testing.assert_array_equal(state["born"], twin.born)
    np.testing.assert_array_equal(state["wins"], twin.wins)
    np.testing.assert_allclose(made.values, twin.values, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(state["mass"], twin.mass)
    np.testing.assert_allclose(state["error"], twin.error, rtol=1e-6, atol=1e-9)
    if count == 7:
        assert max(twin.born) > 700, "some were seeded anew"


def test_how_vectors_are_cut_leaves_no_trace():
    vectors = clustered(np.random.default_rng(1), 2000, 8)
    vectors[::97, 2] = np.nan
    hashes = {
        learned(vectors, cuts, count=50, half_life=300, dead_share=0.4).hash()
        for cuts in (1, 2, 63, 2000)
    }
    assert len(hashes) == 1
    assert learned(vectors[:-1], count=50, half_life=300, dead_share=0.4).hash() not in hashes


def test_a_centroid_is_the_mean_of_its_vectors_until_the_floor():
    vectors = np.random.default_rng(2).normal(size=(200, 4)).astype(np.float32)
    made = learned(vectors, count=1, least_step=0.005)
    np.testing.assert_allclose(made.values[0], vectors.mean(axis=0), atol=1e-5)
    made.learn(np.full((3000, 4), 9.0))
    np.testing.assert_allclose(made.values[0], 9.0, atol=1e-4)  # it follows


def test_assignments_equal_their_twin_and_are_of_the_published_version():
    rng = np.random.default_rng(3)
    vectors = clustered(rng, 3000, 12)
    made = learned(vectors, count=70)
    version = made.publish()
    before = version.assign(vectors[:40], top=5, temperature=0.7)
    for i in range(40):
        clusters, weights = naive.assign(version.values, vectors[i], 5, 0.7)
        assert before.clusters[i].tolist() == clusters.tolist()
        np.testing.assert_allclose(before.weights[i], weights, rtol=1e-4)
        alone = version.assign(vectors[i : i + 1], top=5, temperature=0.7)
        assert np.array_equal(alone.weights[0], before.weights[i])
    np.testing.assert_allclose(before.weights.sum(axis=1), 1.0, rtol=1e-12)
    made.learn(vectors + 1.0)
    after = made.published.assign(vectors[:40], top=5, temperature=0.7)
    assert after.version == before.version
    assert np.array_equal(after.clusters, before.clusters)
    assert np.array_equal(after.weights, before.weights)
    assert made.publish().version != before.version
    assert made.published.assign(vectors[:1]).version == made.published.version
    hard = version.assign(vectors[:40])
    assert np.array_equal(hard.clusters[:, 0], before.clusters[:, 0])
    assert np.all(hard.weights == 1.0)
    assert version.assign(vectors[:2], top=999).clusters.shape == (2, 70)


def test_what_is_published_cannot_be_written_and_its_version_is_its_content():
    made = learned(clustered(np.random.default_rng(4), 100, 3), count=5)
    one, again = made.publish(), made.publish()
    assert one.version == again.version
    with pytest.raises(ValueError, match="read-only"):
        one.values[0, 0] = 1.0
    made.learn(np.zeros((1, 3)))
    assert made.publish().version != one.version


def test_an_assignment_is_a_value_of_a_clusters_feature():
    made = learned(clustered(np.random.default_rng(5), 500, 6), count=20)
    assigned = made.publish().assign(np.zeros((1, 6)), top=3)
    encoded = Clusters(name="taste", count=20).encode(assigned.feature(0))
    assert np.flatnonzero(encoded).tolist() == sorted(assigned.clusters[0].tolist())
    assert encoded[assigned.clusters[0, 0]] == max(encoded)


def test_dead_clusters_are_used_again_and_named():
    rng = np.random.default_rng(6)
    old, new = rng.normal(size=(16, 8)) * 5, rng.normal(size=(16, 8)) * 5 + 40
    start = np.repeat(old, 50, axis=0) + 0.1 * rng.normal(size=(800, 8))
    made = learned(rng.permutation(start), count=16)
    before = made.publish()
    later = np.repeat(new, 1500, axis=0) + 0.1 * rng.normal(size=(24_000, 8))
    made.learn(rng.permutation(later))
    after = made.publish()
    renewed = after.renewed(before)
    assert len(renewed) >= 8
    assert before.renewed(before).size == 0
    assert np.all(made.values.mean(axis=1) > 20.0), "none is where nobody is any more"
    untouched = learned(rng.permutation(start), count=16, dead_share=0.0)
    untouched.learn(rng.permutation(later))
    assert np.all(untouched._learned["born"] <= 800)
    assert np.any(untouched.values.mean(axis=1) < 20.0)


def test_clusters_seeded_since_are_renewed():
    made = learned(np.eye(3), count=5)
    before = made.publish()
    made.learn(2.0 * np.eye(3))
    assert made.publish().renewed(before).tolist() == [3, 4]
    assert len(before.values) == 3


def test_saved_bytes_are_the_state_and_damage_is_refused():
    vectors = clustered(np.random.default_rng(7), 900, 5)
    made = learned(vectors[:600], count=30, dead_share=0.4, half_life=50)
    empty = StreamingClusters.from_bytes(made.to_bytes())
    assert empty.published is None
    made.publish()
    made.learn([[np.nan] * 5])
    saved = made.to_bytes()
    loaded = StreamingClusters.from_bytes(saved)
    assert loaded.hash() == made.hash()
    assert loaded.published.version == made.published.version
    for each in (made, loaded):
        each.learn(vectors[600:])
    assert loaded.to_bytes() == made.to_bytes()
    assert loaded.refused == 1
    for at in (0, 20, len(saved) // 2, len(saved) - 1):
        damaged = bytearray(saved)
        damaged[at] ^= 1
        with pytest.raises(SnapshotError, match="checksum"):
            StreamingClusters.from_bytes(bytes(damaged))
    with pytest.raises(SnapshotError, match="checksum"):
        StreamingClusters.from_bytes(saved[:-1])


def test_what_cannot_work_is_refused():
    made = StreamingClusters(ClusterConfig(count=3, size=2))
    with pytest.raises(ConfigError, match="no cluster yet"):
        made.publish()
    with pytest.raises(ShapeError, match=r"give \(n, 2\)"):
        made.learn([[1.0]])
    made.learn([[1.0, 2.0]])
    version = made.publish()
    with pytest.raises(ShapeError, match="beyond"):
        version.assign([[np.nan, 1.0]])
    with pytest.raises(ConfigError, match="top is 0"):
        version.assign([[1.0, 1.0]], top=0)
    with pytest.raises(ConfigError, match="temperature 0"):
        version.assign([[1.0, 1.0]], temperature=0)
    for wrong in ({"count": 0}, {"least_step": 0.0}, {"dead_share": 1.0}, {"half_life": -1}):
        with pytest.raises(ConfigError):
            ClusterConfig(**({"count": 3, "size": 2} | wrong))
