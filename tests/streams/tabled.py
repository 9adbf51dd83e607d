"""A learner of a policy with an embedding table, its log and its store."""

import random

from sqlalchemy import select

from streams.learner import Learner
from streams.log.base import EVENTS
from streams.log.memory import MemoryLog
from streams.shard import replay_log
from streams.store import Store
from streams.tables import BASE
from tests.streams.cases import HOUR, START, settings
from tests.streams.hosting import traffic

__all__ = ["CONFIG", "SPEC", "Run"]

SPEC = "tabled-greedy"
CONFIG = settings(HOUR, window=2.0, spec=SPEC)


class Run:
    """A learner of a policy with a table, and its log."""

    def __init__(self, where, config=CONFIG):
        self.log, self.store, self.config = MemoryLog(START), Store(where), config
        self.rng, self.slates = random.Random(7), 0
        self.learner = Learner(self.log, self.store, config)
        self.learner.start()

    def learn(self, slates=30, items=300):
        self.log.time_ms += 1000
        self.log.append(EVENTS, traffic(self.rng, self.slates, slates=slates, items=items))
        self.slates += slates
        while self.learner.step():
            pass

    def on(self, commits, **options):
        for _ in range(commits):
            self.learn(**options)
            self.learner.commit()

    def until_base(self, **options):
        while not self.seqs(BASE, self.learner.position.seq):
            self.on(1, **options)

    def seqs(self, table, above=0):
        with self.store.database.reading() as connection:
            query = select(table.c.seq).where(table.c.seq >= above).order_by(table.c.seq)
            return list(connection.execute(query).scalars())

    def recovered(self):
        learner = Learner(self.log, self.store, self.config)
        learner.recover()
        return learner

    def check(self):
        """Recovered, and learned anew, it is the same to the bit."""
        self.learner.commit()
        told = self.learner.hash()
        assert replay_log(self.log).hash == told
        again = self.recovered()
        assert again.hash() == told
        return again
