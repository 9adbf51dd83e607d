"""Matrix factorisation, event by event: Vowpal Wabbit's ``--rank`` and river's ``BiasedMF``.

Both learn the events that ours learns. Vowpal Wabbit hashes ids into a table of 2^22 rows, where
ours has a row for each; river keeps a dict, and meets every id once before, outside the clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.contest import Absent, Contender, absent
from engine.batches import Floats, Ints

__all__ = ["DIMENSION", "biased_mf", "rank_driver", "rank_parsed"]

DIMENSION = 16
MODULE = "vowpalwabbit"
ARGUMENTS = (
    f"--quiet -b 22 --rank {DIMENSION} -q ui --l2 0.001 --loss_function logistic "
    "--learning_rate 0.05 --power_t 0"
)
NOTE = "logistic loss, SGD, ids hashed into 2^22 rows"


@contextmanager
def rank_driver(user: Ints, item: Ints, click: Floats) -> Iterator[Contender | Absent]:
    """The C++ driver: every event of a cache file, in one call."""
    name = "Vowpal Wabbit --rank, driver over a cache file"
    missing = absent(name, MODULE)
    if missing:
        yield missing
        return
    with TemporaryDirectory() as folder:
        text, cache = Path(folder) / "log.txt", Path(folder) / "log.cache"
        text.write_text("\n".join(_texts(user, item, click)) + "\n")
        _workspace(f"{ARGUMENTS} -k -d {text} --cache_file {cache}").finish()
        runs: list[Any] = []

        def fresh() -> Any:
            while runs:
                runs.pop().finish()
            runs.append(_workspace(f"{ARGUMENTS} --cache_file {cache}"))
            return runs[-1]

        yield Contender(
            name=name, units=len(user), fresh=fresh, call=lambda run: run.run_parser(), note=NOTE
        )
        while runs:
            runs.pop().finish()


def rank_parsed(user: Ints, item: Ints, click: Floats) -> Contender | Absent:
    """From Python, event by event, parsed outside the clock."""
    name = "Vowpal Wabbit --rank, Python, parsed before"
    missing = absent(name, MODULE)
    if missing:
        return missing
    workspace, texts = _workspace(ARGUMENTS), _texts(user, item, click)
    used: list[Any] = []

    def fresh() -> list[Any]:
        while used:
            workspace.finish_example(used.pop())
        used.extend(workspace.parse(text) for text in texts)
        return list(used)

    def call(examples: list[Any]) -> None:
        for example in examples:
            workspace.learn(example)

    return Contender(name=name, units=len(user), fresh=fresh, call=call, note=NOTE)


def biased_mf(user: Ints, item: Ints, click: Floats) -> Contender | Absent:
    """river's, by squared loss: it has no other."""
    name = "river BiasedMF"
    missing = absent(name, "river")
    if missing:
        return missing
    from river import optim, reco  # noqa: PLC0415  (an optional extra)

    model = reco.BiasedMF(
        n_factors=DIMENSION,
        bias_optimizer=optim.SGD(0.01),
        latent_optimizer=optim.SGD(0.01),
        latent_initializer=optim.initializers.Normal(mu=0.0, sigma=0.02, seed=1),
    )
    events = list(zip(user.tolist(), item.tolist(), click.tolist(), strict=True))

    def call(_: object) -> None:
        for each in events:
            model.learn_one(*each)

    call(None)
    return Contender(name=name, units=len(events), call=call, note="squared loss, SGD")


def _texts(user: Ints, item: Ints, click: Floats) -> list[str]:
    events = zip(user.tolist(), item.tolist(), click.tolist(), strict=True)
    return [f"{2 * y - 1:g} |u {a} |i {b}" for a, b, y in events]


def _workspace(arguments: str) -> Any:
    import vowpalwabbit  # noqa: PLC0415  (an optional extra)

    return vowpalwabbit.Workspace(arguments)
