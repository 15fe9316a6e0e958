"""Fixtures for all tests."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator

import hypothesis
import pytest
from support.cli_child import QUICK
from support.fake_portaudio import FakePortAudio, Install
from support.pulse import Pulse, Unavailable
from support.realtime_grammar import watched

# A busy machine is no defect, and neither is the first look into all of Unicode.
hypothesis.settings.register_profile(
    "shared", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("shared")

# What runs in this process takes the quick models too, unless a test names others.
os.environ.update(QUICK)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """What is collected is kept to the end: the garbage collector need not look at it again."""
    gc.disable()
    collected = yield
    gc.freeze()
    gc.enable()
    return collected


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Whole conversations run in real time: they begin first, the longest before the others."""
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.slow)
    yield
    items.sort(key=_turn)


LONGEST = ("test_compare", "test_profile", "test_page", "test_bad_input", "test_killed")
"""Files that take a minute and more."""


def _turn(item: pytest.Item) -> int:
    """Its place among the others."""
    if item.get_closest_marker("slow") is None:
        return len(LONGEST) + 1
    return LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)


@pytest.fixture(autouse=True)
def lawless() -> Iterator[list[str]]:
    """All that a Realtime server in this process tells any client is checked.

    A test that has a server tell something wrong clears this.
    """
    with watched() as wrong:
        yield wrong
    assert wrong == []


def _start() -> Pulse:
    try:
        return Pulse()
    except Unavailable as reason:
        if os.environ.get("CI") == "true" and sys.platform == "linux":
            pytest.fail(str(reason))
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def pulse() -> Iterator[Pulse]:
    """A sound server with a default microphone and loudspeaker, for child processes.

    Not for longer than it is needed: it takes a tenth of a processor.
    """
    server = _start()
    yield server
    server.close()


@pytest.fixture
def start_pulse() -> Iterator[Callable[[], Pulse]]:
    """Start a sound server of one's own, to be broken."""
    servers: list[Pulse] = []

    def start() -> Pulse:
        servers.append(_start())
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(fake: FakePortAudio) -> FakePortAudio:
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        return fake

    return install
