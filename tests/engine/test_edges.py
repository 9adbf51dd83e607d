"""The hash table of edges beside a dict, on keys that are hard for it."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.batches import hash_key
from engine.edges import EdgeTable, Events
from engine.errors import ConfigError, SnapshotError
from engine.kernels.edges import BLOCK, score_edges
from engine.state import State, pack_arrays
from tests.naive import edges as naive

TOP = 2**64 - 1
# Those that need care (0 marks an empty slot, 1 the slot of key 0), many of one slot, and others.
SAME_SLOT, LAST_SLOT = range(5, 40_965, 1024), range(1023, 20_000, 2048)
HARD = [0, 1, 2, TOP, TOP - 1, *SAME_SLOT, *LAST_SLOT]
KEY = st.one_of(st.sampled_from(HARD), st.integers(0, TOP))


def u64(values):
    return np.array(values, dtype=np.uint64)


def content(table):
    keys, owners, values = table.edges()
    return {
        key: (owner, *row)
        for key, owner, row in zip(keys.tolist(), owners.tolist(), values.tolist(), strict=True)
    }


@given(st.lists(st.tuples(st.booleans(), st.lists(KEY, min_size=1, max_size=30)), max_size=12))
def test_the_table_is_a_dict_whatever_the_keys(writes):
    table, twin = EdgeTable(), {}
    for turn, (adding, keys) in enumerate(writes, start=1):
        values = np.array([[turn + 1.0, key % 7 - 3.0] for key in keys])
        table.put(u64(keys), u64([key // 2 for key in keys]), values, adding=adding)
        for key, (d, b) in zip(keys, values.tolist(), strict=True):
            before = twin.get(key, (0, 0.0, 0.0)) if adding else (0, 0.0, 0.0)
            twin[key] = (key // 2, before[1] + d, before[2] + b)
    assert content(table) == twin
    assert len(table) == len(twin)
    asked = [*HARD, *twin]
    expected = [twin.get(key, (0, 0.0, 0.0))[1:] for key in asked]
    assert table.get(u64(asked)).tolist() == [list(row) for row in expected]


@pytest.mark.parametrize(
    "keys", [range(5000), range(0, 5000 << 20, 1 << 20), range(TOP - 4999, TOP + 1)]
)
def test_growing_loses_nothing(keys):
    table, keys = EdgeTable(), list(keys)
    for start in range(0, 5000, 7):
        part = u64(keys[start : start + 7])
        table.put(part, part, np.ones((len(part), 2)))
    assert len(table) == 5000
    assert table.layout > 2
    assert list(content(table)) == sorted(keys)
    np.testing.assert_array_equal(table.get(u64(keys)), 1.0)


def world(seed, n=400, items=30, clusters=50, most=12, extra=()):
    """Events of items with a few clusters each, and the events ``extra`` says."""
    rng = np.random.default_rng(seed)
    item_keys = rng.integers(0, 2**64, items, dtype=np.uint64)
    cluster_keys = rng.integers(0, 2**64, clusters, dtype=np.uint64)
    events = []
    for _ in range(n):
        picked = rng.choice(clusters, rng.integers(0, most), replace=False)
        events.append((item_keys[rng.integers(items)], cluster_keys[picked]))
    return [*events, *extra], rng


def pack(events, rng):
    sizes = [len(clusters) for _, clusters in events]
    return Events(
        item_keys=u64([item for item, _ in events]),
        offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        clusters=np.concatenate([u64(clusters) for _, clusters in events]),
        shares=rng.normal(size=sum(sizes)),
        precision=rng.random(len(events)) + 0.5,
        moment=rng.normal(size=len(events)),
    )


def part(events, start, stop):
    first, last = events.offsets[start], events.offsets[stop]
    return Events(
        item_keys=events.item_keys[start:stop],
        offsets=events.offsets[start : stop + 1] - first,
        clusters=events.clusters[first:last],
        shares=events.shares[first:last],
        precision=events.precision[start:stop],
        moment=events.moment[start:stop],
    )


def twin_of(events, squared):
    twin = {}
    for i, item in enumerate(events.item_keys.tolist()):
        for j in range(events.offsets[i], events.offsets[i + 1]):
            key = naive.edge_key(item, events.clusters[j])
            v = events.shares[j]
            d, b = twin.get(key, (0, 0.0, 0.0))[1:]
            d += events.precision[i] * (v * v if squared else abs(v))
            twin[key] = (item, d, b + events.moment[i] * v)
    return twin


# Events that are larger than a block, and whose edges have the keys 0 and 2⁶⁴ - 1.
LARGE = (77, range(3 * BLOCK))
CORNERS = (5, [naive.mix(5) ^ naive.unmix(key) for key in (0, 1, TOP)])


@pytest.mark.parametrize("squared", [False, True])
def test_learning_equals_its_twin(squared):
    assert [naive.edge_key(5, cluster) for cluster in CORNERS[1]] == [0, 1, TOP]
    events = pack(*world(1, extra=[LARGE, CORNERS, CORNERS, LARGE]))
    table = EdgeTable()
    table.learn(events, squared=squared)
    found, expected = content(table), twin_of(events, squared)
    assert found.keys() == expected.keys()
    for key, (owner, *values) in expected.items():
        assert found[key][0] == owner
        np.testing.assert_allclose(found[key][1:], values, rtol=1e-12)


@settings(max_examples=30)
@given(st.lists(st.integers(0, 403), max_size=15), st.integers(0, 3))
def test_how_events_are_cut_leaves_no_trace(cuts, seed):
    events = pack(*world(seed, clusters=200, extra=[CORNERS, LARGE, CORNERS]))
    whole, pieces = EdgeTable(), EdgeTable()
    whole.learn(events, squared=True)
    ends = [0, *sorted(cuts), 403]
    for start, stop in itertools.pairwise(ends):
        pieces.learn(part(events, start, stop), squared=True)
    assert pieces.digest() == whole.digest()


def test_the_digest_does_not_depend_on_the_order_edges_came_in():
    keys, values = u64([0, 9, TOP, 1033]), np.arange(8.0).reshape(4, 2) + 1
    one, other = EdgeTable(), EdgeTable()
    one.put(keys, keys, values)
    other.put(keys[::-1].copy(), keys[::-1].copy(), values[::-1])
    assert one.digest() == other.digest()
    assert one.to_bytes(None) == other.to_bytes(None)
    other.put(keys[:1], keys[:1], values[1:2])
    assert one.digest() != other.digest()


def owned(names):
    """A table with 40 edges an item."""
    table = EdgeTable()
    for place, name in enumerate(names):
        keys = u64([hash_key(f"{name}/{i}") for i in range(40)])
        table.put(keys, np.full(40, hash_key(name), dtype=np.uint64), np.full((40, 2), place + 1.0))
    return table


def test_a_delta_holds_the_named_items_alone_and_brings_a_copy_up_to_date():
    table = owned(["a", "b", "c"])
    old = table.copy()
    table.put(*owned(["c", "d"]).edges(), adding=True)
    delta = table.to_bytes(["c", "d", "never-seen"])
    alone = EdgeTable()
    alone.put_bytes(delta)
    assert len(alone) == 80
    old.put_bytes(delta)
    assert old.digest() == table.digest()
    assert len(old.to_bytes([])) < 100


def test_a_copy_is_independent_and_shards_add():
    one, other = owned(["a", "b"]), owned(["b", "c"])
    before = other.copy()
    other.add(one)
    assert before.digest() == owned(["b", "c"]).digest()
    expected = owned(["b", "c"])
    expected.put(*one.edges(), adding=True)
    assert other.digest() == expected.digest()
    with pytest.raises(ConfigError, match="cannot be added"):
        one.add(State({}))


def test_halving_is_exact_and_what_fades_makes_room():
    table, twin = owned(["a"]), owned(["a"])
    table.halve(3)
    twin.halve(1)
    twin.halve(2)
    assert table.digest() == twin.digest()
    np.testing.assert_array_equal(table.edges()[2], 0.125)
    for turn in range(100):
        table.put(*owned([f"item-{turn}-{i}" for i in range(4)]).edges())
        table.halve(1000)
    assert len(table.keys) <= 2049, "16,000 edges came and faded"
    assert table.digest() == EdgeTable().digest()


@pytest.mark.parametrize("name", ["keys", "owners", "values"])
def test_damaged_bytes_are_refused(name):
    arrays = dict(zip(("keys", "owners", "values"), owned(["a"]).edges(), strict=True))
    for damaged in (arrays[name][1:], arrays[name].astype(np.int32)):
        with pytest.raises(SnapshotError, match="saved edges have"):
            EdgeTable().put_bytes(pack_arrays({}, arrays | {name: damaged}))
    arrays.pop(name)
    with pytest.raises(SnapshotError, match=f"saved edges have {name}"):
        EdgeTable().put_bytes(pack_arrays({}, arrays))
    with pytest.raises(SnapshotError):
        EdgeTable().put_bytes(b"\x00")


@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("prior", [0.0, 0.7])
def test_scores_equal_their_twin(normalised, prior):
    events = pack(*world(3, extra=[CORNERS]))
    table, edges = EdgeTable(), {}
    table.learn(events, squared=True)
    for key, (_, d, b) in twin_of(events, True).items():
        edges[key] = [d, b]
    precision = table.values[:, 0] + prior
    with np.errstate(divide="ignore", invalid="ignore"):
        beliefs = np.stack([table.values[:, 1] / precision, 1 / precision], axis=1)
    beliefs[precision == 0] = 0.0, np.inf
    requests, rng = world(4, n=20)
    requests = [events_row(events, i) for i in range(15)] + [CORNERS, (1, []), *requests[:3]]
    sizes = rng.integers(0, 6, len(requests))
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    packed = pack(requests, rng)
    item_keys = rng.choice(u64([*events.item_keys.tolist(), 5, 12345]), offsets[-1])
    item_keys[offsets[15] : offsets[16]] = 5
    mean, sd = np.empty(offsets[-1]), np.empty(offsets[-1])
    unknown = 1 / prior if prior else np.inf
    clusters = (packed.offsets, packed.clusters, packed.shares)
    candidates = (offsets, item_keys, unknown, normalised)
    score_edges(table.keys, beliefs, *clusters, *candidates, mean, sd)
    for i in range(len(requests)):
        at = slice(packed.offsets[i], packed.offsets[i + 1])
        for c in range(offsets[i], offsets[i + 1]):
            keyed = [naive.edge_key(item_keys[c], cluster) for cluster in packed.clusters[at]]
            weights = dict(zip(keyed, packed.shares[at], strict=True))
            known = {(None, key): edges[key] for key in keyed if key in edges}
            expected = naive.score(known, None, weights, prior=prior, normalised=normalised)
            np.testing.assert_allclose([mean[c], sd[c]], expected, rtol=1e-9, atol=1e-12)
    assert np.isinf(sd).any() == (prior == 0)
    assert np.isfinite(sd).sum() > 20


def events_row(events, i):
    return events.item_keys[i], events.clusters[events.offsets[i] : events.offsets[i + 1]]


def test_halving_many_times_at_once_equals_halving_as_often():
    # A sum of landmark weights may stand at 2²⁵⁵, and 2⁻¹¹⁰⁰ is no number.
    at_once, in_steps = EdgeTable(), EdgeTable()
    for table in (at_once, in_steps):
        table.put(u64([5]), u64([2]), np.array([[2.0**255, 3.0]]))
    at_once.halve(1100)
    in_steps.halve(550)
    in_steps.halve(550)
    assert at_once.digest() == in_steps.digest()
    assert content(at_once) == {5: (2, 2.0**-845, 0.0)}
