"""The catalogue's fold: what may be shown now, and what it was at an older version."""

import random

import pytest

from streams.catalogue import CandidateSet, Catalogue
from streams.errors import UnknownPoolError
from streams.events import Event, Item, Pool, Tick, User, encode_event
from streams.log.base import CATALOGUE
from streams.log.memory import MemoryLog


def put(log: MemoryLog, *events: Event | bytes) -> None:
    values = [event if isinstance(event, bytes) else encode_event(event) for event in events]
    log.append(CATALOGUE, [("", value) for value in values])


def item(item_id: str, **fields: object) -> Item:
    return Item(ts=0, id=item_id, **fields)


@pytest.fixture
def log() -> MemoryLog:
    log = MemoryLog()
    put(log, item("a"), item("b"), item("c", available_from=10), item("d", expires_at=20))
    put(log, item("e", deleted=True), Pool(ts=0, name="home", item_ids=tuple("dcbaeb?")))
    return log


@pytest.fixture
def catalogue(log) -> Catalogue:
    catalogue = Catalogue(log)
    catalogue.refresh()
    return catalogue


def test_a_pool_keeps_its_order_and_leaves_out_what_may_not_be_shown(catalogue):
    assert catalogue.candidates("home", now_ms=0) == CandidateSet(("d", "b", "a"), ())
    assert catalogue.candidates("home", now_ms=10).ids == ("d", "c", "b", "a")
    assert catalogue.candidates("home", now_ms=20).ids == ("c", "b", "a")
    assert catalogue.candidates("home", exclude=["b", "zz"], now_ms=0).ids == ("d", "a")


def test_explicit_ids_that_may_not_be_shown_are_missing(catalogue):
    asked = ["b", "nope", "a", "b", "e", "c"]
    found = catalogue.candidates(candidate_ids=asked, exclude=["a"], now_ms=0)
    assert found == CandidateSet(("b",), ("nope", "e", "c"))


def test_an_unknown_pool_is_an_error(catalogue):
    with pytest.raises(UnknownPoolError, match="known: home"):
        catalogue.candidates("hom")
    with pytest.raises(UnknownPoolError):
        catalogue.candidates()


def test_the_same_tuple_is_returned_while_nothing_changes(log, catalogue):
    first = catalogue.candidates("home", now_ms=1).ids
    put(log, User(ts=0, id="u"), item("a", features={"price": 3}))
    catalogue.refresh()
    assert catalogue.candidates("home", now_ms=9).ids is first
    assert catalogue.candidates("home", now_ms=10).ids != first
    put(log, item("a", deleted=True))
    catalogue.refresh()
    assert catalogue.candidates("home", now_ms=1).ids == ("d", "b")
    put(log, item("a"))
    catalogue.refresh()
    assert catalogue.candidates("home", now_ms=1).ids == ("d", "b", "a")


def test_items_users_and_pools_are_replaced_whole(log, catalogue):
    put(log, item("a", features={"x": 1}), User(ts=0, id="u", features={"age": 4}))
    put(log, Pool(ts=0, name="home", item_ids=("a",)), Pool(ts=0, name="alt", item_ids=()))
    assert catalogue.refresh(limit=3) == 3
    assert catalogue.item("a").features == {"x": 1}
    assert catalogue.user("u").features == {"age": 4}
    assert catalogue.item("zz") is catalogue.user("zz") is catalogue.pool("zz") is None
    assert catalogue.refresh() == 1
    assert catalogue.candidates("home").ids == ("a",)
    assert catalogue.pools() == ["alt", "home"]
    assert (catalogue.pool_version("home"), catalogue.pool_version("zz")) == (8, None)
    assert catalogue.pool("home").item_ids == ("a",)
    assert catalogue.version == 10


def test_records_that_are_none_of_ours_are_counted_dead(log, catalogue):
    put(log, b"{", Tick(ts=0), item("f"))
    catalogue.refresh()
    counted = catalogue.counts.to_dict()
    assert counted["unknown"]["dead"] == counted["tick"]["dead"] == 1
    assert counted["item"]["applied"] == 6
    assert catalogue.counts.exact


def snapshot(catalogue: Catalogue) -> tuple:
    pools = [(name, catalogue.pool_version(name)) for name in catalogue.pools()]
    shown = [catalogue.candidates(name, now_ms=now).ids for name, _ in pools for now in (0, 15)]
    items = {item_id: catalogue.item(item_id) for item_id in "abcd"}
    return catalogue.version, pools, shown, items, [catalogue.user(f"u{n}") for n in range(3)]


@pytest.mark.parametrize("undo", [1000, 5])
def test_seeking_any_version_gives_what_folding_to_it_gives(monkeypatch, undo):
    monkeypatch.setattr("streams.catalogue.UNDO", undo)
    rng = random.Random(7)
    log = MemoryLog()
    for _ in range(120):
        put(
            log,
            rng.choice(
                [
                    item(
                        rng.choice("abcd"),
                        deleted=rng.random() < 0.3,
                        expires_at=rng.choice([None, 9]),
                    ),
                    User(ts=0, id=f"u{rng.randrange(3)}", features={"n": rng.random()}),
                    Pool(ts=0, name=rng.choice("pq"), item_ids=tuple(rng.sample("abcd", 3))),
                    b"broken",
                ]
            ),
        )
    expected = []
    fold = Catalogue(log)
    for _ in range(121):
        expected.append(snapshot(fold))
        fold.refresh(limit=1)
    seeker = Catalogue(log)
    for version in [0, 120, 117, 119, 30, 31, 0, 64, *rng.choices(range(121), k=60)]:
        seeker.seek(version)
        assert snapshot(seeker) == expected[version]
    seeker.seek(10_000)
    assert snapshot(seeker) == expected[120]
