"""Of many candidates few are ranked: which, that all may be, and that the log says so."""

import contextlib
from dataclasses import replace

import httpx
import numpy as np
import pytest

from api.service import Service
from api.settings import Settings
from api.shortlist import Shortlist, Shortlists, make_shortlists
from engine.batches import Candidates, Outcomes, Requests
from engine.errors import ConfigError
from engine.features import Schema
from engine.registry import make_policy
from streams.config import EngineConfig
from streams.events import Impression, decode_event
from streams.log.base import EVENTS
from streams.log.sqlite import SqliteLog
from tests.api.running import Running

ITEMS = tuple(f"i{number}" for number in range(300))
USERS = [f"u{number}" for number in range(20)]
IDS = [{"type": "id", "name": "user_id"}]
SIZES = Shortlist(best=10, others=5)


def learned(spec):
    policy = make_policy(spec, schema=Schema.from_list(IDS))
    rng = np.random.default_rng(5)
    n = 4000
    users, items = rng.integers(0, len(USERS), n), rng.integers(0, 250, n)
    outcomes = Outcomes(
        item_ids=[ITEMS[item] for item in items],
        x=policy.schema.encode([{"user_id": USERS[user]} for user in users]),
        z=policy.schema.encode_items([{}] * n),
        reward=((users + items) % 3 == 0).astype(float),
        weight=np.ones(n),
        time_ms=np.arange(n) * 1000,
    )
    state = policy.init()
    policy.update(state, outcomes)
    return policy, policy.derive(state)


@pytest.fixture(scope="module", params=["mf-greedy", "fm-greedy:loss=logistic", "bpr-greedy"])
def taught(request):
    return learned(f"{request.param}{',' if ':' in request.param else ':'}dimension=4")


def choose(taught, user="u3", shortlists=None, sizes=SIZES, **options):
    policy, posterior = taught
    x = policy.schema.encode([{"user_id": user}])
    candidates = Candidates.of(posterior, ITEMS, z=np.empty((len(ITEMS), 0)))
    given = {"pool": None, "request_id": "r1", "k": 3, **options}
    shortlists = shortlists or Shortlists()
    return shortlists.choose(policy, posterior, sizes, x=x, candidates=candidates, **given)


def best(taught, user="u3"):
    """Every candidate, the best by the policy's own beliefs first."""
    policy, posterior = taught
    candidates = Candidates.of(posterior, ITEMS, z=np.empty((len(ITEMS), 0)))
    x = policy.schema.encode([{"user_id": user}])
    return policy.believe(posterior, Requests.of(x, ["r"], [candidates])).mean


def test_the_best_by_belief_are_ranked_whoever_asks(taught):
    for user in ("u3", "u7", "nobody"):
        mean = best(taught, user)
        chosen = choose(taught, user, sizes=Shortlist(best=10))
        assert len(chosen) == 10
        # Equal to float32: those left out are no better than the least of those chosen.
        left = np.setdiff1d(np.arange(len(ITEMS)), chosen)
        assert mean[left].max() <= mean[chosen].min() + 1e-5


def test_others_are_drawn_anew_by_request_and_all_in_the_end(taught):
    always = set(choose(taught, sizes=Shortlist(best=10)).tolist())
    drawn = [set(choose(taught, request_id=f"r{n}").tolist()) for n in range(800)]
    assert all(len(each) == 15 and always <= each for each in drawn)
    assert drawn[0] == set(choose(taught, request_id="r0").tolist())
    counts = np.bincount([place for each in drawn for place in each], minlength=len(ITEMS))
    others = np.delete(counts, list(always))
    # 800 draws of 5 of 290: 13.8 each, 3.7 standard deviation.
    assert others.min() > 0
    assert others.max() < 35


def test_barred_items_never_come_and_kept_ones_always(taught):
    first = choose(taught, sizes=Shortlist(best=10))
    barred = [ITEMS[place] for place in first[:8]]
    kept = ["i299", "nothing of the kind"]
    chosen = choose(taught, barred=[*barred, "unknown"], kept=kept)
    assert len(chosen) == 16
    assert not {ITEMS[place] for place in chosen} & set(barred)
    assert 299 in chosen


def test_there_are_as_many_as_the_slate_has_slots(taught):
    assert len(choose(taught, k=40, sizes=Shortlist(best=10))) == 40
    barred = ITEMS[5:]
    assert choose(taught, k=3, barred=barred).tolist() == [0, 1, 2, 3, 4]


def test_vectors_of_a_pool_are_kept_and_give_the_same(taught):
    shortlists = Shortlists()
    pooled = [choose(taught, shortlists=shortlists, pool="home") for _ in range(2)]
    assert pooled[0].tolist() == pooled[1].tolist() == choose(taught).tolist()


