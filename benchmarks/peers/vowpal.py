"""Vowpal Wabbit through its Python wheel: its C++ driver over a cache file, and parsed examples.

The task is its own: contexts crossed with item ids (``-q sa``), SquareCB, float32 weights and no
covariance. An event of a log carries the choice of a uniform policy; learning it scores all items.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.contest import Absent, Contender, absent
from benchmarks.worlds import Floats, World

__all__ = ["ccb_slates", "driver", "learn_parsed", "predict_parsed"]

ARGUMENTS = "--quiet --cb_explore_adf --squarecb --cb_type mtr -q sa --ignore_linear s"
NOTE = "SquareCB, float32, no covariance"
MODULE = "vowpalwabbit"


@contextmanager
def driver(world: World, events: int) -> Iterator[Contender | Absent]:
    """The C++ driver: predict and learn every event of a cache file, in one call."""
    name = "Vowpal Wabbit, driver over a cache file"
    missing = absent(name, MODULE)
    if missing:
        yield missing
        return
    with TemporaryDirectory() as folder:
        text, cache = Path(folder) / "log.txt", Path(folder) / "log.cache"
        logged = [_event(world, i, logged=True) for i in range(events)]
        text.write_text("\n\n".join(logged) + "\n\n")
        _workspace(f"{ARGUMENTS} -k -d {text} --cache_file {cache}").finish()
        runs = _Runs(f"{ARGUMENTS} --cache_file {cache}")
        yield Contender(
            name=name, units=events, fresh=runs.fresh, call=lambda run: run.run_parser(), note=NOTE
        )
        runs.close()


class _Runs:
    """One workspace a run, the last one finished outside the clock."""

    def __init__(self, arguments: str) -> None:
        self.arguments = arguments
        self.open: Any = None

    def fresh(self) -> Any:
        self.close()
        self.open = _workspace(self.arguments)
        return self.open

    def close(self) -> None:
        if self.open is not None:
            self.open.finish()
            self.open = None


def learn_parsed(world: World, events: int) -> Contender | Absent:
    """Predict and learn events from Python, parsed outside the clock."""
    name = "Vowpal Wabbit, Python, parsed before"
    missing = absent(name, MODULE)
    if missing:
        return missing
    feed = _Feed(_workspace(ARGUMENTS), [_event(world, i, logged=True) for i in range(events)])
    return Contender(name=name, units=events, fresh=feed.parse, call=feed.learn, note=NOTE)


def predict_parsed(world: World, events: int) -> Contender | Absent:
    """Probabilities of all items from Python, events parsed outside the clock."""
    name = "Vowpal Wabbit, Python, parsed before"
    missing = absent(name, MODULE)
    if missing:
        return missing
    feed = _Feed(_workspace(ARGUMENTS), [_event(world, i, logged=False) for i in range(events)])
    return Contender(name=name, units=events, fresh=feed.parse, call=feed.predict, note=NOTE)


def ccb_slates(x: Floats, items: int, slots: int) -> Contender | Absent:
    """Slates by conditional contextual bandits, fresh examples, parsed outside the clock."""
    name = "Vowpal Wabbit CCB, parsed before"
    missing = absent(name, MODULE)
    if missing:
        return missing
    tail = [f"ccb action |a {item}" for item in range(items)]
    tail += [f"ccb slot |z {slot}" for slot in range(slots)]
    texts = ["\n".join([f"ccb shared |s {_features(row)}", *tail]) for row in x]
    feed = _Feed(_workspace("--quiet --ccb_explore_adf --squarecb -q sa"), texts)
    return Contender(name=name, units=len(texts), fresh=feed.parse, call=feed.predict, note=NOTE)


class _Feed:
    """Examples parsed anew for every call: used ones get slower call by call."""

    def __init__(self, workspace: Any, texts: list[str]) -> None:
        self.workspace, self.texts = workspace, texts
        self.used: list[Any] = []

    def parse(self) -> list[Any]:
        for example in self.used:
            self.workspace.finish_example(example)
        self.used = [self.workspace.parse(text) for text in self.texts]
        return self.used

    def learn(self, examples: list[Any]) -> None:
        for example in examples:
            self.workspace.learn(example)

    def predict(self, examples: list[Any]) -> None:
        for example in examples:
            self.workspace.predict(example)


def _event(world: World, i: int, *, logged: bool) -> str:
    lines = [f"|a {item}" for item in range(world.items)]
    if logged:
        item = int(np.random.default_rng(i).integers(world.items))
        lines[item] = f"0:{-world.rewards[i, item]:.5f}:{1 / world.items:.6f} {lines[item]}"
    return "\n".join([f"shared |s {_features(world.x[i])}", *lines])


def _features(row: Floats) -> str:
    return " ".join(f"{column}:{value:.5f}" for column, value in enumerate(row))


def _workspace(arguments: str) -> Any:
    import vowpalwabbit  # noqa: PLC0415  (an optional extra)

    return vowpalwabbit.Workspace(arguments)
