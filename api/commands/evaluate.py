"""``slatestream check`` and ``slatestream evaluate``: what a log can tell, and what it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.logs import (
    Behaviour,
    Campaign,
    Format,
    JsonOption,
    LogBehaviour,
    LogFormat,
    LogPath,
    Policies,
    Recommender,
    open_log,
)
from api.commands.output import print_json, print_table, progress_bar

if TYPE_CHECKING:
    from simulator.evaluate import Evaluation
    from simulator.health import LogHealth

__all__ = ["check", "evaluate"]

EXIT_FAIL = 1
EXIT_REFUSE = 3


def check(
    log: LogPath,
    *,
    layout: Format = LogFormat.EVENTS,
    campaign: Campaign = "all",
    behaviour: Behaviour = LogBehaviour.RANDOM,
    recommender: Recommender = None,
    json: JsonOption = False,
) -> None:
    """Check whether a log can carry an evaluation; exit code 1 when a check fails."""
    with progress_bar("reading") as report:
        slates = open_log(
            log, layout, campaign, behaviour, recommender=recommender, progress=report
        )
        from simulator.health import check_log  # noqa: PLC0415  (loads numba)

        health = check_log(slates)
    if json:
        print_json(health)
    else:
        _print_health(health)
    if health.status == "fail":
        raise typer.Exit(EXIT_FAIL)


def evaluate(
    log: LogPath,
    *,
    policy: Policies,
    layout: Format = LogFormat.EVENTS,
    campaign: Campaign = "all",
    behaviour: Behaviour = LogBehaviour.RANDOM,
    recommender: Recommender = None,
    clip: Annotated[float, typer.Option(help="Largest weight of clipped IPS.")] = 10.0,
    json: JsonOption = False,
) -> None:
    """Estimate what other policies would have earned; exit code 3 when a verdict is refuse."""
    from simulator.targets import check_spec  # noqa: PLC0415  (loads numba)

    for spec in policy:  # before the log is read, which may take long
        check_spec(spec)
    with progress_bar("reading") as report:
        slates = open_log(
            log, layout, campaign, behaviour, recommender=recommender, progress=report
        )
    from simulator.evaluate import evaluate as run  # noqa: PLC0415  (loads numba)

    with progress_bar("evaluating") as report:
        found = run(slates, policy, clip=clip, progress=report)
    if json:
        print_json(found)
    else:
        _print_health(found.log)
        _print_evaluation(found)
    if any(each.verdict == "refuse" for each in found.policies):
        raise typer.Exit(EXIT_REFUSE)


def _print_health(health: LogHealth) -> None:
    title = f"{health.source}: {health.slates} slates, {health.items} items: {health.status}"
    rows = [(each.check, each.status, each.detail) for each in health.findings]
    print_table(title, ["check", "status", "finding"], rows)


def _print_evaluation(found: Evaluation) -> None:
    columns = [
        "policy",
        "estimator",
        "value",
        "se",
        "from",
        "to",
        "ess",
        "largest weight",
        "verdict",
    ]
    rows = [
        (
            each.policy,
            estimate.estimator,
            estimate.value,
            estimate.se,
            *(estimate.ci or (None, None)),
            estimate.ess,
            estimate.max_weight,
            each.verdict,
        )
        for each in found.policies
        for estimate in each.estimates
    ]
    print_table("reward a slate", columns, rows)
    for each in found.policies:
        for reason in each.reasons:
            typer.echo(f"{each.policy}: {reason}")
