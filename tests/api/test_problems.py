"""The one table from errors to problems, and the exception tree it covers."""

import importlib
import pkgutil

import pytest

import api
import engine
import simulator
import streams
from api.problems import KINDS, OF_ERROR, OF_STATUS, ProblemError, problem_of
from engine.errors import SlatestreamError
from streams.errors import BadEventError, LogError


def every_error():
    for package in (api, engine, simulator, streams):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith(("__main__", "migrations.env")):  # programs
                importlib.import_module(module.name)
    found = list(SlatestreamError.__subclasses__())
    for error in found:
        found.extend(error.__subclasses__())
    return set(found)


def test_every_error_of_the_tree_is_mapped():
    for error in every_error():
        mapped = issubclass(error, ProblemError) or any(cls in OF_ERROR for cls in error.__mro__)
        assert mapped, f"{error.__name__} is answered by no problem of its own"


def test_every_kind_is_complete_and_every_mapping_leads_to_one():
    for kind, (status, title, meaning) in KINDS.items():
        assert kind == kind.lower()
        assert 400 <= status < 600
        assert title
        assert meaning.endswith(".")
    assert set(OF_ERROR.values()) | set(OF_STATUS.values()) <= set(KINDS)


def test_the_nearest_class_decides():
    class OddLogError(LogError):
        pass

    problem = problem_of(OddLogError("disk full"))
    assert problem.kind == "log-unavailable"
    assert problem.retry_after == 1
    assert problem_of(SlatestreamError("new")).kind == "internal"


def test_a_bad_event_keeps_its_pointer():
    document = problem_of(BadEventError("value", "too big", "/value")).to_problem("/v1/events")
    assert (document.status, document.instance) == (422, "/v1/events")
    assert [(e.pointer, e.code, e.detail) for e in document.errors] == [
        ("/value", "value", "too big")
    ]


def test_a_kind_must_exist():
    with pytest.raises(KeyError):
        ProblemError("no-such-kind", "…").to_problem()
