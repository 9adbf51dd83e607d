"""``slatestream init``: a commented settings file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from api.commands.output import say
from api.settings import DEFAULT_FILE
from engine.errors import ConfigError

__all__ = ["TEMPLATE", "init"]

TEMPLATE = """\
# slatestream settings. Every key may be overridden by the environment: SLATESTREAM_PORT=9000,
# SLATESTREAM_POLICIES__MAIN__SPEC=... Unknown keys are refused.

host = "127.0.0.1"            # beyond loopback needs at least one [[keys]] entry
port = 8000
data_dir = "slatestream-data" # log.db (events), state.db (what was learned), views/
# log = "kafka://broker1:9092,broker2:9092/prefix."     # the log elsewhere than in data_dir
# store = "postgresql+psycopg://user@host/slatestream"  # what was learned, likewise
# kafka = { partitions = 12, replication = 3, security_protocol = "SASL_SSL" }  # and ssl_…, sasl_…
workers = 1                   # API processes on this host
# cache_dir = "/var/cache/slatestream"  # compiled kernels; default: the user's cache folder
durability = "process"        # "power": an event survives a power cut too, each append is synced
commit_interval_ms = 500      # how often learned state is committed and served, at most
commit_bytes_per_second = 8e6 # large states are committed more seldom, down to every 10 s
max_wait_ms = 2000            # how long a slate may wait for the version it asks for
metrics_port = 0              # /metrics and /health/live on a port of their own; 0: off
log_format = "text"           # "json": a line is an object, with the ids it is about
max_body_bytes = 1048576
remember_requests = 10000     # replies kept, so that a repeated request_id repeats its reply;
                              # in memory (64 MiB at most), until the API worker is replaced
remember_events = 100000      # event ids kept, so that a repeat is answered as duplicate

# A policy: MODEL-EXPLORATION with settings, or "uniform".
# Models: linear, shared, hybrid, columnwise, diagonal, fourier, beta, poisson, normal, logistic,
# bagged, groupwise, river, importance, mf, fm, bpr.
# Explorations: greedy, epsilon, softmax, ucb, kl-ucb, thompson, marginal-thompson, squarecb,
# fastcb, exp3, bagging, top-m. Slates: sequential, plackett-luce, ruled.
# floor is the share of every slot spread over all candidates left.
# examination=cascade learns a slate down to its last reaction; examination=1|0.6|0.4 gives the
# chance that each slot is looked at; half_life_seconds=86400 lets outcomes fade.
[policies.main]
spec = "linear-thompson:floor=0.02"
# Features the policy reads, of the request or (of = "item") of the catalogue's items, which are
# then logged with every slot. A feature added later keeps what was learned.
features = [
    # { type = "numeric", name = "hour", center = 12.0, scale = 6.0 },
    # { type = "categorical", name = "device", values = ["ios", "android", "web"] },
    # { type = "clusters", name = "taste", count = 100 },  # sent as {"17": 0.6, "3": 0.4}
    # { type = "vector", name = "map", count = 16, version = "2026-11" },  # of the user's id
    # { type = "categorical", name = "genre", of = "item", values = ["pop", "jazz"] },
    # { type = "interaction", left = "device", right = "genre" },
    # { type = "quadratic", names = ["hour"] },
]
# Watch the rewards of the policy's outcomes, and forget when they fall. The learner logs a control
# record: replay forgets in the same place. detector: "adwin", "page-hinkley" (with threshold).
# [policies.main.drift]
# detector = "adwin"
# action = "reset"            # "decay" halves what was learned, halvings times
# delta = 0.002

# Models that keep a vector for every id (mf, fm, bpr) read ids, which are any text; the request's
# user_id enters by itself. What they learned of users or items can be a vector of other policies:
# slatestream table freeze tastes user_id map
# [policies.tastes]
# spec = "mf-greedy"
# features = [{ type = "id", name = "user_id" }]

# A recommender: which policy serves it, and how feedback becomes the reward it learns.
[recommenders.default]
policy = "main"
window_seconds = 600.0        # feedback counts within this time of the slate
default_reward = 0.0          # the reward of a slot nobody reacted to
kinds = { click = 1.0 }       # what each kind of feedback is worth; others are not learned
learn = "close"               # "first" learns a slot at its first feedback: faster, biased
# shortlist = 500             # with mf, fm or bpr: rank only the best of a large pool, found first,
# shortlist_random = 20       # and some of the others, drawn anew for each request

# API keys: make one with 'slatestream keys new --scope serve' and paste its lines here.
# [[keys]]
# name = "web"
# scope = "serve"             # slates, events and reading; "admin" also writes items and pools
# sha256 = "..."
"""


def init(
    *,
    path: Annotated[Path, typer.Option("--config", help="Where to write.")] = DEFAULT_FILE,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
) -> None:
    """Write a commented settings file."""
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(TEMPLATE)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists; pass --force to overwrite it") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error
    say(f"wrote {path}; start with: slatestream serve --config {path}")