def test_vectors_of_items_are_read_again_when_an_item_changed():
    brand = {"type": "id", "name": "brand", "of": "item"}
    policy = make_policy("fm-greedy:dimension=4", schema=Schema.from_list([*IDS, brand]))
    n = 400
    brands = [{"brand": "good" if number % 2 else "bad"} for number in range(n)]
    outcomes = Outcomes(
        item_ids=[f"o{number % 7}" for number in range(n)],
        x=policy.schema.encode([{"user_id": "u"}] * n),
        z=policy.schema.encode_items(brands),
        reward=np.arange(n) % 2.0,
        weight=np.ones(n),
        time_ms=np.arange(n) * 1000,
    )
    state = policy.init()
    policy.update(state, outcomes)
    posterior, shortlists = policy.derive(state), Shortlists()
    x = policy.schema.encode([{"user_id": "u"}])
    ids = ITEMS[:20]

    def chosen(good):
        told = [{"brand": "good" if number in good else "bad"} for number in range(20)]
        candidates = Candidates.of(posterior, ids, z=policy.schema.encode_items(told))
        candidates = replace(candidates, item_ids=ids)
        sizes, given = Shortlist(best=3), {"x": x, "pool": "home", "request_id": "r", "k": 1}
        return set(
            shortlists.choose(policy, posterior, sizes, candidates=candidates, **given).tolist()
        )

    assert chosen({1, 2, 3}) == {1, 2, 3}
    assert chosen({7, 8, 9}) == {7, 8, 9}


def test_a_policy_without_vectors_is_refused():
    def made(**settings):
        recommenders = {"default": {"policy": "main", **settings}}
        given = Settings(policies={"main": {"spec": "beta-greedy"}}, recommenders=recommenders)
        return make_shortlists(given, EngineConfig.from_dict(given.engine_settings()))

    assert made() == {"default": Shortlist()}
    with pytest.raises(ConfigError, match=r"recommenders.default: .*no vectors .* use mf"):
        made(shortlist=5)
    with pytest.raises(ConfigError, match="shortlist 0, which ranks all"):
        made(shortlist_random=5)


def test_what_is_learned_does_not_depend_on_it(tmp_path):
    plain = Settings(data_dir=tmp_path)
    short = Settings(
        data_dir=tmp_path,
        recommenders={"default": {"policy": "main", "shortlist": 3, "shortlist_random": 2}},
    )
    assert plain.engine_settings() == short.engine_settings()
    with pytest.raises(ConfigError, match="shortlist"):
        Service(short)


SERVED = """
commit_interval_ms = 50

[policies.main]
spec = "mf-epsilon:dimension=4,epsilon=0.2"
features = [{ type = "id", name = "user_id" }]

[recommenders.default]
policy = "main"
window_seconds = 0.2
shortlist = 6
shortlist_random = 4
"""


def test_the_log_names_what_a_slate_was_drawn_of(tmp_path):
    running = Running(tmp_path, SERVED)
    running.start()
    items = ITEMS[:40]
    try:
        with httpx.Client(base_url=running.url, timeout=30) as http:
            for item in items:
                assert http.put(f"/v1/items/{item}", json={}).status_code == 200
            assert http.put("/v1/pools/home", json={"item_ids": list(items)}).status_code == 200
            ask = {"k": 3, "pool": "home", "user_id": "u1", "pins": {"1": "i39"}}
            slates = [
                http.post("/v1/slates", json={**ask, "exclude": ["i0"], "request_id": f"r{n}"})
                for n in range(30)
            ]
    finally:
        assert running.stop() == 0
    assert all(reply.status_code == 200 for reply in slates)
    with contextlib.closing(SqliteLog(running.data_dir / "log.db")) as log:
        logged = [decode_event(record.value) for record in log.poll(EVENTS, 0, 1000)]
    shown = {each.request_id: each for each in logged if isinstance(each, Impression)}
    for reply in slates:
        told = reply.json()
        impression = shown[told["request_id"]]
        candidates = impression.candidates
        assert candidates is not None
        assert len(candidates) == 11  # six, four more, and the one that is pinned
        assert "i39" in candidates
        assert "i0" not in candidates
        assert {slot.item_id for slot in impression.slate} <= set(candidates)
        assert impression.slate[1].item_id == "i39"
        # Of ten that are left in slot 0, one is the best and all may be drawn.
        least = 0.2 / 10
        assert impression.slate[0].propensity >= least * 0.99
    assert len({tuple(sorted(each.candidates)) for each in shown.values()}) > 10
