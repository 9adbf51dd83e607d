"""Shards put together: which of them hold a policy, and their states under one configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.policy import Policy
from engine.state import State
from streams.align import align_state
from streams.states import learns_in_order

__all__ = ["Holder", "gather_states"]


class Holder(Protocol):
    """A shard's states, and the policies they were learned under."""

    @property
    def policies(self) -> Mapping[str, Policy]:
        """Policies by name."""
        ...

    @property
    def states(self) -> Mapping[str, State]:
        """States by the policies' names."""
        ...


def gather_states(
    name: str, policy: Policy, events: Sequence[Holder], outcomes: Sequence[Holder], *, apart: bool
) -> list[State]:
    """States that add up to all that is known of a policy, an empty one when nothing is.

    Parameters
    ----------
    policy
        Whose schema the states are aligned to.
    events, outcomes
        Shards of `EVENTS` and of `OUTCOMES`, in partition order.
    apart
        Whether `EVENTS` has several partitions: policies that learn in order are then those of
        `OUTCOMES` alone.
    """
    shards = outcomes if apart and learns_in_order(policy) else events
    holders = [shard for shard in shards if name in shard.states]
    states = [align_state(policy, held.policies[name], held.states[name]) for held in holders]
    return states or [policy.init()]
