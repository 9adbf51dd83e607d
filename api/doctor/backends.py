"""The log and the database: whether they answer, and whether they belong together."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from api.backends import kafka_config
from api.doctor.clocks import check_clock
from api.doctor.findings import Finding, ok, problem, warning
from api.settings import Settings
from streams.config import EngineConfig
from streams.inspection import ShardFacts, StoreFacts, inspect_store
from streams.log.base import CATALOGUE, EVENTS, EventLog
from streams.log.kafka import KafkaLog
from streams.log.sqlite import SqliteLog
from streams.migrations import REVISION

__all__ = ["LogFacts", "check_log", "check_state", "check_store"]

READ_THROUGH_BYTES = 1 << 30
SLOW_SECONDS = 0.02


@dataclass(kw_only=True)
class LogFacts:
    """What was found of the topic of events; empty when there is none yet."""

    identity: str = ""
    begins: Mapping[int, int] = field(default_factory=dict)
    ends: Mapping[int, int] = field(default_factory=dict)


def check_log(settings: Settings, facts: LogFacts, *, thorough: bool) -> Iterator[Finding]:
    """Look at the log and fill in the facts. Raises ``LogError`` and ``ConfigError``."""
    kafka = kafka_config(settings)
    if kafka is not None:
        log = KafkaLog(kafka)
        try:
            yield from _check_kafka(log, settings, facts)
        finally:
            log.close()
        return
    path = settings.data_dir / "log.db"
    if not path.exists():
        yield ok("log", f"{path} is made at the first start")
        return
    embedded = SqliteLog(path, read_only=True)
    try:
        yield from _check_embedded(embedded, facts, thorough=thorough)
    finally:
        embedded.close()


def _check_embedded(log: SqliteLog, facts: LogFacts, *, thorough: bool) -> Iterator[Finding]:
    size = log.path.stat().st_size
    if thorough or size <= READ_THROUGH_BYTES:
        damage = log.damage()
        if damage:
            yield problem(
                "log",
                f"{log.path} is damaged: {damage}",
                "a whole file",
                "stop the service and put a backup in its place; what is missing is lost",
            )
            return
        told = "read through, whole"
    else:
        told = f"{size / 2**30:.1f} GiB, not read through: --thorough does"
    yield from _take_facts(log, facts)
    yield ok("log", f"{log.path}: {told}; {_reach(log, facts)}")


def _check_kafka(log: KafkaLog, settings: Settings, facts: LogFacts) -> Iterator[Finding]:
    start = time.perf_counter()
    brokers = log.brokers()
    seconds = time.perf_counter() - start
    yield ok("brokers", f"{', '.join(brokers)}; answered within {seconds:.2f} s")
    topics = log.describe()
    window_ms = EngineConfig.from_dict(settings.engine_settings()).longest_window_ms
    for finding in log.check_topics(window_ms):
        allowed = "a topic that keeps every record as long as it is needed, stamped by the broker"
        if finding.code == "missing":
            todo = "nothing, when this is the first start: it creates the topics"
            yield warning("topic", f"{finding.topic}: {finding.what}", allowed, todo)
        else:
            make = problem if finding.level == "error" else warning
            yield make("topic", f"{finding.topic}: {finding.what}", allowed, finding.remedy)
    for topic in topics:
        kept = topic.settings.get("retention.ms", "?")
        insync = topic.settings.get("min.insync.replicas", "?")
        yield ok(
            "topic",
            f"{topic.name}: {topic.partitions} partitions, replication {topic.replication}, "
            f"min.insync.replicas {insync}, retention.ms {kept}",
        )
    if any(topic.topic == EVENTS for topic in topics):
        yield from _take_facts(log, facts)
        yield ok("log", _reach(log, facts))


def _take_facts(log: EventLog, facts: LogFacts) -> Iterator[Finding]:
    facts.identity = log.topic_id(EVENTS)
    partitions = range(log.partitions(EVENTS))
    facts.begins = {part: log.begin(EVENTS, part) for part in partitions}
    facts.ends = {part: log.end(EVENTS, part) for part in partitions}
    newest = [
        record.stamp
        for part, end in facts.ends.items()
        if end > facts.begins[part]
        for record in log.poll(EVENTS, end - 1, 1, part)
    ]
    if newest:
        # Stamps lie in the past of whoever gave them; ahead of us, that clock is ahead.
        ahead = max(max(newest) - time.time_ns() // 1_000_000, 0)
        yield check_clock("the clock that stamps the log", ahead, at_least=True)


def _reach(log: EventLog, facts: LogFacts) -> str:
    records = sum(end - facts.begins[part] for part, end in facts.ends.items())
    catalogue = log.end(CATALOGUE) if log.partitions(CATALOGUE) else 0
    ends = ", ".join(f"{part}: {end}" for part, end in sorted(facts.ends.items()))
    return f"{records} events kept, ends at {{{ends}}}; {catalogue} catalogue records"


def check_store(settings: Settings) -> tuple[StoreFacts | None, list[Finding]]:
    """Look at the database. Raises ``StoreError``."""
    facts = inspect_store(settings.store or settings.data_dir / "state.db")
    if facts is None:
        return None, [ok("database", "state.db is made at the first start")]
    findings = [_check_revision(facts)]
    speed = f"{facts.name} answers within {1000 * facts.seconds:.2f} ms"
    if facts.seconds > SLOW_SECONDS:
        findings.append(
            warning(
                "database",
                speed,
                f"{1000 * SLOW_SECONDS:.0f} ms: every commit waits for some answers",
                "put learners near the database",
            )
        )
    else:
        findings.append(ok("database", speed))
    if facts.ahead_ms is not None:
        findings.append(check_clock("the database's clock", facts.ahead_ms))
    return facts, findings


def _check_revision(facts: StoreFacts) -> Finding:
    if facts.revision == REVISION:
        return ok("revision", f"tables of revision {REVISION}")
    if facts.revision is None and not facts.shards:
        return ok("revision", "the tables are made at the first start")
    if facts.revision is None or facts.revision > REVISION:
        return problem(
            "revision",
            f"tables of revision {facts.revision or 'none'}",
            f"{REVISION} or earlier",
            "install the release that made them, or give another store",
        )
    return warning(
        "revision",
        f"tables of revision {facts.revision}",
        REVISION,
        "nothing: the next start of a learner brings them to it; earlier releases stop then",
    )


def check_state(store: StoreFacts | None, log: LogFacts) -> Iterator[Finding]:
    """Whether what was learned belongs to the log and lies within it."""
    shards = [shard for shard in store.shards if shard.topic == EVENTS] if store else []
    if not shards:
        yield ok("state", "nothing was learned yet")
        return
    if not log.identity:
        yield problem(
            "state",
            f"{len(shards)} shards were learned and their log is not there",
            "the log they were learned from",
            "give that log, or learn anew from this one with 'slatestream reset'",
        )
        return
    misfits = [told for shard in shards if (told := _misfit(shard, log))]
    for found, allowed, todo in misfits:
        yield problem("state", found, allowed, todo)
    if not misfits:
        behind = sum(log.ends.get(shard.partition, 0) - shard.next_offset for shard in shards)
        yield ok("state", f"{len(shards)} shards within the log, {behind} events not committed")


def _misfit(shard: ShardFacts, log: LogFacts) -> tuple[str, str, str] | None:
    name = f"{shard.topic}-{shard.partition}"
    if shard.log != log.identity:
        return (
            f"{name} was learned from topic {shard.log}, and {log.identity} is there",
            "the same topic",
            "give the topic the state belongs to, load a snapshot of this one with 'slatestream "
            "restore', or learn anew with 'slatestream reset'",
        )
    if shard.partitions != len(log.ends):
        return (
            f"{name} was one of {shard.partitions} partitions, and {len(log.ends)} are there",
            "the number learning began with",
            "keep the number, or learn anew with 'slatestream reset'",
        )
    begin, end = log.begins[shard.partition], log.ends[shard.partition]
    if shard.next_offset > end:
        return (
            f"{name} is learned up to offset {shard.next_offset} and the log ends at {end}",
            "a state within the log",
            "load a snapshot taken before with 'slatestream restore', or learn anew with "
            "'slatestream reset'",
        )
    if shard.join_offset < begin:
        return (
            f"{name} needs records from offset {shard.join_offset} and the log begins at {begin}",
            "records kept longer than the service may be down",
            "learn anew with 'slatestream reset'",
        )
    return None
