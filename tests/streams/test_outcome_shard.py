"""Records of outcomes and the shard that learns them: what fits, and what does not."""

import pytest
from msgspec import structs

from streams.config import EngineConfig, Forgetting, PolicyConfig
from streams.errors import BadEventError
from streams.events import Tick, encode_event
from streams.log.base import OUTCOMES
from streams.log.memory import MemoryLog
from streams.outcome_shard import OutcomeShard
from streams.outcomes import (
    OutcomeRecord,
    SentOutcome,
    SentSlot,
    decode_outcomes,
    encode_outcomes,
)
from tests.streams.cases import HOUR


def record_of(*outcomes: SentOutcome, **fields) -> OutcomeRecord:
    given = {
        "ts": 0,
        "log": "log",
        "source": 0,
        "begin": (0, 0),
        "end": (9, 0),
        "policies": {"main": PolicyConfig(spec="groupwise-greedy", features=(HOUR,))},
        **fields,
    }
    return OutcomeRecord(outcomes=outcomes, **given)


def sent(mark: tuple[int, int], hour: object = 3.0, policy: str = "main") -> SentOutcome:
    slate = (SentSlot("a", 0, 1.0, 0.5),)
    return SentOutcome(policy=policy, mark=mark, time_ms=0, slate=slate, context={"hour": hour})


def fold(*values: bytes) -> OutcomeShard:
    log, shard = MemoryLog(), OutcomeShard()
    log.append(OUTCOMES, [("", value) for value in values])
    shard.fold(log.poll(OUTCOMES, 0, 99))
    assert shard.counts.exact
    return shard


def test_features_that_do_not_fit_the_owner_are_one_dead_letter_a_record():
    record = record_of(sent((1, 0)), sent((1, 1), hour="noon"), sent((2, 0), hour="dawn"))
    shard = fold(encode_outcomes(record))
    counts = shard.counts.to_dict()["outcomes"]
    assert (counts["applied"], counts["dead"], counts["consumed"]) == (1, 2, 3)
    (letter,) = shard.dead
    assert (letter.reason, letter.pointer, letter.offset) == ("schema", "/context", 0)
    assert [each.mark for each in decode_outcomes(letter.value).outcomes] == [(1, 1), (2, 0)]
    shard.mark_committed()
    assert not shard.dead


def test_what_was_dead_can_be_appended_again_when_it_fits():
    record = record_of(sent((1, 0)), sent((1, 1), hour="noon"), sent((2, 0), hour="dawn"))
    (letter,) = fold(encode_outcomes(record)).dead
    words = {"type": "categorical", "name": "hour", "values": ["dawn", "noon"]}
    policy = PolicyConfig(spec="groupwise-greedy", features=(words,))
    control = encode_event(EngineConfig(policies={"main": policy}).to_control(0))
    shard = fold(encode_outcomes(record), control, letter.value, letter.value)
    counts = shard.counts.to_dict()["outcomes"]
    assert (counts["applied"], counts["dead"], counts["duplicate"]) == (3, 2, 2)
    assert shard.states["main"].take(["a"])["count"].tolist() == [3.0]


def test_a_policy_that_cannot_be_made_is_a_dead_letter():
    bad = record_of(sent((1, 0)), policies={"main": PolicyConfig(spec="nobody-greedy")})
    shard = fold(encode_outcomes(bad))
    assert shard.dead[0].reason == "config"
    assert shard.policies == {}


BAD = [
    (b"{", "json"),
    (b"\xff", "json"),
    (b'{"type":"impression"}', "schema"),
    (b'{"type":"outcomes","ts":0}', "schema"),
    (encode_outcomes(record_of(sent((1, 0)))).replace(b'"mark":[1,0]', b'"mark":[9,0]'), "value"),
    (encode_outcomes(record_of(sent((1, 0)))).replace(b'"mark":[1,0]', b'"mark":[1]'), "schema"),
    (encode_outcomes(record_of(sent((1, 0)))).replace(b'{"main":', b'{"other":'), "value"),
    (encode_event(Forgetting(policy="nobody").to_control(0)), "config"),
]


@pytest.mark.parametrize(("value", "reason"), BAD)
def test_what_is_no_record_of_outcomes_is_dead(value, reason):
    good = encode_outcomes(record_of(sent((1, 0))))
    shard = fold(good, value, encode_event(Tick(ts=0)))
    assert [letter.reason for letter in shard.dead] == [reason]
    assert shard.counts.to_dict()["tick"]["applied"] == 1


def test_marks_out_of_order_are_refused():
    with pytest.raises(BadEventError, match="marks of outcomes are not in order"):
        record_of(sent((2, 0)), sent((1, 0)))


def test_slots_of_an_outcome_are_one_slate():
    class Watched(OutcomeShard):
        slates: tuple = ()

        def _update(self, policy, outcomes):
            self.slates += (outcomes.slate.tolist(),)
            super()._update(policy, outcomes)

    pair = structs.replace(
        sent((1, 1)), slate=(SentSlot("a", 0, 1.0, 0.5), SentSlot("b", 1, 0.0, 0.5))
    )
    log, shard = MemoryLog(), Watched()
    log.append(OUTCOMES, [("", encode_outcomes(record_of(sent((1, 0)), pair, sent((2, 0)))))])
    shard.fold(log.poll(OUTCOMES, 0, 9))
    assert shard.slates == ([0, 1, 1, 2],)
