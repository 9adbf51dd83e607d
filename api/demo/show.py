"""The demo told in one line while it runs, and in a summary at its end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

from api.client import Client, ClientError
from api.demo.traffic import GROUPS, Traffic
from api.demo.uplift import Rate, Uplift, click_rate, uplift

__all__ = ["Summary", "group_rates", "settle", "show_live", "summarise"]

SETTLE_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The result of a demo; a rate or interval that is not defined is None."""

    slates: int
    events: int
    learner_ctr: float
    control_ctr: float
    uplift: float | None
    uplift_ci: tuple[float | None, float | None]
    p50_ms: float
    p99_ms: float
    conservation: dict[str, Any]
    errors: int


def group_rates(traffic: Traffic) -> dict[str, Rate]:
    """Click rate of each group, clustered by visitor."""
    return {group: click_rate(*traffic.tallies[group].columns()) for group in GROUPS}


def summarise(traffic: Traffic, conservation: dict[str, Any]) -> Summary:
    """Add up what the visitors saw and did."""
    rates = group_rates(traffic)
    gained = uplift(rates["learner"], rates["control"])
    ordered = sorted(traffic.latencies_ms)
    return Summary(
        slates=traffic.slates,
        events=traffic.events,
        learner_ctr=rates["learner"].value,
        control_ctr=rates["control"].value,
        uplift=gained.value,
        uplift_ci=(gained.low, gained.high),
        p50_ms=_quantile(ordered, 0.5),
        p99_ms=_quantile(ordered, 0.99),
        conservation=conservation,
        errors=traffic.failed,
    )


async def show_live(traffic: Traffic, stop: asyncio.Event) -> None:
    """Draw the live line until told to stop."""
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        then, slates, events = time.monotonic(), 0, 0
        while not stop.is_set():
            await asyncio.sleep(0.5)
            now = time.monotonic()
            speeds = (
                (traffic.slates - slates) / (now - then),
                (traffic.events - events) / (now - then),
            )
            then, slates, events = now, traffic.slates, traffic.events
            live.update(_line(traffic, *speeds))


def _line(traffic: Traffic, slates: float, events: float) -> Text:
    rates = group_rates(traffic)
    gained = uplift(rates["learner"], rates["control"])
    parts = [f"{slates:5.0f} slates/s", f"{events:5.0f} events/s"]
    parts += [f"{group} {_percent(rates[group])}" for group in GROUPS]
    parts.append(_gain(gained))
    if traffic.failed:
        parts.append(f"{traffic.failed} errors")
    return Text("  ·  ".join(parts))


def _percent(rate: Rate) -> str:
    low, high = rate.interval
    return f"{rate.value:.1%} [{low:.1%}, {high:.1%}]"


def _gain(gained: Uplift) -> str:
    if gained.value is None or gained.low is None or gained.high is None:
        return "uplift ?"
    return f"uplift {gained.value:+.0%} [{gained.low:+.0%}, {gained.high:+.0%}]"


async def settle(client: Client) -> dict[str, Any]:
    """Wait until every window closed and every record is accounted for; returns the counts."""
    deadline = time.monotonic() + SETTLE_SECONDS
    told: dict[str, Any] = {"exact": False, "counts": {}}
    while time.monotonic() < deadline:
        with contextlib.suppress(ClientError):  # being replaced: it comes back
            reply = await client.get("/v1/model")
            if reply.status == 200:
                model = reply.json()
                told = model["conservation"]
                waiting = sum(fates["pending"] for fates in told["counts"].values())
                if not waiting and sum(model["offsets"].values()) >= model["end"]:
                    break
        await asyncio.sleep(0.1)
    return told


def _quantile(ordered: Sequence[float], q: float) -> float:
    return ordered[min(int(q * len(ordered)), len(ordered) - 1)] if ordered else 0.0
