"""Who is let in, in made-up time: clients come and go, turns take what they take."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.clock import NS_PER_S
from pipeline.serve.admission import (
    CORES,
    LATE_S,
    LATE_TURNS,
    LOAD,
    RETRY_S,
    WINDOW_S,
    Admission,
    expected,
)

ENDPOINT_S, SERVICE_S, REPLY_S, TURN_S = 0.4, 0.2, 10.0, 15.0


class World:
    """A server with two cores, and its clock."""

    def __init__(self, most: int = 0, cores: int = 2) -> None:
        self.now = self.spent = 0.0
        self.open = 0
        self.door = Admission(most, cores, lambda: self.now, lambda: self.spent)

    def enter(self) -> float | None:
        """A client comes: None if it is let in, else when it shall come again (s)."""
        refused = self.door.enter()
        if refused is None:
            self.open += 1
            return None
        answer = refused.response()
        assert (answer.status_code, refused.code) == (503, "server_overloaded")
        return float(answer.headers["Retry-After"])

    def leave(self) -> None:
        self.open -= 1
        self.door.leave()

    def turn(self, took_s: float = 0.2, cores: float = CORES) -> None:
        """A turn is over that took so long from its end on, and so much of the processors."""
        self.now += TURN_S
        self.spent += TURN_S * cores
        self.over(took_s)

    def over(self, took_s: float) -> None:
        marks = {
            "speech.start": 0.0,
            "speech.end": TURN_S - REPLY_S,
            "committed": TURN_S - REPLY_S + ENDPOINT_S,
            "heard.first": TURN_S - REPLY_S + ENDPOINT_S + took_s,
            "heard.last": TURN_S,
        }
        self.door.over(1, {name: round(s * NS_PER_S) for name, s in marks.items()}, None)

    def fill(self) -> int:
        """Clients come until one is refused."""
        while self.enter() is None:
            pass
        return self.open


def test_until_anything_is_known_as_many_come_in_as_conversations_mostly_allow() -> None:
    assert World().fill() == 4 == expected(0, 2)
    assert World(cores=8).fill() == 19


@pytest.mark.parametrize(("cores", "sessions"), [(0.02, 11), (0.5, 2), (1.0, 1), (9.0, 1)])
def test_what_conversations_take_decides_once_that_is_known(cores: float, sessions: int) -> None:
    world = World()
    world.enter()
    for _ in range(7):
        world.turn(cores=cores)
    assert world.fill() == sessions


def test_a_server_never_has_more_sessions_than_it_may_have() -> None:
    world = World(most=3, cores=64)
    assert world.fill() == 3
    assert world.enter() == RETRY_S
    world.leave()
    assert world.enter() is None
    assert expected(3, 64) == 3


def test_how_many_there_may_be_is_its_owners_word() -> None:
    world = World(most=3, cores=1)
    world.enter()
    for _ in range(2 * LATE_TURNS):
        world.turn()
        world.turn(9, cores=5)
    assert world.fill() == 3


def test_one_client_is_served_whatever_that_takes() -> None:
    world = World(cores=1)
    assert world.enter() is None
    for _ in range(5):
        world.turn(took_s=9, cores=5)
    world.leave()
    assert world.enter() is None


def test_who_was_silent_may_speak_all_at_once() -> None:
    """Silence is not counted: four silent sessions are as many as four that talk."""
    world = World()
    world.fill()
    world.now += 1000
    assert world.enter() is not None


def test_late_turns_keep_others_out_until_none_was_late_for_a_while() -> None:
    world = World()
    world.enter()
    for _ in range(10):
        world.turn()
    for _ in range(LATE_TURNS - 1):
        world.turn(LATE_S + 0.1)
    assert world.enter() is None, "one late turn may be an accident"
    world.turn(LATE_S + 0.1)
    after_s = world.enter()
    assert after_s == WINDOW_S
    world.turn()
    world.now += after_s - TURN_S - 1
    assert world.enter() == 1, "the last late one is not long enough ago"
    world.now += 1
    assert world.enter() is None


def test_a_slow_model_is_not_taken_for_a_busy_machine() -> None:
    world = World(cores=8)
    world.enter()
    for _ in range(10):
        world.turn(2.0)
    assert world.enter() is None
    world.turn(3.5)
    world.turn(3.5)
    assert world.enter() is not None


def test_the_door_does_not_swing() -> None:
    """What conversations take, as measured, goes up and down; the answer stays the same."""
    random = Random(1)
    world = World()
    answers = []
    for _ in range(4):
        world.enter()
    for _ in range(100):
        world.turn(cores=LOAD * 2 / 5 * random.uniform(0.95, 1.05))
        answers.append(world.enter() is None)
        if answers[-1]:
            world.leave()
    changes = sum(a != b for a, b in itertools.pairwise(answers))
    assert changes <= 1


@given(
    st.lists(st.sampled_from(["enter", "leave", "turn", "late turn", "wait"]), max_size=80),
    st.integers(0, 6),
    st.integers(1, 16),
)
def test_whatever_happens(steps: Sequence[str], most: int, cores: int) -> None:
    world = World(most, cores)
    for step in steps:
        before = world.open
        match step:
            case "enter":
                after_s = world.enter()
                assert after_s is None or 0 < after_s <= WINDOW_S
                assert (after_s is None) == (world.open == before + 1)
                assert before or after_s is None, "who is alone is served"
                assert not most or world.open <= most
                if after_s is None and before and not most:
                    assert world.open * world.door.cores <= LOAD * cores
            case "leave" if world.open:
                world.leave()
            case "turn":
                world.turn()
            case "late turn":
                world.turn(1.5)
            case _:
                world.now += 30


@pytest.mark.parametrize("cores", [0.1, 0.25, 0.4])
def test_those_who_are_in_are_answered_within_a_second(cores: float) -> None:
    """A machine on which what is waited for takes longer the more of it is taken.

    Clients come all the time, more than can be served, talk for some minutes, and go.
    """
    random = Random(7)
    world = World()
    waits: list[float] = []
    most = 0
    events = [(float(n), n, "client", 0) for n in range(0, 3600, 5)]
    heapq.heapify(events)
    while events:
        at, number, what, turns = heapq.heappop(events)
        world.spent += (at - world.now) * cores * world.open
        world.now = at
        if what == "client":
            if world.enter() is not None:
                continue
            most = max(most, world.open)
            turns = random.randint(3, 30)
        else:
            busy = min(0.97, cores * world.open / 2)
            # The wait in a queue with two servers (M/M/2).
            took = SERVICE_S * (1 + random.expovariate(1) * busy**2 / (1 - busy**2))
            world.over(took)
            waits.append(ENDPOINT_S + took)
            if not turns:
                world.leave()
                continue
        heapq.heappush(events, (at + TURN_S * random.uniform(0.8, 1.2), number, "turn", turns - 1))
    waits.sort()
    assert waits[int(0.95 * len(waits))] < 1.0
    assert most >= int(LOAD * 2 / cores) - 1, "and it is not for want of clients"
