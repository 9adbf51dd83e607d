"""``slatestream replay``: a log through the learner again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api import kernel_cache
from api.commands.logs import (
    Behaviour,
    Campaign,
    Format,
    JsonOption,
    LogBehaviour,
    LogFormat,
    LogPath,
)
from api.commands.output import print_json, print_table, progress_bar

if TYPE_CHECKING:
    from simulator.replay import Replay

__all__ = ["replay"]


def replay(
    log: LogPath,
    *,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="Policies to learn; events: default those of the log."),
    ] = None,
    layout: Format = LogFormat.EVENTS,
    campaign: Campaign = "all",
    behaviour: Behaviour = LogBehaviour.RANDOM,
    seed: Annotated[int, typer.Option(help="obd: of the rejections.")] = 0,
    json: JsonOption = False,
) -> None:
    """Learn from a log anew: our own to the same bits as live, a foreign one by rejection."""
    kernel_cache.use(None)
    from simulator.replay import replay as run  # noqa: PLC0415  (loads numba)

    with progress_bar("replaying") as report:
        found = run(
            log,
            policy or (),
            format=layout.value,
            campaign=campaign,
            behaviour=behaviour.value,
            seed=seed,
            progress=report,
        )
    if json:
        print_json(found)
    else:
        _print(found)


def _print(found: Replay) -> None:
    rows = [
        (
            each.policy,
            each.items,
            each.rows,
            each.accepted,
            each.acceptance,
            each.mean_reward,
            each.se,
            each.state_hash[:16],
        )
        for each in found.policies
    ]
    columns = ["policy", "items", "rows", "accepted", "acceptance", "mean reward", "se", "state"]
    print_table(f"{found.source}: {found.records} records", columns, rows)
    if found.state_hash:
        typer.echo(f"state {found.state_hash}")
    elif found.shards:
        _print_shards(found)


def _print_shards(found: Replay) -> None:
    rows = [
        (f"{each.topic}-{each.partition}", each.begin, each.next_offset, each.state_hash)
        for each in found.shards
    ]
    print_table("shards", ["shard", "from offset", "to before", "state"], rows)
