"""Logs and worlds: read a log, check its health, evaluate policies on it, replay it, simulate."""

from simulator.evaluate import Evaluation, PolicyEvaluation, evaluate
from simulator.health import Finding, LogHealth, check_log
from simulator.logs import SlateLog
from simulator.readers import FORMATS, read_log
from simulator.replay import PolicyReplay, Replay, replay
from simulator.simulate import Simulation, make_world, simulate, world_names

__all__ = [
    "FORMATS",
    "Evaluation",
    "Finding",
    "LogHealth",
    "PolicyEvaluation",
    "PolicyReplay",
    "Replay",
    "Simulation",
    "SlateLog",
    "check_log",
    "evaluate",
    "make_world",
    "read_log",
    "replay",
    "simulate",
    "world_names",
]
