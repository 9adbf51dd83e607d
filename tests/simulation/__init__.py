"""Learners, a log, a store and a group in one thread, under a seeded scheduler that lets them fail.

Everything that learns is the real code: hosts, learners, publisher, appender, and the store on a
real SQLite file. The log, the clocks, the group and the order of events are simulated, each
decision drawn from one seed, so that a failure can be had again:

    python -m tests.simulation SEED
"""
