"""Warming up runs every kernel between a log and a policy, with the types they state."""

from numba.core.sigutils import normalize_signature

from engine.kernels import agenda, gather, hashing, join, scan_events, tables
from streams.agenda import request_key
from streams.warm_up import warm_up_fold


def test_folding_never_compiles_once_warm():
    warm_up_fold()
    request_key("r")
    called = set()
    for module in (agenda, gather, hashing, join, scan_events, tables):
        for name, member in vars(module).items():
            if hasattr(member, "ahead") and member.__module__ == module.__name__:
                stated, _ = normalize_signature(member.ahead)
                assert [tuple(types) for types in member.signatures] == [stated], name
                called.add(name)
    assert {"join_events", "gather_outcomes", "put_rows", "move_entries", "scan_events"} <= called
