"""A network between a simulated server and its clients: what is on the way arrives later."""

from __future__ import annotations

import random

from pipeline.clock import NS_PER_MS, NS_PER_S
from pipeline.simulated.script import Network


class Line:
    """One direction of a connection. Pure: it says when a message arrives, and waits for nothing.

    Messages arrive in the order in which they were sent, as over TCP: one that is held up holds up
    all that follow it. `stall_ms` of every `stall_every_s` nothing arrives.

    Args:
        network: Its delays.
        seed: Of the jitter, such as `"1/0/up"`.
        opened_ns: When the connection was made; stalls are counted from here.
    """

    def __init__(self, network: Network, seed: str, opened_ns: int) -> None:
        self._network = network
        self._random = random.Random(f"network/{seed}")
        self._opened_ns = opened_ns
        self._latest_ns = opened_ns

    def arrival_ns(self, sent_ns: int) -> int:
        """When a message that is sent now arrives (ns, on the clock of `sent_ns`)."""
        network = self._network
        ms = network.rtt_ms / 2 + self._random.random() * network.jitter_ms
        due = max(sent_ns + round(ms * NS_PER_MS), self._latest_ns)
        self._latest_ns = self._after_stall(due)
        return self._latest_ns

    def _after_stall(self, due_ns: int) -> int:
        every = round(self._network.stall_every_s * NS_PER_S)
        if every <= 0:
            return due_ns
        stalls, within = divmod(due_ns - self._opened_ns, every)
        stall = round(self._network.stall_ms * NS_PER_MS)
        return due_ns + stall - within if stalls > 0 and within < stall else due_ns
