"""``slatestream simulate``: policies in seeded worlds whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api import kernel_cache
from api.commands.logs import JsonOption
from api.commands.output import print_json, print_table, progress_bar

if TYPE_CHECKING:
    from simulator.simulate import Simulation

__all__ = ["simulate"]

WORLDS = (
    "multiclass, gaussian, one-hot, logistic, drifting, delayed, cold-start, position-biased, "
    "cascade or shop."
)


def simulate(
    world: Annotated[str, typer.Argument(metavar="WORLD", help=WORLDS)],
    *,
    policy: Annotated[
        list[str],
        typer.Option("--policy", help="name:key=value,…; may be given several times."),
    ],
    rounds: Annotated[int, typer.Option(min=1, help="Visits.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of world and policy.")] = 0,
    data: Annotated[
        Path | None, typer.Option(help="multiclass: CSV, with or without a header.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="multiclass: column of the class, by name or number.")
    ] = None,
    quadratic: Annotated[
        bool, typer.Option("--quadratic", help="multiclass: squares and products of features too.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run policies in a world; each meets the same visits."""
    kernel_cache.use(None)
    from simulator.simulate import make_world  # noqa: PLC0415  (loads numba)
    from simulator.simulate import simulate as run  # noqa: PLC0415

    found: list[Simulation] = []
    for spec in policy:
        with progress_bar(spec) as report:
            place = make_world(world, seed=seed, data=data, label=label, quadratic=quadratic)
            found.append(run(place, spec, rounds=rounds, seed=seed, progress=report))
    if json:
        print_json({"policies": found})
    else:
        _print(world, found)


def _print(world: str, found: list[Simulation]) -> None:
    columns = ["policy", "rounds", "mean reward", "regret", "right at last", "rounds/s"]
    rows = [
        (
            each.policy,
            each.rounds,
            each.mean_reward,
            each.regret,
            each.accuracy_last_tenth,
            each.rounds_per_second,
        )
        for each in found
    ]
    print_table(world, columns, rows)
