"""Warming up runs through every kind of policy, and leaves the policy as it was."""

import importlib
import pkgutil

import pytest
from numba.core.sigutils import normalize_signature

import engine.kernels
from engine.warm_up import warm_up
from tests.engine.worlds import SPECS, policy


@pytest.mark.parametrize("spec", SPECS)
def test_every_policy_can_be_warmed_up(spec):
    made = policy(spec)
    before = made.init().hash()
    warm_up(made)
    assert made.init().hash() == before


def test_kernels_are_called_with_the_types_they_state():
    """Other types would compile anew, in the middle of serving."""
    for spec in SPECS:
        warm_up(policy(spec))
    called = 0
    for info in pkgutil.walk_packages(engine.kernels.__path__, "engine.kernels."):
        for name, member in vars(importlib.import_module(info.name)).items():
            if hasattr(member, "ahead") and member.__module__ == info.name:
                stated, _ = normalize_signature(member.ahead)
                for types in member.signatures:
                    assert types == stated, f"{info.name}.{name}"
                    called += 1
    assert called > 30
